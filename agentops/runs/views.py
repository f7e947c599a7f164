"""The pages of runs: the list, one run, one step of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from agentops.domain.spans import Kind
from agentops.pages import InvalidCursorError, decode_cursor, encode_cursor, page_context
from agentops.runs import charts, queries
from agentops.runs.api import from_ns, usd
from agentops.runs.queries import RunFilters, RunRow
from agentops.runs.tree import Line, handovers, lines

PAGE_SIZE = 50
LINES_AT_ONCE = 200
#: Steps whose tree is drawn; a larger run is shown up to here, and paged through the API beyond.
MAX_STEPS = 20_000
EXPORTED = 10_000
NANO = 10**9
CHIPS = ("service", "user", "feature", "session", "release", "agent", "model", "tool", "status")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001  (full-width ones count too)


def read_filters(request: HttpRequest, context: dict[str, Any]) -> RunFilters:
    """What a page's query string asks for."""
    get = {name: request.GET.get(name, "").replace("\x00", "").strip()[:512] for name in (*CHIPS, "q", "min_cost")}
    try:
        least = int(Decimal(get["min_cost"]) * NANO) if get["min_cost"] else None
    except (InvalidOperation, ValueError, OverflowError):
        least = None
    window = context["window"]
    return RunFilters(
        **{name: get[name] for name in (*CHIPS, "q")},
        environment=context["environment"],
        min_cost_nano=least if least is None or 0 <= least < 1 << 62 else None,
        from_=window.from_,
        until=window.until,
    )


@require_safe
def run_list(request: HttpRequest) -> HttpResponse:
    """Runs by filter, live, sorted, paged by cursor; ``format=csv`` is the same as a file."""
    context = page_context(request)
    filters = read_filters(request, context)
    sort = request.GET.get("sort", "")
    sort = sort if sort.removeprefix("-") in queries.SORTS else "-started"
    if request.GET.get("format") == "csv":
        return _export(filters, sort)
    cursor = request.GET.get("cursor", "")
    after: tuple[str, str] | None = None
    if cursor:
        try:
            value, trace_id = decode_cursor(cursor, length=2)
            after = (str(value), bytes.fromhex(str(trace_id)).hex())
        except (InvalidCursorError, ValueError):
            after = None
    page = queries.list_runs(filters, sort=sort, after=after, limit=PAGE_SIZE)
    context |= {
        "runs": page.runs,
        "next_cursor": encode_cursor(*page.next_key) if page.next_key else "",
        "filters": filters,
        "chips": [(name, value, name) for name in CHIPS if (value := getattr(filters, name))],
        "sort": sort,
        "cursor": cursor,
        "statuses": ("running", "ok", "error"),
        "min_cost": request.GET.get("min_cost", ""),
    }
    template = "runs/list.html#rows" if request.headers.get("HX-Request") else "runs/list.html"
    return render(request, template, context)


def safe_cell(text: str | None) -> str:
    """A text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text.startswith(FORMULA) else text or ""


class _Echo:
    def write(self, value: str) -> str:
        return value


def _export(filters: RunFilters, sort: str) -> StreamingHttpResponse:
    writer = csv.writer(_Echo())

    def rows() -> Iterator[str]:
        yield writer.writerow(
            ["trace_id", "service", "environment", "release", "user", "session", "feature", "status", "started_at",
             "duration_ms", "cost_usd", "unpriced_calls", "steps", "llm_calls", "tool_calls", "errors",
             "input_tokens", "output_tokens"]
        )
        after, left = None, EXPORTED
        while left > 0:
            page = queries.list_runs(filters, sort=sort, after=after, limit=min(left, queries.MAX_LIMIT))
            for run in page.runs:
                texts = (run.service, run.environment, run.release, run.user, run.session, run.feature)
                yield writer.writerow(
                    [run.hex_id, *(safe_cell(t) for t in texts), run.status, run.started_at.isoformat(),
                     run.duration_ms, usd(run.cost_nano), run.unpriced_calls, run.steps, run.llm_calls,
                     run.tool_calls, run.errors, run.input_tokens, run.output_tokens]
                )
            left -= len(page.runs)
            after = page.next_key
            if after is None:
                return

    answer = StreamingHttpResponse(rows(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="runs.csv"'
    return answer


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of the waterfall with its bar, in thousandths of the run's length."""

    line: Line
    x: float
    width: float
    kind: str
    sub: str


