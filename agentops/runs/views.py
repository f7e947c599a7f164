"""The pages of runs: the list, one run, one step of it."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from agentops.domain.spans import Kind
from agentops.pages import PageContext, page_context
from agentops.runs import charts, excerpts, findings, folding, notices, queries, sequence, waterfall
from agentops.runs.api import clean, from_ns, rfc3339, usd
from agentops.runs.findings import StoredFinding
from agentops.runs.folding import Belonging, Fold
from agentops.runs.forms import FOUND, Asked, read_runs
from agentops.runs.queries import RunRow, StepRow
from agentops.runs.tree import Line, lines, talks

PAGE_SIZE = 50
ROWS_AT_ONCE = 200
#: A region that refetches itself shows no more rows than this; more are asked for.
MAX_ROWS = 1_000
#: Steps whose tree is drawn. A larger run is shown up to here; the API pages through all of it.
MAX_STEPS = 20_000
MAX_ERRORS = 8
MAX_TALKS = 8
EXPORTED = 10_000
#: How a cost names an entry of the price book.
BOOKED = re.compile(r"book (\d+) v\d+")
TRACE_ID_DIGITS = 32
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001  (full-width ones count too)
CSV_COLUMNS = (
    "trace_id", "service", "name", "environment", "release", "user", "session", "feature", "agents", "status",
    "started_at", "duration_ms", "cost_usd", "unpriced_calls", "steps", "llm_calls", "tool_calls", "errors",
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "reasoning_output_tokens",
)  # fmt: skip
_CSV_TEXTS = frozenset(CSV_COLUMNS[1:9])


@require_safe
def run_list(request: HttpRequest) -> HttpResponse:
    """Runs by filter, live, sorted, paged by cursor. A whole trace id as ``q`` leads to its run."""
    context = page_context(request)
    asked = read_runs(request.GET, context["page"])
    if found := _named_run(asked.filters.q):
        return redirect(f"{reverse('runs:detail', args=[found])}?{context['page'].kept}".rstrip("?"))
    page = queries.list_runs(asked.filters, sort=asked.sort, after=asked.after, limit=PAGE_SIZE)
    context |= {
        "asked": asked,
        "runs": _with_findings(page.runs),
        "next_cursor": page.next_key.encode() if page.next_key else "",
        "searched": queries.MAX_SEARCHED if queries.is_bounded(asked.filters, asked.sort) else None,
    }
    if request.headers.get("HX-Request"):
        return render(request, "runs/list.html#rows", context)
    return render(request, "runs/list.html", context | _offered(asked))


def _with_findings(runs: list[RunRow]) -> list[tuple[RunRow, findings.Worst | None]]:
    """Runs, each with what its findings come to."""
    worst = findings.worst_of([run.trace_id for run in runs])
    return [(run, worst.get((run.trace_id, run.service))) for run in runs]


def _offered(asked: Asked) -> dict[str, Any]:
    return {"services": _services(asked), "statuses": queries.STATUSES, "severities": FOUND}


def _named_run(text: str) -> str | None:
    digits = text.strip().lower().replace("-", "")
    try:
        named = len(digits) == TRACE_ID_DIGITS and queries.runs_of_trace(bytes.fromhex(digits))
    except ValueError:
        return None
    return digits if named else None


def _services(asked: Asked) -> list[str]:
    return sorted({*queries.list_services(), *filter(None, asked.filters.service)})


@require_safe
def run_export(request: HttpRequest) -> HttpResponse:
    """The runs of the list as CSV, in its order, ``EXPORTED`` of them at most."""
    page: PageContext = page_context(request)["page"]
    asked = read_runs(request.GET, page)
    filters = replace(asked.filters, until=asked.filters.until or timezone.now())
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    after, left = None, EXPORTED
    while left:
        found = queries.list_runs(filters, sort=asked.sort, after=after, limit=min(left, queries.MAX_LIMIT))
        writer.writerows(_csv_row(run) for run in found.runs)
        left, after = left - len(found.runs), found.next_key
        if after is None:
            break
    answer = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="runs.csv"'
    return answer


def _csv_row(run: RunRow) -> list[Any]:
    special = {
        "trace_id": run.hex_id,
        "agents": ", ".join(run.agents),
        "started_at": rfc3339(run.started_at),
        "cost_usd": usd(run.cost_nano),
    }
    values = {name: special.get(name, getattr(run, name, None)) for name in CSV_COLUMNS}
    return [safe_cell(value) if name in _CSV_TEXTS else value for name, value in values.items()]


def safe_cell(text: str | None) -> str:
    """A text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text.startswith(FORMULA) else text or ""


def _find(request: HttpRequest, trace_id: str) -> tuple[RunRow, list[RunRow]]:
    found = queries.runs_of_trace(bytes.fromhex(trace_id))
    run = queries.choose_run(found, clean(request.GET.get("service", "")))
    if run is None:
        message = "There is no such run."
        raise Http404(message)
    return run, [other for other in found if other is not run]


@require_safe
def run_detail(request: HttpRequest, trace_id: str) -> HttpResponse:
    """One run: totals, waterfall, cost over time, who talks to whom.

    To htmx: ``part=live`` is everything that changes, ``part=more`` the rows from ``line`` on, and without
    a part the waterfall of another tab (``show``).
    """
    run, others = _find(request, trace_id)
    part = request.GET.get("part", "")
    steps = queries.list_steps(run, limit=MAX_STEPS, with_content=False)
    tree = lines(steps)
    found = notices.worst_first(findings.of_run(run.service, run.trace_id, run.session))
    is_rows = bool(request.headers.get("HX-Request")) and part != "live"
    scenes = [] if is_rows else sequence.scenes(found, steps)
    context = page_context(request) | {"run": run, "others": others, "part": part}
    rows, said = _waterfall(
        request, run, tree, found, also=[p.step for scene in scenes for p in scene.passes if p.step]
    )
    context |= rows
    if is_rows:
        return render(request, f"runs/detail.html#{'more' if part == 'more' else 'steps'}", context)
    context |= _found(found) | _beside(run, steps, found)
    context |= {
        "pictures": [sequence.picture(scene, said) for scene in scenes],
        "chart_url": f"{reverse('runs:cost', args=[trace_id])}{context['of_service']}",
    }
    return render(request, f"runs/detail.html{'#live' if part == 'live' else ''}", context)


