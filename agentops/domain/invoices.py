"""A provider's bill as a CSV file, read line by line: what each line charges, and which lines nobody can read.

A ``Layout`` is a table that says which column holds what. A file that is no such bill at all is refused whole
(``UnreadableFileError``); a single line that cannot be read is kept as it is and named with its reason.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

MAX_BYTES = 16 * 1024 * 1024
MAX_LINES = 100_000
MAX_COLUMNS = 500
MAX_TEXT = 256
MAX_RAW = 1_000
CURRENCY = "USD"
#: No bill that we read charges more than this in a line.
MAX_DOLLARS = 10**9
NANO_DIGITS = 9
#: Days that a bill may speak of; a number of seconds outside of them is no time either.
EARLIEST, LATEST = date(2015, 1, 1), date(2100, 1, 1)
FIELDS = ("day", "model", "amount", "currency", "quantity", "unit")

DayFormat = Literal["iso", "dmy", "mdy"]
Row = Mapping[str, str]


class UnreadableFileError(ValueError):
    """The file as a whole is not what it should be; the message says why, for people."""


class UnreadableLineError(ValueError):
    """One line cannot be read; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of bill is written.

    ``columns`` are the headers that may hold a field, the first that says anything. A file that has all of
    ``signature``, headers or fields, is of this kind.
    ``model`` makes of a line what it charges for, ``belongs`` says whether it is about models at all.
    """

    name: str
    label: str
    provider: str
    columns: Mapping[str, tuple[str, ...]]
    signature: tuple[str, ...] = ("day", "amount")
    model: Callable[[Row, str], str] = lambda _, text: text
    belongs: Callable[[Row], bool] = lambda _: True
    day_format: DayFormat = "iso"


@dataclass(frozen=True, slots=True)
class Line:
    """One charge: the day (UTC) it is for, the model as the bill calls it, exact to the nano-dollar."""

    number: int
    day: date
    model: str
    amount_nano: int
    quantity: Decimal | None
    unit: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that could not be read, as it is written, and why."""

    number: int
    message: str
    text: str


@dataclass(slots=True)
class Bill:
    """A file as read. ``left_out`` counts lines that charge for nothing of ours, by reason, with their amount."""

    layout: Layout
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_nano: int = 0
    #: Lines whose amount was finer than a nano-dollar.
    rounded: int = 0
    #: Whether no line says more than a month.
    is_monthly: bool = False

    @property
    def total_nano(self) -> int:
        """What all lines charge."""
        return sum(line.amount_nano for line in self.lines)


def _openai_model(_: Row, text: str) -> str:
    """The model in ``priority | gpt-5, cached input``."""
    return text.rpartition("|")[2].partition(",")[0].strip()


_AWS_REGION = re.compile(r"^[A-Z]{2,4}\d?-(?:[A-Z]+:)?")
_AWS_METER = re.compile(r"-(?:mantle-)?(?:input|output|cache)-.*$|[_-](?:Input|Output|Cache)\w*Token.*$")
_BEDROCK = re.compile(r"bedrock", re.IGNORECASE)


def _aws_model(row: Row, text: str) -> str:
    """The model that a product is named after, else the one in its usage type."""
    product = _first(row, ("product/ProductName", "product_product_name", "product_name"))
    named = product.partition("(")[0].strip()
    if _BEDROCK.search(product) and named and not _BEDROCK.search(named):
        return named
    return _AWS_METER.sub("", _AWS_REGION.sub("", text))


def _is_bedrock(row: Row) -> bool:
    names = ("lineItem/ProductCode", "line_item_product_code", "product/ProductName", "product_product_name")
    return any(_BEDROCK.search(row.get(name, "")) for name in names)


def _is_about_models(row: Row) -> bool:
    return row.get("ServiceCategory", "AI and Machine Learning") == "AI and Machine Learning"


