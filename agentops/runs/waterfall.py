"""What a page shows of a run's steps: rows of the waterfall with their bars, and a step's texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentops.domain.findings import EXCHANGES
from agentops.domain.spans import COSTED_KINDS, Kind
from agentops.runs.api import from_ns, read_json
from agentops.runs.folding import Belonging, Fold
from agentops.runs.queries import StepRow
from agentops.runs.tree import MAX_DEPTH_SHOWN, Line
from agentops.templatetags import formats

#: The width of the time axis, in units of the bars.
AXIS = 1000
NARROWEST = 8
#: Characters of what is repeated that a fold shows.
MAX_SAID = 60
MERGED = "the same call as another span, counted there"

#: Which rows a tab shows: its name, its words, and whether a step belongs to it.
TABS: dict[str, tuple[str, Callable[[StepRow], bool]]] = {
    "": ("All", lambda _step: True),
    "models": ("Model calls", lambda step: step.kind in COSTED_KINDS),
    "tools": ("Tools", lambda step: step.kind in (Kind.TOOL, Kind.RETRIEVAL)),
    "errors": ("Errors", lambda step: step.is_error),
}
#: What a step may have kept, in the order in which it is shown.
TEXTS = (
    ("error_message", "Error"),
    ("system", "System instructions"),
    ("input", "Input"),
    ("output", "Output"),
    ("requested_tools", "Tools asked for"),
    ("arguments", "Arguments"),
    ("result", "Result"),
)
_KEPT_ON_ROLES = frozenset({"input", "output", "system"})


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the waterfall, as it is written: there are hundreds, and a template is slow at formatting.

    Its bar goes from ``x`` on, ``width`` wide, of ``AXIS``; ``below`` counts the steps under it. ``found`` is the title
    of the finding that it belongs to; ``flags`` say that something was found at it (words, severity). One with
    ``folded`` steps stands for them: its flags name the steps (words, span id), whose places are the ``ticks``.
    """

    span: str
    kind: str
    css: str
    title: str
    agent: str
    words: str
    depth: int
    below: int
    x: float
    width: float
    took: str
    tokens: str
    cost: str
    exact_cost: str
    found: str = ""
    flags: tuple[tuple[str, str], ...] = ()
    folded: int = 0
    ticks: tuple[float, ...] = ()
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """The time that the bars span, in nanoseconds since the epoch."""

    begin_ns: int
    length_ns: int

    @classmethod
    def of(cls, steps: Sequence[StepRow]) -> Axis:
        """From the first start to the last end."""
        begin = min((step.start_ns for step in steps), default=0)
        return cls(begin, max(1, max((step.end_ns for step in steps), default=0) - begin))

    def bar(self, start_ns: int, end_ns: int) -> tuple[float, float]:
        """Where a bar begins, and how wide it is."""
        x = min(AXIS * (start_ns - self.begin_ns) / self.length_ns, AXIS - NARROWEST)
        width = min(max(NARROWEST, AXIS * (end_ns - start_ns) / self.length_ns), AXIS - x)
        return round(x, 1), round(width, 1)

    @property
    def labels(self) -> tuple[str, str]:
        """The times at its ends, to the second."""
        return f"{from_ns(self.begin_ns):%H:%M:%S}", f"{from_ns(self.begin_ns + self.length_ns):%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a step, or the messages that it consists of: (role, text) pairs."""

    label: str
    text: str
    messages: list[tuple[str, str]]


def rows(
    lines: Sequence[Line | Fold],
    axis: Axis,
    excerpts: Mapping[bytes, str],
    of: Belonging | None = None,
    *,
    flat: bool = False,
) -> list[Row]:
    """The rows for some lines and folds; ``flat`` ones stand side by side, without their tree."""
    return [
        _fold_row(line, axis, excerpts.get(line.speaker.span_id, ""))
        if isinstance(line, Fold)
        else _row(line, axis, excerpts.get(line.step.span_id, ""), of, flat=flat)
        for line in lines
    ]


def needs_excerpt(step: StepRow) -> bool:
    """Whether the row of a step shows the beginning of a text of it."""
    return step.is_error or step.kind == Kind.TOOL


def _row(line: Line, axis: Axis, excerpt: str, of: Belonging | None, *, flat: bool) -> Row:
    step = line.step
    kind = Kind(step.kind).name.lower()
    name = title(step)
    x, width = axis.bar(step.start_ns, step.end_ns)
    owner = of.owners.get(step.span_id) if of else None
    css = ("step is-error" if step.is_error else "step") + (" is-merged" if step.merged_into else "")
    return Row(
        span=step.span_id.hex(),
        kind=kind,
        css=f"{css} is-found found-{owner.severity}" if owner else css,
        title=name,
        agent="" if step.kind == Kind.AGENT or step.agent is None or step.agent == name else step.agent,
        words=MERGED if step.merged_into else _words(step, excerpt),
        depth=0 if flat else min(line.depth, MAX_DEPTH_SHOWN),
        below=0 if flat else line.below,
        x=x,
        width=width,
        took=formats.duration(step.duration_ms),
        tokens=formats.tokens(line.tokens or None, ""),
        cost=formats.money(line.cost_nano, "unpriced" if line.unpriced else ""),
        exact_cost=_exact_cost(line),
        found=owner.title if owner else "",
        flags=tuple((mark.words, mark.finding.severity) for mark in of.marks.get(step.span_id, ())) if of else (),
    )