def _found(found: list[StoredFinding]) -> dict[str, Any]:
    """What was found in a run, for its head."""
    written = notices.notices(found, now=timezone.now())
    return {
        "notices": written[: notices.SHOWN],
        "further_notices": written[notices.SHOWN :],
        "is_salvaged": notices.is_salvaged(found),
    }


def _beside(run: RunRow, steps: list[StepRow], found: list[StoredFinding]) -> dict[str, Any]:
    """What stands beside the steps: errors, who talks to whom, models, what was merged."""
    talk = talks(steps)
    failed = [step for step in steps if step.is_error]
    return {
        "models": queries.list_models(run),
        "merges": queries.list_merges(run),
        "talks": talk[:MAX_TALKS],
        "graph": charts.talk_graph(talk, run.agents, charts.loops_between(found)),
        "errors": [(step, waterfall.title(step)) for step in failed[:MAX_ERRORS]],
        "errors_total": len(failed),
    }


def _waterfall(
    request: HttpRequest, run: RunRow, tree: list[Line], found: list[StoredFinding], *, also: list[StepRow]
) -> tuple[dict[str, Any], dict[bytes, str]]:
    """The rows to show, how many there are of each tab, and what the folds and ``also`` some steps say."""
    show = request.GET.get("show", "")
    show = show if show in waterfall.TABS else ""
    is_unfolded = request.GET.get("fold") == "off"
    of = folding.belonging(tree, found, run.trace_id)
    chosen = _chosen(tree, of, show, is_unfolded=is_unfolded)
    first = _whole(request.GET.get("line"), least=0, most=MAX_STEPS)
    # The last of several: each page of rows left its own.
    shown = ROWS_AT_ONCE if first else _whole(request.GET.get("shown"), least=ROWS_AT_ONCE, most=MAX_ROWS)
    visible = chosen[first : first + shown]
    steps = [line.step for line in visible if isinstance(line, Line)]
    told = excerpts.list_excerpts(run, [step.span_id for step in steps if waterfall.needs_excerpt(step)])
    speakers = [line.speaker for line in visible if isinstance(line, Fold)]
    said = excerpts.list_said(run, [step.span_id for step in (*speakers, *also)])
    axis = waterfall.Axis.of([line.step for line in tree])
    last = first + len(visible)
    return {
        "rows": waterfall.rows(visible, axis, said | told, of, flat=bool(show)),
        "tabs": [
            (name, words, sum(is_of(line.step) for line in tree)) for name, (words, is_of) in waterfall.TABS.items()
        ],
        "show": show,
        "is_unfolded": is_unfolded,
        "axis": axis.labels,
        "shown": last,
        "next_line": last if last < len(chosen) else 0,
        "left": len(chosen) - last,
        "is_cut": len(tree) >= MAX_STEPS,
        "run_url": reverse("runs:detail", args=[run.hex_id]),
        "of_service": f"?{urlencode({'service': run.service})}",
    }, said


def _chosen(tree: list[Line], of: Belonging, show: str, *, is_unfolded: bool) -> list[Line | Fold]:
    """The lines of a tab; what repeats itself is folded where all are shown."""
    if show:
        belongs = waterfall.TABS[show][1]
        return [line for line in tree if belongs(line.step)]
    return [*tree] if is_unfolded else folding.fold(tree, of)


def _whole(text: str | None, *, least: int, most: int) -> int:
    try:
        return min(max(int(text or 0), least), most)
    except ValueError:
        return least


@require_safe
def run_cost(request: HttpRequest, trace_id: str) -> JsonResponse:
    """The chart of a run's cost over time."""
    run, _ = _find(request, trace_id)
    return JsonResponse(charts.cost_over_time(queries.list_steps(run, limit=MAX_STEPS, with_content=False)))


@require_safe
def step_detail(request: HttpRequest, trace_id: str, span_id: str) -> HttpResponse:
    """One step with its texts, as a region or as a page."""
    run, _ = _find(request, trace_id)
    raw = bytes.fromhex(span_id)
    step = queries.get_step(run, raw)
    if step is None:
        message = "There is no such step, or its retention ended."
        raise Http404(message)
    content = json.loads(step.content) if step.content else {}
    context = page_context(request) | {
        "run": run,
        "step": step,
        "title": waterfall.title(step),
        "kind": Kind(step.kind).name.lower(),
        "started_at": from_ns(step.start_ns),
        "terms": json.loads(step.terms) if step.terms else {},
        "book_number": match[1] if (match := BOOKED.match(step.price_id or "")) else "",
        "texts": waterfall.texts(content),
        "attributes": _attributes(content),
        "kept": bool(content),
        "found_here": notices.at_step(findings.of_run(run.service, run.trace_id, run.session), run, raw),
        "of_service": f"?{urlencode({'service': run.service})}",
    }
    return render(request, f"runs/step.html{'#step' if request.headers.get('HX-Request') else ''}", context)


def _attributes(content: dict[str, Any]) -> list[tuple[str, str]]:
    found = content.get("attributes")
    return sorted((name, waterfall.readable(value)) for name, value in found.items()) if isinstance(found, dict) else []
