"""What every page has in common: its time range, its environment, and cursors for long lists."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

from django.utils import timezone

from agentops.domain.periods import add_months, midnight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, QueryDict

Interval = Literal["hour", "day"]

#: Query-string name, length and words of each relative range, in the order of the menu.
RANGES: dict[str, tuple[timedelta, str]] = {
    "1h": (timedelta(hours=1), "Last hour"),
    "24h": (timedelta(hours=24), "Last 24 hours"),
    "7d": (timedelta(days=7), "Last 7 days"),
    "30d": (timedelta(days=30), "Last 30 days"),
    "90d": (timedelta(days=90), "Last 90 days"),
}
#: Query-string name and words of the ranges that the calendar of a time zone gives.
CALENDAR = {
    "today": "Today",
    "yesterday": "Yesterday",
    "week": "This week",
    "month": "This month",
    "last-month": "Last month",
    "year": "This year",
}
DEFAULT_RANGE = "24h"
CUSTOM, SINCE = "custom", "Since"
#: The parameters that a link keeps when it leads from page to page.
SHARED_PARAMETERS = ("range", "from", "until", "timezone", "environment")
UTC_ZONE = ZoneInfo("UTC")
#: A range longer than this is shown by day.
LONGEST_BY_HOUR = timedelta(days=8)
MAX_ENVIRONMENT_CHARS = 128
MAX_CURSOR_CHARS = 2048
#: The largest id that the database can hold.
MAX_ID = 2**63 - 1


class InvalidCursorError(ValueError):
    """The text is not a cursor that ``encode_cursor`` made."""


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span of time ``[from_, until)``, aware, in UTC.

    ``name`` is its query-string value (``24h``, ``month``, ``custom``), ``label`` its words, ``interval`` the
    bucket that suits a chart of it, ``ends_now`` whether it goes on with the time.
    """

    from_: datetime
    until: datetime
    name: str
    label: str
    interval: Interval
    ends_now: bool = True

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.until - self.from_

    @property
    def words(self) -> str:
        """Its label inside a sentence: ``last 24 hours``, ``24 Nov 10:00 to 25 Nov 10:00``, ``since 25 Nov 00:00``."""
        return f"{self.label[:1].lower()}{self.label[1:]}"

    @property
    def during(self) -> str:
        """When something happened: ``in the last 24 hours``, ``from 24 Nov 10:00 to …``, ``this month``."""
        if self.name in RANGES:
            return f"in the {self.words}"
        if self.name in CALENDAR:
            return self.words
        return self.words if self.label.startswith(SINCE) else f"from {self.words}"

    @classmethod
    def relative(cls, name: str, *, now: datetime) -> Window:
        """The window of that name which ends now; an unknown name is the default one."""
        name = name if name in RANGES else DEFAULT_RANGE
        length, label = RANGES[name]
        return cls(now - length, now, name, label, _interval(length))

    @classmethod
    def of_calendar(cls, name: str, *, now: datetime, zone: tzinfo) -> Window:
        """The window of that name in a zone's calendar; what is not over yet ends now."""
        today = now.astimezone(zone).date()
        first = today.replace(day=1)
        days = {
            "today": (today, None),
            "yesterday": (today - timedelta(days=1), today),
            "week": (today - timedelta(days=today.weekday()), None),
            "month": (first, None),
            "last-month": (add_months(first, -1), first),
            "year": (today.replace(month=1, day=1), None),
        }
        begin, end = days[name]
        from_ = midnight(begin, zone)
        until = midnight(end, zone) if end else max(now, from_ + timedelta(hours=1))
        return cls(from_, until, name, CALENDAR[name], _interval(until - from_), ends_now=end is None)

    @classmethod
    def parse(cls, parameters: Mapping[str, Any], *, now: datetime, zone: tzinfo = UTC) -> Window:
        """The window that ``range``, ``from`` and ``until`` ask for.

        Moments are ISO 8601, of the zone unless they say otherwise. With ``from`` or ``until`` given the
        range is custom; a missing end is now, a missing start a day before the end. What cannot be
        read, or ends before it starts, is the default range: a page never fails over its address.
        """
        name = str(parameters.get("range") or "")
        if name in CALENDAR:
            return cls.of_calendar(name, now=now, zone=zone)
        from_, until = _moment(parameters.get("from"), zone), _moment(parameters.get("until"), zone)
        if name in RANGES or (from_ is None and until is None):
            return cls.relative(name, now=now)
        is_open = until is None
        until = until or now
        try:
            from_ = from_ or until - timedelta(days=1)
        except OverflowError:
            return cls.relative("", now=now)
        if from_ >= until:
            return cls.relative("", now=now)
        begin, end = (f"{_local(moment, zone):{_style(moment, now)}}" for moment in (from_, until))
        label = f"{SINCE} {begin}" if is_open else f"{begin} to {end}"
        return cls(from_, until, CUSTOM, label, _interval(until - from_), ends_now=is_open)


