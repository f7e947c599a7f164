"""What the demo's people have said about spend by the time somebody looks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from agentops.accounts.models import Role, User
from agentops.costs.models import AttributionRule, Reattribution, SavedView
from agentops.demo.attributed import attribute

NOW = datetime(2025, 12, 2, 9, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def test_views_are_shared_and_a_rule_is_previewed_once() -> None:
    finance, owner = User.objects.create_user("fiona"), User.objects.create_user("oscar", role=Role.OWNER)
    for _ in range(2):
        attribute(now=NOW, finance=finance, owner=owner)
    assert AttributionRule.objects.get().by == owner
    assert Reattribution.objects.get().requested_by == owner
    views = list(SavedView.objects.all())
    assert len(views) == 3
    browser = Client()
    browser.force_login(owner)
    for view in views:
        answer = browser.get(reverse("costs:view", args=[view.pk]), follow=True)
        assert view.name in answer.content.decode()
        assert "changed</span>" not in answer.content.decode()


def test_nobody_in_particular_saves_no_views() -> None:
    attribute(now=NOW, finance=None, owner=None)
    assert not SavedView.objects.exists()
