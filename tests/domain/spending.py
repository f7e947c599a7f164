"""Spend that never was: hours and days with a rhythm, noise, growth and incidents, the same for the same seed."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
NANO = 10**9
OFFICE = (
    .02, .01, .01, .01, .02, .05, .15, .4, .8, 1, 1.05, .95, .6, .85, 1, .95, .85, .6, .3, .18, .12, .1, .06, .03,
)  # fmt: skip
CONSUMER = (
    .15, .08, .05, .04, .05, .1, .25, .45, .65, .8, .9, .95, 1, .95, .85, .85, .9, 1, 1.1, 1.2, 1.15, .95, .6, .3,
)  # fmt: skip
NIGHTLY = (
    .4, 1, 1.2, .9, .3, 0, 0, 0, .03, .05, .05, .05, .03, .05, .05, .05, .05, .03, 0, 0, 0, 0, .1, .2,
)  # fmt: skip
ALWAYS = (1.0,) * 24


def spend_hours(
    seed: object,
    days: int,
    *,
    shape: tuple[float, ...] = OFFICE,
    weekend: tuple[float, float] = (0.14, 0.1),
    an_hour: float = 20.0,
    usd: float = 0.5,
    spread: float = 0.8,
    is_smooth: bool = False,
    growth: float = 0.0,
) -> list[int]:
    """Nano-dollars by hour, from a Monday on: ``an_hour`` runs of about ``usd`` in a busy hour.

    A smooth one has lognormal noise instead, of this ``spread``. Days vary by 8 %, and grow by ``growth`` each.
    """
    rng = random.Random(f"{seed}")
    hours = []
    for day in range(days):
        busy = (weekend[day % 7 - 5] if day % 7 >= 5 else 1.0) * math.exp(growth * day + rng.gauss(0, 0.08))
        for share in shape:
            runs = an_hour * share * busy
            if is_smooth:
                cost = runs * usd * rng.lognormvariate(-(spread**2) / 2, spread)
            else:
                cost = sum(usd * rng.lognormvariate(-(spread**2) / 2, spread) for _ in range(_poisson(rng, runs)))
            hours.append(int(cost * NANO))
    return hours


def spend_days(
    seed: object,
    days: int,
    *,
    weekend: tuple[float, float] = (0.14, 0.1),
    noise: float = 0.15,
    lasting: float = 0.0,
    growth: float = 0.0,
    drift: float = 0.0,
    incidents: float = 0.0,
    outages: float = 0.0,
    until: int | None = None,
) -> list[int]:
    """Nano-dollars by day, from a Monday on: about 100 dollars on a weekday.

    ``noise`` is the spread of the logarithm, of which ``lasting`` is left the day after; the level grows each day and
    drifts each week. Days before ``until`` may have an ``incident`` (3 to 30 days' worth) or an outage.
    """
    rng = random.Random(f"{seed}")
    costs, level, excess = [], 0.0, 0.0
    for day in range(days):
        level += growth + rng.gauss(0, drift) / math.sqrt(7)
        excess = lasting * excess + rng.gauss(0, noise) * math.sqrt(1 - lasting**2)
        cost = 100 * (weekend[day % 7 - 5] if day % 7 >= 5 else 1.0) * math.exp(level + excess - noise**2 / 2)
        if until is None or day < until:
            cost += 100 * rng.uniform(3, 30) if rng.random() < incidents else 0
            cost *= rng.uniform(0, 0.3) if rng.random() < outages else 1
        costs.append(int(cost * NANO))
    return costs


def _poisson(rng: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count, chance = 0, rng.random()
    while chance > math.exp(-mean):
        count += 1
        chance *= rng.random()
    return count
