"""What people fill in about rules of attribution, and about applying them to what is booked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils import timezone

from agentops.catalog.queries import ownership
from agentops.costs.queries import kept_since
from agentops.domain.attribution import MAX_CHARS, MAX_CONDITIONS, RULED, SUBJECTS, Condition, Rule
from agentops.runs.api import clean

#: Conditions that a form has place for, beyond those that are there.
SPARE = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RuleForm(forms.Form):
    """A rule. Its conditions are read by ``read_conditions``, row by row."""

    service = forms.ChoiceField(required=False, label="Spans of")
    dimension = forms.ChoiceField(label="are of the", choices=[(name, name) for name in RULED])
    value = forms.CharField(label="called", max_length=MAX_CHARS, strip=True)
    effective_from = forms.DateTimeField(
        label="From (UTC)", widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    )
    note = forms.CharField(label="Why", required=False, max_length=400, strip=True)
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        services = [("", "any service"), *((slug, slug) for slug in sorted(ownership()))]
        chosen = str(self["service"].value() or "")
        if chosen and all(slug != chosen for slug, _ in services):
            services.append((chosen, chosen))
        self.fields["service"].choices = services  # type: ignore[attr-defined]

    def rule(self, number: int, conditions: tuple[Condition, ...]) -> Rule:
        """What was filled in."""
        asked = self.cleaned_data
        return Rule(
            number=number,
            version=asked["version"] or 0,
            service=asked["service"],
            conditions=conditions,
            dimension=asked["dimension"],
            value=clean(asked["value"]),
            from_ns=(asked["effective_from"] - _EPOCH) // timedelta(microseconds=1) * 1_000,
        )


class PeriodForm(forms.Form):
    """Runs to attribute again: those that started in a period, of one service or of all."""

    from_at = forms.DateTimeField(
        label="Runs from (UTC)", widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    )
    until_at = forms.DateTimeField(
        label="until (UTC)",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    service = forms.ChoiceField(required=False, label="of")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("initial", {"from_at": kept_since()})
        super().__init__(*args, **kwargs)
        services = [("", "all services"), *((slug, slug) for slug in sorted(ownership()))]
        self.fields["service"].choices = services  # type: ignore[attr-defined]

    def clean_until_at(self) -> datetime:
        """Until now, unless it is said otherwise."""
        return self.cleaned_data["until_at"] or timezone.now()


def read_conditions(parameters: QueryDict) -> list[Condition]:
    """The conditions in a form's rows ``subject``, ``key``, ``match``; rows without a match say nothing."""
    rows = zip(parameters.getlist("subject"), parameters.getlist("key"), parameters.getlist("match"), strict=False)
    return [
        Condition(subject, clean(match).strip(), clean(key).strip() if subject == "attribute" else "")
        for subject, key, match in list(rows)[:MAX_CONDITIONS]
        if subject in SUBJECTS and match.strip()
    ]


def rows_of(conditions: list[Condition]) -> list[Condition]:
    """The rows that a form shows: those that are there, and some that are empty."""
    spare = min(SPARE, MAX_CONDITIONS - len(conditions))
    return [*conditions, *(Condition("tag", "") for _ in range(spare))]
