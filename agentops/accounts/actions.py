"""What changes keys and tokens, and who they speak for."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agentops.accounts import keys
from agentops.accounts.models import ApiToken, IngestKey, User


@transaction.atomic
def create_ingest_key(*, name: str, service: str = "", created_by: User | None = None) -> str:
    """Make an ingest key, bound to a service or, without one, for a collector; its text, this once."""
    secret = keys.new_secret(keys.INGEST_PREFIX)
    IngestKey.objects.create(
        key_id=secret.key_id, digest=secret.digest, name=name, service=service.strip(), created_by=created_by
    )
    return secret.text


@transaction.atomic
def revoke_ingest_key(*, key: IngestKey) -> IngestKey:
    """End a key; receivers refuse it within seconds. Revoking twice changes nothing."""
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
    return key


@transaction.atomic
def create_token(*, user: User, scope: str = ApiToken.Scope.READ, name: str = "") -> str:
    """Make an operator token for ``/api/v1``; its text, this once."""
    secret = keys.new_secret(keys.TOKEN_PREFIX)
    ApiToken.objects.create(token_id=secret.key_id, digest=secret.digest, user=user, scope=scope, name=name)
    return secret.text


def _alive(now: datetime) -> Q:
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now))


def authenticate_ingest_key(text: str) -> IngestKey | None:
    """The live key that a text is, if any."""
    parsed = keys.parse(text, keys.INGEST_PREFIX)
    if parsed is None:
        return None
    key = IngestKey.objects.filter(_alive(timezone.now()), key_id=parsed[0]).first()
    return key if keys.matches(parsed[1], bytes(key.digest) if key else None) else None


def authenticate_token(text: str) -> ApiToken | None:
    """The live token that a text is, of an active user, if any."""
    parsed = keys.parse(text, keys.TOKEN_PREFIX)
    if parsed is None:
        return None
    alive = ApiToken.objects.select_related("user").filter(_alive(timezone.now()), user__is_active=True)
    token = alive.filter(token_id=parsed[0]).first()
    return token if keys.matches(parsed[1], bytes(token.digest) if token else None) else None


def note_use(*, key_id: str) -> None:
    """Remember that an ingest key was used."""
    IngestKey.objects.filter(key_id=key_id).update(last_used_at=timezone.now())
