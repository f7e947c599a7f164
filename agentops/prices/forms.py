"""What people fill in about prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms

from agentops.catalog.queries import ownership
from agentops.domain.pricebook import (
    ANY_TIER,
    FOREVER,
    RATES,
    STANDARD_TIER,
    Alias,
    Entry,
    EntryKind,
    TokenPrices,
)
from agentops.prices.store import to_moment, to_ns

#: Prices by length of context that a form has room for; more when an entry has more.
CONTEXTS = 3
_TIERS = (
    (STANDARD_TIER, "standard"),
    ("batch", "batch"),
    ("flex", "flex"),
    ("priority", "priority"),
    ("fast", "fast"),
    ("scale", "scale"),
    (ANY_TIER, "any"),
)
LABELS = {
    "input": "Input",
    "output": "Output",
    "cache_read": "Read from the cache",
    "cache_creation": "Written to the cache",
    "cache_creation_1h": "Written for an hour",
    "reasoning": "Reasoning",
    "audio_input": "Audio in",
    "audio_output": "Audio out",
}
#: What the rules call a field, and what the forms do; what is in neither is said above the form.
_FIELDS = {"until": "effective_until", "per_call": "per_call_usd"}


class Moment(forms.DateTimeField):
    """A moment in UTC, to the minute; empty for none, unless it is required."""

    def __init__(self, label: str, *, required: bool = False) -> None:
        widget = forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
        super().__init__(required=required, label=label, widget=widget)


class Service(forms.CharField):
    """A service; empty for all. The page's list ``services`` completes it."""

    def __init__(self) -> None:
        super().__init__(required=False, max_length=128, widget=forms.TextInput({"list": "services"}))


def dollars(label: str) -> forms.DecimalField:
    """An amount of dollars, to the nano-dollar; empty for none."""
    return forms.DecimalField(required=False, label=label, min_value=0, max_value=10**8, decimal_places=9)


class BookForm(forms.Form):
    """What entries and aliases have in common. ``version`` is the one that was looked at."""

    version = forms.IntegerField(required=False, widget=forms.HiddenInput)
    pattern = forms.CharField(max_length=256)
    provider = forms.CharField(required=False, max_length=64)
    service = Service()
    effective_from = Moment("From (UTC)")
    effective_until = Moment("Until (UTC)")
    note = forms.CharField(required=False, max_length=400, label="Why")

    @property
    def services(self) -> list[str]:
        """What may be chosen as a service, to be completed while typing."""
        return sorted(ownership())

    def add_problems(self, problems: Mapping[str, str]) -> None:
        """Say beside the fields what the rules say of them."""
        for name, problem in problems.items():
            field = _FIELDS.get(name, name)
            self.add_error(field if field in self.fields else None, problem)

    def _shared(self) -> dict[str, Any]:
        asked = self.cleaned_data
        return {
            "version": asked["version"] or 0,
            "pattern": asked["pattern"],
            "provider": asked["provider"],
            "service": asked["service"],
            "from_ns": to_ns(asked["effective_from"], 0),
            "until_ns": to_ns(asked["effective_until"], FOREVER),
        }


class TokensForm(forms.Form):
    """Dollars for a million tokens from some length of context on."""

    above = forms.IntegerField(required=False, min_value=1, label="Above input tokens")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in RATES:
            self.fields[name] = dollars(LABELS[name])

    def prices(self) -> TokenPrices | None:
        """The prices; ``None`` when nothing is filled in."""
        asked = {name: self.cleaned_data[name] for name in RATES}
        if all(price is None for price in asked.values()):
            return None
        return TokenPrices(above=self.cleaned_data["above"] or 0, **asked)


