"""Forms of ceilings: what somebody types, as a definition; what is wrong with it beside the field that it is in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, cast

from django import forms

from agentops.accounts.models import Team
from agentops.budgets.definitions import DEFAULT_THRESHOLDS, NARROWED, Definition
from agentops.budgets.models import MAX_NAME_CHARS, MAX_NOTE_CHARS, Stop
from agentops.domain.budgets import NANO, Action, Amounts, Each, Period
from agentops.guard.shown import LONG
from agentops.prices.forms import Moment
from agentops.runs.api import usd

_EACH = [("", "one for all"), *((one.value, f"each {one.value}") for one in Each)]
_PERIODS = [(one.value, LONG[one]) for one in Period]
_ACTIONS = [
    (Action.STOP.value, "stop the next step"),
    (Action.WARN.value, "only warn"),
]
_MONEY = {"inputmode": "decimal", "autocomplete": "off"}


def _dollars(label: str, **more: Any) -> forms.DecimalField:
    widget = forms.TextInput(attrs=_MONEY)
    return forms.DecimalField(label=label, required=False, max_digits=15, decimal_places=9, widget=widget, **more)


def _offered(datalist: str, most: int) -> forms.CharField:
    """Text, for which the page offers what is known."""
    widget = forms.TextInput(attrs={"list": datalist, "autocomplete": "off"})
    return forms.CharField(required=False, max_length=most, widget=widget)


class BudgetForm(forms.Form):
    """A ceiling."""

    name = forms.CharField(required=False, max_length=MAX_NAME_CHARS)
    services = _offered("services", 4_000)
    team = forms.ChoiceField(required=False)
    feature = _offered("features", 512)
    user = _offered("users", 512)
    session = forms.CharField(required=False, max_length=512)
    run = forms.CharField(required=False, max_length=512)
    environment = _offered("environments", 128)
    each = forms.ChoiceField(required=False, choices=_EACH)
    period = forms.ChoiceField(choices=_PERIODS, initial=Period.MONTH.value)
    timezone = forms.CharField(max_length=64, initial="UTC", widget=forms.TextInput(attrs={"list": "timezones"}))
    limit_usd = _dollars("Dollars")
    limit_tokens = forms.IntegerField(label="Tokens", required=False, min_value=0)
    limit_steps = forms.IntegerField(label="Steps", required=False, min_value=0)
    thresholds = forms.CharField(label="Tell at percent", required=False, max_length=100)
    action = forms.ChoiceField(choices=_ACTIONS, initial=Action.STOP.value)
    final_answer_usd = _dollars("Kept for final answers, dollars")
    effective_from = Moment("Effective from (UTC)")
    count_past = forms.BooleanField(label="Count what was spent before", required=False)
    expires_at = Moment("Expires (UTC)")
    note = forms.CharField(label="Why", required=False, max_length=MAX_NOTE_CHARS)
    is_off = forms.BooleanField(label="Off: it counts nothing and stops nobody", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        teams = [(team.slug, team.name) for team in Team.objects.order_by("name")]
        cast("forms.ChoiceField", self.fields["team"]).choices = [("", "any"), *teams]

    def clean_thresholds(self) -> tuple[float, ...]:
        """Shares, from percentages with commas or spaces between."""
        found = []
        for text in self.cleaned_data["thresholds"].replace("%", " ").replace(",", " ").split():
            try:
                found.append(float(text) / 100)
            except ValueError:
                message = "Numbers, with commas between: 50, 80, 100."
                raise forms.ValidationError(message) from None
        return tuple(found)

    def definition(self) -> Definition:
        """What is wanted; the form is valid."""
        data = self.cleaned_data
        return Definition(
            period=Period(data["period"]),
            action=Action(data["action"]),
            name=data["name"],
            services=tuple(filter(None, (one.strip() for one in data["services"].replace(";", ",").split(",")))),
            **{name: data[name].strip() for name in NARROWED},
            each=Each(data["each"]) if data["each"] else None,
            timezone=data["timezone"].strip(),
            limit_nano=_nano(data["limit_usd"]),
            limit_tokens=data["limit_tokens"],
            limit_steps=data["limit_steps"],
            thresholds=data["thresholds"],
            kept_nano=_nano(data["final_answer_usd"]) or 0,
            effective_from=data["effective_from"],
            expires_at=data["expires_at"],
            note=data["note"],
            is_off=data["is_off"],
            count_past=data["count_past"],
        )

    def add_problems(self, problems: Mapping[str, str]) -> None:
        """Say what is wrong beside the fields."""
        for name, problem in problems.items():
            self.add_error(name if name in self.fields else None, problem)

    @classmethod
    def initial_of(cls, wanted: Definition) -> dict[str, Any]:
        """What stands in the form for a definition."""
        return {
            "name": wanted.name,
            "services": ", ".join(wanted.services),
            **{name: getattr(wanted, name) for name in NARROWED},
            "each": wanted.each.value if wanted.each else "",
            "period": wanted.period.value,
            "timezone": wanted.timezone,
            "limit_usd": usd(wanted.limit_nano),
            "limit_tokens": wanted.limit_tokens,
            "limit_steps": wanted.limit_steps,
            "thresholds": percents(wanted.thresholds),
            "action": wanted.action.value,
            "final_answer_usd": usd(wanted.kept_nano) if wanted.kept_nano else None,
            "effective_from": wanted.effective_from,
            "expires_at": wanted.expires_at,
            "note": wanted.note,
            "is_off": wanted.is_off,
        }


def new_initial() -> dict[str, Any]:
    """What stands in an empty form."""
    return {"thresholds": percents(DEFAULT_THRESHOLDS), "timezone": "UTC", "period": "month", "action": "stop"}


class RaiseForm(forms.Form):
    """A limit raised for some time."""

    extra_usd = _dollars("By dollars", min_value=Decimal(0))
    extra_tokens = forms.IntegerField(label="By tokens", required=False, min_value=0)
    extra_steps = forms.IntegerField(label="By steps", required=False, min_value=0)
    until = Moment("Until (UTC)", required=True)
    reason = forms.CharField(label="Why", max_length=MAX_NOTE_CHARS)
    member = forms.CharField(required=False, max_length=2_000, strip=False, widget=forms.HiddenInput)

    def extra(self) -> Amounts:
        """By how much; the form is valid."""
        data = self.cleaned_data
        return Amounts(_nano(data["extra_usd"]) or 0, data["extra_tokens"] or 0, data["extra_steps"] or 0)


class StopForm(forms.Form):
    """The kill switch."""

    what = forms.ChoiceField(choices=Stop.What.choices)
    value = forms.CharField(label="Which", max_length=512, widget=forms.TextInput(attrs={"list": "services"}))
    reason = forms.CharField(label="Why", max_length=MAX_NOTE_CHARS)


def percents(thresholds: Iterable[float]) -> str:
    """Shares as percentages."""
    return ", ".join(f"{100 * one:g}" for one in thresholds)


def _nano(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * NANO)
