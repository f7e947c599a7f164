"""How keys and tokens are made and checked: shown once, stored as keyed hashes.

A key reads ``agk_<id>_<secret>`` (a token ``agt_…``): the id finds the row, the secret is 256
random bits of which only an HMAC with a key derived from ``SECRET_KEY`` is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from django.conf import settings

INGEST_PREFIX = "agk"
TOKEN_PREFIX = "agt"  # noqa: S105  (a prefix, no secret)
_FORMAT = re.compile(r"(agk|agt)_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
#: What an unknown id is compared with, so that it takes as long as a known one.
NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Secret:
    """A new key: its text, which is shown once, and what is stored of it."""

    text: str
    key_id: str
    digest: bytes


def new_secret(prefix: str) -> Secret:
    """A new random key."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return Secret(f"{prefix}_{key_id}_{secret}", key_id, digest(secret))


def digest(secret: str) -> bytes:
    """What is stored of a secret."""
    pepper = hashlib.sha256(f"agentops.keys:{settings.SECRET_KEY}".encode()).digest()
    return hmac.new(pepper, secret.encode(), hashlib.sha256).digest()


def parse(text: str, prefix: str) -> tuple[str, str] | None:
    """The id and the secret of a key's text; ``None`` when it is no such key."""
    match = _FORMAT.fullmatch(text)
    return (match[2], match[3]) if match and match[1] == prefix else None


def matches(secret: str, stored: bytes | None) -> bool:
    """Whether a secret belongs to a stored digest, in constant time."""
    return hmac.compare_digest(digest(secret), stored or NO_DIGEST) and stored is not None
