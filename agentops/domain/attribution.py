"""How good an attribution is, and the operator's rules that give one to spans whose telemetry gives none.

A rule speaks of single spans: all of its conditions hold of one and the same span. What it says of any span of a run it
says of the run, behind whatever the telemetry says itself and before what merely stands in for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from agentops.domain.spans import DEFAULT_ENVIRONMENT, RANK_RULE, Span

#: What a rule may attribute.
RULED = ("feature", "user")
#: Bits below the rank in an order: microseconds since the epoch fit.
_RANK_SHIFT = 52
#: What a condition may be of, and the words for it.
SUBJECTS = {
    "tag": "tag",
    "attribute": "attribute",
    "agent": "agent",
    "tool": "tool",
    "model": "model",
    "span": "span named",
    "run": "run named",
    "environment": "environment",
}
#: What is known of a span only while its content is kept.
OF_CONTENT = frozenset({"tag", "attribute"})
MAX_CONDITIONS, MAX_CHARS = 8, 256
ANY = "*"


class UnsoundRule(ValueError):
    """A rule that cannot be meant; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What one span must have: ``value``, or any that begins so when ``*`` stands at its end.

    ``key`` is the name of an attribute. A run is named as its root is.
    """

    subject: str
    value: str
    key: str = ""

    @property
    def words(self) -> str:
        """As it stands in a sentence."""
        if self.subject == "attribute":
            return f"attribute {self.key}" if self.value == ANY else f"attribute {self.key} = {self.value}"
        return f"{SUBJECTS[self.subject]} {self.value}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules can see of a span: the same while it comes in and when it has long been booked."""

    name: str
    is_root: bool
    agent: str | None = None
    tool: str | None = None
    models: tuple[str | None, ...] = ()
    environment: str = DEFAULT_ENVIRONMENT
    tags: Sequence[str] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, span: Span) -> Facts:
        """Those of a span that comes in."""
        environment = span.attribution.get("environment")
        tags, attributes = of_content(span.content)
        return cls(
            name=span.name,
            is_root=not span.parent_span_id,
            agent=span.agent_name,
            tool=span.tool_name,
            models=(span.request_model, span.response_model),
            environment=environment[0] if environment else DEFAULT_ENVIRONMENT,
            tags=tags,
            attributes=attributes,
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """Spans of a service that meet all conditions have this value in a dimension, from a moment on.

    ``service`` is empty for any. Of several rules that say different things of a span the first counts.
    """

    number: int
    version: int
    service: str
    conditions: tuple[Condition, ...]
    dimension: str
    value: str
    from_ns: int

    def says(self, facts: Facts) -> bool:
        """Whether all conditions hold."""
        return all(_holds(condition, facts) for condition in self.conditions)

    @property
    def whose(self) -> str:
        """Which spans it speaks of."""
        spans = f"Spans of {self.service}" if self.service else "Spans of any service"
        which = f" with {' and '.join(c.words for c in self.conditions)}" if self.conditions else ""
        return f"{spans}{which}"

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        return f"{self.whose} are {self.dimension} {self.value}"


class Rules:
    """The rules in force, by service."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        in_order = sorted(rules, key=lambda rule: rule.number)
        self._everywhere = tuple(rule for rule in in_order if not rule.service)
        self._by_service = {
            service: tuple(rule for rule in in_order if rule.service in ("", service))
            for service in {rule.service for rule in in_order if rule.service}
        }

    def of(self, service: str) -> tuple[Rule, ...]:
        """Those that may say anything of a service's spans."""
        return self._by_service.get(service, self._everywhere)

    @property
    def needles(self) -> list[str] | None:
        """Texts of which a span's content must hold one for a rule to see anything in it.

        ``None`` when no rule looks at contents.
        """
        rules = {*self._everywhere, *(rule for rules in self._by_service.values() for rule in rules)}
        conditions = [c for rule in rules for c in rule.conditions if c.subject in OF_CONTENT]
        return [c.key or c.value.removesuffix(ANY) for c in conditions] or None


def attribute(span: Span, rules: Sequence[Rule]) -> None:
    """Give a span that comes in what rules say of it, where its telemetry says nothing better."""
    found = span.attribution
    for dimension, value in said(rules, Facts.of(span), span.start_ns).items():
        held = found.get(dimension)
        if held is None or held[1] > RANK_RULE:
            found[dimension] = (value, RANK_RULE)


def said(rules: Sequence[Rule], facts: Facts, start_ns: int) -> dict[str, str]:
    """What rules say of a span, by dimension."""
    values: dict[str, str] = {}
    for rule in rules:
        if rule.dimension not in values and start_ns >= rule.from_ns and rule.says(facts):
            values[rule.dimension] = rule.value
    return values


def collect(
    best: dict[str, tuple[int, str]], attribution: Mapping[str, tuple[str, int]], start_ns: int, *, below_root: bool
) -> None:
    """Take what a span says into the best that is known of its run: ``dimension -> (order, value)``, the least wins.

    Better ranks come first, then what the root says, then what the earliest span says.
    """
    start_us = start_ns // 1_000
    for dimension, (value, rank) in attribution.items():
        order = ((rank * 2 + below_root) << _RANK_SHIFT) + start_us
        held = best.get(dimension)
        if held is None or order < held[0] or (order == held[0] and value < held[1]):
            best[dimension] = (order, value)


def rank_of(order: int) -> int:
    """The rank that is in an order."""
    return order >> _RANK_SHIFT >> 1


def of_content(content: Mapping[str, object]) -> tuple[tuple[str, ...], Mapping[str, object]]:
    """What rules can see of a span's content: its tags, and its attributes that are not read otherwise."""
    tags, attributes = content.get("tags"), content.get("attributes")
    return (
        tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        attributes if isinstance(attributes, dict) else {},
    )


def check_rule(rule: Rule) -> None:
    """Raises ``UnsoundRule`` for one that cannot be meant."""
    if (reason := _why_unsound(rule)) is not None:
        raise UnsoundRule(reason)


def _why_unsound(rule: Rule) -> str | None:
    texts = (rule.value, *(text for condition in rule.conditions for text in (condition.key, condition.value)))
    if rule.dimension not in RULED or not rule.value.strip():
        return "Say which feature or user the spans belong to."
    if not rule.conditions and not rule.service:
        return "Name a service or a condition: this would be said of everything."
    if len(rule.conditions) > MAX_CONDITIONS:
        return f"More than {MAX_CONDITIONS} conditions are too many."
    if any(not _is_complete(condition) for condition in rule.conditions):
        return "A condition has a subject and a value, and an attribute a name."
    if any(condition.value == ANY and condition.subject != "attribute" for condition in rule.conditions):
        return "“*” alone says nothing: name a value, or how it begins."
    return f"A text is longer than {MAX_CHARS} characters." if any(len(text) > MAX_CHARS for text in texts) else None


def _is_complete(condition: Condition) -> bool:
    is_named = bool(condition.key) == (condition.subject == "attribute")
    return condition.subject in SUBJECTS and bool(condition.value) and is_named


def _holds(condition: Condition, facts: Facts) -> bool:
    subject, wanted = condition.subject, condition.value
    if subject == "attribute":
        return _is(wanted, written(facts.attributes.get(condition.key)))
    if subject == "tag":
        return any(_is(wanted, tag) for tag in facts.tags)
    if subject == "model":
        return any(_is(wanted, model) for model in facts.models)
    if subject == "run":
        return facts.is_root and _is(wanted, facts.name)
    return _is(wanted, facts.name if subject == "span" else getattr(facts, subject))


def _is(wanted: str, found: str | None) -> bool:
    if found is None:
        return False
    return found.startswith(wanted[:-1]) if wanted.endswith(ANY) else found == wanted


def written(value: object) -> str | None:
    """A value of an attribute as a rule names it; ``None`` for what has no such form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int)) or (isinstance(value, float) and isfinite(value)) else None
