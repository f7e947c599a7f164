"""What the watch finds in labelled runs, against their labels: a table of sorts, and rates by family and by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

from agentops.demo.labelled import Case, Family, found, is_right, steps_of, worst
from agentops.domain.alerting import Severity
from agentops.domain.findings import Finding
from agentops.domain.steps import Act, Step

_BUDGET = "steps.budget"
_TALK = "loop.ping_pong"


@dataclass(slots=True)
class Row:
    """One sort of case. ``until`` are steps from begin to alarm.

    ``third`` counts those of the cases with a tool that were found by its third call of the loop at most.
    """

    name: str
    family: Family
    cases: int = 0
    steps: int = 0
    right: int = 0
    wrong: int = 0
    warned: int = 0
    paged: int = 0
    third: int = 0
    findings: int = 0
    until: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows, and how many findings of each kind are right and wrong."""

    rows: list[Row]
    right: Counter[str]
    wrong: Counter[str]

    def recall(self, *families: Family) -> float:
        """The share of these families' cases in which the right kind is found."""
        rows = [row for row in self.rows if row.family in families]
        return sum(row.right for row in rows) / max(1, sum(row.cases for row in rows))

    def precision(self, *kinds: str) -> float:
        """The share of findings that are right, of some kinds or (given none) of all but talk and budgets."""
        chosen = kinds or tuple(kind for kind in {*self.right, *self.wrong} if kind not in {_BUDGET, _TALK})
        right, wrong = (sum(counts[kind] for kind in chosen) for counts in (self.right, self.wrong))
        return right / max(1, right + wrong)

    def until(self, *families: Family) -> float:
        """The median of steps from a loop's begin until its alarm."""
        return median([steps for row in self.rows if row.family in families for steps in row.until] or [0])

    def false(self, severity: Severity, family: Family = Family.BUSY) -> float:
        """Cases without a loop in which something so loud was found, of 1,000."""
        rows = [row for row in self.rows if row.family is family]
        bad = sum(row.paged if severity is Severity.PAGE else row.warned for row in rows)
        return 1_000 * bad / max(1, sum(row.cases for row in rows))

    def __str__(self) -> str:
        lines = [f"{'':44} cases right wrong warn page finds until  kinds"]
        for row in self.rows:
            kinds = " ".join(f"{kind.removeprefix('loop.')}:{count}" for kind, count in row.kinds.most_common())
            lines.append(
                f"{row.name:44} {row.cases:5} {row.right:5} {row.wrong:5} {row.warned:4} {row.paged:4} {row.findings:5}"
                f" {median(row.until or [0]):5.0f}  {kinds}"
            )
        return "\n".join(lines)


def confusion(cases: Iterable[Case], *, through_wire: bool = False) -> Confusion:
    """Watch each case's runs, and compare."""
    rows: dict[str, Row] = {}
    right, wrong = Counter[str](), Counter[str]()
    for case in cases:
        made = steps_of(case, through_wire=through_wire)
        row = rows.setdefault(case.name, Row(case.name, case.family))
        # Whoever loops takes many steps, too: that is neither right nor wrong.
        told = [finding for finding in found(case, made) if _counts(case, finding)]
        row.cases += 1
        row.steps += sum(map(len, made))
        row.findings += len(told)
        loudest = worst(told)
        row.warned += loudest is Severity.WARN
        row.paged += loudest is Severity.PAGE
        good = [finding for finding in told if is_right(case, finding)]
        row.right += bool(good)
        row.wrong += len(good) < len(told)
        for finding in told:
            row.kinds[finding.kind] += 1
            (right if is_right(case, finding) else wrong)[finding.kind] += 1
        if good:
            _time(row, case, good[0], [step for of_run in made for step in sorted(of_run)])
    return Confusion(list(rows.values()), right, wrong)


def _counts(case: Case, finding: Finding) -> bool:
    return finding.kind != _BUDGET or case.label is None or _BUDGET in case.label


def _time(row: Row, case: Case, finding: Finding, steps: list[Step]) -> None:
    since = list(_since(case, finding, steps))
    row.until.append(len(since))
    tools = [step for step in since if step.act is Act.TOOL]
    row.third += 0 < len(tools) <= 3


def _since(case: Case, finding: Finding, steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        if case.begins_ns < step.end_ns <= finding.detected_ns:
            yield step
