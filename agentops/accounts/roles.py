"""Who may do what: each role may do all that those before it may."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja.errors import HttpError

from agentops.accounts.models import Role, User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
NEEDS = "This needs the role “{}”. Ask an admin for it."


def has_role(user: User | AnonymousUser, role: Role) -> bool:
    """Whether a person has at least this role; nobody in particular has none."""
    if not isinstance(user, User) or not user.is_active:
        return False
    order = Role.values
    return user.is_superuser or (user.role in order and order.index(user.role) >= order.index(role))


def who(request: HttpRequest) -> User:
    """Who is signed in; for views that let nobody else in."""
    assert isinstance(request.user, User)
    return request.user


def require(request: HttpRequest, role: Role) -> User:
    """Who asks an API. Raises ``HttpError`` 403 unless they have at least this role."""
    if not has_role(request.user, role):
        raise HttpError(403, NEEDS.format(role.value))
    return who(request)


def require_role(role: Role) -> Callable[[View[P]], View[P]]:
    """A view only for people with at least this role; others get the page for 403."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not has_role(request.user, role):
                raise PermissionDenied(NEEDS.format(role.value))
            return view(request, *args, **kwargs)

        return guarded

    return decorate
