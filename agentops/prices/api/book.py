"""Prices and what names stand for, over ``/api/v1``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja import Field, Router, Schema, Status
from ninja.errors import HttpError

from agentops.accounts.models import Role, User
from agentops.accounts.roles import require
from agentops.domain.pricebook import (
    FOREVER,
    RATES,
    STANDARD_TIER,
    Alias,
    Entry,
    EntryKind,
    TokenPrices,
    UnsoundEntry,
)
from agentops.prices import actions, queries
from agentops.prices.actions import ChangedMeanwhile
from agentops.prices.models import ModelAlias, PriceEntry
from agentops.prices.queries import Change, Model, Row
from agentops.prices.store import alias_of, entry_of, plain, to_ns
from agentops.runs.api import AskedMoment, Moment, Money, Text

router = Router(tags=["prices"])
Dollars = Annotated[Decimal | None, Field(ge=0, le=10**8, decimal_places=9)]
Name = Annotated[Text, Field(max_length=256)]


class Tokens(Schema):
    """Dollars for a million tokens, as decimal strings; null is charged as what it is counted among."""

    above: Annotated[int, Field(ge=0)] = Field(0, description="Holds above so many input tokens.")
    input: Dollars = None
    output: Dollars = None
    cache_read: Dollars = None
    cache_creation: Dollars = None
    cache_creation_1h: Dollars = None
    reasoning: Dollars = None
    audio_input: Dollars = None
    audio_output: Dollars = None


class Scope(Schema):
    """For which calls something of the book holds, and when."""

    pattern: Name = Field(description="A model's or a tool's name, or the beginning of names and *.")
    provider: Annotated[Text, Field(max_length=64)] = Field("", description="Empty for any.")
    service: Annotated[Text, Field(max_length=128)] = Field("", description="Empty for all.")
    effective_from: AskedMoment = Field(None, description="Ever since, when missing.")
    effective_until: AskedMoment = Field(None, description="For ever, when missing.")
    note: Annotated[Text, Field(max_length=400)] = ""


class PriceIn(Scope):
    """A price of one's own."""

    kind: EntryKind = EntryKind.MODEL
    tier: Annotated[Text, Field(max_length=32)] = Field(STANDARD_TIER, description="standard, batch, …; any.")
    overrides: bool = Field(False, description="Whether it wins over a cost that the provider reports.")
    tokens: list[Tokens] = Field(default_factory=list)
    per_call_usd: Dollars = None
    per_second_usd: Dollars = None
    percent_off: Annotated[Decimal | None, Field(gt=0, le=100, decimal_places=4)] = None


class AliasIn(Scope):
    """What a name stands for."""

    means_provider: Annotated[Text, Field(max_length=64)] = ""
    means_model: Name


class Versioned(Schema):
    """A version of something in the book."""

    number: int
    version: int
    pattern: str
    provider: str
    service: str
    effective_from: Moment | None
    effective_until: Moment | None
    is_withdrawn: bool
    changed_at: Moment
    changed_by: str | None
    note: str


class TokensOut(Schema):
    """Dollars for a million tokens above so many input tokens."""

    above: int
    input: str | None
    output: str | None
    cache_read: str | None
    cache_creation: str | None
    cache_creation_1h: str | None
    reasoning: str | None
    audio_input: str | None
    audio_output: str | None


class Price(Versioned):
    """A version of a price; ``price_id`` is how costs name it."""

    price_id: str
    kind: EntryKind
    tier: str
    overrides: bool
    tokens: list[TokensOut]
    per_call_usd: Money
    per_second_usd: Money
    percent_off: str | None


class AliasOut(Versioned):
    """A version of what a name stands for."""

    means_provider: str
    means_model: str


class PriceList(Schema):
    """The last version of every price."""

    items: list[Price]


class AliasList(Schema):
    """The last version of every mapping."""

    items: list[AliasOut]


class PriceHistory(Schema):
    """Every version, the last first."""

    versions: list[Price]


class AliasHistory(Schema):
    """Every version, the last first."""

    versions: list[AliasOut]


class Looked(Schema):
    """Which version was looked at, and until when it shall hold."""

    version: int
    until: AskedMoment = Field(None, description="Now, when missing.")
    is_withdrawn: bool = Field(False, description="As if it had never held.")
    note: Annotated[Text, Field(max_length=400)] = ""


@router.get("/prices", response=PriceList)
def list_prices(request: HttpRequest) -> dict[str, Any]:
    """Your own prices, the last version of each; withdrawn ones last."""
    del request
    return {"items": [price_shape(row) for row in queries.latest(PriceEntry)]}


@router.get("/prices/{number}", response=PriceHistory)
def get_price(request: HttpRequest, number: int) -> dict[str, Any]:
    """Every version of a price."""
    del request
    return {"versions": [price_shape(change.row) for change in _history(PriceEntry, number)]}


@router.post("/prices", response={201: Price})
def create_price(request: HttpRequest, asked: PriceIn) -> Status[dict[str, Any]]:
    """Enter a price; calls that come from then on have it within seconds."""
    by = require(request, Role.ADMIN)
    return Status(201, _save_price(_entry(asked), by, asked.note))


@router.post("/prices/{number}", response=Price)
def change_price(request: HttpRequest, number: int, version: int, asked: PriceIn) -> dict[str, Any]:
    """Put another version of a price in the place of the one that was looked at."""
    by = require(request, Role.ADMIN)
    return _save_price(_entry(asked, number, version), by, asked.note)


@router.post("/prices/{number}/end", response=Price)
def end_price(request: HttpRequest, number: int, asked: Looked) -> dict[str, Any]:
    """Let a price hold until a moment, or never have held."""
    by = require(request, Role.ADMIN)
    entry = entry_of(_latest(PriceEntry, number))
    return _save_price(_ended(entry, asked), by, asked.note, is_withdrawn=asked.is_withdrawn)


