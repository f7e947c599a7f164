"""How numbers, money, times and names are written, on every page."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

NBSP = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
NANO = Decimal(1_000_000_000)
#: The colours that a service may get: five, and a second shade of each. The sixth is for "other" and for no value.
SERVICE_SERIES = (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)
OTHER_SERIES = 5
_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
NOW = "now"
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
THOUSAND = 1_000
TENFOLD = 10
SLIGHT = 0.001
CENTS_UNTIL = 10_000


@register.filter
def money(nano: int | Decimal | None, unknown: str = DASH) -> str:
    """Dollars for people, from nano-dollars: ``$1,286.40``, ``$0.008``; ``unknown`` for None."""
    if nano is None or nano == "":
        return unknown
    usd = Decimal(nano) / NANO
    sign, usd = (MINUS if usd < 0 else ""), abs(usd)
    if usd == 0:
        return "$0.00"
    if usd >= CENTS_UNTIL:
        return f"{sign}${usd:,.0f}"
    if usd >= 1:
        return f"{sign}${usd:,.2f}"
    digits = 3 if usd >= Decimal("0.01") else 1 - usd.adjusted()
    whole, _, cents = f"{usd:.{digits}f}".partition(".")
    return f"{sign}${whole}.{cents.rstrip('0'):0<2}"


@register.filter
def a_day(nano_per_hour: int | None) -> int | None:
    """Nano-dollars of a day at so many an hour."""
    return None if nano_per_hour is None else 24 * nano_per_hour


@register.filter
def cents(amount: int | None, unknown: str = DASH) -> str:
    """Dollars from whole cents, none left out: ``$12,286.40``; ``unknown`` for None."""
    if amount is None or amount == "":  # type: ignore[comparison-overlap]
        return unknown
    return f"{MINUS if amount < 0 else ''}${abs(amount) // 100:,}.{abs(amount) % 100:02}"


@register.filter
def exact_money(nano: int | Decimal | None) -> str:
    """All digits of an amount in nano-dollars, for a tooltip: ``$0.008250000``; empty for None."""
    if nano is None or nano == "":
        return ""
    return f"${Decimal(nano) / NANO:,.9f}"


@register.filter
def tokens(count: int | None, unknown: str = DASH) -> str:
    """A count of tokens with at most four digits: ``412``, ``61.9 k``, ``3.41 M``."""
    if count is None or count == "":  # type: ignore[comparison-overlap]
        return unknown
    for size, unit in _UNITS:
        # Rounds first, so that 999,960 is 1.00 M and not 1,000.0 k.
        if abs(round(count, -2) if size > THOUSAND else count) >= size:
            return f"{count / size:.{1 if unit == 'k' else 2}f}{NBSP}{unit}"
    return str(count)


@register.filter
def count(number: int | None, unknown: str = DASH) -> str:
    """A count with thousands separators; ``unknown`` for None."""
    return unknown if number is None or number == "" else f"{number:,}"  # type: ignore[comparison-overlap]


@register.filter
def bytesize(size: int | None) -> str:
    """A size in bytes: ``412 B``, ``3.4 MB`` (decimal units)."""
    if size is None:
        return DASH
    for unit_size, unit in _UNITS:
        if size >= unit_size:
            return f"{size / unit_size:.1f}{NBSP}{unit}B"
    return f"{size}{NBSP}B"


@register.filter
def duration(ms: float | Decimal | timedelta | None) -> str:
    """A length of time, from milliseconds or a timedelta: ``412 ms``, ``18.4 s``, ``2 h 40 min``."""
    if ms is None or ms == "":
        return DASH
    value = ms / timedelta(milliseconds=1) if isinstance(ms, timedelta) else float(ms)
    if value < 1:
        return f"<1{NBSP}ms" if value > 0 else f"0{NBSP}ms"
    if value < 999.5:
        return f"{value:.0f}{NBSP}ms"
    seconds = value / 1_000
    if seconds < 59.95:
        return f"{seconds:.1f}{NBSP}s"
    return _two_units(round(seconds))


@register.filter
def nanoseconds(ns: int | None) -> str:
    """A length of time, from nanoseconds: as ``duration`` writes it."""
    return DASH if ns is None or ns == "" else duration(ns / 1_000_000)  # type: ignore[comparison-overlap]


@register.filter
def percent(fraction: float | Decimal | None) -> str:
    """A fraction as percent: ``2.1 %``, ``12 %``; never 0 % for more than nothing, nor 100 % for less than all."""
    if fraction is None or fraction == "":
        return DASH
    value = Decimal(str(fraction)) * 100
    if value != 0 and abs(value) < Decimal("0.1"):
        return f"<0.1{NBSP}%"
    if Decimal("99.9") < value < 100:
        return f">99.9{NBSP}%"
    fine = abs(value) < 10 or 99 <= value < 100
    rounded = value.quantize(Decimal("0.1") if fine else Decimal(1), ROUND_HALF_EVEN)
    return f"{rounded:,}{NBSP}%".replace("-", MINUS)


@register.filter
def growth(fraction: float | Decimal | None) -> str:
    """A change as percent with its sign: ``+38 %``; from ten times on as a factor."""
    if fraction is None:
        return DASH
    if fraction >= TENFOLD - 1:
        return f"{TIMES}{NBSP}{round(fraction + 1):,}"
    if -SLIGHT < fraction < SLIGHT:
        return f"±0{NBSP}%"
    return percent(fraction) if fraction < 0 else f"+{percent(fraction)}"


@register.filter
def ago(moment: datetime | None, suffix: str = "") -> str | SafeString:
    """How long ago a moment was, as a ``<time>`` with the exact one on hover; a dash for None.

    In a sentence, ``{{ moment|ago:"ago" }}`` reads ``2 min ago``, or ``just now``.
    """
    if not moment:
        return DASH
    seconds = (timezone.now() - moment).total_seconds()
    words = _one_unit(abs(seconds))
    if words == NOW:
        words = f"just {NOW}" if suffix else NOW
    elif seconds < 0:
        words = f"in {words}"
    elif suffix:
        words = f"{words} {suffix}"
    return _time(moment, words)


@register.filter
def clock(moment: datetime | None) -> str | SafeString:
    """A moment as ``24 Nov 10:04``, in a ``<time>`` with the exact one on hover; a dash for None."""
    return DASH if moment is None else _time(moment, f"{moment.astimezone(UTC):%d %b %H:%M}")


@register.filter
def exact(moment: datetime | None) -> str:
    """A moment to the second, with its zone: ``2026-11-24 10:04:12 UTC``; empty for None."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def hexid(raw: bytes | memoryview | str | None) -> str:
    """A trace or span id in full hex; empty for None."""
    if raw is None:
        return ""
    return raw if isinstance(raw, str) else bytes(raw).hex()


