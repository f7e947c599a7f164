"""Asking the guard in a test's own transaction."""

from __future__ import annotations

import json
from typing import Any

from agentops.columns import books_cursor
from agentops.guard.context import Customs
from agentops.guard.desk import check_of, settlement_of
from agentops.guard.estimates import Estimates
from agentops.guard.round import Check, Round, Settlement
from agentops.ingest.answers import Refused

SERVICE = "research-assistant"
RUN = "5b8efff798038103d269b633813fc60c"


def body(**said: Any) -> bytes:
    """A check of a model call that is said to cost ten cents."""
    asked: dict[str, Any] = {"step": {"kind": "llm", "model": "gpt-4o"}, "estimate": {"cost_usd": "0.10"}}
    return json.dumps(asked | said).encode()


def decide(*asked: Check | Settlement) -> list[Any]:
    """Answer them in one round; each answer, or the status that refuses one."""
    checks = [one for one in asked if isinstance(one, Check)]
    settlements = [one for one in asked if isinstance(one, Settlement)]
    with books_cursor() as cursor:
        Round(cursor, Estimates(), Customs()).decide(checks, settlements)
    return [one.answer.status if isinstance(one.answer, Refused) else one.answer for one in asked]


def check(service: str = SERVICE, **said: Any) -> Any:
    """The answer to one check."""
    return decide(check_of(body(**said), service))[0]


def settle(reservation: str, service: str = SERVICE, **said: Any) -> Any:
    """The answer to one settlement."""
    return decide(settlement_of(json.dumps({"reservation": reservation} | said).encode(), service))[0]