@router.get("/aliases", response=AliasList)
def list_aliases(request: HttpRequest) -> dict[str, Any]:
    """What names stand for, the last version of each; withdrawn ones last."""
    del request
    return {"items": [alias_shape(row) for row in queries.latest(ModelAlias)]}


@router.get("/aliases/{number}", response=AliasHistory)
def get_alias(request: HttpRequest, number: int) -> dict[str, Any]:
    """Every version of what a name stands for."""
    del request
    return {"versions": [alias_shape(change.row) for change in _history(ModelAlias, number)]}


@router.post("/aliases", response={201: AliasOut})
def create_alias(request: HttpRequest, asked: AliasIn) -> Status[dict[str, Any]]:
    """Say what a name stands for."""
    by = require(request, Role.ADMIN)
    return Status(201, _save_alias(_alias(asked), by, asked.note))


@router.post("/aliases/{number}", response=AliasOut)
def change_alias(request: HttpRequest, number: int, version: int, asked: AliasIn) -> dict[str, Any]:
    """Put another version in the place of the one that was looked at."""
    by = require(request, Role.ADMIN)
    return _save_alias(_alias(asked, number, version), by, asked.note)


@router.post("/aliases/{number}/end", response=AliasOut)
def end_alias(request: HttpRequest, number: int, asked: Looked) -> dict[str, Any]:
    """Let a mapping hold until a moment, or never have held."""
    by = require(request, Role.ADMIN)
    alias = alias_of(_latest(ModelAlias, number))
    return _save_alias(_ended(alias, asked), by, asked.note, is_withdrawn=asked.is_withdrawn)


def _entry(asked: PriceIn, number: int = 0, version: int = 0) -> Entry:
    return Entry(
        number=number,
        version=version,
        kind=asked.kind,
        tier=asked.tier,
        overrides=asked.overrides,
        tokens=tuple(TokenPrices(**tokens.dict()) for tokens in asked.tokens),
        per_call=asked.per_call_usd,
        per_second=asked.per_second_usd,
        percent_off=asked.percent_off,
        **_scope(asked),
    )


def _alias(asked: AliasIn, number: int = 0, version: int = 0) -> Alias:
    return Alias(
        number=number,
        version=version,
        means_provider=asked.means_provider,
        means_model=asked.means_model,
        **_scope(asked),
    )


def _scope(asked: Scope) -> dict[str, Any]:
    return {
        "pattern": asked.pattern,
        "provider": asked.provider,
        "service": asked.service,
        "from_ns": to_ns(asked.effective_from, 0),
        "until_ns": to_ns(asked.effective_until, FOREVER),
    }


def _ended(row: Any, asked: Looked) -> Any:
    if asked.is_withdrawn:
        return replace(row, version=asked.version)
    return replace(row, version=asked.version, until_ns=to_ns(asked.until or timezone.now(), 0))


def _latest(model: Model, number: int) -> Any:
    found = queries.latest(model, number=number)
    if not found:
        message = "The book has nothing of that number."
        raise Http404(message)
    return found[0]


def _history(model: Model, number: int) -> Sequence[Change]:
    _latest(model, number)
    return queries.history(model, number)


def _save_price(entry: Entry, by: User, note: str, *, is_withdrawn: bool = False) -> dict[str, Any]:
    saved = _refused(actions.save_entry, entry=entry, by=by, note=note, is_withdrawn=is_withdrawn)
    return price_shape(_latest(PriceEntry, saved.number))


def _save_alias(alias: Alias, by: User, note: str, *, is_withdrawn: bool = False) -> dict[str, Any]:
    saved = _refused(actions.save_alias, alias=alias, by=by, note=note, is_withdrawn=is_withdrawn)
    return alias_shape(_latest(ModelAlias, saved.number))


def _refused(save: Callable[..., Any], **asked: Any) -> Any:
    """What an action answers. Raises 404, 409 and 422 for what it raises."""
    try:
        return save(**asked)
    except UnsoundEntry as error:
        raise HttpError(422, "; ".join(f"{field}: {problem}" for field, problem in error.problems.items())) from error
    except ChangedMeanwhile as error:
        raise HttpError(409, str(error)) from error
    except (PriceEntry.DoesNotExist, ModelAlias.DoesNotExist) as error:
        raise HttpError(404, "The book has nothing of that number.") from error


def price_shape(row: Row) -> dict[str, Any]:
    """A price as the contract spells it."""
    assert isinstance(row, PriceEntry)
    return _versioned(row) | {
        "price_id": str(row),
        "kind": row.kind,
        "tier": row.tier,
        "overrides": row.overrides,
        "tokens": [{"above": rates["above"]} | {name: rates.get(name) for name in RATES} for rates in row.rates],
        "per_call_usd": _plain(row.per_call_usd),
        "per_second_usd": _plain(row.per_second_usd),
        "percent_off": _plain(row.percent_off),
    }


def alias_shape(row: Row) -> dict[str, Any]:
    """What a name stands for, as the contract spells it."""
    assert isinstance(row, ModelAlias)
    return _versioned(row) | {"means_provider": row.means_provider, "means_model": row.means_model}


def _versioned(row: Row) -> dict[str, Any]:
    names = ("number", "version", "pattern", "provider", "service", "effective_from", "effective_until", "is_withdrawn")
    revision = row.revision
    return {name: getattr(row, name) for name in names} | {
        "changed_at": revision.at,
        "changed_by": revision.by.get_username() if revision.by else None,
        "note": revision.note,
    }


def _plain(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