@register.filter
def short_id(raw: bytes | memoryview | str | None) -> str:
    """The two ends of an id: ``7f3a...c21``, with one character for the dots."""
    text = hexid(raw)
    return text if len(text) <= 9 else f"{text[:4]}\N{HORIZONTAL ELLIPSIS}{text[-3:]}"


def series_index(name: str) -> int:
    """Which of the series colours a service has, the same on every page and in every process."""
    if not name:
        return OTHER_SERIES
    return SERVICE_SERIES[zlib.crc32(name.encode("utf-8", "replace")) % len(SERVICE_SERIES)]


@register.filter
def series(name: str | None) -> str:
    """The CSS class of a service's colour: ``series-0`` to ``series-10``, ``series-5`` for no value."""
    return f"series-{series_index(name or '')}"


@register.simple_tag
def sparkline(
    values: Iterable[float | Decimal | None] | None, css: str = "", label: str = "", width: int = 96, height: int = 26
) -> str | SafeString:
    """An inline SVG line with its area; the colour is the ``color`` of ``css``; empty below two values."""
    numbers = [float(value or 0) for value in values or ()]
    if len(numbers) < 2:
        return ""
    top = max(*numbers, 0) or 1
    step = width / (len(numbers) - 1)
    points = [f"{i * step:.1f},{height - 1 - number / top * (height - 3):.1f}" for i, number in enumerate(numbers)]
    line = " ".join(points)
    return format_html(
        '<svg class="sparkline {}" viewBox="0 0 {} {}" width="{}" height="{}" preserveAspectRatio="none" {}>'
        '<polygon points="0,{} {} {},{}"/><polyline points="{}"/></svg>',
        css,
        width,
        height,
        width,
        height,
        format_html('role="img" aria-label="{}"', label) if label else SafeString('aria-hidden="true"'),
        height,
        line,
        width,
        height,
        line,
    )


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """This page's query string with some parameters changed; None or empty removes one.

    A trailing underscore is dropped (``from_=``), and ``cursor`` goes whenever anything else changes.
    """
    parameters = context["request"].GET.copy()
    parameters.pop("cursor", None)
    for name, value in changes.items():
        if value is None or value == "":
            parameters.pop(name.rstrip("_"), None)
        else:
            parameters[name.rstrip("_")] = str(value)
    return f"?{parameters.urlencode()}"


@register.simple_tag(takes_context=True)
def keep(context: template.Context, **more: object) -> str:
    """The query string that carries range and environment to another page, and more parameters."""
    page = context.get("page")
    parameters = context["request"].GET.copy()
    parameters.clear()
    for name, value in more.items():
        if value is not None and value != "":
            parameters[name.rstrip("_")] = str(value)
    parts = [part for part in (page.kept if page else "", parameters.urlencode()) if part]
    return f"?{'&'.join(parts)}" if parts else ""


@register.simple_tag(takes_context=True)
def hidden_parameters(context: template.Context, *shown: str) -> SafeString:
    """This page's parameters as hidden fields of a form, except those that it shows itself, and the cursor."""
    parameters = ((name, value) for name, values in context["request"].GET.lists() for value in values)
    fields = ((name, value) for name, value in parameters if name not in {*shown, "cursor"})
    return format_html_join("", '<input type="hidden" name="{}" value="{}">', fields)


@register.simple_tag(takes_context=True)
def sort_header(context: template.Context, name: str, label: str, css: str = "", default: str = "") -> SafeString:
    """A ``<th>`` whose link sorts by ``name``: first descending (``?sort=-name``), then ascending.

    ``default`` is the ``sort`` in force when the query string has none.
    """
    current = context["request"].GET.get("sort") or default
    order = {f"-{name}": ' aria-sort="descending"', name: ' aria-sort="ascending"'}.get(current, "")
    href = query(context, sort=name if current == f"-{name}" else f"-{name}")
    return format_html('<th scope="col" class="{}"{}><a href="{}">{}</a></th>', css, SafeString(order), href, label)


def _time(moment: datetime, words: str) -> SafeString:
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact(moment), words)


def _one_unit(seconds: float) -> str:
    for size, unit in _AGES:
        if seconds >= size:
            return f"{int(seconds // size)}{NBSP}{unit}"
    return NOW


def _two_units(seconds: int) -> str:
    for (size, unit), (smaller_size, smaller) in pairwise(_AGES):
        if seconds >= size:
            rest = seconds % size // smaller_size
            words = f"{seconds // size}{NBSP}{unit}"
            return f"{words}{NBSP}{rest}{NBSP}{smaller}" if rest else words
    return f"{seconds}{NBSP}s"
