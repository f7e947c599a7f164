"""When simulated people work: hours of the day, days of the week and the growth of a month, per time zone."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from agentops.demo.fleet import Service
from agentops.demo.plan import NS

#: Activity by local hour, and the share of a weekday's activity that Saturday and Sunday see.
_HOURS: dict[str, tuple[tuple[float, ...], tuple[float, float]]] = {
    "office": (
        (
            0.02,
            0.01,
            0.01,
            0.01,
            0.02,
            0.05,
            0.15,
            0.4,
            0.8,
            1.0,
            1.05,
            0.95,
            0.6,
            0.85,
            1.0,
            0.95,
            0.85,
            0.6,
            0.3,
            0.18,
            0.12,
            0.1,
            0.06,
            0.03,
        ),
        (0.14, 0.1),
    ),
    "consumer": (
        (
            0.15,
            0.08,
            0.05,
            0.04,
            0.05,
            0.1,
            0.25,
            0.45,
            0.65,
            0.8,
            0.9,
            0.95,
            1.0,
            0.95,
            0.85,
            0.85,
            0.9,
            1.0,
            1.1,
            1.2,
            1.15,
            0.95,
            0.6,
            0.3,
        ),
        (0.9, 0.8),
    ),
    "always": (
        (
            0.5,
            0.5,
            0.5,
            0.5,
            0.5,
            0.55,
            0.6,
            0.8,
            0.9,
            1.0,
            1.0,
            1.0,
            0.9,
            1.0,
            1.0,
            1.0,
            0.9,
            0.8,
            0.7,
            0.65,
            0.6,
            0.6,
            0.55,
            0.5,
        ),
        (0.6, 0.6),
    ),
    "nightly": (
        (
            0.4,
            1.0,
            1.2,
            0.9,
            0.3,
            0.0,
            0.0,
            0.0,
            0.03,
            0.05,
            0.05,
            0.05,
            0.03,
            0.05,
            0.05,
            0.05,
            0.05,
            0.03,
            0.0,
            0.0,
            0.0,
            0.0,
            0.1,
            0.2,
        ),
        (0.7, 0.3),
    ),
}
_SATURDAY = 5
#: How long adoption takes to grow to today's level, and from which share of it.
GROWTH_DAYS = 32
GROWTH_FROM = 0.25


def activity(service: Service, at: datetime) -> float:
    """How busy a service is at a moment (aware), where 1 is a busy hour of a weekday."""
    local = at.astimezone(_zone(service.zone))
    hours, weekend = _HOURS[service.rhythm]
    day = local.weekday()
    return hours[local.hour] * (weekend[day - _SATURDAY] if day >= _SATURDAY else 1.0)


def growth(day: date, anchor: date) -> float:
    """The share of the anchor day's traffic that a day has: it grows over a month, then stays."""
    age = (anchor - day).days
    return min(1.0, max(GROWTH_FROM, 1.0 - (1.0 - GROWTH_FROM) * age / GROWTH_DAYS))


def arrivals(service: Service, day: date, anchor: date, scale: float, rng: random.Random) -> list[int]:
    """Start times (ns) of a service's sessions on one UTC day, sorted."""
    midnight = datetime.combine(day, time(), UTC)
    hours = [activity(service, midnight + timedelta(hours=hour, minutes=30)) for hour in range(24)]
    full_day = sum(_HOURS[service.rhythm][0])
    mean_turns = sum(service.turns) / 2
    expected = service.daily * scale * growth(day, anchor) * sum(hours) / full_day / mean_turns
    expected *= rng.uniform(0.85, 1.15)
    count = int(expected) + (rng.random() < expected % 1)
    start = int(midnight.timestamp()) * NS
    chosen = rng.choices(range(24), hours, k=count)
    return sorted(start + hour * 3600 * NS + rng.randrange(3600 * NS) for hour in chosen)


def release(service: Service, at: datetime, rng: random.Random) -> str:
    """The version that answers at a moment: a new one every ``release_days``, rolled out over its first day."""
    since = (at - datetime(2025, 1, 1, tzinfo=UTC)) / timedelta(days=1) + len(service.slug)
    number, into = divmod(max(0.0, since), service.release_days)
    rolled_out = into >= 1 or rng.random() < into
    return f"{service.release}.{int(number) + rolled_out}.0"


def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)  # which caches
