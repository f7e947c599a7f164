"""The one loop over the dialect tables. On the hot path of every span."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agentops.domain.dialects import values
from agentops.domain.dialects.adk import ADK
from agentops.domain.dialects.agent_framework import AGENT_FRAMEWORK
from agentops.domain.dialects.crewai import CREWAI, CREWAI_CALL
from agentops.domain.dialects.genai import GENAI, GENAI_WITHOUT_OPERATION, OPENAI_AGENTS
from agentops.domain.dialects.genkit import GENKIT
from agentops.domain.dialects.haystack import HAYSTACK
from agentops.domain.dialects.langfuse import LANGFUSE
from agentops.domain.dialects.langsmith import LANGSMITH
from agentops.domain.dialects.litellm import LITELLM, LITELLM_2
from agentops.domain.dialects.logfire import LOGFIRE
from agentops.domain.dialects.messages import kept
from agentops.domain.dialects.mlflow import MLFLOW
from agentops.domain.dialects.openinference import OPENINFERENCE
from agentops.domain.dialects.pydantic_ai import PYDANTIC_AI
from agentops.domain.dialects.spring_ai import SPRING_AI
from agentops.domain.dialects.strands import STRANDS
from agentops.domain.dialects.table import Dialect, Names
from agentops.domain.dialects.terms import FIELDS as TERMS
from agentops.domain.dialects.terms import estimate, read_terms
from agentops.domain.dialects.traceloop import (
    TRACELOOP,
    TRACELOOP_CALL,
    TRACELOOP_DECORATED,
    TRACELOOP_IN_LANGCHAIN,
    TRACELOOP_STAMPED,
)
from agentops.domain.dialects.vercel_ai import VERCEL_AI
from agentops.domain.spans import (
    ATTRIBUTION,
    COSTED_KINDS,
    Attributes,
    AttributeValue,
    CostBasis,
    Event,
    Kind,
    RawSpan,
    Resource,
    Span,
)

#: In the order in which they are asked; the first that knows the span's kind reads it.
DIALECTS: tuple[Dialect, ...] = (
    OPENINFERENCE,
    LANGFUSE,
    MLFLOW,
    VERCEL_AI,
    LANGSMITH,
    HAYSTACK,
    LITELLM,
    LITELLM_2,
    PYDANTIC_AI,
    STRANDS,
    CREWAI_CALL,
    CREWAI,
    SPRING_AI,
    GENKIT,
    AGENT_FRAMEWORK,
    ADK,
    LOGFIRE,
    OPENAI_AGENTS,
    TRACELOOP_DECORATED,
    TRACELOOP_IN_LANGCHAIN,
    TRACELOOP,
    TRACELOOP_CALL,
    TRACELOOP_STAMPED,
    GENAI,
    GENAI_WITHOUT_OPERATION,
)
_NAMED = {name: dialect for dialect in DIALECTS for name in dialect.names}
#: Which dialects are asked about spans of a scope, each if the span has that mark; ``""``: in any case.
_MARKED = tuple((dialect.mark, dialect) for dialect in DIALECTS if dialect.mark)
_SCOPED = {
    scope: tuple(
        ("" if scope in dialect.scopes else dialect.mark, dialect)
        for dialect in DIALECTS
        if dialect.mark or scope in dialect.scopes
    )
    for scope in frozenset().union(*(dialect.scopes for dialect in DIALECTS))
}

STATUS_ERROR = 2
#: Which reservation of the guard a span settles.
RESERVATION = "agentops.reservation.id"
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_CHARS = 1_024
MAX_TAGS = 32

# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_OTHER, _TOOL = Kind.OTHER, Kind.TOOL
_TEXTS = (("prompt", "input"), ("completion", "output"), ("system", "system"))
_USAGE = ("input", "output", "cache_read", "cache_creation", "reasoning")
_TERMS = frozenset(TERMS)
#: Parts of what is written to the cache, which some tell without the sum.
_WRITTEN = ("cache_creation_5m", "cache_creation_1h")
#: Names of frameworks that some put where the provider belongs.
_FRAMEWORKS = frozenset(
    {
        "agno",
        "autogen",
        "crewai",
        "gcp.vertex.agent",
        "langchain",
        "langgraph",
        "llamaindex",
        "microsoft.agent_framework",
        "semantic-kernel",
        "spring_ai",
        "strands-agents",
    }
)
_PROVIDERS = dict.fromkeys(
    ("gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai", "gemini", "googleai", "vertex_ai", "vertexai"),
    "google",
)
#: The id of an answer, which some give for the conversation that goes on from it: another one in each turn.
_ANSWER = "resp_"
#: Scopes that work a cost out of a price list of their own, and say zero for a model that it lacks.
_ESTIMATING_SCOPES = "openlit"
#: An error's type at the beginning of a status message.
_NAMED_ERROR = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Exceeded|Timeout|Interrupt)\b")
#: An error's type as Python writes a class.
_CLASS = re.compile(r"<class '([^']+)'>")
#: What the conventions call an error of no known type.
_OTHER_ERROR = "_OTHER"

#: What says nothing, so that the next name is asked.
#: Why an answer ended that asks for tools, where it does not say which.
_ASKS_FOR_TOOLS = frozenset({"tool_calls", "tool_call", "tool-calls", "tool_use", "function_call"})
_BLANK = (None, "")

Fields = dict[str, AttributeValue]
#: A dimension's best value and what that is worth.
Dimensions = dict[str, tuple[str, int]]


def normalise(raw: RawSpan, service: str, *, max_text: int = 65_536) -> Span:
    """Understand one span. Nothing in its attributes makes this raise.

    What cannot be valid (a negative count of tokens, say) becomes unknown, and
    ``Span.warnings`` says so. Text is cut at ``max_text`` characters.
    """
    kind, dialect = _recognise(raw)
    fields, dimensions, rest = _read(raw.attributes, dialect)
    span = Span(
        raw.trace_id,
        raw.span_id,
        raw.parent_span_id if raw.parent_span_id != raw.span_id else b"",
        service,
        kind,
        values.name(raw.name) or "",
        values.name(raw.scope) or "",
        raw.start_ns,
        raw.end_ns,
    )
    if raw.end_ns < raw.start_ns:
        span.end_ns = raw.start_ns
        span.warnings.append("a span ended before it started: its duration counts as zero")
    _attribute(span, dimensions, raw.resource)
    if (granted := raw.attributes.get(RESERVATION)) is not None:
        span.reservation_id = values.name(granted)
    failed = raw.status_code == STATUS_ERROR or (bool(dialect.errors) and _says_error(raw.attributes, dialect))
    if failed or "error.type" in raw.attributes:
        _fail(span, raw, failed=failed, said=fields.get("error_message"), max_text=max_text)
    if kind is not _OTHER and dialect.finish is not None:
        dialect.finish(raw, kind, fields)
    if "tags" in fields:
        _tag(span, fields["tags"])
    if kind is _OTHER:
        return span
    _understand(span, fields)
    if span.is_error and kind in COSTED_KINDS and (span.usage.input is None or span.usage.output is None):
        estimate(span, fields, values.name(fields.get("error_message")) or raw.status_message)
    _keep_content(span, fields, max_text, raw=raw, dialect=dialect)
    if rest:
        _keep_rest(span, rest, raw.attributes)
    return span


def _recognise(raw: RawSpan) -> tuple[Kind, Dialect]:
    attributes = raw.attributes
    named = _NAMED.get(raw.name)
    if named is not None and (kind := named.kind(raw)) is not None:
        return kind, named
    for mark, dialect in _SCOPED.get(raw.scope, _MARKED):
        if not mark or mark in attributes:
            kind = dialect.kind(raw)
            if kind is not None:
                return kind, dialect
    return _OTHER, GENAI


def _read(attributes: Attributes, dialect: Dialect) -> tuple[Fields, Dimensions, Names]:
    """The best value of each field and dimension, and which attributes serve none."""
    reading = dialect.reading(tuple(attributes))
    rest = reading.rest
    if dialect.expand and (members := _members(attributes, dialect)):
        attributes = members | {name: value for name, value in attributes.items() if value not in _BLANK}
        reading = dialect.reading(tuple(attributes))
    fields: Fields = {}
    for field, serving in reading.fields:
        for name in serving:
            value = attributes[name]
            if value not in _BLANK:
                fields[field] = value
                break
    dimensions: Dimensions = {}
    find = values.name
    for dimension, ranked in reading.dimensions:
        for rank, name in ranked:
            # What was scrubbed or is blank does not hide a value that comes after it.
            text = find(attributes[name])
            if text is not None and not (dimension == "session" and text.startswith(_ANSWER)):
                dimensions[dimension] = (text, rank)
                break
    return fields, dimensions, rest


def _members(attributes: Attributes, dialect: Dialect) -> Attributes:
    """What the tables read of attributes that hold an object, as attributes of their own."""
    found: Attributes = {}
    for source, prefix in dialect.expand:
        value = attributes.get(source)
        if isinstance(value, str) and value.startswith("{"):
            value = values.parse(value)
        if isinstance(value, dict):
            _flatten(value, prefix, found, dialect)
    return found


def _flatten(members: Attributes, prefix: str, found: Attributes, dialect: Dialect) -> None:
    readers, holders = dialect.readers, dialect.holders
    for member, value in members.items():
        name = f"{prefix}{member}"
        if name in readers:
            found.setdefault(name, value)
        if name in holders:
            _flatten(_first(value), f"{name}.", found, dialect)


def _first(value: AttributeValue) -> Attributes:
    """An object, or the first in a list of them."""
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else {}


def _attribute(span: Span, own: Dimensions, resource: Resource) -> None:
    shared = resource.derived.get("attribution")
    if shared is None:
        of_resource = _read(resource.attributes, GENAI)[1]
        shared = {dimension: best for dimension, best in of_resource.items() if dimension in ATTRIBUTION}
        resource.derived["attribution"] = shared
    found = span.attribution
    found.update(shared)
    for dimension, best in own.items():
        if dimension not in found or best[1] <= found[dimension][1]:
            found[dimension] = best


def _says_error(attributes: Attributes, dialect: Dialect) -> bool:
    return any(attributes.get(name) == value for name, value in dialect.errors)


def _fail(span: Span, raw: RawSpan, *, failed: bool, said: AttributeValue, max_text: int) -> None:
    named = values.name(raw.attributes.get("error.type"))
    if not failed and named is None:
        return
    span.is_error = True
    exception = _exception(raw.events)
    said = raw.status_message or said or exception.get("exception.message")
    message = values.name(said)
    if named is None or named == _OTHER_ERROR:
        named = values.name(exception.get("exception.type")) or named
        if named is None and message is not None and (match := _NAMED_ERROR.match(message)):
            named = match[0]
    if named is not None and (match := _CLASS.fullmatch(named)):
        named = match[1]
    span.error_type = named
    if max_text and said:
        span.content["error_message"] = values.text(said, max_text)


def _exception(events: Iterable[Event]) -> Attributes:
    """The last exception that was recorded."""
    found: Attributes = {}
    for event in events:
        if event.name == "exception":
            found = event.attributes
    return found


def _tag(span: Span, value: AttributeValue) -> None:
    tags = value.split(",") if isinstance(value, str) else value
    named = [name for tag in (tags if isinstance(tags, list) else ()) if (name := values.name(tag)) is not None]
    if named:
        span.content["tags"] = named[:MAX_TAGS]


def _understand(span: Span, fields: Fields) -> None:
    get, name, kind = fields.get, values.name, span.kind
    span.operation_name = name(get("operation_name"))
    span.agent_name = name(get("agent_name"))
    span.request_model = name(get("request_model"))
    if kind is _TOOL:
        span.tool_name = name(get("tool_name"))
        span.tool_call_id = name(get("tool_call_id"))
        return
    span.finish_reason = name(get("finish_reason"))
    if kind not in COSTED_KINDS:
        return
    span.response_model = name(get("response_model"))
    span.response_id = name(get("response_id"))
    provider = name(get("provider"))
    if provider is not None:
        lower = provider.lower()
        span.provider = None if lower in _FRAMEWORKS else _PROVIDERS.get(lower, lower)
    streaming = get("streaming")
    span.streaming = streaming if isinstance(streaming, bool) else None
    _count(span, fields)
    if not _TERMS.isdisjoint(fields):
        span.terms = read_terms(fields)
    if "cost" in fields or "estimated_cost" in fields:
        _reported(span, fields)


def _count(span: Span, fields: Fields) -> None:
    usage = span.usage
    for field in _USAGE:
        if field in fields:
            count = values.tokens(fields[field])
            setattr(usage, field, count)
            if count is None:
                span.warnings.append(f"the {field} tokens of a span are not a count of tokens: they count as unknown")
    if not usage.cache_creation and not fields.keys().isdisjoint(_WRITTEN):
        written = sum(values.tokens(fields.get(field)) or 0 for field in _WRITTEN)
        usage.cache_creation = written or usage.cache_creation
    cached, reasoning = (usage.cache_read or 0) + (usage.cache_creation or 0), usage.reasoning or 0
    if usage.input is None or not (cached or reasoning):
        return
    # The total, or an input smaller than the caches, tells when these or the reasoning were left out, as they are in
    # the numbers that Anthropic and Google give.
    total = values.tokens(fields.get("total")) if "total" in fields else None
    left_out = total - usage.input - usage.output if total is not None and usage.output is not None else 0
    if cached and (cached > usage.input or left_out in (cached, cached + reasoning)):
        usage.input += cached
        left_out -= cached
    if reasoning and left_out == reasoning and usage.output is not None:
        usage.output += reasoning


def _reported(span: Span, fields: Fields) -> None:
    """A cost that the client reports. Zero means that it does not know, unless the provider says it."""
    value, source = fields.get("cost"), fields.get("cost_source")
    currency = values.name(fields.get("cost_currency"))
    basis = CostBasis.BILL
    if value is None:
        value, basis = fields.get("estimated_cost"), CostBasis.SAME_LIST
    elif currency is not None and currency.upper() != "USD":
        span.warnings.append("a cost was reported in another currency than USD and is not taken")
        return
    elif source == "local" or span.scope.startswith(_ESTIMATING_SCOPES):
        basis = CostBasis.OTHER_LIST
    nano = values.nano_dollars(value)
    if nano is None:
        span.warnings.append("the reported cost of a span is not an amount of money: it counts as unknown")
    elif nano or source == "provider":
        span.reported_cost_nano, span.reported_cost_basis = nano, basis


def _keep_content(span: Span, fields: Fields, limit: int, *, raw: RawSpan, dialect: Dialect) -> None:
    content = span.content
    if span.kind is _TOOL:
        if (value := fields.get("arguments")) is not None:
            content["arguments"] = values.json_value(dialect.arguments(raw, value), limit)
        if (value := fields.get("result")) is not None:
            content["result"] = values.text(value, limit)
        return
    for field, key in _TEXTS:
        if (value := fields.get(field)) is not None:
            content[key] = values.text(value, limit)
    if span.kind not in COSTED_KINDS:
        return
    if requested := dialect.requested_tools(raw, raw.attributes):
        content["requested_tools"] = kept(requested, limit)
    elif span.finish_reason in _ASKS_FOR_TOOLS:
        content["asks_for_tools"] = True


def _keep_rest(span: Span, rest: Iterable[str], attributes: Attributes) -> None:
    """Keep what no table reads, for people to look at."""
    kept: dict[str, AttributeValue] = {}
    for key in rest:
        value = attributes[key]
        if value is None:
            continue
        if not isinstance(value, (int, float)):
            value = values.text(value, MAX_ATTRIBUTE_CHARS)
        kept[values.key(key)] = value
        if len(kept) >= MAX_ATTRIBUTES:
            break
    if kept:
        span.content["attributes"] = kept