OPENAI = Layout(
    name="openai",
    label="OpenAI: costs export",
    provider="openai",
    columns={
        "day": ("start_time_iso", "start_time"),
        "model": ("line_item",),
        "amount": ("amount_value",),
        "currency": ("amount_currency",),
        "quantity": ("quantity",),
        "unit": ("quantity_unit",),
    },
    signature=("start_time", "amount_value", "amount_currency"),
    model=_openai_model,
)
ANTHROPIC = Layout(
    name="anthropic",
    label="Anthropic: cost report",
    provider="anthropic",
    columns={
        "day": ("usage_date_utc",),
        "model": ("model",),
        "amount": ("cost_usd",),
        "unit": ("token_type",),
    },
    signature=("usage_date_utc", "model", "cost_usd"),
)
AWS = Layout(
    name="aws",
    label="AWS: Cost and Usage Report",
    provider="aws",
    columns={
        "day": ("lineItem/UsageStartDate", "line_item_usage_start_date"),
        "model": ("lineItem/UsageType", "line_item_usage_type"),
        "amount": ("lineItem/UnblendedCost", "line_item_unblended_cost"),
        "currency": ("lineItem/CurrencyCode", "line_item_currency_code"),
        "quantity": ("lineItem/UsageAmount", "line_item_usage_amount"),
        "unit": ("pricing/unit", "pricing_unit"),
    },
    signature=("day", "model", "amount"),
    model=_aws_model,
    belongs=_is_bedrock,
)
FOCUS = Layout(
    name="focus",
    label="FOCUS",
    provider="",
    columns={
        "day": ("ChargePeriodStart",),
        "model": ("x_Model", "x_UsageType", "SkuId", "SkuMeter", "ChargeDescription"),
        "amount": ("BilledCost",),
        "currency": ("BillingCurrency",),
        "quantity": ("ConsumedQuantity",),
        "unit": ("ConsumedUnit",),
    },
    signature=("ChargePeriodStart", "BilledCost", "BillingCurrency", "ChargeCategory"),
    belongs=_is_about_models,
)
LAYOUTS = {layout.name: layout for layout in (OPENAI, ANTHROPIC, AWS, FOCUS)}
GENERIC = "generic"


def generic(columns: Mapping[str, str], *, provider: str = "", day_format: DayFormat = "iso") -> Layout:
    """A layout for a file of one's own: which header holds which of ``FIELDS``; day and amount must be named."""
    named = {name: (header,) for name, header in columns.items() if header}
    for needed in ("day", "amount"):
        if needed not in named:
            message = f"Name the column that holds the {needed}."
            raise UnreadableFileError(message)
    return Layout(GENERIC, "Own columns", provider, named, day_format=day_format)


def recognise(header: Sequence[str]) -> Layout | None:
    """The kind of bill that has such columns."""
    present = set(header)
    for layout in LAYOUTS.values():
        if all(name in present or present.intersection(layout.columns.get(name, ())) for name in layout.signature):
            return layout
    return None


def read_bill(content: bytes, layout: Layout | None = None) -> Bill:
    """Read a file; without a layout, the one that its columns tell. Raises ``UnreadableFileError``."""
    text = _decode(content)
    records = _records(text)
    _, first = next(records, (0, []))
    header = [name.strip() for name in first]
    if len([name for name in header if name]) < 2:
        message = "The first line should name the columns, separated by commas, semicolons or tabs."
        raise UnreadableFileError(message)
    layout = layout or recognise(header)
    if layout is None:
        message = f"These columns are of no known report: {_cut(', '.join(header), 300)}. Name the columns yourself."
        raise UnreadableFileError(message)
    reader = _Reader(layout, _places(layout, header), header)
    bill = reader.read(records)
    if not bill.lines and not bill.problems and not bill.left_out:
        message = "The file has no lines below its header."
        raise UnreadableFileError(message)
    return bill


