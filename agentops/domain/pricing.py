"""What a call costs, at which price, from which source. Money is integer nano-dollars."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from agentops.domain import pricelist
from agentops.domain.pricebook import Alias, Book, Call, Entry, EntryKind
from agentops.domain.pricelist import MAX_REMEMBERED, ListPrice
from agentops.domain.rates import Rates, price, to_nano
from agentops.domain.spans import COSTED_KINDS, NO_TERMS, Cost, CostBasis, Kind, PriceSource, Span, Terms, TokenUsage

NS_PER_SECOND = 1_000_000_000
# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_EMBEDDING, _TOOL = Kind.EMBEDDING, Kind.TOOL
_PROVIDER, _BOOK, _GENAI_PRICES = PriceSource.PROVIDER, PriceSource.BOOK, PriceSource.GENAI_PRICES
_BILL, _SAME_LIST = CostBasis.BILL, CostBasis.SAME_LIST

UNPRICED = Cost(None, None, None)
#: What stands for a price's name where a cost was reported.
REPORTED, ESTIMATED = "reported", "client estimate"


@dataclass(slots=True)
class Price:
    """Where the price of some calls comes from for some time: an entry of the book, the public list, or both."""

    entry: Entry | None
    listed: ListPrice | None
    _rates: Rates | None = None
    _of: Rates | None = None

    @property
    def overrides(self) -> bool:
        """Whether it wins over what the provider reports."""
        return self.entry is not None and self.entry.overrides

    @property
    def is_flat(self) -> bool:
        """Whether a call has a price without any tokens known."""
        return self.entry is not None and self.entry.kind is EntryKind.MODEL and self.entry.is_flat

    def cost(
        self, usage: TokenUsage, at_ns: int, *, needs_output: bool, terms: Terms = NO_TERMS, duration_ns: int = 0
    ) -> Cost:
        """What such a call costs; unpriced when nobody knows."""
        entry = self.entry
        if entry is None or entry.kind is EntryKind.DISCOUNT:
            found = self.listed.at(at_ns) if self.listed is not None else None
            if found is None:
                return UNPRICED
            rates, name = found
            source = _GENAI_PRICES
            if entry is not None:
                rates, name, source = self._discounted(entry, rates), f"{entry.price_id} on {name}", _BOOK
        else:
            if self._rates is None:
                self._rates = entry.rates
            rates, name, source = self._rates, entry.price_id, _BOOK
        units = price(rates, usage, needs_output=needs_output, terms=terms)
        if units is None:
            return UNPRICED
        if entry is not None and entry.per_second is not None:
            units += entry.second * duration_ns // NS_PER_SECOND
        return Cost(to_nano(units), source, name)

    def _discounted(self, entry: Entry, rates: Rates) -> Rates:
        # The list gives the same rates for as long as they hold.
        if self._rates is None or self._of is not rates:
            self._rates, self._of = entry.discounted(rates), rates
        return self._rates


@dataclass(slots=True)
class _Timeline:
    """Which price holds since when; ``starts`` begins with 0."""

    starts: list[int]
    prices: list[Price | None]

    def at(self, at_ns: int) -> Price | None:
        return self.prices[bisect_right(self.starts, at_ns) - 1] if len(self.starts) > 1 else self.prices[0]


_Key = tuple[str, str | None, str | None, str | None, str | None]


@dataclass(slots=True)
class PriceList:
    """Prices of calls by time: an operator's own book first, then the public list. Answers are remembered."""

    book: Book = field(default_factory=Book)
    _calls: dict[_Key, _Timeline] = field(default_factory=dict)
    _tools: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)

    def cost(
        self,
        usage: TokenUsage,
        provider: str | None,
        model: str,
        at_ns: int,
        *,
        is_embedding: bool = False,
        terms: Terms = NO_TERMS,
    ) -> Cost:
        """What a call of ``model`` that started at ``at_ns`` costs, whatever service makes it.

        ``provider`` is a hint. Unpriced is also what lacks a count that has a price; only an embedding needs no
        output.
        """
        found = self._find("", provider, model, None, terms.tier).at(at_ns)
        return UNPRICED if found is None else found.cost(usage, at_ns, needs_output=not is_embedding, terms=terms)

    def of_call(self, span: Span) -> Price | None:
        """The price of the model that answered, else of the one that was asked, when the call started."""
        service = span.service if self.book.has_services else ""
        key = (service, span.provider, span.response_model, span.request_model, span.terms.tier)
        timeline = self._calls.get(key) or self._find(*key)
        return timeline.at(span.start_ns)

    def of_tool(self, span: Span) -> Entry | None:
        """The entry that prices a tool call."""
        if not self.book.tools or span.tool_name is None:
            return None
        key = (span.tool_name, span.service)
        entries = self._tools.get(key)
        if entries is None:
            if len(self._tools) >= MAX_REMEMBERED:
                self._tools.clear()
            entries = self._tools[key] = self.book.tool(*key)
        return _in_force(entries, span.start_ns)

    def _find(
        self, service: str, provider: str | None, answered: str | None, asked: str | None, tier: str | None
    ) -> _Timeline:
        key = (service, provider, answered, asked, tier)
        timeline = self._calls.get(key)
        if timeline is None:
            if len(self._calls) >= MAX_REMEMBERED:
                self._calls.clear()
            names = [name for name in dict.fromkeys((answered, asked)) if name]
            timeline = self._calls[key] = self._timeline([Call(service, provider, name, tier) for name in names])
        return timeline

    def _timeline(self, calls: list[Call]) -> _Timeline:
        book = self.book
        entries = {call: book.models(call) for call in calls}
        aliases = {call: book.meanings(call) for call in calls}
        meant = {alias: _meant(call, alias) for call in calls for alias in aliases[call]}
        entries |= {call: book.models(call) for call in meant.values()}
        listed = {call: pricelist.find(call.provider, call.model, call.tier) for call in entries}
        rows: Iterable[Entry | Alias] = chain(*entries.values(), *aliases.values())
        starts = sorted({0, *(at for row in rows for at in (row.from_ns, row.until_ns) if at > 0)})
        prices = []
        for at_ns in starts:
            stands_for = [meant[a] for call in calls if (a := _in_force(aliases[call], at_ns)) is not None]
            by_list = []
            for call in calls:
                alias = _in_force(aliases[call], at_ns)
                by_list += [listed[meant[alias]]] if alias is not None else []
                by_list.append(listed[call])
            found = next((each for each in by_list if each is not None), None)
            entry = None
            for call in (*calls, *stands_for):
                usable = [e for e in entries[call] if found is not None or e.kind is EntryKind.MODEL]
                entry = entry or _in_force(usable, at_ns)
            prices.append(Price(entry, found) if entry is not None or found is not None else None)
        return _Timeline(starts, prices)