def _fold_row(fold: Fold, axis: Axis, said: str) -> Row:
    finding = fold.finding
    x, width = axis.bar(fold.start_ns, fold.end_ns)
    marks = [(step, mark.words) for step, mark in fold.marks if mark.finding is finding]
    exact = formats.exact_money(fold.cost_nano)
    return Row(
        span=f"fold-{fold.lines[0].step.span_id.hex()}",
        kind="fold",
        css=f"step is-found is-fold found-{finding.severity}",
        title=_fold_title(fold),
        agent="",
        words=_fold_words(fold, said),
        depth=min(fold.depth, MAX_DEPTH_SHOWN),
        below=0,
        x=x,
        width=width,
        took=formats.duration((fold.end_ns - fold.start_ns) / 1_000_000),
        tokens=formats.tokens(fold.tokens or None, ""),
        cost=formats.money(fold.cost_nano, "unpriced" if fold.unpriced else ""),
        exact_cost=f"{exact}, {fold.unpriced:,} without a price" if exact and fold.unpriced else exact,
        found=finding.title,
        flags=tuple((words, step.span_id.hex()) for step, words in marks),
        folded=len(fold.lines),
        ticks=tuple(axis.bar(step.end_ns, step.end_ns)[0] for step, _ in marks),
        failed=f"{fold.errors:,} failed" if fold.errors else "",
    )


def _fold_title(fold: Fold) -> str:
    """What repeats itself, and how often in these steps."""
    detail, period = fold.finding.detail, fold.finding.period
    agents, tools = detail.get("agents", ()), detail.get("what", ())
    if fold.finding.mode in EXCHANGES and len(agents) > 1:
        return (
            f"{agents[0]} \N{RIGHTWARDS ARROW OVER LEFTWARDS ARROW} {agents[1]} {formats.TIMES} {fold.rounds:,} rounds"
        )
    # More tools than a repetition has steps take turns in it.
    what = " \N{RIGHTWARDS ARROW} ".join(tools[: max(period, 1)]) or (agents[0] if agents else title(fold.speaker))
    return f"{what} {formats.TIMES} {fold.rounds:,}"


def _fold_words(fold: Fold, said: str) -> str:
    """The line below: how often in all, what is said, and that nothing is done meanwhile."""
    finding = fold.finding
    parts = [f"{finding.count:,} in all"] if finding.count > fold.rounds else []
    is_talk = fold.speaker.kind in COSTED_KINDS
    if said not in ("", "{}", "null"):
        short = said if len(said) <= MAX_SAID else f"{said[: MAX_SAID - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
        parts.append(f"\N{LEFT DOUBLE QUOTATION MARK}{short}\N{RIGHT DOUBLE QUOTATION MARK}" if is_talk else short)
    if is_talk and not fold.has_tools:
        parts.append("no tool call in between")
    return " · ".join([*parts, f"{len(fold.lines):,} steps folded"])


def _exact_cost(line: Line) -> str:
    """All digits of a cost, and what it leaves out."""
    exact = formats.exact_money(line.cost_nano)
    if exact and line.step.is_estimate:
        exact += ", an estimate: the call failed"
    return f"{exact}, {line.unpriced:,} without a price" if exact and line.unpriced else exact


def title(step: StepRow) -> str:
    """What a step is called: its tool, its model, its agent, else its span's name."""
    if step.kind in COSTED_KINDS:
        return step.response_model or step.request_model or step.name
    named = {Kind.TOOL: step.tool, Kind.AGENT: step.agent}.get(Kind(step.kind))
    return named or step.name


def _words(step: StepRow, excerpt: str) -> str:
    """The line below the title."""
    if step.is_error:
        return ": ".join(part for part in (step.error_type, excerpt) if part) or "failed"
    if step.kind == Kind.TOOL and excerpt not in ("", "{}", "null"):
        return excerpt
    parts = [step.name if step.name != title(step) else Kind(step.kind).name.lower()]
    if step.kind in COSTED_KINDS:
        parts += [
            f"{n:,} {what}" for n, what in ((step.input_tokens, "in"), (step.output_tokens, "out")) if n is not None
        ]
        if step.cache_read_input_tokens:
            parts.append(f"{step.cache_read_input_tokens:,} cached")
    return " · ".join(parts)


def texts(content: Mapping[str, object]) -> list[Text]:
    """What a step kept, ready to be read."""
    found = []
    for key, label in TEXTS:
        value = content.get(key)
        if value in (None, "", [], {}):
            continue
        value = read_json(value)
        messages = _messages(value) if key in _KEPT_ON_ROLES else []
        found.append(Text(label, "" if messages else _parts_text(value), messages))
    return found


def readable(value: object) -> str:
    """JSON set out over lines; text as it is."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _messages(value: object) -> list[tuple[str, str]]:
    """The messages that a value consists of, as (role, text); none when it is something else."""
    if isinstance(value, Mapping):
        value = value.get("messages", [value] if "role" in value else None)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) and "role" in item for item in value):
        return []
    return [(str(item["role"]), _message_text(item)) for item in value]


def _message_text(message: Mapping[str, object]) -> str:
    parts = message.get("parts", message.get("content"))
    text = "" if parts is None else _parts_text(parts)
    rest = {k: v for k, v in message.items() if k not in ("role", "parts", "content", "finish_reason") and v}
    return "\n".join(part for part in (text, readable(rest) if rest else "") if part)


def _parts_text(value: object) -> str:
    """The parts of a message one below the other; anything else as it is."""
    if isinstance(value, list) and value and all(isinstance(part, Mapping) and "type" in part for part in value):
        return "\n".join(_part_text(part) for part in value)
    return readable(value)


def _part_text(part: Mapping[str, object]) -> str:
    """One part of a message: text as it is, a tool's call and its answer with the names that matter."""
    text = part.get("content", part.get("text"))
    if part.get("type", "text") in ("text", "reasoning") and isinstance(text, str):
        return text
    return readable(part)
