"""The demo's people, teams and service catalog, and the key that its traffic is sent with."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from django.conf import settings
from django.db import transaction

from agentops.accounts.actions import create_ingest_key, revoke_ingest_key
from agentops.accounts.models import IngestKey, Role, Team, User
from agentops.catalog.models import Service
from agentops.demo.fleet import SERVICES, TEAMS

_KEY_NAME = "demo traffic"


@dataclass(frozen=True, slots=True)
class _Person:
    username: str
    name: str
    role: Role
    zone: str
    teams: tuple[str, ...] = ()


_PEOPLE = (
    _Person("admin", "Ada Fischer", Role.ADMIN, "Europe/Berlin", ("platform",)),
    _Person("owner", "Oscar Lindholm", Role.OWNER, "America/New_York", ("research", "growth", "finance-ops")),
    _Person("sre", "Samira Haddad", Role.RESPONDER, "Europe/London", ("platform", "data")),
    _Person("responder", "Rui Tanaka", Role.RESPONDER, "Asia/Singapore", ("customer-care",)),
    _Person("finance", "Fiona Brandt", Role.VIEWER, "Europe/Berlin", ("finance-ops",)),
    _Person("viewer", "Viktor Sandoval", Role.VIEWER, "America/Los_Angeles"),
)


@dataclass(frozen=True, slots=True)
class Login:
    """How somebody signs in; ``password`` is ``None`` when they have chosen another one since."""

    username: str
    password: str | None
    role: str


def demo_password(home: Path) -> str:
    """The one password of all demo logins: ``AGENTOPS_DEMO_PASSWORD``, else random, kept in the home."""
    file = home / "demo_password"
    if not file.exists():
        given = os.environ.get("AGENTOPS_DEMO_PASSWORD") or os.environ.get("AGENTOPS_ADMIN_PASSWORD")
        home.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(given or secrets.token_urlsafe(9))
    return file.read_text().strip()


@transaction.atomic
def create_people(*, password: str) -> list[Login]:
    """Create teams, people and catalog where they are missing; every login. Doing it again changes nothing."""
    teams = {slug: Team.objects.get_or_create(slug=slug, defaults={"name": name})[0] for slug, name in TEAMS.items()}
    logins = [_login(person, teams, password) for person in _PEOPLE]
    _fill_catalog(teams)
    return logins


def _login(person: _Person, teams: dict[str, Team], password: str) -> Login:
    user = User.objects.filter(username=person.username).first()
    if user is None:
        first, last = person.name.split(" ", 1)
        is_admin = person.role is Role.ADMIN
        user = User(username=person.username, first_name=first, last_name=last, role=person.role)
        user.time_zone, user.is_staff, user.is_superuser = person.zone, is_admin, is_admin
        user.set_password(password)
        user.save()
        user.teams.add(*(teams[slug] for slug in person.teams))
    known = user.check_password(password)
    return Login(person.username, password if known else None, Role(user.role).label)


def _fill_catalog(teams: dict[str, Team]) -> None:
    """Describe each service; those that telemetry named first are still unowned, and are filled in."""
    members = {
        slug: User.objects.filter(teams=team, username__in=("owner", "sre", "responder"))
        for slug, team in teams.items()
    }
    for service in SERVICES:
        record, _ = Service.objects.get_or_create(slug=service.slug)
        if record.description or service.owner is None:
            continue
        record.name = service.slug.replace("-", " ").capitalize()
        record.description = service.description
        record.team = teams[service.team]
        record.owner = members[service.team].order_by("username").first()
        record.save()


@transaction.atomic
def demo_key() -> str:
    """A collector key for the demo's traffic; the one before it ends. ``AGENTOPS_DEMO_KEY`` replaces it."""
    if given := os.environ.get("AGENTOPS_DEMO_KEY"):
        return given
    for key in IngestKey.objects.filter(name=_KEY_NAME, revoked_at=None):
        revoke_ingest_key(key=key)
    return create_ingest_key(name=_KEY_NAME)


def began_on(today: date) -> date:
    """The day on which this installation's demo began: its first key's."""
    first = IngestKey.objects.filter(name=_KEY_NAME).order_by("created_at").first()
    return first.created_at.date() if first else today


def home() -> Path:
    """Where the demo keeps its password."""
    return Path(settings.HOME)