_Row = TypeVar("_Row", Entry, Alias)


def _in_force(rows: list[_Row], at_ns: int) -> _Row | None:
    """The first row that holds at a moment."""
    return next((row for row in rows if row.from_ns <= at_ns < row.until_ns), None)


def _meant(call: Call, alias: Alias) -> Call:
    return Call(call.service, alias.means_provider or None, alias.means_model, call.tier)


def span_cost(span: Span, prices: PriceList) -> Cost:
    """What a span costs: as the provider reports, else by the book, else by the public list.

    A reported cost wins, because who sets it knows the contract, the batch or the gateway's own prices; a list does
    not. It does not win over an entry of the book that says so, nor where the client is known to have worked it out of
    a list: ours is dated, and names its version. But any list is better than none, and where a span tells of no caches,
    a client that asked the same list for less than we do had seen cached tokens that it does not pass on (pydantic-ai
    1.0). A failed call costs what is known of it, as an estimate; one that tells nothing has no known cost. A tool
    costs what the book says.
    """
    if span.kind not in COSTED_KINDS:
        return _tool_cost(span, prices) if span.kind is _TOOL else UNPRICED
    reported, basis = span.reported_cost_nano, span.reported_cost_basis
    if reported is not None and basis is _BILL and not prices.book.has_overrides:
        return Cost(reported, _PROVIDER, REPORTED)
    found = prices.of_call(span)
    cost = UNPRICED if found is None else _call_cost(span, found)
    if reported is None:
        return cost
    if basis is _BILL:
        wins = cost.nano is not None and found is not None and found.overrides
        return cost if wins else Cost(reported, _PROVIDER, REPORTED)
    usage = span.usage
    knows_more = (
        basis is _SAME_LIST
        and cost.source is _GENAI_PRICES
        and usage.cache_read is None
        and usage.cache_creation is None
        and cost.nano is not None
        and reported < cost.nano
    )
    return Cost(reported, _PROVIDER, ESTIMATED, span.is_error) if cost.nano is None or knows_more else cost


def _call_cost(span: Span, found: Price) -> Cost:
    usage, terms = span.usage, span.terms
    if span.is_error:
        given = usage.input if usage.input is not None else terms.estimated_input
        output = usage.output if usage.output is not None else terms.estimated_output
        if given is None and output is None:
            return UNPRICED
        # What a failed call does not tell adds nothing that is known.
        usage = TokenUsage(given or 0, output or 0, usage.cache_read, usage.cache_creation, usage.reasoning)
    elif usage.input is None and usage.output is None and not found.is_flat:
        return UNPRICED
    cost = found.cost(
        usage,
        span.start_ns,
        needs_output=span.kind is not _EMBEDDING,
        terms=terms,
        duration_ns=span.end_ns - span.start_ns,
    )
    return cost._replace(is_estimate=True) if span.is_error and cost.nano is not None else cost


def _tool_cost(span: Span, prices: PriceList) -> Cost:
    entry = prices.of_tool(span)
    if entry is None:
        return UNPRICED
    units = entry.call + entry.second * (span.end_ns - span.start_ns) // NS_PER_SECOND
    return Cost(to_nano(units), _BOOK, entry.price_id, span.is_error)


def counts_as_unpriced(span: Span, cost: Cost) -> bool:
    """Whether a model call's cost is missing: it has tokens without a price, or worked but tells none."""
    if span.kind not in COSTED_KINDS or cost.nano is not None:
        return False
    usage = span.usage
    tells = any(
        count is not None
        for count in (usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning)
    )
    return tells or not span.is_error