def _find(request: HttpRequest, trace_id: str) -> tuple[RunRow, list[RunRow]]:
    found = queries.runs_of_trace(bytes.fromhex(trace_id))
    service = request.GET.get("service", "")
    for run in found:
        if not service or run.service == service:
            return run, [other for other in found if other is not run]
    raise Http404


@require_safe
def run_detail(request: HttpRequest, trace_id: str) -> HttpResponse:
    """One run: totals, waterfall, cost over time, who talked to whom. Regions refetch themselves."""
    run, others = _find(request, trace_id)
    part = request.GET.get("part", "")
    context = page_context(request) | {"run": run, "others": others}
    if request.headers.get("HX-Request") and part == "head":
        return render(request, "runs/detail.html#head", context)
    steps = queries.list_steps(run, limit=MAX_STEPS, with_content=False)
    try:
        first = max(0, int(request.GET.get("line", "0")))
    except ValueError:
        first = 0
    tree = lines(steps)
    begin, length = _extent(run, tree)
    shown = [_bar(line, begin, length) for line in tree[first : first + LINES_AT_ONCE]]
    talk = handovers(steps)
    context |= {
        "bars": shown,
        "first_line": first,
        "next_line": first + LINES_AT_ONCE if first + LINES_AT_ONCE < len(tree) else 0,
        "lines_total": len(tree),
        "talk": talk[:12],
        "graph": charts.talk_graph(talk),
        "failures": [line.step for line in tree if line.step.is_error][:20],
        "chart_url": f"{reverse('runs:cost', args=[trace_id])}?service={run.service}",
    }
    if request.headers.get("HX-Request"):
        name = {"more": "more", "steps": "steps", "side": "side"}.get(part, "steps")
        return render(request, f"runs/detail.html#{name}", context)
    return render(request, "runs/detail.html", context)


def _extent(run: RunRow, tree: list[Line]) -> tuple[int, int]:
    if not tree:
        return 0, 1
    begin = min(line.step.start_ns for line in tree)
    return begin, max(1, max(line.step.end_ns for line in tree) - begin)


def _bar(line: Line, begin: int, length: int) -> Bar:
    step = line.step
    x = 1000 * (step.start_ns - begin) / length
    width = max(4.0, 1000 * (step.end_ns - step.start_ns) / length)
    kind = Kind(step.kind)
    sub = step.error_type if step.is_error and step.error_type else ""
    if not sub and kind in (Kind.LLM, Kind.EMBEDDING):
        sub = step.response_model or step.request_model or "unknown model"
    return Bar(line, round(min(x, 996), 1), round(min(width, 1000 - min(x, 996)), 1), kind.name.lower(), sub)


@require_safe
def run_cost(request: HttpRequest, trace_id: str) -> JsonResponse:
    """The chart of a run's cost over time."""
    run, _ = _find(request, trace_id)
    return JsonResponse(charts.cost_over_time(queries.list_steps(run, limit=MAX_STEPS, with_content=False)))


@require_safe
def step_detail(request: HttpRequest, trace_id: str, span_id: str) -> HttpResponse:
    """One step with its texts, as a region or as a page."""
    run, _ = _find(request, trace_id)
    step = queries.get_step(run, bytes.fromhex(span_id))
    if step is None:
        raise Http404
    content = json.loads(step.content) if step.content else {}
    texts = [(label, _readable(content[key])) for key, label in TEXTS if content.get(key) not in (None, "", [])]
    context = page_context(request) | {
        "run": run,
        "step": step,
        "kind": Kind(step.kind).name.lower(),
        "started_at": from_ns(step.start_ns),
        "texts": texts,
        "attributes": sorted(content.get("attributes", {}).items()),
        "kept": bool(content),
    }
    template = "runs/step.html#step" if request.headers.get("HX-Request") else "runs/step.html"
    return render(request, template, context)


TEXTS = (
    ("error_message", "Error"),
    ("system", "System instructions"),
    ("input", "Input"),
    ("output", "Output"),
    ("requested_tools", "Tools asked for"),
    ("arguments", "Arguments"),
    ("result", "Result"),
)


def _readable(value: Any) -> str:
    """JSON set out over lines; other text as it is."""
    if isinstance(value, str):
        if not value.startswith(("{", "[")):
            return value
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)
