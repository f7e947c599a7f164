"""How the book is written and read: versions as rows, and the rules' own entries and aliases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from agentops.domain.pricebook import FOREVER, RATES, Alias, Book, Entry, EntryKind, TokenPrices
from agentops.domain.pricing import PriceList
from agentops.prices.models import BookRevision, ModelAlias, PriceEntry, Version

#: The live topic of all that this app shows.
TOPIC = "prices"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = TypeVar("Row", bound=Version)


def latest_revision() -> int:
    """The revision that the book is at; 0 before the first."""
    return BookRevision.objects.values_list("pk", flat=True).first() or 0


def load_book(revision: int) -> Book:
    """The book as it was at a revision."""
    return Book(
        map(entry_of, in_force(PriceEntry.objects.filter(revision__lte=revision))),
        map(alias_of, in_force(ModelAlias.objects.filter(revision__lte=revision))),
    )


def load_prices(revision: int) -> PriceList:
    """Prices by the book as it was at a revision, then by the public list."""
    return PriceList(load_book(revision))


def in_force(versions: Any) -> list[Any]:
    """The last version of each number, without those that were withdrawn."""
    latest: dict[int, Version] = {}
    for row in versions.order_by("number", "version"):
        latest[row.number] = row
    return [row for row in latest.values() if not row.is_withdrawn]


def entry_of(row: PriceEntry) -> Entry:
    """An entry as the rules read it."""
    return Entry(
        number=row.number,
        version=row.version,
        kind=EntryKind(row.kind),
        pattern=row.pattern,
        provider=row.provider,
        service=row.service,
        tier=row.tier,
        from_ns=to_ns(row.effective_from, 0),
        until_ns=to_ns(row.effective_until, FOREVER),
        overrides=row.overrides,
        tokens=tuple(_tokens(row.rates)),
        per_call=row.per_call_usd,
        per_second=row.per_second_usd,
        percent_off=row.percent_off,
    )


def alias_of(row: ModelAlias) -> Alias:
    """An alias as the rules read it."""
    return Alias(
        number=row.number,
        version=row.version,
        pattern=row.pattern,
        means_provider=row.means_provider,
        means_model=row.means_model,
        provider=row.provider,
        service=row.service,
        from_ns=to_ns(row.effective_from, 0),
        until_ns=to_ns(row.effective_until, FOREVER),
    )


def fields_of(row: Entry | Alias) -> dict[str, Any]:
    """The columns of a version, but its number and version."""
    shared = {
        "pattern": row.pattern.strip(),
        "provider": row.provider.strip(),
        "service": row.service.strip(),
        "effective_from": to_moment(row.from_ns) if row.from_ns > 0 else None,
        "effective_until": to_moment(row.until_ns) if row.until_ns < FOREVER else None,
    }
    if isinstance(row, Alias):
        return shared | {"means_provider": row.means_provider.strip(), "means_model": row.means_model.strip()}
    return shared | {
        "kind": row.kind.value,
        "tier": row.tier,
        "overrides": row.overrides,
        "rates": [
            {"above": each.above}
            | {name: plain(price) for name, price in zip(RATES, each.prices, strict=True) if price is not None}
            for each in sorted(row.tokens, key=lambda each: each.above)
        ],
        "per_call_usd": row.per_call,
        "per_second_usd": row.per_second,
        "percent_off": row.percent_off,
    }


def _tokens(rates: Iterable[dict[str, Any]]) -> Iterable[TokenPrices]:
    for each in rates:
        prices = {name: Decimal(each[name]) for name in RATES if name in each}
        yield TokenPrices(above=each["above"], **prices)


def plain(number: Decimal) -> str:
    """A decimal without an exponent and without zeros at its end."""
    return format(number.normalize() + 0, "f")


def to_ns(moment: datetime | None, otherwise: int) -> int:
    """Nanoseconds since the epoch."""
    return otherwise if moment is None else (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def to_moment(ns: int) -> datetime:
    """A moment in UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=ns // 1_000)
