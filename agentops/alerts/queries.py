"""What is wrong just now, and what was: the inbox, one alert with its story, the silences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, Value, When

from agentops.accounts.models import User
from agentops.alerts.models import Alert, Note, Silence, StormMember
from agentops.domain.alerting import SEVERITIES, Severity, State, fingerprint, matches, rank

#: Silences in force that are looked at; nobody has that many.
MAX_SILENCES = 1_000
MAX_LIMIT = 1_000
#: Whatever grows with the years is looked at up to here: so many resolved alerts are "1,000+".
MAX_COUNTED = 1_001
#: Silences that are over, in a list.
PAST_SILENCES = 50


@dataclass(frozen=True, slots=True)
class AlertFilters:
    """Which alerts; what is empty is not asked for. ``environment`` lets in those that are of none."""

    state: str = ""
    severity: str = ""
    kind: str = ""
    service: str = ""
    run: bytes | None = None
    session: str = ""
    text: str = ""
    environment: str = ""

    def apply(self, alerts: QuerySet[Alert]) -> QuerySet[Alert]:
        """The alerts that fit."""
        for name in ("state", "severity", "kind", "service", "run", "session"):
            if wanted := getattr(self, name):
                alerts = alerts.filter(**{name: wanted})
        if self.environment:
            alerts = alerts.filter(Q(environment=self.environment) | Q(environment=None))
        if self.text:
            found = Q()
            for name in ("title", "service", "kind", "session", "user", "feature"):
                found |= Q(**{f"{name}__icontains": self.text})
            alerts = alerts.filter(found)
        return alerts


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Some alerts, and the id after which the next ones come; ``None`` at the end."""

    alerts: list[Alert]
    next_id: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened to an alert: a move, or a note."""

    at: datetime
    by: User | None
    what: str
    text: str
    from_state: str = ""
    to_state: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """An alert and what happened to it, in order; of a storm, the alerts that it took in."""

    alert: Alert
    moves: list[Entry]
    notes: list[Note]
    taken_in: list[Alert]

    @property
    def entries(self) -> list[Entry]:
        """Moves and notes by time, the latest first."""
        notes = [Entry(note.at, note.by, "note", note.text) for note in self.notes]
        return sorted([*self.moves, *notes], key=lambda entry: entry.at, reverse=True)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many alerts fire, by severity."""

    page: int
    warn: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.page + self.warn


def _with_people(alerts: QuerySet[Alert]) -> QuerySet[Alert]:
    return alerts.select_related("acknowledged_by", "resolved_by")


def list_alerts(filters: AlertFilters, *, after: int | None = None, limit: int = 100) -> AlertPage:
    """Alerts, the newest first, those after an id."""
    alerts = _with_people(filters.apply(Alert.objects.all())).order_by("-id")
    if after is not None:
        alerts = alerts.filter(id__lt=after)
    found = list(alerts[: limit + 1])
    return AlertPage(found[:limit], found[limit - 1].pk if len(found) > limit else None)


def list_urgent(filters: AlertFilters, *, limit: int) -> list[Alert]:
    """Alerts by severity, then by what they cost an hour, then the newest first."""
    order = Case(
        *(When(severity=severity, then=Value(rank(severity))) for severity in SEVERITIES), output_field=IntegerField()
    )
    alerts = _with_people(filters.apply(Alert.objects.all()))
    return list(alerts.order_by(order.desc(), F("nano_per_hour").desc(nulls_last=True), "-id")[:limit])


def count_by_state(filters: AlertFilters) -> dict[str, int]:
    """How many alerts are in each state, whatever state is asked for; resolved ones up to ``MAX_COUNTED``."""
    alerts = replace(filters, state="").apply(Alert.objects.all())
    found = dict(alerts.exclude(state=State.RESOLVED).order_by().values_list("state").annotate(n=Count("id")))
    found[State.RESOLVED.value] = alerts.filter(state=State.RESOLVED)[:MAX_COUNTED].count()
    return {state.value: found.get(state.value, 0) for state in State}


