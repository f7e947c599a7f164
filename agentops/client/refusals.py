"""How a stop reaches the program through an SDK of a provider.

SDKs made by Stainless (OpenAI's and Anthropic's among them) take an exception of a transport for a failure of the
network, by version: they try again, and wrap it. What they ask of a response is not wrapped: so the stop comes as a
response that raises it when it is asked whether it went well. Any other program gets the exception from its transport.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

from agentops.client.calls import Dialect
from agentops.client.errors import BudgetExceeded, GuardStopped, GuardUnavailable, LoopDetected, Stopped

OnStop = Literal["raise", "response"]

#: By what is wrong: the status, its name, and the kinds of error of Anthropic and Google that are closest.
_KINDS: tuple[tuple[type[GuardStopped], int, str, str, str], ...] = (
    (BudgetExceeded, 402, "budget_exceeded", "billing_error", "RESOURCE_EXHAUSTED"),
    (LoopDetected, 429, "loop_detected", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    (Stopped, 403, "stopped", "permission_error", "PERMISSION_DENIED"),
    (GuardUnavailable, 503, "guard_unavailable", "overloaded_error", "UNAVAILABLE"),
)


def is_made_by_sdk(headers: Mapping[str, str]) -> bool:
    """Whether an SDK sends this that would try an exception again."""
    return "x-stainless-lang" in headers


def refusal(stop: GuardStopped, dialect: Dialect, response_type: type[Any], *, raises: bool) -> Any:
    """A response in the provider's own format that says why, and that no SDK tries again.

    With ``raises`` it raises the stop as soon as it is asked whether it went well.
    """
    status, body = spelled(stop, dialect)
    made = _raising(response_type, stop) if raises else response_type
    headers = {"content-type": "application/json", "x-should-retry": "false"}
    return made(status, headers=headers, content=json.dumps(body).encode())


def spelled(stop: GuardStopped, dialect: Dialect) -> tuple[int, dict[str, Any]]:
    """A stop as a status, and an error of the provider."""
    status, name, anthropic, google = next(row[1:] for row in _KINDS if isinstance(stop, row[0]))
    if dialect is Dialect.MESSAGES:
        return status, {"type": "error", "error": {"type": anthropic, "message": stop.message}}
    if dialect is Dialect.GEMINI:
        return status, {"error": {"code": status, "message": stop.message, "status": google}}
    return status, {"error": {"message": stop.message, "type": name, "code": name, "param": None}}


def _raising(response_type: type[Any], stop: GuardStopped) -> type[Any]:
    def refuse(_: object) -> NoReturn:
        raise stop

    # Which of the two an SDK asks differs by its version.
    return type("Refusal", (response_type,), {"raise_for_status": refuse, "is_success": property(refuse)})
