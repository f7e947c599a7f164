"""Saved views: states of the spend page under names, private or shared, one of them a person's default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from agentops.accounts.models import Role, User
from agentops.accounts.roles import has_role
from agentops.costs.forms import KNOWN, SHARED
from agentops.costs.models import DefaultView, SavedView

MAX_NAME_CHARS, MAX_QUERY_CHARS = 80, 4_000


class UnusableName(ValueError):
    """A name that is none, or that another view of the same person has; the message is a sentence."""


class NotYours(PermissionError):
    """Only its owner and admins change a view."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The views that a person sees: their own, those that others share, and which of them opens by itself."""

    own: Sequence[SavedView]
    shared: Sequence[SavedView]
    default: SavedView | None

    def find(self, pk: str) -> SavedView | None:
        """The view of that id, if the person sees it."""
        return next((view for view in (*self.own, *self.shared) if str(view.pk) == pk), None)


def shelf(user: User) -> Shelf:
    """The views that a person sees. Two statements."""
    seen = list(visible(user).select_related("owner"))
    default = DefaultView.objects.filter(user=user).values_list("view_id", flat=True).first()
    return Shelf(
        own=[view for view in seen if view.owner_id == user.pk],
        shared=[view for view in seen if view.owner_id != user.pk],
        default=next((view for view in seen if view.pk == default), None),
    )


def visible(user: User) -> QuerySet[SavedView]:
    """A person's own views, and all that are shared."""
    return SavedView.objects.filter(Q(owner=user) | Q(is_shared=True))


def default_of(user: User) -> SavedView | None:
    """The view that a person's page opens with; ``None`` when nobody shares it any more."""
    return visible(user).filter(pk__in=DefaultView.objects.filter(user=user).values("view_id")).first()


@transaction.atomic
def save_view(*, user: User, name: str, query: str, is_shared: bool) -> SavedView:
    """Save a state of the page; what the person has under that name already is replaced. Raises ``UnusableName``."""
    view, _ = SavedView.objects.update_or_create(
        owner=user, name=_name(name), defaults={"query": canonical(QueryDict(query)), "is_shared": is_shared}
    )
    return view


@transaction.atomic
def change_view(*, by: User, view: SavedView, name: str, is_shared: bool) -> SavedView:
    """Rename, share or take back a view. Raises ``NotYours`` and ``UnusableName``."""
    _check_may_change(by, view)
    view.name, view.is_shared = _name(name), is_shared
    if SavedView.objects.filter(owner_id=view.owner_id, name=view.name).exclude(pk=view.pk).exists():
        message = f"There is a view “{view.name}” already."
        raise UnusableName(message)
    SavedView.objects.filter(pk=view.pk).update(name=view.name, is_shared=is_shared, updated_at=timezone.now())
    return view


@transaction.atomic
def delete_view(*, by: User, view: SavedView) -> None:
    """Forget a view, for everybody. Raises ``NotYours``."""
    _check_may_change(by, view)
    view.delete()


@transaction.atomic
def set_default(*, user: User, view: SavedView | None) -> None:
    """Let a person's page open with a view, or with none."""
    if view is None:
        DefaultView.objects.filter(user=user).delete()
    else:
        DefaultView.objects.update_or_create(user=user, defaults={"view": view})


def may_change(user: User, view: SavedView) -> bool:
    """Whether a view is one's own, or one is an admin."""
    return view.owner_id == user.pk or (view.is_shared and has_role(user, Role.ADMIN))


def canonical(parameters: QueryDict) -> str:
    """What a query string says about the page, in one order; what says nothing is left out."""
    kept = QueryDict(mutable=True)
    for name in KNOWN:
        values = [value for value in parameters.getlist(name) if value or name == "open"]
        if values:
            kept.setlist(name, values)
    return kept.urlencode()[:MAX_QUERY_CHARS]


def opened_with(view: SavedView, parameters: QueryDict) -> str:
    """The query string of a view, with the range and the environment that a link brought along."""
    query = QueryDict(view.query, mutable=True)
    if any(parameters.get(name) for name in SHARED):
        for name in SHARED:
            query.pop(name, None)
            if parameters.get(name):
                query[name] = str(parameters[name])
    query["view"] = str(view.pk)
    return query.urlencode()


def _name(text: str) -> str:
    name = " ".join(text.replace("\x00", "").split())
    if not name or len(name) > MAX_NAME_CHARS:
        message = f"A view needs a name of at most {MAX_NAME_CHARS} characters."
        raise UnusableName(message)
    return name


def _check_may_change(user: User, view: SavedView) -> None:
    if not may_change(user, view):
        raise NotYours
