"""Who is signed in."""

from __future__ import annotations

import pytest
from django.test import Client

from agentops.accounts.models import User


@pytest.fixture
def client(db: None) -> Client:
    """A browser of somebody who may only look."""
    browser = Client()
    browser.force_login(User.objects.create_user("viewer"))
    return browser
