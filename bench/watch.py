"""What it costs to watch a run, and what is found in labelled runs: in this process, without the application."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from agentops.demo import labelled
from agentops.demo.confusion import Confusion, confusion
from agentops.demo.labelled import Family
from agentops.domain.alerting import Severity
from agentops.domain.findings import KIND_OF
from agentops.domain.loops import Watch
from agentops.domain.steps import Seen, Step, step_of

BATCHES = (1, 8, 64)
_TIMED_CASES, _REPEATS = 176, 5
_NO_LOOPS = (Family.BUSY, Family.HARDER_BUSY)

Texts = list[tuple[Seen, dict[str, object]]]


@dataclass(frozen=True, slots=True)
class Speed:
    """Microseconds a step: to parse its content as JSON, to make a step of it, and to judge it, by size of batch."""

    bytes: float
    parse: float
    make: float
    judge: dict[int, float]

    def whole(self, batch: int) -> float:
        """Making a step and judging it."""
        return self.make + self.judge[batch]


def speed() -> Speed:
    """Measure with the content of labelled runs, looping and not."""
    cases = [case for case in labelled.cases("speed", _TIMED_CASES) if len(case.plans) == 1]
    runs: list[Texts] = [list(labelled.texts_of(case)) for case in cases]
    bodies = [orjson.dumps(content) for run in runs for _, content in run]
    made = [sorted(_steps(run)) for run in runs]
    count = sum(map(len, made))
    gc.collect()
    gc.freeze()  # so that it is not the collector's passes over all of this that are measured
    try:
        parse = _best(lambda: [orjson.loads(body) for body in bodies])
        make = _best(lambda: [_steps(run) for run in runs])
        judge = {batch: _best(lambda batch=batch: [_watch(run, batch) for run in made]) for batch in BATCHES}  # type: ignore[misc]
    finally:
        gc.unfreeze()
    scale = 1e6 / count
    return Speed(
        sum(map(len, bodies)) / count,
        parse * scale,
        make * scale,
        {batch: seconds * scale for batch, seconds in judge.items()},
    )


def table(cases: int) -> Confusion:
    """What is found in so many labelled cases."""
    return confusion(labelled.cases("bench", cases))


def families(found: Confusion) -> list[dict[str, Any]]:
    """Recall and the steps until the alarm, by family."""
    return [
        {
            "family": family.value,
            "cases": sum(row.cases for row in found.rows if row.family is family),
            "recall": round(found.recall(family), 3),
            "paged": sum(row.paged for row in found.rows if row.family is family),
            "steps_until": found.until(family),
        }
        for family in Family
        if family not in _NO_LOOPS
    ]


def kinds(found: Confusion) -> list[dict[str, Any]]:
    """How many findings of each kind are right."""
    return [
        {
            "kind": kind,
            "right": found.right[kind],
            "wrong": found.wrong[kind],
            "precision": round(found.precision(kind), 3),
        }
        for kind in sorted(set(KIND_OF.values()))
        if found.right[kind] or found.wrong[kind]
    ]


def false_alarms(found: Confusion) -> list[dict[str, Any]]:
    """How often somebody is warned or woken for nothing."""
    return [
        {
            "family": family.value,
            "cases": sum(row.cases for row in found.rows if row.family is family),
            "warnings_per_1000": round(found.false(Severity.WARN, family), 1),
            "pages_per_1000": round(found.false(Severity.PAGE, family), 1),
        }
        for family in _NO_LOOPS
    ]


def _steps(run: Texts) -> list[Step]:
    return [step for seen, content in run if (step := step_of(seen, content)) is not None]


def _watch(run: list[Step], batch: int) -> None:
    watch = Watch()
    for start in range(0, len(run), batch):
        watch.see(run[start : start + batch])


def _best(act: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return min(times)
