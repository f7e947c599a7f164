"""The pages of saved views: the list, and what is done to them from there and from the spend page."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agentops.accounts.models import User
from agentops.accounts.roles import who
from agentops.costs.forms import KNOWN, SHARED
from agentops.costs.models import SavedView
from agentops.costs.saved import (
    NotYours,
    UnusableName,
    canonical,
    change_view,
    default_of,
    delete_view,
    may_change,
    opened_with,
    save_view,
    set_default,
    shelf,
    visible,
)
from agentops.pages import is_id, page_context

NOT_YOURS = "Only its owner and admins change a view."


def arrival(request: HttpRequest) -> str:
    """Where somebody is led who asks for the spend page and for nothing on it; empty for the page as it is."""
    user = request.user
    if not isinstance(user, User) or any(name in request.GET for name in (*KNOWN, "view") if name not in SHARED):
        return ""
    if view := default_of(user):
        return f"{request.path}?{opened_with(view, request.GET)}"
    if user.time_zone in {"", "UTC"}:
        return ""
    query = request.GET.copy()
    query["timezone"] = user.time_zone
    return f"{request.path}?{query.urlencode()}"


def views_menu(request: HttpRequest) -> dict[str, Any]:
    """The views that the page offers, which one it shows, and whether that is still as it was saved."""
    assert isinstance(request.user, User)
    found = shelf(request.user)
    saved = found.find(request.GET.get("view", ""))
    state = canonical(request.GET)
    return {
        "shelf": found,
        "saved": saved,
        "state": state,
        "is_changed": saved is not None and canonical(QueryDict(saved.query)) != state,
    }


@require_http_methods(["GET", "HEAD", "POST"])
def saved_views(request: HttpRequest) -> HttpResponse:
    """The list; a POST saves the state of the spend page that comes with it."""
    user = who(request)
    if request.method == "POST":
        asked = request.POST
        try:
            view = save_view(
                user=user,
                name=asked.get("name", ""),
                query=asked.get("query", "").removeprefix("?"),
                is_shared=bool(asked.get("is_shared")),
            )
        except UnusableName as error:
            messages.error(request, str(error))
            return redirect(f"{reverse('costs:spend')}?{canonical(QueryDict(asked.get('query', '')))}")
        messages.success(request, f"Saved as “{view.name}”{', for everybody' if view.is_shared else ''}.")
        return redirect("costs:view", view.pk)
    found = shelf(user)
    context = page_context(request) | {
        "shelf": found,
        "views": [(view, may_change(user, view)) for view in (*found.own, *found.shared)],
    }
    return render(request, "costs/views.html", context)


@require_safe
def open_view(request: HttpRequest, pk: int) -> HttpResponse:
    """The spend page as it was saved: an address that stays the same when the view changes."""
    view = get_object_or_404(visible(who(request)), pk=pk)
    return redirect(f"{reverse('costs:spend')}?{opened_with(view, request.GET)}")


@require_POST
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """Rename or share a view."""
    view = get_object_or_404(visible(who(request)), pk=pk)
    shares = bool(request.POST.get("is_shared"))
    try:
        change_view(by=who(request), view=view, name=request.POST.get("name", ""), is_shared=shares)
    except (NotYours, UnusableName) as error:
        messages.error(request, str(error) or NOT_YOURS)
    else:
        messages.success(request, f"“{view.name}” is {'shared with everybody' if shares else 'yours alone'}.")
    return redirect("costs:views")


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget a view."""
    view = get_object_or_404(visible(who(request)), pk=pk)
    try:
        delete_view(by=who(request), view=view)
    except NotYours:
        messages.error(request, NOT_YOURS)
    else:
        messages.success(request, f"“{view.name}” is deleted.")
    return redirect("costs:views")


@require_POST
def choose_default(request: HttpRequest) -> HttpResponse:
    """Let the page open with a view from now on, or with none."""
    user, pk = who(request), request.POST.get("view", "")
    view: SavedView | None = get_object_or_404(visible(user), pk=int(pk)) if is_id(pk) else None
    set_default(user=user, view=view)
    messages.success(request, f"Spend opens with “{view.name}”." if view else "Spend opens with the last 24 hours.")
    return redirect("costs:views")
