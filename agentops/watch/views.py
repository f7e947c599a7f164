"""The pages of the watch's rules: what holds for which service, changing it, and trying it out before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentops.accounts.roles import has_role, require_role, who
from agentops.pages import is_id, page_context
from agentops.runs.api import clean
from agentops.watch import decisions, dry_run, queries, rules
from agentops.watch.decisions import ChangedMeanwhile, UnsoundRules
from agentops.watch.dry_run import TooManyDryRuns, total_of
from agentops.watch.forms import RulesForm
from agentops.watch.models import DryRun, DryRunFinding, RuleChange
from agentops.watch.numbers import SWITCHES, words_of
from agentops.watch.rules import WRITES, Decided
from agentops.watch.words import describe, differences

#: What stands for all services in an address.
ALL = "*"
#: Decisions, dry runs and findings that a page shows.
CHANGES, DRY_RUNS, FINDINGS = 50, 10, 100
SAVED = "Saved. Runs are judged by it within seconds."
NOTHING = "Nothing was changed: these rules hold already."


@require_safe
def rule_list(request: HttpRequest) -> HttpResponse:
    """What is on for everybody, and what differs for which service."""
    context = _context(request) | {
        "services": queries.list_services(),
        "kinds": [words_of(kind) for kind in SWITCHES],
        "dry_runs": _dry_runs(),
    }
    part = "#services" if request.headers.get("HX-Request") else ""
    return render(request, f"watch/rules.html{part}", context)


@require_http_methods(["GET", "HEAD", "POST"])
def service_rules(request: HttpRequest, service: str) -> HttpResponseBase:
    """The rules of a service with their history; a POST saves them, tries them out, or goes back to earlier ones."""
    service = _service(service)
    if request.method == "POST":
        return _decide(request, service)
    tried = request.GET.get("dry_run", "")
    job = DryRun.objects.filter(service=service, pk=tried).first() if is_id(tried) else None
    decided = Decided.load(job.proposed) if job is not None else None
    return _page(request, service, _form(service, decided=decided), {"tried": job})


@require_role(WRITES)
def _decide(request: HttpRequest, service: str) -> HttpResponse:
    if "restore" in request.POST:
        return _restore(request, service)
    form = _form(service, request)
    if not form.is_valid():
        return _page(request, service, form, status=422)
    if "try" in request.POST:
        return _try(request, service, form)
    more: dict[str, Any] = {}
    try:
        saved = decisions.save(
            service=service,
            decided=form.decided(),
            seen=form.cleaned_data["seen"],
            reason=form.cleaned_data["reason"],
            by=who(request),
            now=timezone.now(),
        )
    except UnsoundRules as error:
        form.add_problems(error.problems)
    except ChangedMeanwhile as error:
        more = _conflict(service, form, error)
    else:
        messages.success(request, SAVED if saved else NOTHING)
        return redirect("watch:service", service or ALL)
    return _page(request, service, form, more, status=409 if more else 422)


def _conflict(service: str, form: RulesForm, error: ChangedMeanwhile) -> dict[str, Any]:
    """What has changed since the form was opened; what was filled in stays there, and may be saved over it."""
    before, after = (
        decisions.as_of(service, pk) for pk in (form.cleaned_data["seen"] or 0, decisions.latest_change(service))
    )
    return {"conflict": error.latest, "meanwhile": differences(before, after, service)}


def _try(request: HttpRequest, service: str, form: RulesForm) -> HttpResponse:
    try:
        job = dry_run.start(
            service=service,
            decided=form.decided(),
            seen=form.cleaned_data["seen"] or 0,
            by=who(request),
            now=timezone.now(),
        )
    except UnsoundRules as error:
        form.add_problems(error.problems)
    except TooManyDryRuns as error:
        form.add_error(None, str(error))
    else:
        return redirect("watch:dry_run", job.pk)
    return _page(request, service, form, status=422)


def _restore(request: HttpRequest, service: str) -> HttpResponse:
    change, seen = (request.POST.get(name, "") for name in ("restore", "seen"))
    if not is_id(change) or not is_id(seen):
        message = "There is no such change."
        raise Http404(message)
    try:
        saved = decisions.restore(
            service=service, change=int(change), seen=int(seen), by=who(request), now=timezone.now()
        )
    except (UnsoundRules, ChangedMeanwhile) as error:
        messages.error(request, str(error))
    except RuleChange.DoesNotExist as error:
        message = "There is no such change."
        raise Http404(message) from error
    else:
        messages.success(request, SAVED if saved else NOTHING)
    return redirect("watch:service", service or ALL)


@require_safe
def show_dry_run(request: HttpRequest, pk: int) -> HttpResponse:
    """How far a dry run is, and what proposed rules would have found."""
    job = get_object_or_404(DryRun.objects.select_related("requested_by"), pk=pk)
    proposed = Decided.load(job.proposed)
    book = rules.load(job.revision)
    present, everywhere = book.decided_for(job.service), book.decided_for("")
    context = _context(request) | _found(job)
    context |= {
        "job": job,
        "address": job.service or ALL,
        "proposed": differences(present, proposed, job.service, everywhere=everywhere),
        "may_save": decisions.latest_change(job.service) == job.seen,
    }
    part = "#result" if request.headers.get("HX-Request") else ""
    return render(request, f"watch/dry_run.html{part}", context)


def _found(job: DryRun) -> dict[str, Any]:
    now_warn, now_page, then_warn, then_page = total_of(job.counts)
    findings = job.findings.all()
    pairs = (
        ("New", "raised by the proposed rules alone", findings.filter(severity_now="")),
        ("Gone", "raised by the present rules alone", findings.filter(severity_proposed="")),
        ("Louder or quieter", "raised by both", findings.exclude(severity_now="").exclude(severity_proposed="")),
    )
    return {
        "kinds": [(kind, words_of(kind), counts) for kind, counts in sorted(job.counts.items())],
        "now": now_warn + now_page,
        "then": then_warn + then_page,
        "pages": (now_page, then_page),
        "per_1000": [
            1_000 * found / job.done if job.done else 0 for found in (now_warn + now_page, then_warn + then_page)
        ],
        "lists": [_listed(*pair) for pair in pairs],
        "most": (dry_run.MAX_RUNS, dry_run.MAX_SPANS),
        "is_kept": findings.count() < dry_run.MAX_KEPT,
    }


def _listed(title: str, words: str, found: Any) -> tuple[str, str, Sequence[DryRunFinding], int]:
    return title, words, found[:FINDINGS], found.count()


@require_POST
@require_role(WRITES)
def save_dry_run(request: HttpRequest, pk: int) -> HttpResponse:
    """Decide what was tried."""
    job = get_object_or_404(DryRun, pk=pk)
    try:
        saved = decisions.save(
            service=job.service,
            decided=Decided.load(job.proposed),
            seen=job.seen,
            reason=clean(request.POST.get("reason", "")),
            by=who(request),
            now=timezone.now(),
        )
    except (UnsoundRules, ChangedMeanwhile) as error:
        messages.error(request, str(error))
        return redirect("watch:dry_run", pk)
    messages.success(request, SAVED if saved else NOTHING)
    return redirect("watch:service", job.service or ALL)


@require_POST
@require_role(WRITES)
def cancel_dry_run(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop a dry run before its next page."""
    if not dry_run.cancel(job=get_object_or_404(DryRun, pk=pk), now=timezone.now()):
        messages.info(request, "It was over already.")
    return redirect("watch:dry_run", pk)


