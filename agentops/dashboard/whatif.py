"""What would it have cost? Incidents that ran for hours or days, shown to the watch that runs here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from agentops.dashboard import whatif_chart, whatif_film
from agentops.domain import replays
from agentops.domain.incidents import BY_SLUG, INCIDENTS, NS, Incident, heard
from agentops.domain.replays import Reaction, Replay, Stop
from agentops.domain.watchrules import DEFAULTS, Rules
from agentops.pages import page_context

REACTIONS = {
    Reaction.CEILING: "at once, by its ceiling",
    Reaction.MINUTES_5: "by a person, 5 min after the first alert",
    Reaction.MINUTES_15: "by a person, 15 min after the first alert",
    Reaction.MINUTES_60: "by a person, 1 hour after the first alert",
    Reaction.MORNING: "by whoever comes in at 08:00",
}
SCALES = {"log": "Logarithmic", "linear": "Linear"}
REMEMBERED = 512
#: Evidence that one identical call adds, and the calls for which the defaults of the evidence stand.
_EVIDENCE, _CALLS_WARN, _CALLS_PAGE = 0.7, 3, 4


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number of the form: its name in the address, its words, what it may be, and what it is by default."""

    name: str
    label: str
    default: int
    lowest: int
    highest: int

    def read(self, parameters: Mapping[str, Any]) -> int:
        """What the address asks for, within what it may be; the default for what is no number."""
        text = str(parameters.get(self.name) or "").strip()
        if not (text.isascii() and text.isdecimal()):
            return self.default
        return min(self.highest, max(self.lowest, int(text[:9])))


THRESHOLDS = (
    Threshold("talk_warn", "Talk: rounds to a warning", DEFAULTS.talk_warn, 2, 40),
    Threshold("talk_page", "Talk: rounds to a page", DEFAULTS.talk_page, 2, 80),
    Threshold("calls_warn", "Same call: times to a warning", _CALLS_WARN, 2, 40),
    Threshold("calls_page", "Same call: times to a page", _CALLS_PAGE, 2, 80),
    Threshold("budget", "Steps of a run (0: no limit)", DEFAULTS.step_budget or 0, 0, 1_000),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for."""

    incident: Incident
    reaction: Reaction
    scale: str
    numbers: tuple[int, ...]

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> Asked:
        """Whatever cannot be read is the default."""
        reaction, scale = str(parameters.get("reaction") or ""), str(parameters.get("scale") or "")
        return cls(
            BY_SLUG.get(str(parameters.get("incident") or ""), INCIDENTS[0]),
            Reaction(reaction) if reaction in set(Reaction) else Reaction.CEILING,
            scale if scale in SCALES else next(iter(SCALES)),
            tuple(threshold.read(parameters) for threshold in THRESHOLDS),
        )

    @property
    def rules(self) -> Rules:
        """The rules of the watch that the numbers come to."""
        talk_warn, talk_page, calls_warn, calls_page, budget = self.numbers
        calls_page = max(calls_warn, calls_page)
        return Rules(
            warn=round(DEFAULTS.warn + _EVIDENCE * (calls_warn - _CALLS_WARN), 2),
            page=round(DEFAULTS.page + _EVIDENCE * (calls_page - _CALLS_PAGE), 2),
            talk_warn=talk_warn,
            talk_page=max(talk_warn, talk_page),
            # Whoever allows more identical calls allows as many identical results.
            same_result_warn=max(DEFAULTS.same_result_warn, calls_warn + 1),
            same_result_page=max(DEFAULTS.same_result_page, 2 * calls_page),
            step_budget=budget or None,
        )

    @property
    def is_default(self) -> bool:
        """Whether the rules are those that every service has."""
        return self.numbers == tuple(threshold.default for threshold in THRESHOLDS)


@require_safe
def what_if(request: HttpRequest) -> HttpResponse:
    """The page, or what follows from the form, for htmx."""
    asked = Asked.read(request.GET)
    seen = _seen(asked.incident.slug, asked.rules)
    stop = replays.stopped(seen, asked.reaction)
    context = page_context(request) | {
        "asked": asked,
        "incident": asked.incident,
        "question": heard(asked.incident),
        "seen": seen,
        "stop": stop,
        "stopped_words": REACTIONS[asked.reaction],
        "alert_tone": "critical" if seen.paged else "warning",
        "ever_nano": asked.incident.per_hour_nano(asked.incident.cycles),
        "rows": rows(seen, stop),
        "plot": whatif_chart.plot(seen, stop, asked.scale),
        "film": whatif_film.film(seen, stop, asked.scale),
        "opening": whatif_film.lines(asked.incident.slug)[: whatif_film.OPENING],
        "scales": SCALES,
        "incidents": INCIDENTS,
        "reactions": REACTIONS,
        "thresholds": list(zip(THRESHOLDS, asked.numbers, strict=True)),
    }
    is_part = request.headers.get("HX-Request") and request.headers.get("HX-Target") == "result"
    return render(request, "dashboard/what_if.html#result" if is_part else "dashboard/what_if.html", context)


@lru_cache(maxsize=REMEMBERED)
def _seen(slug: str, rules: Rules) -> Replay:
    return replays.replay(BY_SLUG[slug], rules)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: what had happened, when, and what it had cost. ``tone`` is empty for a mere mark."""

    words: str
    detail: str
    tone: str
    after_ns: int
    cycles: int
    tokens: int
    spent_nano: int
    per_hour_nano: int

    @property
    def after_ms(self) -> float:
        """The time since the beginning in milliseconds."""
        return self.after_ns / 1_000_000


_MARKS_NANO = (10 * NS, 100 * NS, 1_000 * NS, 10_000 * NS)
_MARK_WORDS = {nano: f"${nano // NS:,} spent" for nano in _MARKS_NANO}


def rows(seen: Replay, stop: Stop) -> list[Row]:
    """What happened, in order: what the watch said, when it was stopped, and what would have come after."""
    incident = seen.incident
    found: list[Row] = []
    for alarm, word, tone in ((seen.warned, "Warning", "warning"), (seen.paged, "Page", "critical")):
        if alarm is not None:
            found.append(_row(incident, word, alarm.cycles, detail=alarm.words, tone=tone))
    if stop.cycles < incident.cycles:
        row = _row(incident, "Stopped", stop.cycles, detail="and nothing more is spent", tone="good")
        # Between two steps: the time is that of the hand on the switch.
        found.append(replace(row, after_ns=stop.after_ns))
    for nano, words in _MARK_WORDS.items():
        cycles = replays.crossed(incident, nano)
        if cycles is not None:
            found.append(_row(incident, words, cycles))
    found.append(_row(incident, "Somebody looked", incident.cycles, detail="what it came to without the watch"))
    return sorted(found, key=lambda row: row.after_ns)


def _row(incident: Incident, words: str, cycles: int, *, detail: str = "", tone: str = "") -> Row:
    last = max(0, cycles - 1)
    return Row(
        words,
        detail,
        tone,
        cycles * incident.cycle_ns,
        cycles,
        incident.tokens(last),
        incident.spent_nano(cycles),
        incident.per_hour_nano(last),
    )
