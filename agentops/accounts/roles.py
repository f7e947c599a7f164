"""Who may do what: each role may do all that those before it may."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from agentops.accounts.models import Role, User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def has_role(user: User | AnonymousUser, role: Role) -> bool:
    """Whether a person has at least this role; nobody in particular has none."""
    if not isinstance(user, User) or not user.is_active:
        return False
    order = Role.values
    return user.is_superuser or (user.role in order and order.index(user.role) >= order.index(role))


def require_role(role: Role) -> Callable[[View[P]], View[P]]:
    """A view only for people with at least this role; others get the page for 403."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not has_role(request.user, role):
                message = f"This needs the role “{role.value}”. Ask an admin for it."
                raise PermissionDenied(message)
            return view(request, *args, **kwargs)

        return guarded

    return decorate
