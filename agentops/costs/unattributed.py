"""What runs that lack an attribution have in common: what a rule could go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from agentops.columns import books_cursor
from agentops.costs.queries import kept_since
from agentops.domain.attribution import ANY, Condition, Facts, written
from agentops.runs import attribution as runs
from agentops.runs.store import RunKey

#: Runs looked at, the newest first; how far back; and what is shown of them.
SAMPLE, WITHIN, MOST = 50, timedelta(days=30), 14
#: Longer values of an attribute are texts, not names.
LONGEST = 64


@dataclass(frozen=True, slots=True)
class Trait:
    """A condition, and how many of the runs looked at meet it."""

    condition: Condition
    runs: int


@dataclass(frozen=True, slots=True)
class Traits:
    """What so many of the newest runs without a value have in common, the commonest first."""

    runs: int
    traits: list[Trait]


def common_traits(*, service: str, dimension: str, now: datetime) -> Traits:
    """What the newest runs of a service (empty for any) that lack a value in a dimension have in common."""
    with transaction.atomic(), books_cursor() as cursor:
        since = max(now - WITHIN, kept_since())
        keys = runs.newest_without(cursor, dimension, service=service, since=since, limit=SAMPLE)
        found = runs.attributed_runs(cursor, keys, lock=False) if keys else []
        facts = list(runs.span_facts(cursor, found, [""])) if found else []
    met: dict[RunKey, set[Condition]] = {run.key: set() for run in found}
    for key, _, seen in facts:
        met[key].update(_conditions(seen))
    counts = Counter(condition for conditions in met.values() for condition in conditions)
    named = {c.key: n for c, n in counts.most_common() if c.subject == "attribute" and c.value != ANY}
    told = [
        Trait(condition, n)
        for condition, n in counts.items()
        if (n > 1 or len(found) == 1) and not (condition.value == ANY and named.get(condition.key) == n)
    ]
    return Traits(len(found), sorted(told, key=lambda trait: (-trait.runs, trait.condition.words))[:MOST])


def _conditions(seen: Facts) -> Iterator[Condition]:
    """What a rule could ask of a span, so that the span meets it."""
    yield from _named("tag", seen.tags)
    yield from _named("agent", [seen.agent])
    yield from _named("tool", [seen.tool])
    yield from _named("model", seen.models)
    if seen.is_root:
        yield from _named("run", [seen.name])
    for key, value in seen.attributes.items():
        text = written(value)
        if text is not None:
            yield Condition("attribute", ANY, key)
            if 0 < len(text) <= LONGEST and not text.endswith(ANY):
                yield Condition("attribute", text, key)


def _named(subject: str, values: Iterable[str | None]) -> Iterator[Condition]:
    return (Condition(subject, value) for value in values if value and not value.endswith(ANY))
