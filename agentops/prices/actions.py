"""What changes the price book: each change is a revision with who made it, and new versions beside the old ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from agentops.accounts.models import User
from agentops.domain.pricebook import Alias, Entry, check_alias, check_entry
from agentops.domain.pricelist import SOURCE_VERSION
from agentops.jobs import JobState
from agentops.live.actions import publish
from agentops.locks import Lock
from agentops.prices.models import BookRevision, ModelAlias, PriceEntry, Repricing
from agentops.prices.store import TOPIC, alias_of, entry_of, fields_of, latest_revision

#: Changes follow each other, so that the ids of revisions become visible in their order.
LOCK = f"SELECT pg_advisory_xact_lock({Lock.PRICE_BOOK})"
_Row = TypeVar("_Row", PriceEntry, ModelAlias)


class ChangedMeanwhile(ValueError):
    """Somebody else made a newer version than the one that was looked at."""

    def __init__(self, row: PriceEntry | ModelAlias) -> None:
        by = f" by {row.revision.by}" if row.revision.by else ""
        super().__init__(f"It was changed{by} meanwhile: look at version {row.version} first.")


def save_entry(*, entry: Entry, by: User | None, note: str = "", is_withdrawn: bool = False) -> Entry:
    """Write a version of an entry; the answer has its number and version.

    ``number`` 0 makes a new entry; else ``version`` is the one that was looked at. Raises ``UnsoundEntry`` and
    ``ChangedMeanwhile``.
    """
    check_entry(entry)
    with transaction.atomic():
        row = _write(PriceEntry, entry, by, note, is_withdrawn=is_withdrawn)
        publish([TOPIC])
    return entry_of(row)


def save_alias(*, alias: Alias, by: User | None, note: str = "", is_withdrawn: bool = False) -> Alias:
    """Write a version of an alias, as ``save_entry`` does of an entry."""
    check_alias(alias)
    with transaction.atomic():
        row = _write(ModelAlias, alias, by, note, is_withdrawn=is_withdrawn)
        publish([TOPIC])
    return alias_of(row)


def end_entry(*, entry: Entry, until_ns: int, by: User | None, note: str = "") -> Entry:
    """Let an entry hold until a moment, and no longer."""
    return save_entry(entry=replace(entry, until_ns=until_ns), by=by, note=note)


def end_alias(*, alias: Alias, until_ns: int, by: User | None, note: str = "") -> Alias:
    """Let an alias hold until a moment, and no longer."""
    return save_alias(alias=replace(alias, until_ns=until_ns), by=by, note=note)


class EmptyPeriod(ValueError):
    """A period that ends before it begins."""


class NotApplicable(ValueError):
    """What a dry run found can not be applied, or not any more; the reason is a sentence."""


@transaction.atomic
def start_dry_run(
    *,
    from_at: datetime,
    until_at: datetime,
    service: str = "",
    provider: str = "",
    name: str = "",
    by: User | None,
) -> Repricing:
    """Have it worked out what the calls of a period would cost by the book as it is now. Raises ``EmptyPeriod``."""
    if from_at >= until_at:
        message = "The period ends before it begins."
        raise EmptyPeriod(message)
    job = Repricing.objects.create(
        revision_id=latest_revision() or None,
        list_version=SOURCE_VERSION,
        from_at=from_at,
        until_at=until_at,
        service=service,
        provider=provider,
        name=name,
        requested_by=by,
    )
    publish([TOPIC])
    return job


@transaction.atomic
def apply_dry_run(*, dry_run: Repricing, by: User | None) -> Repricing:
    """Have what a dry run found written into the books, as adjusting entries. Raises ``NotApplicable``."""
    dry_run = Repricing.objects.select_for_update().get(pk=dry_run.pk)
    if (reason := why_not_applicable(dry_run)) is not None:
        raise NotApplicable(reason)
    parameters = ("revision_id", "list_version", "from_at", "until_at", "service", "provider", "name")
    job = Repricing.objects.create(
        dry_run=dry_run, requested_by=by, **{name: getattr(dry_run, name) for name in parameters}
    )
    publish([TOPIC])
    return job


def why_not_applicable(dry_run: Repricing) -> str | None:
    """A sentence that says why a job cannot be applied now; ``None`` when it can."""
    if dry_run.dry_run_id:
        return "This is an application already."
    if dry_run.state != JobState.DONE:
        return "Only a dry run that is done can be applied."
    if dry_run.applications.exclude(state__in=(JobState.CANCELLED, JobState.FAILED)).exists():
        return "It was applied already."
    if (dry_run.revision_id or 0) != latest_revision():
        return "The price book was changed since. Make a new dry run."
    if dry_run.list_version != SOURCE_VERSION:
        return "The public prices came in a new version since. Make a new dry run."
    return None if dry_run.lines.exists() else "Nothing would change."


@transaction.atomic
def cancel_repricing(*, job: Repricing) -> bool:
    """Stop a job before its next page; whether there was anything to stop. What is done stays done."""
    stopped = job.ask_to_cancel(now=timezone.now())
    publish([TOPIC])
    return stopped


def _write(model: type[_Row], row: Entry | Alias, by: User | None, note: str, *, is_withdrawn: bool) -> _Row:
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
    versions = model._default_manager  # noqa: SLF001  (Django's own name)
    number = row.number
    if number:
        latest = versions.filter(number=number).select_related("revision__by").order_by("-version").first()
        if latest is None or latest.version != row.version:
            raise ChangedMeanwhile(latest) if latest is not None else model.DoesNotExist
        version = latest.version + 1
    else:
        number, version = (versions.aggregate(last=Max("number"))["last"] or 0) + 1, 1
    revision = BookRevision.objects.create(by=by, note=note.strip()[:400])
    return versions.create(
        revision=revision, number=number, version=version, is_withdrawn=is_withdrawn, **fields_of(row)
    )
