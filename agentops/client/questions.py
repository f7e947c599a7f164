"""What the client asks and tells: bodies of the guard's two calls, without a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any, Literal

Kind = Literal["llm", "tool", "handoff"]
Outcome = Literal["ok", "error", "cancelled"]
#: What the server takes: of a name, of a count, of dollars.
MAX_CHARS, MAX_TOKENS, MAX_USD = 256, 2**40, Decimal(10**6)
_CONTROLS = dict.fromkeys((*range(32), 127))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call as OpenTelemetry counts them; ``None`` is unknown.

    The input includes what the provider's cache held and took in, the output includes reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in asdict(self).values())

    def body(self) -> dict[str, int]:
        """What is known of it."""
        return _known(asdict(self))


@dataclass(frozen=True, slots=True)
class Ids:
    """The span that tells of a step, in hex. Without ``span_id`` only the trace is known."""

    trace_id: str | None = None
    span_id: str | None = None

    def body(self) -> dict[str, str]:
        """Both or neither: a trace alone does not tell which of its calls this is."""
        return {"trace_id": self.trace_id, "span_id": self.span_id} if self.trace_id and self.span_id else {}


@dataclass(frozen=True, slots=True)
class Whose:
    """For whom a step is made."""

    run: str | None = None
    session: str | None = None
    user: str | None = None
    feature: str | None = None
    agent: str | None = None
    environment: str | None = None

    def within(self, outer: Whose) -> Whose:
        """The same with what an enclosing run says of what this one leaves open."""
        mine = asdict(self)
        return replace(self, **{name: value for name, value in asdict(outer).items() if mine[name] is None})

    def body(self) -> dict[str, str]:
        """What is known of it."""
        return _known(asdict(self))


@dataclass(frozen=True, slots=True)
class Question:
    """A step that is about to be made, and what it may take."""

    kind: Kind
    whose: Whose = Whose()
    provider: str | None = None
    model: str | None = None
    tool: str | None = None
    arguments_hash: str | None = None
    input_tokens: int | None = None
    max_output_tokens: int | None = None
    cost_usd: Decimal | None = None
    final_answer: bool = False
    ids: Ids = Ids()

    def body(self) -> dict[str, Any]:
        """The question as ``/guard/check`` wants it, without its idempotency key."""
        step = {
            "kind": self.kind,
            "provider": self.provider,
            "model": self.model,
            "tool": self.tool,
            "arguments_hash": self.arguments_hash,
        }
        estimate = {
            "input_tokens": self.input_tokens,
            "max_output_tokens": self.max_output_tokens,
            "cost_usd": self.cost_usd,
        }
        body: dict[str, Any] = {**self.whose.body(), "step": _known(step), **self.ids.body()}
        if known := _known(estimate):
            body["estimate"] = known
        if self.final_answer:
            body["final_answer"] = True
        return body


@dataclass(frozen=True, slots=True)
class Told:
    """What a step came to, for ``/guard/settle``."""

    reservation: str
    outcome: Outcome
    usage: Usage = Usage()
    cost_usd: Decimal | None = None
    model: str | None = None
    provider: str | None = None
    response_id: str | None = None
    ids: Ids = Ids()

    def body(self) -> dict[str, Any]:
        """The settlement as ``/guard/settle`` wants it."""
        rest = {
            "cost_usd": self.cost_usd,
            "model": self.model,
            "provider": self.provider,
            "response_id": self.response_id,
        }
        body: dict[str, Any] = {
            "reservation": self.reservation,
            "outcome": self.outcome,
            **_known(rest),
            **self.ids.body(),
        }
        if usage := self.usage.body():
            body["usage"] = usage
        return body


def hash_of(arguments: Any) -> str:
    """What stands for a tool's arguments: equal ones have the same, whatever the order of their names."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def dollars(amount: Decimal | float | str | None) -> Decimal | None:
    """Dollars without a float's noise."""
    return None if amount is None else Decimal(str(amount))


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of some facts, as the server takes it: what it would refuse must not stop an agent."""
    cleaned = {name: _clean(value) for name, value in facts.items()}
    return {name: value for name, value in cleaned.items() if value is not None}


def _clean(value: Any) -> str | int | None:
    if isinstance(value, str):
        text = value.translate(_CONTROLS).encode("utf-8", "replace").decode()
        return text[:MAX_CHARS] or None
    if isinstance(value, Decimal):
        return format(min(value, MAX_USD), "f") if value.is_finite() and value >= 0 else None
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return min(int(value), MAX_TOKENS)
    return None
