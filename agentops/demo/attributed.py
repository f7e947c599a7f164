"""What the demo's people have said about spend: views that they look at, a rule, and what it would move."""

from __future__ import annotations

from datetime import datetime, timedelta

from agentops.accounts.models import User
from agentops.costs.actions import start_preview
from agentops.costs.models import AttributionRule, SavedView
from agentops.costs.rules import save_rule
from agentops.costs.saved import save_view
from agentops.domain.attribution import Condition, Rule

_DAYS = 30
#: Name and query string of each view.
_VIEWS = {
    "Chargeback this month": "range=month&by=team&then=service&inside=all&compare=month",
    "Cost of a run": "range=7d&by=service&show=units",
    "Without a feature": "range=30d&by=service&then=agent&without=feature",
}
_SERVICE = "code-reviewer"
_CONDITIONS = (Condition("tool", "run_tests"),)


def attribute(*, now: datetime, finance: User | None, owner: User | None) -> None:
    """Save views and write a rule, with a preview of the last days, unless somebody has done such a thing before."""
    if finance and not SavedView.objects.exists():
        for name, query in _VIEWS.items():
            save_view(user=finance, name=name, query=query, is_shared=True)
    if not AttributionRule.objects.exists():
        begin = (now - timedelta(_DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
        rule = Rule(0, 0, _SERVICE, _CONDITIONS, "feature", "test-writer", int(begin.timestamp()) * 10**9)
        save_rule(rule=rule, by=owner, note="Who runs tests writes them, even where the agent does not say so.")
        start_preview(from_at=begin, until_at=now, service=_SERVICE, by=owner)