class EntryForm(BookForm):
    """A price: of a model, of a tool, or a discount."""

    tier = forms.ChoiceField(required=False, choices=_TIERS, label="Service tier")
    overrides = forms.BooleanField(required=False, label="Wins over the cost that a provider reports")
    per_call_usd = dollars("Dollars a call")
    per_second_usd = dollars("Dollars a second")
    percent_off = forms.DecimalField(
        required=False, label="Percent off", min_value=Decimal("0.0001"), max_value=100, decimal_places=4
    )

    def __init__(self, kind: EntryKind, data: Any = None, *, entry: Entry | None = None, initial: Any = None) -> None:
        super().__init__(data, initial=initial if entry is None else _initial(entry))
        self.kind = kind
        tokens: Sequence[TokenPrices] = entry.tokens if entry is not None else ()
        count = max(CONTEXTS, len(tokens) + 1) if data is None else _sent(data)
        shown = [*({"above": each.above or None, **_rates(each)} for each in tokens), *({} for _ in range(count))]
        self.tokens = [TokensForm(data, prefix=f"tokens-{place}", initial=shown[place]) for place in range(count)]

    @property
    def has_contexts(self) -> bool:
        """Whether there is anything to see of long contexts."""
        return any(form.initial or form.errors or form.has_changed() for form in self.tokens[1:])

    def is_valid(self) -> bool:
        """Whether all of it can be read."""
        return all([super().is_valid(), *(form.is_valid() for form in self.tokens)])

    def entry(self, number: int = 0) -> Entry:
        """The entry as asked for, as another version of that number."""
        asked = self.cleaned_data
        is_model, is_discount = self.kind is EntryKind.MODEL, self.kind is EntryKind.DISCOUNT
        prices = (form.prices() for form in self.tokens)
        return Entry(
            number=number,
            kind=self.kind,
            tier=asked["tier"] or (ANY_TIER if is_discount else STANDARD_TIER),
            overrides=asked["overrides"],
            tokens=tuple(each for each in prices if each is not None) if is_model else (),
            per_call=None if is_discount else asked["per_call_usd"],
            per_second=None if is_discount else asked["per_second_usd"],
            percent_off=asked["percent_off"] if is_discount else None,
            **self._shared(),
        )


class AliasForm(BookForm):
    """What a name stands for."""

    means_provider = forms.CharField(required=False, max_length=64)
    means_model = forms.CharField(max_length=256)

    def __init__(self, data: Any = None, *, alias: Alias | None = None, initial: Any = None) -> None:
        if alias is not None:
            initial = _shared(alias) | {"means_provider": alias.means_provider, "means_model": alias.means_model}
        super().__init__(data, initial=initial)

    def alias(self, number: int = 0) -> Alias:
        """The alias as asked for, as another version of that number."""
        asked = self.cleaned_data
        return Alias(
            number=number,
            means_provider=asked["means_provider"],
            means_model=asked["means_model"],
            **self._shared(),
        )


class EndForm(forms.Form):
    """When something ends: now, when nothing is said."""

    version = forms.IntegerField()
    until = Moment("Until (UTC)")
    note = forms.CharField(required=False, max_length=400)


class RepricingForm(forms.Form):
    """Which calls to price again."""

    from_at = Moment("Calls from (UTC)", required=True)
    until_at = Moment("Until (UTC)", required=True)
    service = Service()
    provider = forms.CharField(required=False, max_length=64)
    name = forms.CharField(required=False, max_length=256, label="Model or tool")

    @property
    def services(self) -> list[str]:
        """What may be chosen as a service."""
        return sorted(ownership())


def _sent(data: Mapping[str, Any]) -> int:
    count = 0
    while f"tokens-{count}-input" in data:
        count += 1
    return count


def _rates(tokens: TokenPrices) -> dict[str, Decimal]:
    priced = zip(RATES, tokens.prices, strict=True)
    return {name: price.normalize() + 0 for name, price in priced if price is not None}


def _shared(row: Entry | Alias) -> dict[str, Any]:
    return {
        "version": row.version,
        "pattern": row.pattern,
        "provider": row.provider,
        "service": row.service,
        "effective_from": _moment(row.from_ns),
        "effective_until": _moment(row.until_ns),
    }


def _moment(ns: int) -> datetime | None:
    return to_moment(ns) if 0 < ns < FOREVER else None


def _initial(entry: Entry) -> dict[str, Any]:
    return _shared(entry) | {
        "tier": entry.tier,
        "overrides": entry.overrides,
        "per_call_usd": entry.per_call,
        "per_second_usd": entry.per_second,
        "percent_off": entry.percent_off,
    }