def count_firing(*, environment: str = "") -> Counts:
    """How many alerts fire, of an environment or of all."""
    alerts = AlertFilters(state=State.FIRING, environment=environment).apply(Alert.objects.all())
    found = dict(alerts.order_by().values_list("severity").annotate(n=Count("id")))
    return Counts(found.get(Severity.PAGE, 0), found.get(Severity.WARN, 0))


def count_open() -> dict[tuple[str, str], int]:
    """How many alerts are open, by severity and state, with zeros."""
    rows = Alert.objects.exclude(state=State.RESOLVED).order_by().values_list("severity", "state")
    found = {(severity, state): number for severity, state, number in rows.annotate(n=Count("id"))}
    states = [state for state in State if state is not State.RESOLVED]
    return {(s.value, state.value): found.get((s.value, state.value), 0) for s in SEVERITIES for state in states}


def services_of(filters: AlertFilters) -> list[str]:
    """The services that the latest alerts of a state are about, by name."""
    alerts = AlertFilters(state=filters.state, environment=filters.environment).apply(Alert.objects.all())
    return sorted({*alerts.order_by("-id").values_list("service", flat=True)[:MAX_COUNTED], filters.service} - {""})


def find(pk: int) -> Alert | None:
    """An alert with the people in it."""
    return _with_people(Alert.objects.select_related("group")).filter(pk=pk).first()


def story(pk: int) -> Story | None:
    """An alert and all that happened to it."""
    if (alert := find(pk)) is None:
        return None
    moves = [
        Entry(move.at, move.by, move.move, move.reason, move.from_state, move.to_state)
        for move in alert.moves.select_related("by")
    ]
    taken_in = list(alert.taken_in.order_by("-id")[:MAX_SILENCES]) if alert.is_storm else []
    return Story(alert, moves, list(alert.notes.select_related("by")), taken_in)


def active_silences(*, now: datetime) -> list[Silence]:
    """The silences in force."""
    found = Silence.objects.filter(starts_at__lte=now, ends_at__gt=now, ended_at=None)
    return list(found.select_related("created_by")[:MAX_SILENCES])


def is_covered(alert: Alert, silences: Iterable[Silence]) -> bool:
    """Whether any of some silences keeps an alert quiet."""
    labels = alert.labels
    return any(matches(silence.matchers, labels) for silence in silences)


def list_silences(*, now: datetime, past: int = PAST_SILENCES) -> tuple[list[Silence], list[Silence]]:
    """Silences that are in force or will be, those that end first first; and the latest that are over."""
    silences = Silence.objects.select_related("created_by", "ended_by")
    coming = silences.filter(ends_at__gt=now, ended_at=None).order_by("ends_at", "id")[:MAX_SILENCES]
    over = silences.exclude(ends_at__gt=now, ended_at=None).order_by("-id")[:past]
    return list(coming), list(over)


def silence_of(labels: Mapping[str, str | None], *, now: datetime) -> Silence | None:
    """The silence in force that covers an alert, the longest one."""
    fitting = [silence for silence in active_silences(now=now) if matches(silence.matchers, labels)]
    return max(fitting, key=lambda silence: silence.ends_at, default=None)


def open_of_run(kind: str, service: str, *, run: bytes, session: str = "") -> Alert | None:
    """The open alert of a kind that is of a run, or of a session where one is given; it may be a storm's."""
    key = fingerprint(kind, service, session=session) if session else fingerprint(kind, service, run=run)
    of_it = Q(fingerprint=key) | Q(pk__in=StormMember.objects.filter(fingerprint=key).values("storm"))
    alerts = _with_people(Alert.objects.filter(of_it).exclude(state=State.RESOLVED))
    return alerts.order_by("is_storm", "-id").first()


def open_services(kind: str) -> dict[str, str]:
    """The services that have an open alert of a kind of their own, not of a run or a session, by its fingerprint."""
    rows = Alert.objects.filter(kind=kind, run=None, session=None, cleared_at=None).exclude(state=State.RESOLVED)
    return dict(rows.values_list("fingerprint", "service"))
