"""What a step will need at most: as its client says, as the price book has it, else as such steps usually need."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import DatabaseError, connection

from agentops.current import Current
from agentops.domain.budgets import Amounts
from agentops.domain.pricing import PriceList, span_cost
from agentops.domain.spans import Kind, Span, TokenUsage
from agentops.prices.store import latest_revision, load_prices

log = logging.getLogger(__name__)

#: What a model call is taken to need of which nothing at all is known: nano-dollars and tokens.
UNKNOWN_NANO, UNKNOWN_TOKENS = 50_000_000, 4_000
#: How often the habits are read anew, in seconds, and how many are kept in mind.
EVERY_SECONDS, MAX_HABITS = 15.0, 50_000
#: Steps that say what is usual are not older than this; fewer say nothing.
LOOKED_BACK, FEWEST = timedelta(hours=24), 5
_NS = 10**9


class Need(NamedTuple):
    """What is held for a step, and where that comes from."""

    amounts: Amounts
    source: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A step as far as its needs depend on it."""

    service: str
    kind: str
    provider: str
    model: str
    tool: str
    input_tokens: int | None
    max_output_tokens: int | None
    nano: int | None

    @property
    def name(self) -> str:
        """Under what such steps are remembered."""
        return self.tool if self.kind == "tool" else self.model


class Estimates:
    """Needs of steps, by prices and habits as at the last look, for one process.

    ``clock`` gives seconds and never goes back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._prices = Current(latest_revision, load_prices, clock=clock)
        self._clock = clock
        self._price_list: PriceList | None = None
        self._habits: Mapping[tuple[str, str, str], Amounts] = {}
        self._read_at = float("-inf")

    def look(self) -> None:
        """Read what is due. While it cannot be read all stays as it was.

        Raises ``DatabaseError`` when prices were never read.
        """
        self._price_list = self._prices.get()
        if self._clock() - self._read_at < EVERY_SECONDS:
            return
        self._read_at = self._clock()
        try:
            self._habits = read_habits()
        except DatabaseError as error:
            log.warning("what steps usually need cannot be read now: %s", error)

    def need(self, wanted: Wanted, at: datetime) -> Need:
        """What a step needs at most. Raises ``DatabaseError`` when prices were never read."""
        usual = self._usual(wanted)
        nano, source = self._nano(wanted, at, usual)
        return Need(Amounts(nano, self._tokens(wanted, usual), 1), source)

    def cost(
        self, *, service: str, kind: str, provider: str, model: str, tool: str, usage: TokenUsage, at: datetime
    ) -> int | None:
        """What such a step costs, in nano-dollars; ``None`` when nobody knows."""
        kinds = (Kind.TOOL,) if kind == "tool" else (Kind.LLM, Kind.EMBEDDING) if not usage.output else (Kind.LLM,)
        start = int(at.timestamp() * _NS)
        prices = self._prices.get() if self._price_list is None else self._price_list
        for each in kinds:
            span = Span(
                bytes(16),
                bytes(8),
                b"",
                service,
                each,
                "",
                "",
                start,
                start,
                provider=provider.lower() or None,
                request_model=model or None,
                tool_name=tool or None,
                usage=usage,
            )
            if (cost := span_cost(span, prices).nano) is not None:
                return cost
        return None

    def _nano(self, wanted: Wanted, at: datetime, usual: Amounts | None) -> tuple[int, str]:
        if wanted.nano is not None:
            return wanted.nano, "given"
        if wanted.kind == "handoff":
            return 0, "none"
        given, output = wanted.input_tokens, wanted.max_output_tokens
        usage = TokenUsage(given or 0, output or 0)
        known = self.cost(
            service=wanted.service,
            kind=wanted.kind,
            provider=wanted.provider,
            model=wanted.model,
            tool=wanted.tool,
            usage=usage,
            at=at,
        )
        if wanted.kind == "tool":
            # What a tool costs a second is not known before; how long it usually takes is.
            nano = max(known or 0, usual.nano if usual else 0)
            return nano, "book" if known is not None else "habit" if nano else "none"
        if known is not None and given is not None and output is not None:
            return known, "book"
        if usual is not None:
            return max(known or 0, usual.nano), "habit"
        return max(known or 0, UNKNOWN_NANO), "default"

    def _tokens(self, wanted: Wanted, usual: Amounts | None) -> int:
        if wanted.kind != "llm":
            return 0
        known = (wanted.input_tokens or 0) + (wanted.max_output_tokens or 0)
        if wanted.input_tokens is not None and wanted.max_output_tokens is not None:
            return known
        return max(known, usual.tokens if usual is not None else UNKNOWN_TOKENS)

    def _usual(self, wanted: Wanted) -> Amounts | None:
        """What such steps of the service need, else what all of its steps of the kind do."""
        get, service, kind = self._habits.get, wanted.service, wanted.kind
        return get((service, kind, wanted.name)) or get((service, kind, ""))


READ = "SELECT service, kind, name, nano, tokens FROM budget_habit ORDER BY calls DESC LIMIT %s"


def read_habits() -> dict[tuple[str, str, str], Amounts]:
    """What steps usually need: 95 of 100 of them at most so much."""
    with connection.cursor() as cursor:
        cursor.execute(READ, [MAX_HABITS])
        return {(service, kind, name): Amounts(nano, tokens, 1) for service, kind, name, nano, tokens in cursor}


# An empty name stands for all steps of the kind.
NOTE = f"""
WITH s AS MATERIALIZED (
    SELECT service, CASE kind WHEN {int(Kind.TOOL)} THEN 'tool' ELSE 'llm' END AS kind,
        coalesce(CASE kind WHEN {int(Kind.TOOL)} THEN tool ELSE coalesce(request_model, response_model) END, '')
            AS name,
        coalesce(cost_nano, 0) AS nano, coalesce(input_tokens, 0) + coalesce(output_tokens, 0) AS tokens
    FROM spans
    WHERE received_on >= CURRENT_DATE - 1 AND counted_at > now() - %(back)s::interval
        AND kind IN ({int(Kind.LLM)}, {int(Kind.EMBEDDING)}, {int(Kind.TOOL)}) AND merged_into IS NULL AND NOT is_error
)
INSERT INTO budget_habit AS h (service, kind, name, calls, nano, tokens)
SELECT service, kind, coalesce(name, ''), count(*),
    percentile_disc(0.95) WITHIN GROUP (ORDER BY nano), percentile_disc(0.95) WITHIN GROUP (ORDER BY tokens)
FROM s GROUP BY GROUPING SETS ((service, kind, name), (service, kind))
HAVING count(*) >= %(fewest)s AND (GROUPING(name) = 1 OR name <> '')
ORDER BY 1, 2, 3
ON CONFLICT (service, kind, name) DO UPDATE SET
    calls = EXCLUDED.calls, nano = EXCLUDED.nano, tokens = EXCLUDED.tokens, noted_at = clock_timestamp()
"""
FORGET = "DELETE FROM budget_habit WHERE noted_at < now() - interval '30 days'"


def note_habits() -> None:
    """Work out what steps of the last day needed; what none of them was of stays as it was, for a month."""
    parameters: dict[str, Any] = {"back": LOOKED_BACK, "fewest": FEWEST}
    with connection.cursor() as cursor:
        cursor.execute(NOTE, parameters)
        cursor.execute(FORGET)