def _decode(content: bytes) -> str:
    """The text of a file: UTF-8, with or without a mark, or UTF-16 with one."""
    if len(content) > MAX_BYTES:
        message = f"The file is larger than {MAX_BYTES // 1024**2} MiB. Export fewer days at once."
        raise UnreadableFileError(message)
    if content.startswith((b"PK\x03\x04", b"\x1f\x8b", b"%PDF", b"\xd0\xcf\x11\xe0")):
        message = "This is a workbook, an archive or a document. Save it as CSV first."
        raise UnreadableFileError(message)
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        message = "The text is not UTF-8. Save it as “CSV UTF-8”."
        raise UnreadableFileError(message) from error
    if "\x00" in text:
        message = "This is no text file."
        raise UnreadableFileError(message)
    return text


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """Records that hold anything, with the number of the line on which each begins."""
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins, count = 1, 0
    try:
        for record in reader:
            if any(cell.strip() for cell in record):
                count += 1
                if count > MAX_LINES + 1:
                    message = f"The file has more than {MAX_LINES:,} lines. Export fewer days at once."
                    raise UnreadableFileError(message)
                if len(record) > MAX_COLUMNS:
                    message = f"Line {begins} has more than {MAX_COLUMNS} columns."
                    raise UnreadableFileError(message)
                yield begins, record
            begins = reader.line_num + 1
    except csv.Error as error:
        message = f"The file is no CSV from line {begins} on: {error}."
        raise UnreadableFileError(message) from error


