"""The words everything else speaks: raw spans as decoded, canonical spans as understood.

Times are integer nanoseconds since the Unix epoch, money is integer nano-dollars, tokens are
integers. ``None`` means *unknown* and never stands for zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

AttributeValue = str | int | float | bool | bytes | list["AttributeValue"] | dict[str, "AttributeValue"] | None
Attributes = dict[str, AttributeValue]


class Kind(IntEnum):
    """What a span is. The value is what the database stores."""

    OTHER = 0
    AGENT = 1
    WORKFLOW = 2
    LLM = 3
    EMBEDDING = 4
    TOOL = 5
    RETRIEVAL = 6

    # Members of an enum are hashed by a Python function; these are looked up for every span.
    __hash__ = int.__hash__


#: Kinds that may cost money: everything else repeats or contains them.
COSTED_KINDS = frozenset({Kind.LLM, Kind.EMBEDDING})
#: Kinds that are steps of an agent.
STEP_KINDS = COSTED_KINDS | {Kind.TOOL, Kind.RETRIEVAL}


class PriceSource(IntEnum):
    """Where a cost came from. The value is what the database stores."""

    PROVIDER = 1
    BOOK = 2
    GENAI_PRICES = 3


class CostBasis(IntEnum):
    """What a cost that a client reports rests on."""

    #: A bill, a gateway's accounts, a contract: what the client says is what is paid.
    BILL = 1
    #: genai-prices, asked by the client with all of the provider's usage, at the version that it has.
    SAME_LIST = 2
    #: A price list of the client's own.
    OTHER_LIST = 3


@dataclass(slots=True)
class Resource:
    """The process that sent spans: its OTLP resource attributes, as decoded.

    ``derived`` remembers what was worked out of them, because many spans share one resource.
    """

    attributes: Attributes
    derived: dict[str, dict[str, tuple[str, int]]] = field(default_factory=dict)


@dataclass(slots=True)
class Event:
    """A span event as decoded."""

    name: str
    time_ns: int
    attributes: Attributes


@dataclass(slots=True)
class RawSpan:
    """One OTLP span, decoded and bounded, not yet understood.

    ``parent_span_id`` is ``b""`` for a root. ``status_code`` is OTLP's: 0 unset, 1 ok, 2 error.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    attributes: Attributes
    events: list[Event]
    scope: str
    resource: Resource


@dataclass(slots=True)
class LogRecord:
    """One OTLP log record that tells an event of a span, decoded and bounded, not yet understood."""

    trace_id: bytes
    span_id: bytes
    event: str
    time_ns: int
    attributes: Attributes
    body: AttributeValue
    resource: Resource


@dataclass(slots=True)
class TokenUsage:
    """Tokens of one model call; ``input`` includes both caches, ``output`` includes reasoning."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_creation: int | None = None
    reasoning: int | None = None


@dataclass(slots=True, frozen=True)
class Terms:
    """What else the price of a model call depends on, where its span says so.

    ``tier`` is the provider's service tier, ``None`` for the standard one. Counts are parts of those in ``TokenUsage``.
    ``estimated_*`` stand for counts that a call which was broken off does not tell: see ``dialects.terms``.
    """

    tier: str | None = None
    audio_input: int | None = None
    audio_cache_read: int | None = None
    audio_output: int | None = None
    cache_creation_1h: int | None = None
    estimated_input: int | None = None
    estimated_output: int | None = None


NO_TERMS = Terms()

#: How much a value of an attribution dimension is worth: lower wins. What the guard was asked with comes first: what it
#: held in a window and what telemetry counts there must be the same.
RANK_GUARD = -1
RANK_EXPLICIT = 0
#: What an operator's rule says of a span.
RANK_RULE = 1
RANK_FALLBACK = 2


@dataclass(slots=True)
class Span:
    """One span as understood, whatever dialect it came in.

    ``agent_name`` is the span's own statement; the nearest agent above it is found by
    ``runtree``. ``content`` holds what may be redacted or dropped: ``input``, ``output``,
    ``system``, ``arguments``, ``result``, ``requested_tools``, ``error_message``,
    ``attributes``. Values of ``attribution`` are ``dimension -> (value, rank)``
    with the dimensions of ``ATTRIBUTION``.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    service: str
    kind: Kind
    name: str
    scope: str
    start_ns: int
    end_ns: int
    is_error: bool = False
    error_type: str | None = None
    operation_name: str | None = None
    agent_name: str | None = None
    provider: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    terms: Terms = NO_TERMS
    reported_cost_nano: int | None = None
    reported_cost_basis: CostBasis = CostBasis.BILL
    finish_reason: str | None = None
    #: The guard's reservation that it was granted under.
    reservation_id: str | None = None
    streaming: bool | None = None
    attribution: dict[str, tuple[str, int]] = field(default_factory=dict)
    content: dict[str, object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


#: Dimensions that belong to a whole run and may arrive on any of its spans, late.
ATTRIBUTION = ("user", "session", "feature", "release", "environment")
DEFAULT_ENVIRONMENT = "production"
#: What a value becomes that is one too many of its kind: see ``agentops.ingest.cardinality``.
OTHER = "__other__"


class Cost(NamedTuple):
    """What one model call or tool call costs.

    ``nano`` is ``None`` when there is no known price: unpriced, never zero. ``price_id`` names the price and its
    version, for instance ``genai-prices 0.2.3 openai/gpt-4o`` or ``book 12 v3``. ``is_estimate``: the call failed, so
    that what is known of it may not be all that is billed.
    """

    nano: int | None
    source: PriceSource | None
    price_id: str | None
    is_estimate: bool = False


#: What is added up over spans, runs and rollups, in the order in which every statement lists it.
#: Money is nano-dollars.
MEASURES = (
    "cost_nano",
    "unpriced_calls",
    "llm_calls",
    "tool_calls",
    "steps",
    "errors",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
)
