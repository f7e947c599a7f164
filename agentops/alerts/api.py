"""Alerts and silences over ``/api/v1``: shapes of the public contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status
from ninja.errors import HttpError
from pydantic import BeforeValidator

from agentops.accounts.models import Role, User
from agentops.accounts.roles import require
from agentops.alerts import actions, queries
from agentops.alerts.forms import read_cursor, write_cursor
from agentops.alerts.models import MAX_REASON_CHARS, Alert, Note, Silence
from agentops.alerts.queries import AlertFilters, Entry
from agentops.domain.alerting import MATCHED, MAX_PATTERN_CHARS, UnsoundMatchers, UnsoundMoment
from agentops.pages import MAX_ID, InvalidCursorError
from agentops.runs.api import AskedMoment, Moment, Text, parse_moment

router = Router(tags=["alerts"])
DEFAULT_LIMIT = 100
TRACE_ID_BYTES = 16

Severity = Literal["warn", "page"]
State = Literal["firing", "acknowledged", "silenced", "resolved"]


def _trace_id(value: object) -> str:
    """A trace id as hex, or an empty text. Raises ``ValueError``."""
    text = str(value or "").strip().lower()
    if text and len(bytes.fromhex(text)) != TRACE_ID_BYTES:
        message = "A trace id has 32 hexadecimal digits."
        raise ValueError(message)
    return text


class AlertQuery(Schema):
    """Which alerts; all when nothing is asked."""

    state: State | None = Field(None, description="All, when missing.")
    severity: Severity | None = None
    kind: Text = ""
    service: Text = ""
    run: Annotated[str, BeforeValidator(_trace_id)] = Field("", description="A trace id.")
    session: Text = ""
    environment: Text = Field("", description="Alerts of none are of every one.")
    cursor: Text = ""
    limit: Annotated[int, Field(ge=1, le=queries.MAX_LIMIT)] = DEFAULT_LIMIT


class AlertOut(Schema):
    """Something that is, or was, wrong."""

    id: int
    kind: str
    severity: Severity
    state: State
    service: str
    run: str | None = Field(description="The trace id.")
    session: str | None
    user: str | None
    feature: str | None
    environment: str | None
    title: str
    evidence: dict[str, Any]
    count: int = Field(description="How often it was seen; of a storm, how many alerts it stands for.")
    is_storm: bool
    group: int | None = Field(description="The storm that took it in.")
    opened_at: Moment
    last_seen_at: Moment
    cleared_at: Moment | None
    snoozed_until: Moment | None
    acknowledged_by: str | None
    acknowledged_at: Moment | None
    resolved_by: str | None = Field(description="null when it resolved by itself.")
    resolved_at: Moment | None
    resolved_reason: str
    reopened: int
    oncall: str | None


class AlertList(Schema):
    """Some alerts, newest first."""

    items: list[AlertOut]
    next_cursor: str | None


class MoveOut(Schema):
    """What took an alert from one state to another."""

    at: Moment
    by: str | None = Field(description="null: the system.")
    move: str
    from_state: str | None
    to_state: str
    reason: str


class NoteOut(Schema):
    """What somebody wrote."""

    at: Moment
    by: str | None
    text: str


class AlertDetail(AlertOut):
    """An alert with all that happened to it, in order."""

    moves: list[MoveOut]
    notes: list[NoteOut]


class ReasonIn(Schema):
    """Why, if somebody wants to say."""

    reason: Annotated[Text, Field(max_length=MAX_REASON_CHARS)] = ""


class SnoozeIn(ReasonIn):
    """Until when to be quiet."""

    until: Annotated[datetime, BeforeValidator(parse_moment)]


class NoteIn(Schema):
    """A note."""

    text: str = Field(max_length=actions.MAX_NOTE_CHARS)


Pattern = Annotated[Text, Field(max_length=MAX_PATTERN_CHARS)]


class Matchers(Schema):
    """What a silence looks at: all that are given must fit; ``*`` stands for any characters."""

    kind: Pattern = ""
    service: Pattern = ""
    severity: Pattern = ""
    run: Pattern = ""
    session: Pattern = ""
    user: Pattern = ""
    feature: Pattern = ""


class SilenceIn(Schema):
    """A silence to be made."""

    matchers: Matchers
    starts_at: AskedMoment = Field(None, description="Now, when missing.")
    ends_at: Annotated[datetime, BeforeValidator(parse_moment)]
    comment: Annotated[Text, Field(max_length=MAX_REASON_CHARS)] = ""


class SilenceOut(Schema):
    """A silence."""

    id: int
    matchers: dict[str, str]
    starts_at: Moment
    ends_at: Moment
    comment: str
    is_active: bool
    created_by: str | None
    created_at: Moment
    ended_by: str | None
    ended_at: Moment | None


class SilenceList(Schema):
    """Silences: first those that are in force or will be, then the latest that are over."""

    items: list[SilenceOut]


@router.get("/alerts", response=AlertList)
def list_alerts(request: HttpRequest, asked: Query[AlertQuery]) -> dict[str, Any]:
    """Alerts, newest first."""
    del request
    try:
        after = read_cursor(asked.cursor, strict=True)
    except InvalidCursorError as error:
        raise HttpError(422, "cursor: not one that this API gave.") from error
    filters = AlertFilters(
        state=asked.state or "",
        severity=asked.severity or "",
        kind=asked.kind,
        service=asked.service,
        run=bytes.fromhex(asked.run) or None,
        session=asked.session,
        environment=asked.environment,
    )
    page = queries.list_alerts(filters, after=after, limit=asked.limit)
    return {"items": [alert_shape(alert) for alert in page.alerts], "next_cursor": write_cursor(page.next_id)}


@router.get("/alerts/{pk}", response=AlertDetail)
def get_alert(request: HttpRequest, pk: int) -> dict[str, Any]:
    """An alert with its moves and notes."""
    del request
    if not _fits(pk) or (story := queries.story(pk)) is None:
        raise Http404(_MISSING)
    moves = [_move(entry) for entry in story.moves]
    return alert_shape(story.alert) | {"moves": moves, "notes": [_note(note) for note in story.notes]}


@router.post("/alerts/{pk}/acknowledge", response=AlertOut)
def acknowledge(request: HttpRequest, pk: int) -> dict[str, Any]:
    """Take an alert on."""
    by = require(request, Role.RESPONDER)
    return alert_shape(actions.acknowledge(alert=_alert(pk), by=by, now=timezone.now()))


@router.post("/alerts/{pk}/unacknowledge", response=AlertOut)
def unacknowledge(request: HttpRequest, pk: int) -> dict[str, Any]:
    """Give an alert back: it fires again."""
    by = require(request, Role.RESPONDER)
    return alert_shape(actions.unacknowledge(alert=_alert(pk), by=by, now=timezone.now()))


@router.post("/alerts/{pk}/resolve", response=AlertOut)
def resolve(request: HttpRequest, pk: int, asked: ReasonIn | None = None) -> dict[str, Any]:
    """Say that it is over. The same stays quiet for ten minutes unless it gets worse."""
    by = require(request, Role.RESPONDER)
    reason = asked.reason if asked else ""
    return alert_shape(actions.resolve(alert=_alert(pk), by=by, now=timezone.now(), reason=reason))


@router.post("/alerts/{pk}/snooze", response=AlertOut)
def snooze(request: HttpRequest, pk: int, asked: SnoozeIn) -> dict[str, Any]:
    """Let it be quiet until a moment, 30 days away at most."""
    by = require(request, Role.RESPONDER)
    alert = _alert(pk)
    try:
        return alert_shape(
            actions.snooze(alert=alert, until=asked.until, by=by, now=timezone.now(), reason=asked.reason)
        )
    except UnsoundMoment as error:
        raise HttpError(422, f"until: {error}") from error


@router.post("/alerts/{pk}/notes", response=AlertOut)
def add_note(request: HttpRequest, pk: int, asked: NoteIn) -> dict[str, Any]:
    """Write something about an alert."""
    by = require(request, Role.RESPONDER)
    alert = _alert(pk)
    try:
        actions.add_note(alert=alert, text=asked.text, by=by, now=timezone.now())
    except actions.EmptyNote as error:
        raise HttpError(422, f"text: {error}") from error
    return alert_shape(alert)


@router.get("/silences", response=SilenceList)
def list_silences(request: HttpRequest) -> dict[str, Any]:
    """Silences."""
    del request
    now = timezone.now()
    coming, over = queries.list_silences(now=now)
    return {"items": [silence_shape(silence, now) for silence in (*coming, *over)]}


@router.post("/silences", response={201: SilenceOut})
def create_silence(request: HttpRequest, asked: SilenceIn) -> Status[dict[str, Any]]:
    """Keep alerts quiet for some time, those that fire already among them."""
    by, now = require(request, Role.RESPONDER), timezone.now()
    matchers = {name: text for name in MATCHED if (text := getattr(asked.matchers, name))}
    try:
        silence = actions.create_silence(
            matchers=matchers, starts_at=asked.starts_at, ends_at=asked.ends_at, comment=asked.comment, by=by, now=now
        )
    except UnsoundMatchers as error:
        raise HttpError(422, f"matchers: {error}") from error
    except UnsoundMoment as error:
        raise HttpError(422, f"ends_at: {error}") from error
    return Status(201, silence_shape(silence, now))


@router.delete("/silences/{pk}", response=SilenceOut)
def end_silence(request: HttpRequest, pk: int) -> dict[str, Any]:
    """End a silence before its time; it stays on record."""
    by, now = require(request, Role.RESPONDER), timezone.now()
    silence = Silence.objects.filter(pk=pk).first() if _fits(pk) else None
    if silence is None:
        message = "There is no such silence."
        raise Http404(message)
    return silence_shape(actions.end_silence(silence=silence, by=by, now=now), now)


_MISSING = "There is no such alert."


def _fits(pk: int) -> bool:
    return 0 < pk <= MAX_ID


def _alert(pk: int) -> Alert:
    found = queries.find(pk) if _fits(pk) else None
    if found is None:
        raise Http404(_MISSING)
    return found


def alert_shape(alert: Alert) -> dict[str, Any]:
    """An alert as the contract spells it."""
    names = set(AlertOut.model_fields) - {"id", "run", "group", "acknowledged_by", "resolved_by", "oncall"}
    return {name: getattr(alert, name) for name in names} | {
        "id": alert.pk,
        "run": alert.run_hex,
        "group": alert.group_id,
        "acknowledged_by": _name(alert.acknowledged_by),
        "resolved_by": _name(alert.resolved_by),
        "oncall": None,
    }


def silence_shape(silence: Silence, now: datetime) -> dict[str, Any]:
    """A silence as the contract spells it."""
    names = ("starts_at", "ends_at", "comment", "created_at", "ended_at")
    matchers: Mapping[str, str] = silence.matchers
    return {name: getattr(silence, name) for name in names} | {
        "id": silence.pk,
        "matchers": dict(matchers),
        "is_active": silence.ended_at is None and silence.starts_at <= now < silence.ends_at,
        "created_by": _name(silence.created_by),
        "ended_by": _name(silence.ended_by),
    }


def _move(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at,
        "by": _name(entry.by),
        "move": entry.what,
        "from_state": entry.from_state or None,
        "to_state": entry.to_state,
        "reason": entry.text,
    }


def _note(note: Note) -> dict[str, Any]:
    return {"at": note.at, "by": _name(note.by), "text": note.text}


def _name(user: User | None) -> str | None:
    return user.get_username() if user is not None else None