def _page(
    request: HttpRequest, service: str, form: RulesForm, more: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    history = decisions.history(service)
    latest = history[0].pk if history else 0
    conflict, tried = ((more or {}).get(name) for name in ("conflict", "tried"))
    context = _context(request) | {
        "service": service,
        "address": service or ALL,
        "form": form,
        # Once told of what others changed, one may save over it; and not before.
        "seen": latest if conflict else form["seen"].value() if form.is_bound else tried.seen if tried else latest,
        "latest": latest,
        "history": [(change, differences(change.before, change.after, service)) for change in history[:CHANGES]],
        "differs": describe(history[0].after) if history else [],
        "dry_runs": _dry_runs(service),
        **(more or {}),
    }
    return render(request, "watch/service.html", context, status=status)


def _form(service: str, request: HttpRequest | None = None, *, decided: Decided | None = None) -> RulesForm:
    book = rules.load(rules.latest_revision())
    decided = book.decided_for(service) if decided is None else decided
    seen = queries.seen_tools(service, now=timezone.now())
    return RulesForm(request.POST if request else None, service=service, book=book, decided=decided, seen=seen)


def _dry_runs(service: str | None = None) -> QuerySet[DryRun]:
    found = DryRun.objects.select_related("requested_by")
    return (found if service is None else found.filter(service=service))[:DRY_RUNS]


def _service(address: str) -> str:
    if len(address) > decisions.MAX_TOOL_CHARS or "\0" in address:
        message = "There is no such service."
        raise Http404(message)
    return "" if address == ALL else address


def _context(request: HttpRequest) -> dict[str, Any]:
    return page_context(request) | {"may_write": has_role(request.user, WRITES), "all": ALL}
