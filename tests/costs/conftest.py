"""Who is signed in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client

from agentops.accounts.models import User
from tests.ingest.simulation import clear_books


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    """Real commits, on empty books and leaving them empty: Django does not know their tables."""
    with connection.cursor() as cursor:
        clear_books(cursor)
    yield
    with connection.cursor() as cursor:
        clear_books(cursor)


@pytest.fixture
def client(db: None) -> Client:
    """A browser of somebody who may only look."""
    browser = Client()
    browser.force_login(User.objects.create_user("viewer"))
    return browser
