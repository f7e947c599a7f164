"""The pages of the price book: prices and what names stand for, with their history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentops.accounts.models import Role
from agentops.accounts.roles import has_role, require_role, who
from agentops.costs.queries import kept_since
from agentops.domain.pricebook import Alias, Entry, EntryKind, UnsoundEntry
from agentops.pages import page_context
from agentops.prices import actions, queries
from agentops.prices.actions import ChangedMeanwhile
from agentops.prices.forms import AliasForm, EndForm, EntryForm, RepricingForm
from agentops.prices.models import Kind, ModelAlias, PriceEntry, Version
from agentops.prices.store import alias_of, entry_of, to_ns
from agentops.prices.words import Described, describe_alias, describe_change, describe_entry

#: What the form of something new may be filled in with from its address.
PREFILLED = ("pattern", "provider", "service", "means_provider", "means_model")


@dataclass(frozen=True, slots=True)
class Shelf:
    """One half of the book: how its rows are read, told, and written."""

    name: str
    model: queries.Model
    read: Callable[[Any], Entry | Alias]
    describe: Callable[[Any, Any], Described]
    save: Callable[..., Entry | Alias]

    def url(self, what: str = "", **kwargs: Any) -> str:
        """The address of a page or an action."""
        return reverse(f"prices:{what}{'_' if what else ''}{self.name}", kwargs=kwargs)


ENTRIES = Shelf("entry", PriceEntry, entry_of, describe_entry, actions.save_entry)
ALIASES = Shelf("alias", ModelAlias, alias_of, describe_alias, actions.save_alias)


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a list: the last version of something, and it in words."""

    row: Version
    described: Described


def book_context(request: HttpRequest, tab: str) -> dict[str, Any]:
    """What every page of the book needs."""
    return page_context(request) | {"tab": tab, "may_edit": has_role(request.user, Role.ADMIN)}


@require_safe
def rows(request: HttpRequest, shelf: Shelf) -> HttpResponse:
    """All prices, or what all names stand for."""
    now = timezone.now()
    lines = [Line(row, shelf.describe(row, now)) for row in queries.latest(shelf.model)]
    context = book_context(request, shelf.name) | {"lines": lines, "kinds": Kind}
    return render(request, f"prices/{shelf.name}_list.html", context)


@require_safe
def row(request: HttpRequest, shelf: Shelf, number: int) -> HttpResponse:
    """One of them with its history, and the offer to price by it what is booked already."""
    found, now = _latest(shelf, number), timezone.now()
    since = max(found.effective_from or kept_since(), kept_since())
    end = next_minute(now)
    until = min(found.effective_until or end, end)
    period = {"from_at": since, "until_at": until, "service": found.service, "name": request.GET.get("name", "")}
    context = book_context(request, shelf.name) | {
        "row": found,
        "described": shelf.describe(found, now),
        "changes": [describe_change(change) for change in queries.history(shelf.model, number)],
        "period_form": RepricingForm(initial=period),
        "has_begun": since < until,
    }
    return render(request, f"prices/{shelf.name}.html", context)


def next_minute(now: datetime) -> datetime:
    """The end of this minute: forms know nothing finer, and all that has come so far is before it."""
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _latest(shelf: Shelf, number: int) -> PriceEntry | ModelAlias:
    found = queries.latest(shelf.model, number=number)
    if not found:
        message = "The book has nothing of that number."
        raise Http404(message)
    return found[0]


@require_http_methods(["GET", "HEAD", "POST"])
@require_role(Role.ADMIN)
def new(request: HttpRequest, shelf: Shelf) -> HttpResponseBase:
    """Something new, filled in as far as the address says."""
    return _edit(request, shelf, None)


@require_http_methods(["GET", "HEAD", "POST"])
@require_role(Role.ADMIN)
def edit(request: HttpRequest, shelf: Shelf, number: int) -> HttpResponseBase:
    """Another version."""
    return _edit(request, shelf, _latest(shelf, number))


def _edit(request: HttpRequest, shelf: Shelf, found: PriceEntry | ModelAlias | None) -> HttpResponse:
    form = _form(request, found) if shelf is ENTRIES else _alias_form(request, found)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid() and (saved := _save(request, shelf, form, found)) is not None:
            messages.success(request, f"Version {saved.version} is saved. Calls from now on have it within seconds.")
            named = request.GET.get("name", "")
            return redirect(shelf.url(number=saved.number) + (f"?{urlencode({'name': named})}" if named else ""))
    context = book_context(request, shelf.name) | {"form": form, "row": found, "kinds": Kind}
    return render(request, f"prices/{shelf.name}_form.html", context, status=status)


def _form(request: HttpRequest, found: Any) -> EntryForm:
    data = request.POST if request.method == "POST" else None
    if found is not None:
        return EntryForm(EntryKind(found.kind), data, entry=entry_of(found))
    asked = request.GET.get("kind", "")
    kind = EntryKind(asked) if asked in Kind.values else EntryKind.MODEL
    return EntryForm(kind, data, initial=_prefilled(request))


def _alias_form(request: HttpRequest, found: Any) -> AliasForm:
    data = request.POST if request.method == "POST" else None
    return AliasForm(data, alias=alias_of(found) if found is not None else None, initial=_prefilled(request))


def _prefilled(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET[name] for name in PREFILLED if name in request.GET}


def _save(request: HttpRequest, shelf: Shelf, form: Any, found: PriceEntry | ModelAlias | None) -> Any:
    """The version that was made; ``None`` when the form says what is wrong."""
    asked = getattr(form, shelf.name)(found.number if found is not None else 0)
    try:
        return shelf.save(**{shelf.name: asked}, by=who(request), note=form.cleaned_data["note"])
    except UnsoundEntry as error:
        form.add_problems(error.problems)
    except ChangedMeanwhile as error:
        form.add_error(None, str(error))
    return None


@require_POST
@require_role(Role.ADMIN)
def end(request: HttpRequest, shelf: Shelf, number: int) -> HttpResponse:
    """Let it hold until a moment, or until now."""
    form = EndForm(request.POST)
    if not form.is_valid():
        messages.error(request, "This is no time.")
        return redirect(shelf.url(number=number))
    until = form.cleaned_data["until"] or timezone.now()
    found = _as_looked_at(shelf, number, form)
    return _change(request, shelf, replace(found, until_ns=to_ns(until, 0)), form, f"It ends {until:%d %b %Y %H:%M}.")


@require_POST
@require_role(Role.ADMIN)
def withdraw(request: HttpRequest, shelf: Shelf, number: int) -> HttpResponse:
    """Let it never have held."""
    form = EndForm(request.POST)
    form.is_valid()
    said = "It is withdrawn. What is booked keeps its price until you re-price it."
    return _change(request, shelf, _as_looked_at(shelf, number, form), form, said, is_withdrawn=True)


def _as_looked_at(shelf: Shelf, number: int, form: EndForm) -> Any:
    found = shelf.read(_latest(shelf, number))
    return replace(found, version=form.cleaned_data.get("version") or 0)


def _change(request: HttpRequest, shelf: Shelf, row: Any, form: EndForm, said: str, **more: Any) -> HttpResponse:
    note = form.cleaned_data.get("note") or ""
    try:
        shelf.save(**{shelf.name: row}, by=who(request), note=note, **more)
    except (UnsoundEntry, ChangedMeanwhile) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, said)
    return redirect(shelf.url(number=row.number))
