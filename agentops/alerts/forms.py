"""What people ask of alerts: which ones, until when, what to silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.http import QueryDict

from agentops.alerts.actions import MAX_BULK, MAX_NOTE_CHARS
from agentops.alerts.models import MAX_REASON_CHARS
from agentops.alerts.queries import AlertFilters
from agentops.domain.alerting import KINDS, MATCHED, MAX_PATTERN_CHARS, SEVERITIES, Move, State
from agentops.pages import MAX_ID, Chip, InvalidCursorError, PageContext, decode_cursor, encode_cursor, is_id
from agentops.runs.api import clean

#: The tabs of the inbox: name in the address, words, state.
TABS = {
    "": ("Open", State.FIRING),
    "acknowledged": ("Acknowledged", State.ACKNOWLEDGED),
    "silenced": ("Silenced", State.SILENCED),
    "resolved": ("Resolved", State.RESOLVED),
}
#: Filters that are shown as chips, and the words for them.
CHIPS = {"severity": "severity", "kind": "kind", "service": "service", "session": "session", "q": "search"}
MORNING = 9


@dataclass(frozen=True, slots=True)
class Asked:
    """Filters, tab and place of the inbox, as asked for."""

    filters: AlertFilters
    tab: str
    after: int | None
    parameters: QueryDict

    @property
    def chips(self) -> list[Chip]:
        """What is filtered by."""
        values = {name: getattr(self.filters, "text" if name == "q" else name) for name in CHIPS}
        return [Chip.of(self.parameters, name, value, CHIPS[name]) for name, value in values.items() if value]


def read_inbox(parameters: QueryDict, page: PageContext) -> Asked:
    """What a page's parameters ask for; what cannot be read counts as not asked."""
    values = {name: clean(str(parameters.get(name) or "")).strip() for name in CHIPS}
    tab = str(parameters.get("state") or "")
    tab = tab if tab in TABS else ""
    filters = AlertFilters(
        state=TABS[tab][1],
        severity=values["severity"] if values["severity"] in SEVERITIES else "",
        kind=values["kind"] if values["kind"] in KINDS else "",
        service=values["service"],
        session=values["session"],
        text=values["q"],
        environment=page.environment,
    )
    return Asked(filters, tab, read_cursor(str(parameters.get("cursor") or "")), parameters)


def read_cursor(text: str, *, strict: bool = False) -> int | None:
    """The id after which a page begins; for what is no cursor ``None``, or with ``strict`` ``InvalidCursorError``."""
    if not text:
        return None
    try:
        found = decode_cursor(text, length=1)[0]
    except InvalidCursorError:
        found = None
    if type(found) is int and 0 < found <= MAX_ID:
        return found
    if strict:
        raise InvalidCursorError(text[:40])
    return None


def write_cursor(next_id: int | None) -> str | None:
    """The cursor of the next page, if there is one."""
    return None if next_id is None else encode_cursor(next_id)


def _tomorrow(now: datetime) -> datetime:
    return (now + timedelta(days=1)).replace(hour=MORNING, minute=0, second=0, microsecond=0)


#: For how long one can look away with one press, and the words for it.
SNOOZES: dict[str, tuple[str, Any]] = {
    "1h": ("an hour", timedelta(hours=1)),
    "4h": ("4 hours", timedelta(hours=4)),
    "tomorrow": (f"until tomorrow {MORNING:02}:00 UTC", _tomorrow),
    "7d": ("a week", timedelta(days=7)),
}


#: The moves that people make.
BY_HAND = {move.value: move for move in (Move.ACKNOWLEDGE, Move.UNACKNOWLEDGE, Move.RESOLVE, Move.SNOOZE, Move.WAKE)}


class MoveForm(forms.Form):
    """What to do with an alert, or with several."""

    move = forms.ChoiceField(choices=[(name, name) for name in BY_HAND])
    until = forms.CharField(required=False, max_length=40)
    reason = forms.CharField(required=False, max_length=MAX_REASON_CHARS)

    def clean_until(self) -> str:
        """A name of ``SNOOZES``, or an empty text."""
        return self.cleaned_data["until"] if self.cleaned_data["until"] in SNOOZES else ""

    def asked(self, now: datetime) -> dict[str, Any]:
        """The move as the actions take it; a snooze without a length is an hour."""
        move = BY_HAND[self.cleaned_data["move"]]
        _, length = SNOOZES[self.cleaned_data["until"] or "1h"]
        until = length(now.astimezone(UTC)) if callable(length) else now + length
        return {"move": move, "reason": self.cleaned_data["reason"], "until": until if move is Move.SNOOZE else None}


def read_ids(parameters: QueryDict) -> list[int]:
    """The alerts that were picked."""
    texts = parameters.getlist("id")[:MAX_BULK]
    return [int(text) for text in texts if is_id(text)]


class NoteForm(forms.Form):
    """A note."""

    text = forms.CharField(max_length=MAX_NOTE_CHARS, widget=forms.Textarea({"rows": 3}), label="Note")


#: For how many hours one silences, and the words for it.
LENGTHS = [("1", "1 hour"), ("4", "4 hours"), ("24", "1 day"), ("168", "1 week"), ("720", "30 days")]


class SilenceForm(forms.Form):
    """What to silence, and for how long. Empty fields do not matter; ``*`` stands for any characters."""

    hours = forms.ChoiceField(label="For", choices=LENGTHS, initial="4")
    comment = forms.CharField(label="Why", max_length=MAX_REASON_CHARS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lists = {"kind": "kinds", "service": "services", "severity": "severities"}
        for name in MATCHED:
            widget = forms.TextInput({"list": lists[name]} if name in lists else {})
            self.fields[name] = forms.CharField(
                required=False, max_length=MAX_PATTERN_CHARS, label=name.capitalize(), widget=widget
            )

    @property
    def matcher_fields(self) -> list[forms.BoundField]:
        """The fields that say what to silence."""
        return [self[name] for name in MATCHED]

    @property
    def matchers(self) -> dict[str, str]:
        """What was filled in of them."""
        return {name: self.cleaned_data[name] for name in MATCHED if self.cleaned_data[name]}

    def ends_at(self, now: datetime) -> datetime:
        """When it ends."""
        return now + timedelta(hours=int(self.cleaned_data["hours"]))


def prefilled(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The matchers that an address gives."""
    return {name: clean(str(parameters[name])) for name in MATCHED if parameters.get(name)}