@dataclass(frozen=True, slots=True)
class PageContext:
    """What the frame of a page shows and every link keeps. ``environment`` is empty for all."""

    window: Window
    environment: str
    now: datetime
    kept: str
    zone: ZoneInfo = UTC_ZONE

    @property
    def ranges(self) -> list[tuple[str, str, bool]]:
        """Name, words and whether it is the current one, of each range of the menu."""
        return [(name, label, name == self.window.name) for name, (_, label) in RANGES.items()]

    @property
    def calendar(self) -> list[tuple[str, str, bool]]:
        """The same of the ranges of the calendar."""
        return [(name, label, name == self.window.name) for name, label in CALENDAR.items()]

    @property
    def local_range(self) -> tuple[str, str]:
        """Start and end as a form shows them: in the zone, to the minute."""
        begin, end = (_local(moment, self.zone) for moment in (self.window.from_, self.window.until))
        return f"{begin:%Y-%m-%dT%H:%M}", f"{end:%Y-%m-%dT%H:%M}"


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in force: what it is of, its value, and the query string without it."""

    label: str
    value: str
    href: str

    @classmethod
    def of(cls, parameters: QueryDict, name: str, value: str, label: str, words: str = "") -> Chip:
        """The chip of one value of a parameter."""
        rest = parameters.copy()
        rest.pop("cursor", None)
        rest.setlist(name, [text for text in rest.getlist(name) if text.strip() != value])
        return cls(label, words or value, f"?{rest.urlencode()}")


def read_page(parameters: Mapping[str, Any], *, now: datetime) -> PageContext:
    """The page parameters among the query parameters; ``kept`` is the query string links carry on."""
    environment = str(parameters.get("environment") or "").replace("\0", "")[:MAX_ENVIRONMENT_CHARS]
    kept = {name: str(parameters[name]) for name in SHARED_PARAMETERS if parameters.get(name)}
    zone = find_zone(str(parameters.get("timezone") or "")) or UTC_ZONE
    return PageContext(Window.parse(parameters, now=now, zone=zone), environment, now, urlencode(kept), zone)


@cache
def zone_names() -> tuple[str, ...]:
    """The IANA names of all time zones, in order."""
    return tuple(sorted(available_timezones()))


def find_zone(name: str) -> ZoneInfo | None:
    """The time zone of that name, if there is one."""
    return ZoneInfo(name) if name in zone_names() else None


def page_context(request: HttpRequest) -> dict[str, Any]:
    """The template context that ``base.html`` needs: ``page``, and its parts by their own names."""
    page = read_page(request.GET, now=timezone.now())
    return {"page": page, "window": page.window, "environment": page.environment, "now": page.now}


def is_id(text: str) -> bool:
    """Whether a text is a whole number that an id, or the absence of one, 0, could be."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and int(text) <= MAX_ID


def encode_cursor(*values: str | int | None) -> str:
    """Text for a URL that ``decode_cursor`` turns back into the values; it is no secret and no proof."""
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).rstrip(b"=").decode()


def decode_cursor(text: str, *, length: int) -> list[str | int | None]:
    """The values in a cursor; raises ``InvalidCursorError`` unless there are exactly ``length`` of them."""
    if len(text) > MAX_CURSOR_CHARS:
        raise InvalidCursorError(text[:40])
    try:
        values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise InvalidCursorError(text[:40]) from error
    if not isinstance(values, list) or len(values) != length:
        raise InvalidCursorError(text[:40])
    if not all(value is None or type(value) in {str, int} for value in values):
        raise InvalidCursorError(text[:40])
    return values


def _interval(length: timedelta) -> Interval:
    return "hour" if length <= LONGEST_BY_HOUR else "day"


def _style(moment: datetime, now: datetime) -> str:
    return "%d %b %H:%M" if moment.year == now.year else "%d %b %Y %H:%M"


def _local(moment: datetime, zone: tzinfo) -> datetime:
    """A moment as a zone's clocks show it; in UTC where they cannot."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def _moment(text: object, zone: tzinfo) -> datetime | None:
    """An aware moment in UTC, or None for what is no ISO 8601 date or time."""
    try:
        moment = datetime.fromisoformat(str(text or ""))
        return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
