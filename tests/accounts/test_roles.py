"""Who may do what."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser

from agentops.accounts.models import Role, User
from agentops.accounts.roles import has_role


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("needed", Role)
def test_a_role_may_do_what_those_before_it_may(role: Role, needed: Role) -> None:
    order = list(Role)
    assert has_role(User(role=role), needed) == (order.index(role) >= order.index(needed))


def test_nobody_switched_off_or_of_an_unknown_role_may_do_anything() -> None:
    assert not has_role(AnonymousUser(), Role.VIEWER)
    assert not has_role(User(role=Role.ADMIN, is_active=False), Role.VIEWER)
    assert not has_role(User(role="king"), Role.VIEWER)
    assert has_role(User(role=Role.VIEWER, is_superuser=True), Role.ADMIN)
