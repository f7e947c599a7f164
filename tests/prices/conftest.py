"""Who decides, and who only looks."""

from __future__ import annotations

import pytest
from django.test import Client

from agentops.accounts.models import Role, User


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_user("ada", role=Role.ADMIN)


@pytest.fixture
def viewer(db: None) -> User:
    return User.objects.create_user("vera", role=Role.OWNER)


@pytest.fixture
def admins_client(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


@pytest.fixture
def viewers_client(viewer: User) -> Client:
    client = Client()
    client.force_login(viewer)
    return client
