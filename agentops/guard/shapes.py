"""What the guard is asked, and what it answers: the shapes of the public contract."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from ninja import Field, Schema
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from agentops.domain.budgets import JOIN, NANO, Position, title_of
from agentops.runs.api import Moment, rfc3339, usd

MAX_NAME_CHARS, MAX_KEY_CHARS = 256, 256
MAX_TOKENS = 2**40
#: No step costs a million dollars.
MAX_USD = Decimal(10**6)
MAX_TTL_SECONDS, TTL_SECONDS = 3_600, 600
LATIN = "0123456789abcdef"


def _name(value: str) -> str:
    """A name as the database can hold it, and as a part of a member's."""
    if "\0" in value or JOIN in value:
        message = "control characters are not allowed"
        raise ValueError(message)
    return value.strip()


def _key(value: str) -> str:
    """What an answer is known again by: nothing is no key."""
    if not (key := _name(value)):
        message = "a key has at least one character that is no space"
        raise ValueError(message)
    return key


def _nano(value: object) -> int:
    """Nano-dollars of a decimal string, rounded up: an estimate holds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        message = "a decimal string of dollars is expected"
        raise ValueError(message)  # noqa: TRY004  (pydantic turns no TypeError into an answer)
    try:
        amount = Decimal(str(value))
    except InvalidOperation as error:
        message = "a decimal string of dollars is expected"
        raise ValueError(message) from error
    if not amount.is_finite() or not 0 <= amount <= MAX_USD:
        message = f"between 0 and {MAX_USD:,} dollars are possible"
        raise ValueError(message)
    return int((amount * NANO).to_integral_value(ROUND_CEILING))


def _hex(digits: int) -> Any:
    def check(value: str) -> bytes:
        text = value.strip().lower()
        if len(text) != digits or not set(text) <= set(LATIN) or not text.strip("0"):
            message = f"{digits} hexadecimal digits are expected"
            raise ValueError(message)
        return bytes.fromhex(text)

    return AfterValidator(check)


Name = Annotated[str, Field(max_length=MAX_NAME_CHARS), AfterValidator(_name)]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS, strict=True)]
Usd = Annotated[int, BeforeValidator(_nano), Field(json_schema_extra={"type": "string", "example": "0.0123"})]
# Questions are told apart by their JSON, which no bytes fit into.
_AS_HEX = PlainSerializer(bytes.hex, return_type=str, when_used="json-unless-none")
TraceId = Annotated[str, _hex(32), _AS_HEX]
SpanId = Annotated[str, _hex(16), _AS_HEX]


class Asked(BaseModel):
    """What is asked: unknown members are ignored, so that newer clients can ask older servers.

    pydantic's own model: ninja's takes a tenth of a millisecond more, for each step of every agent.
    """

    model_config = ConfigDict(extra="ignore")


class StepIn(Asked):
    """The step that is about to be made."""

    kind: Literal["llm", "tool", "handoff"]
    provider: Name = ""
    model: Name = ""
    tool: Name = ""
    arguments_hash: Name = ""


class EstimateIn(Asked):
    """What it will need at most, as far as that is known."""

    input_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None
    cost_usd: Usd | None = None


class MissedIn(Asked):
    """How often the guard could not be asked since its last answer, by what was done then."""

    closed: Annotated[int, Field(ge=0, le=10**9)] = 0
    open: Annotated[int, Field(ge=0, le=10**9)] = 0


class CheckIn(Asked):
    """A step of which a client asks whether it may be made."""

    service: Name | None = Field(None, description="Not needed with a key that is bound to a service.")
    run: Name = Field("", description="The trace id in hex.")
    session: Name = ""
    user: Name = ""
    feature: Name = ""
    agent: Name = ""
    environment: Name = ""
    step: StepIn
    estimate: EstimateIn = Field(default_factory=EstimateIn)
    idempotency_key: Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARS), AfterValidator(_key)] | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=MAX_TTL_SECONDS)] = TTL_SECONDS
    trace_id: TraceId | None = Field(None, description="Of the span of this very call, when it is known already.")
    span_id: SpanId | None = None
    final_answer: bool = Field(False, description="The last call of a run that was told to stop.")
    missed: MissedIn | None = None


class UsageIn(Asked):
    """Tokens as the conventions count them: input includes caches, output includes reasoning."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    reasoning_output_tokens: Tokens | None = None


class SettleIn(Asked):
    """What a step has spent."""

    reservation: Annotated[str, Field(max_length=64)]
    usage: UsageIn | None = None
    cost_usd: Usd | None = None
    provider: Name = ""
    model: Name = ""
    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    response_id: Name | None = Field(None, description="The provider's id of the answer: its span has it too.")
    outcome: Literal["ok", "error", "cancelled"] = "ok"


class ReasonOut(Schema):
    """Why a step is stopped, or warned of."""

    mode: Literal["budget", "step_budget", "loop", "kill_switch"]
    action: Literal["warn", "stop"]
    message: str
    budget: int | None = None
    name: str | None = None
    unit: Literal["usd", "tokens", "steps"] | None = None
    limit: str | None = None
    spent: str | None = None
    reserved: str | None = None
    remaining: str | None = None
    resets_at: Moment | None = None
    observed: Any = None


class EstimateOut(Schema):
    """What is held for the step, and where that comes from."""

    cost_usd: str | None
    tokens: int | None
    source: Literal["given", "book", "habit", "default", "none"]


class CheckOut(Schema):
    """Whether a step may be made."""

    decision: Literal["allow", "warn", "stop"]
    reservation: str | None
    expires_at: Moment | None
    hard: bool = Field(description="A ceiling that stops applies: who cannot ask the guard had better not go on.")
    final_answer: bool = Field(description="After a stop: asked again with final_answer, this may be let through.")
    estimate: EstimateOut
    reasons: list[ReasonOut]


class PositionOut(Schema):
    """Where a window stands. Amounts are decimal strings: of dollars, or counts."""

    budget: int
    name: str
    unit: Literal["usd", "tokens", "steps"]
    limit: str
    spent: str
    reserved: str
    remaining: str
    resets_at: Moment | None


class SettleOut(Schema):
    """A settled reservation, and where its budgets stand; the tightest of them once more beside it."""

    reservation: str
    state: Literal["settled"]
    late: bool = Field(description="It had expired before: it is booked nevertheless.")
    cost_usd: str | None
    budget: int | None = None
    unit: Literal["usd", "tokens", "steps"] | None = None
    limit: str | None = None
    spent: str | None = None
    reserved: str | None = None
    remaining: str | None = None
    resets_at: Moment | None = None
    positions: list[PositionOut]


def position_shapes(position: Position) -> list[dict[str, Any]]:
    """A window as ``PositionOut`` tells it: one for each of its limits, the tightest first."""
    return [
        {
            "budget": position.budget.id,
            "name": title_of(position.budget),
            "unit": line.unit.value,
            "limit": amount_text(line.unit, line.limit),
            "spent": amount_text(line.unit, line.spent),
            "reserved": amount_text(line.unit, line.reserved),
            "remaining": amount_text(line.unit, line.remaining),
            "resets_at": moment_text(position.ends_at),
        }
        for line in position.lines
    ]


def amount_text(unit: str, amount: int) -> str:
    """An amount as the API writes it: dollars as a decimal string, or a count."""
    return usd(amount) or "" if unit == "usd" else str(amount)


def moment_text(moment: datetime | None) -> str | None:
    """A moment as the API writes it, if any."""
    return None if moment is None else rfc3339(moment)
