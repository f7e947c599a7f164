"""Who answers alerts, and who only looks."""

from __future__ import annotations

import pytest
from django.test import Client

from agentops.accounts.models import Role, User


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", role=Role.RESPONDER)


@pytest.fixture
def tom(db: None) -> User:
    return User.objects.create_user("tom", role=Role.OWNER)


@pytest.fixture
def viewer(db: None) -> User:
    return User.objects.create_user("vera", role=Role.VIEWER)


@pytest.fixture
def adas_client(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


@pytest.fixture
def viewers_client(viewer: User) -> Client:
    client = Client()
    client.force_login(viewer)
    return client
