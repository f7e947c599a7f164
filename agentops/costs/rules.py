"""Rules of attribution: how they are written, as versions beside each other, and read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.db.models import Max

from agentops.accounts.models import Role, User
from agentops.costs.models import AttributionRule
from agentops.domain.attribution import Condition, Rule, Rules, check_rule
from agentops.live.actions import publish
from agentops.locks import Lock

#: Who may write rules and preview them, and who may move what is booked.
WRITES, MOVES = Role.OWNER, Role.ADMIN
#: The live topic of rules and re-attributions.
TOPIC = "attribution"
#: Changes follow each other, so that the ids of versions become visible in their order.
LOCK = f"SELECT pg_advisory_xact_lock({Lock.ATTRIBUTION_RULES})"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RuleChangedMeanwhile(ValueError):
    """Somebody else made a newer version than the one that was looked at."""

    def __init__(self, row: AttributionRule) -> None:
        by = f" by {row.by}" if row.by else ""
        super().__init__(f"It was changed{by} meanwhile: look at version {row.version} first.")


def save_rule(*, rule: Rule, by: User | None, note: str = "", is_enabled: bool = True) -> AttributionRule:
    """Write a version of a rule.

    ``number`` 0 makes a new rule; else ``version`` is the one that was looked at. Raises ``UnsoundRule``,
    ``RuleChangedMeanwhile``, and ``AttributionRule.DoesNotExist``.
    """
    check_rule(rule)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(LOCK)
        if rule.number:
            latest = AttributionRule.objects.filter(number=rule.number).select_related("by").first()
            if latest is None:
                raise AttributionRule.DoesNotExist
            if latest.version != rule.version:
                raise RuleChangedMeanwhile(latest)
            rule = replace(rule, version=latest.version + 1)
        else:
            last = AttributionRule.objects.aggregate(last=Max("number"))["last"] or 0
            rule = replace(rule, number=last + 1, version=1)
        row = AttributionRule.objects.create(
            number=rule.number,
            version=rule.version,
            service=rule.service,
            conditions=[
                {"subject": c.subject, "value": c.value, **({"key": c.key} if c.key else {})} for c in rule.conditions
            ],
            dimension=rule.dimension,
            value=rule.value,
            effective_from=_EPOCH + timedelta(microseconds=rule.from_ns // 1_000),
            is_enabled=is_enabled,
            by=by,
            note=note.strip()[:400],
        )
        publish([TOPIC])
    return row


def latest_revision() -> int:
    """The revision that the rules are at; 0 before the first."""
    return AttributionRule.objects.aggregate(last=Max("pk"))["last"] or 0


def load_rules(revision: int) -> Rules:
    """The rules as they were at a revision."""
    return Rules(rule_of(row) for row in last_versions(revision) if row.is_enabled)


def last_versions(revision: int | None = None) -> list[AttributionRule]:
    """The last version of each rule, by number, also of those that are switched off."""
    rows = AttributionRule.objects.select_related("by")
    if revision is not None:
        rows = rows.filter(pk__lte=revision)
    return list(rows.order_by("number", "-version").distinct("number"))


def versions(number: int) -> list[AttributionRule]:
    """All versions of a rule, the last one first."""
    return list(AttributionRule.objects.filter(number=number).select_related("by"))


def rule_of(row: AttributionRule) -> Rule:
    """A version as the domain reads it."""
    return Rule(
        number=row.number,
        version=row.version,
        service=row.service,
        conditions=tuple(Condition(**condition) for condition in row.conditions),
        dimension=row.dimension,
        value=row.value,
        from_ns=(row.effective_from - _EPOCH) // timedelta(microseconds=1) * 1_000,
    )