def _places(layout: Layout, header: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The headers of this file that may hold each field. Raises when day or amount have none, or one is there twice."""
    places: dict[str, tuple[str, ...]] = {}
    for name in FIELDS:
        there = tuple(h for h in layout.columns.get(name, ()) if h in header)
        if name in ("day", "amount") and not there:
            wanted = " or ".join(f"“{h}”" for h in layout.columns[name])
            message = f"There is no column {_cut(wanted, 200)} for the {name}."
            raise UnreadableFileError(message)
        if twice := [h for h in there if header.count(h) > 1]:
            message = f"The column “{_cut(twice[0], 100)}” is there twice."
            raise UnreadableFileError(message)
        places[name] = there
    return places


def _first(row: Row, headers: Sequence[str]) -> str:
    """What the first of these columns that says anything says."""
    return next((value for header in headers if (value := row.get(header, "").strip())), "")


class _Reader:
    """Reads the records of one file."""

    def __init__(self, layout: Layout, places: Mapping[str, tuple[str, ...]], header: Sequence[str]) -> None:
        self.layout, self.header = layout, header
        self.has_currency = bool(places["currency"])
        self.columns = [(name, [header.index(column) for column in columns]) for name, columns in places.items()]
        self.bill = Bill(layout, is_monthly=True)
        #: Few days stand on many lines.
        self.days: dict[str, tuple[date, bool]] = {}

    def read(self, records: Iterator[tuple[int, list[str]]]) -> Bill:
        """Every record becomes a line, a problem, or one that is left out."""
        for number, record in records:
            try:
                self._take(number, record)
            except UnreadableLineError as problem:
                text = ",".join(record)
                self.bill.problems.append(Problem(number, str(problem), _clean(text, MAX_RAW)))
        self.bill.is_monthly &= bool(self.bill.lines)
        return self.bill

    def _take(self, number: int, record: list[str]) -> None:
        if len(record) != len(self.header):
            if len(record) > len(self.header):
                message = f"It has {len(record)} columns where the header has {len(self.header)}."
                raise UnreadableLineError(message)
            record = record + [""] * (len(self.header) - len(record))
        said = {name: next((text for i in places if (text := record[i].strip())), "") for name, places in self.columns}
        if not said["amount"] and not said["model"] and not said["quantity"]:
            self.bill.left_out["charge nothing"] += 1
            return
        if self.has_currency:
            _check_currency(number, said)
        amount = parse_amount(said["amount"])
        nano = to_nano(amount)
        row = dict(zip(self.header, record, strict=True))
        if not self.layout.belongs(row):
            self.bill.left_out["charge for other services"] += 1
            self.bill.left_out_nano += nano
            return
        day, is_month = self._day(said["day"])
        self.bill.rounded += nano != amount.scaleb(NANO_DIGITS, _EXACT)
        self.bill.is_monthly &= is_month
        model = _clean(self.layout.model(row, said["model"]), MAX_TEXT)
        quantity = parse_amount(said["quantity"]) if said["quantity"] else None
        self.bill.lines.append(Line(number, day, model, nano, quantity, _clean(said["unit"], 64)))

    def _day(self, text: str) -> tuple[date, bool]:
        if (known := self.days.get(text)) is None:
            known = self.days[text] = parse_day(text, self.layout.day_format)
        return known


def _check_currency(number: int, said: Mapping[str, str]) -> None:
    """Raises ``UnreadableFileError`` for an amount in another currency."""
    currency = said["currency"].upper().replace("US$", CURRENCY).replace("$", CURRENCY)
    if currency != CURRENCY and said["amount"]:
        named = f"in {_cut(said['currency'], 20)}" if said["currency"] else "in no currency"
        message = f"Line {number} is {named}. The books are in {CURRENCY}: only a bill in {CURRENCY} can be compared."
        raise UnreadableFileError(message)


_EXACT = Context(prec=200, Emax=9_999, Emin=-99_999)
_AMOUNT = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][+-]?\d{1,4})?")
MAX_AMOUNT_CHARS = 64


def parse_amount(text: str) -> Decimal:
    """A number as bills write it: ``1,234.50``, ``$0.02``, ``-3``, ``(3)`` for minus three, ``1.2E-5``; exact."""
    bare = text.strip().removeprefix("US").replace("\N{MINUS SIGN}", "-")
    negative = bare.startswith("(") and bare.endswith(")")
    bare = bare.strip("()").replace("$", "", 1).strip()
    is_number = _AMOUNT.fullmatch(bare) and any(c.isdigit() for c in bare) and len(bare) <= MAX_AMOUNT_CHARS
    if not is_number or not bare.isascii():
        message = f"“{_cut(text, 40)}” is no amount." if text else "It names no amount."
        raise UnreadableLineError(message)
    amount = _EXACT.create_decimal(bare.replace(",", ""))
    if abs(amount) >= 10**18:
        message = f"“{_cut(text, 40)}” is too large."
        raise UnreadableLineError(message)
    return -amount if negative else amount


def to_nano(amount: Decimal) -> int:
    """Dollars as nano-dollars; what is finer is rounded half to even."""
    if abs(amount) >= MAX_DOLLARS:
        message = f"${amount:,.0f} is too large."
        raise UnreadableLineError(message)
    return int(amount.scaleb(NANO_DIGITS, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT))


_MONTH = re.compile(r"(\d{4})-(\d{2})")
_DAY = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")


def parse_day(text: str, day_format: DayFormat = "iso") -> tuple[date, bool]:
    """The day (UTC) of a date or moment, or of seconds since 1970, and whether it is only a month."""
    found: date | None = None
    month = _MONTH.fullmatch(text)
    try:
        if month:
            found = date(int(month[1]), int(month[2]), 1)
        elif text.isascii() and text.isdigit() and len(text) == 10:
            found = datetime.fromtimestamp(int(text), UTC).date()
        elif day_format != "iso" and (match := _DAY.match(text)):
            first, second = int(match[1]), int(match[2])
            found = date(int(match[3]), *((second, first) if day_format == "dmy" else (first, second)))
        else:
            moment = datetime.fromisoformat(text.removesuffix(" UTC"))
            found = (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()
    except (ValueError, OverflowError):
        found = None
    if found is None or not EARLIEST <= found < LATEST:
        message = f"“{_cut(text, 40)}” is no day." if text else "It names no day."
        raise UnreadableLineError(message)
    return found, month is not None


def _clean(text: str, length: int) -> str:
    """Text without characters that nobody can see, cut."""
    short = text[: 2 * length]
    visible = short if short.isprintable() else "".join(c if c.isprintable() else " " for c in short)
    return visible.strip()[:length]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
