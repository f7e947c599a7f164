"""What is usual of a service's runs that ended well: their numbers of steps, and how fast they use tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Fewer good runs than this tell nothing of steps; and nothing of speed.
FEWEST_RUNS, FEWEST_TIMED = 5, 20
#: The budget of a service of which nothing is known, and how often its usual long run (p95) fits into a budget.
LEAST_BUDGET, BUDGETS_A_LONG_RUN = 50, 3
#: Numbers of steps are counted in classes, each about a tenth larger than the one before.
_GROWTH = 1.1
_CLASSES = 160
#: A run is too fast beyond so many standard deviations, each at least this wide (of the logarithm).
SIGMAS, _LEAST_SD = 3.0, 0.25
#: Runs shorter than this, in seconds, or with fewer tokens have no speed.
LEAST_SECONDS, LEAST_TOKENS = 60.0, 50_000


@dataclass(slots=True)
class Habits:
    """Good runs: ``steps`` counts them by class; ``timed`` of them have a speed, with its mean and squares."""

    runs: int = 0
    steps: list[int] = field(default_factory=list)
    timed: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def learn(self, steps: int, *, tokens: int, seconds: float) -> None:
        """A run has ended well."""
        at = _class_of(steps)
        self.steps += [0] * (at + 1 - len(self.steps))
        self.steps[at] += 1
        self.runs += 1
        if (speed := speed_of(tokens, seconds)) is not None:
            self.timed += 1
            value = math.log(speed)
            off = value - self.mean
            self.mean += off / self.timed
            self.squares += off * (value - self.mean)

    def step_budget(self, *, least: int = LEAST_BUDGET, times: float = BUDGETS_A_LONG_RUN) -> int:
        """How many steps a run may take: some times those of a long good one, and never fewer than ``least``."""
        if self.runs < FEWEST_RUNS:
            return least
        return max(least, math.ceil(times * _quantile(self.steps, 0.95)))

    def is_too_fast(self, tokens: int, seconds: float, *, sigmas: float = SIGMAS) -> bool:
        """Whether a run uses tokens faster than the good ones do: beyond their mean and some standard deviations."""
        speed = speed_of(tokens, seconds)
        if speed is None or self.timed < FEWEST_TIMED:
            return False
        sd = max(_LEAST_SD, math.sqrt(self.squares / (self.timed - 1)))
        return math.log(speed) > self.mean + sigmas * sd

    @property
    def usual_speed(self) -> float:
        """Tokens a minute of a usual run."""
        return math.exp(self.mean) if self.timed else 0.0


def speed_of(tokens: int, seconds: float) -> float | None:
    """Tokens a minute; ``None`` for what is too short or too small to have a speed."""
    if seconds < LEAST_SECONDS or tokens < LEAST_TOKENS:
        return None
    return tokens * 60.0 / seconds


def _class_of(steps: int) -> int:
    return min(_CLASSES - 1, int(math.log(max(1, steps)) / math.log(_GROWTH)))


def _quantile(counts: Sequence[int], share: float) -> float:
    """The upper end of the class in which a share of all lies."""
    wanted, seen = share * sum(counts), 0
    for at, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return _GROWTH ** (at + 1)
    return 0.0
