"""An incident as a film of a minute: what the page's script plays, and what agents say in it.

Time runs evenly at first and ever faster then, so that the alert is seen coming and eleven days are over in a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import expm1

from agentops.dashboard.whatif_chart import scales
from agentops.domain.incidents import BEGAN_NS, BY_SLUG, INCIDENTS, NS, Beat, Incident, beats
from agentops.domain.replays import Alarm, Replay, Stop, curve
from agentops.templatetags.formats import money, tokens

#: Length of the film, and when in it the alert of the default rules comes, as a share.
SECONDS, _ALERT_AT = 60, 0.22
#: Steps that are shown one by one, and how many of the others are.
_ALL_OF_FIRST, _LATER = 60, 130
#: Lines that are there before the film begins.
OPENING = 7
_CURVE_POINTS = 240
_STEEPEST = 40.0


@dataclass(frozen=True, slots=True)
class Line:
    """Something that was said: when (in seconds), by whom, to whom, and what it cost."""

    at: float
    agent: str
    to: str
    said: str
    number: int
    detail: str


def film(seen: Replay, stop: Stop, scale: str) -> str:
    """Everything the script needs, as JSON. Times are seconds, money is dollars, places are shares."""
    incident = seen.incident
    time, _ = scales(incident, scale)
    return json.dumps(
        {
            "seconds": SECONDS,
            "steepness": steepness(incident),
            "lasted": incident.lasted_ns / NS,
            "cycle": incident.cycle_ns / NS,
            "unit": incident.unit,
            "scale": {"low": time.low, "high": time.high, "log": time.is_log},
            "curve": [[at / NS, nano / NS] for at, nano in curve(incident, incident.cycles, _CURVE_POINTS)],
            "warned": _told(seen.warned),
            "paged": _told(seen.paged),
            "stop": {"at": stop.after_ns / NS, "usd": stop.spent_nano / NS, "is_end": stop.cycles >= incident.cycles},
            "lines": [
                [line.at, line.agent, line.to, line.said, line.number, line.detail] for line in lines(incident.slug)
            ],
        },
        separators=(",", ":"),
    )


def _told(alarm: Alarm | None) -> dict[str, object] | None:
    if alarm is None:
        return None
    return {"at": alarm.after_ns / NS, "usd": alarm.spent_nano / NS, "words": alarm.words, "count": alarm.count}


@lru_cache(maxsize=len(INCIDENTS))
def steepness(incident: Incident) -> float:
    """How time speeds up: after a share f of the film, so much of it is over: (e^kf - 1) / (e^k - 1)."""
    alert_at = 16 if not incident.calls else 5 * len(incident.calls)
    share = alert_at / incident.cycles
    low, high = 0.01, _STEEPEST
    while high - low > 0.001:
        middle = (low + high) / 2
        if expm1(middle * _ALERT_AT) / expm1(middle) > share:
            low = middle
        else:
            high = middle
    return round(low, 3)


@lru_cache(maxsize=len(INCIDENTS))
def lines(slug: str) -> tuple[Line, ...]:
    """What is said: the first steps all of them, then what would be said at even distances of the film."""
    incident = BY_SLUG[slug]
    first = list(islice(beats(incident), _ALL_OF_FIRST))
    return tuple(_line(beat, incident) for beat in (*first, *_later(incident, first[-1].cycle)))


def _later(incident: Incident, after: int) -> Iterator[Beat]:
    steep = steepness(incident)
    for n in range(_LATER):
        cycle = int(expm1(steep * (n + 1) / _LATER) / expm1(steep) * incident.cycles) - 1
        if cycle > after:
            after = cycle
            yield from islice(beats(incident, cycle), 1 if not incident.calls else 2)


def _line(beat: Beat, incident: Incident) -> Line:
    at = (beat.step.end_ns - BEGAN_NS) / NS
    detail = f"{tokens(beat.read)} read, {money(incident.cycle_nano(beat.cycle))}" if beat.read else ""
    return Line(round(at, 2), beat.agent, beat.to, beat.said, beat.cycle + 1, detail)
