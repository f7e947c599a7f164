"""How many different users, features, models, … a service may bring a day.

A fault or an attacker that makes up a new user for every span must not make the rollups grow
with the spans. Beyond its limit a value becomes ``__other__``: the money is booked all the same,
and the sender is told.
The limits hold for one process, so that no request waits for a count; what a run is booked under
stands on its row, so the books stay exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agentops.domain.spans import OTHER, Span

NS_PER_DAY = 86_400_000_000_000

#: Different values of one service in one day.
LIMITS = {
    "user": 10_000,
    "feature": 500,
    "release": 500,
    "environment": 100,
    "agent": 1_000,
    "model": 500,
    "tool": 1_000,
}
MAX_SERVICES = 2_000
#: (dimension, service, day) sets kept, and values in all of them; the oldest are forgotten, which only admits more.
MAX_SETS, MAX_VALUES = 20_000, 500_000
MAX_COMBINATIONS = 100_000


@dataclass(slots=True)
class Cardinality:
    """The values that one process has seen."""

    limits: dict[str, int] = field(default_factory=lambda: dict(LIMITS))
    max_services: int = MAX_SERVICES
    max_values: int = MAX_VALUES
    _seen: dict[tuple[str, str, int], set[str]] = field(default_factory=dict)
    _values: int = 0
    _services: set[str] = field(default_factory=set)
    #: Combinations that passed as they are: most spans look like one that came before.
    _admitted: set[tuple[object, ...]] = field(default_factory=set)

    def bound(self, span: Span, *, own_service: bool) -> None:
        """Replace what goes beyond a limit. ``own_service``: the key names it, so it is not counted."""
        if not own_service and span.service not in self._services:
            if len(self._services) >= self.max_services:
                span.service = OTHER
                span.warnings.append(f"more than {self.max_services:,} services: booked under {OTHER}")
            else:
                self._services.add(span.service)
        service, day = span.service, span.start_ns // NS_PER_DAY
        get = span.attribution.get
        model = span.response_model or span.request_model
        combination = (
            service,
            day,
            span.agent_name,
            span.tool_name,
            model,
            get("user"),
            get("feature"),
            get("release"),
            get("environment"),
        )
        if combination in self._admitted:
            return
        if self._replace(span, service, day, model) and len(self._admitted) < MAX_COMBINATIONS:
            self._admitted.add(combination)

    def _replace(self, span: Span, service: str, day: int, model: str | None) -> bool:
        """Replace value by value; whether nothing had to be."""
        too_many = []
        for dimension, (value, rank) in span.attribution.items():
            if dimension != "session" and not self._admits(dimension, service, day, value):
                span.attribution[dimension] = (OTHER, rank)
                too_many.append(dimension)
        if span.agent_name and not self._admits("agent", service, day, span.agent_name):
            span.agent_name = OTHER
            too_many.append("agent")
        if span.tool_name and not self._admits("tool", service, day, span.tool_name):
            span.tool_name = OTHER
            too_many.append("tool")
        if model and not self._admits("model", service, day, model):
            span.response_model = OTHER
            too_many.append("model")
        span.warnings += [
            f"more than {self.limits[dimension]:,} {dimension}s of one service in a day: booked under {OTHER}"
            for dimension in too_many
        ]
        return not too_many

    def _admits(self, dimension: str, service: str, day: int, value: str) -> bool:
        if self._values >= self.max_values or len(self._seen) >= MAX_SETS:
            self._values -= len(self._seen.pop(next(iter(self._seen))))
        seen = self._seen.get((dimension, service, day))
        if seen is None:
            seen = self._seen[dimension, service, day] = set()
        if value in seen:
            return True
        if len(seen) >= self.limits[dimension]:
            return False
        seen.add(value)
        self._values += 1
        return True
