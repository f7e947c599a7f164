"""The one loop over the dialect tables. On the hot path of every span."""

from __future__ import annotations

from agentops.domain.dialects import values
from agentops.domain.dialects.genai import GENAI
from agentops.domain.dialects.openinference import OPENINFERENCE
from agentops.domain.dialects.pydantic_ai import PYDANTIC_AI
from agentops.domain.dialects.table import EXPLICIT, FALLBACK, Dialect
from agentops.domain.spans import (
    ATTRIBUTION,
    COSTED_KINDS,
    RANK_EXPLICIT,
    RANK_FALLBACK,
    Attributes,
    Kind,
    RawSpan,
    Resource,
    Span,
    TokenUsage,
)

#: In the order in which they are asked; the first that knows the span's kind reads it.
DIALECTS: tuple[Dialect, ...] = (OPENINFERENCE, PYDANTIC_AI, GENAI)

STATUS_ERROR = 2
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_CHARS = 1_024
#: Longest value that is looked into as JSON to find names in it.
MAX_EXPANDED_CHARS = 262_144
MAX_REQUESTED_TOOLS = 128

_TEXTS = (("prompt", "input"), ("completion", "output"), ("system", "system"))
_USAGE = ("input", "output", "cache_read", "cache_creation", "reasoning")
#: Names of frameworks that some put where the provider belongs.
_FRAMEWORKS = frozenset(
    {"strands-agents", "autogen", "langchain", "langgraph", "microsoft.agent_framework", "semantic-kernel"}
)
_PROVIDERS = {"gcp.gemini": "google", "gcp.vertex_ai": "google", "gcp.gen_ai": "google", "vertex_ai": "google"}


def normalise(raw: RawSpan, service: str, *, keep_content: bool = True, max_text: int = 65_536) -> Span:
    """Understand one span. Nothing in its attributes makes this raise.

    What cannot be valid (a negative count of tokens, say) becomes unknown, and
    ``Span.warnings`` says so. Text is cut at ``max_text`` characters, or left out altogether
    without ``keep_content``.
    """
    kind, dialect = Kind.OTHER, GENAI
    for candidate in DIALECTS:
        found = candidate.kind(raw)
        if found is not None:
            kind, dialect = found, candidate
            break
    attributes = _expanded(raw.attributes, dialect)
    fields, dimensions, rest = _read(attributes, dialect)
    span = Span(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        parent_span_id=raw.parent_span_id if raw.parent_span_id != raw.span_id else b"",
        service=service,
        kind=kind,
        name=values.short(raw.name) or "",
        scope=values.short(raw.scope) or "",
        start_ns=raw.start_ns,
        end_ns=max(raw.start_ns, raw.end_ns),
        is_error=raw.status_code == STATUS_ERROR,
    )
    if raw.end_ns < raw.start_ns:
        span.warnings.append("a span ended before it started: its duration counts as zero")
    _attribute(span, dimensions, raw.resource)
    _error(span, raw, keep_content=keep_content, max_text=max_text)
    if kind is not Kind.OTHER:
        if dialect.finish is not None:
            dialect.finish(raw, kind, attributes, fields)
        _understand(span, fields, attributes)
        if keep_content:
            _keep_content(span, raw, attributes, fields, rest, dialect, max_text)
    return span


#: A dimension's best value: (its place in the order of precedence, text).
Dimensions = dict[str, tuple[int, str]]


def _read(
    attributes: Attributes, dialect: Dialect
) -> tuple[dict[str, object], Dimensions, list[tuple[str, object]]]:
    """One pass: the best value of each field and dimension, and the attributes that serve none."""
    readers = dialect.readers
    fields: dict[str, object] = {}
    places: dict[str, int] = {}
    dimensions: Dimensions = {}
    rest: list[tuple[str, object]] = []
    for key, value in attributes.items():
        reader = readers.get(key)
        if reader is None:
            rest.append((key, value))
        elif value is not None and value != "":
            for field, place in reader:
                if place < EXPLICIT:
                    if field not in places or place < places[field]:
                        places[field] = place
                        fields[field] = value
                elif field not in dimensions or place < dimensions[field][0]:
                    # What was scrubbed or is blank must not hide a value that comes after it.
                    if (text := values.name(value)) is not None:
                        dimensions[field] = (place, text)
    return fields, dimensions, rest


def _expanded(attributes: Attributes, dialect: Dialect) -> Attributes:
    for source, prefix in dialect.expand:
        value = attributes.get(source)
        if isinstance(value, str) and value.startswith("{") and len(value) <= MAX_EXPANDED_CHARS:
            value = values.parse_json(value)  # type: ignore[assignment]
        if isinstance(value, dict):
            attributes = {**attributes, **{f"{prefix}{member}": inner for member, inner in value.items()}}
    return attributes


def _attribute(span: Span, own: Dimensions, resource: Resource) -> None:
    found = span.attribution
    shared = resource.derived.get("attribution")
    if shared is None:
        of_resource = _read(resource.attributes, GENAI)[1]
        shared = {d: (text, _rank(place)) for d, (place, text) in of_resource.items() if d in ATTRIBUTION}
        resource.derived["attribution"] = shared
    found.update(shared)
    for dimension, (place, text) in own.items():
        rank = _rank(place)
        if dimension not in found or rank <= found[dimension][1]:
            found[dimension] = (text, rank)


def _rank(place: int) -> int:
    return RANK_EXPLICIT if place < FALLBACK else RANK_FALLBACK


def _understand(span: Span, fields: dict[str, object], attributes: Attributes) -> None:
    get = fields.get
    span.operation_name = values.name(get("operation_name"))
    span.agent_name = values.name(get("agent_name"))
    span.request_model = values.name(get("request_model"))
    if span.kind is Kind.TOOL:
        span.tool_name = values.name(get("tool_name")) or span.name
        span.tool_call_id = values.name(get("tool_call_id"))
    elif span.kind in COSTED_KINDS:
        span.response_model = values.name(get("response_model"))
        span.response_id = values.name(get("response_id"))
        span.provider = _provider(values.name(get("provider")))
        span.finish_reason = values.name(get("finish_reason"))
        span.streaming = True if get("streaming") is True else None
        _count(span, fields, attributes)


def _provider(named: str | None) -> str | None:
    if named is None:
        return None
    lower = named.lower()
    return None if lower in _FRAMEWORKS else _PROVIDERS.get(lower, lower)


def _count(span: Span, fields: dict[str, object], attributes: Attributes) -> None:
    usage: TokenUsage = span.usage
    for field in _USAGE:
        if (value := fields.get(field)) is not None:
            try:
                setattr(usage, field, values.tokens(value))
            except ValueError as error:
                span.warnings.append(f"the {field} tokens of a span {error}: they count as unknown")
    cached = (usage.cache_read or 0) + (usage.cache_creation or 0)
    if usage.input is not None and cached > usage.input:
        usage.input += cached  # raw numbers, as Anthropic's API gives them: the caches are apart
    if (value := fields.get("cost")) is None:
        return
    currency = attributes.get("gen_ai.usage.cost.currency")
    if isinstance(currency, str) and currency.upper() != "USD":
        span.warnings.append("a cost was reported in another currency than USD and is not taken")
        return
    try:
        span.reported_cost_nano = values.nano_dollars(value)
    except ValueError as error:
        span.warnings.append(f"the reported cost of a span {error}: it counts as unknown")


def _error(span: Span, raw: RawSpan, *, keep_content: bool, max_text: int) -> None:
    named = raw.attributes.get("error.type")
    message: object = raw.status_message
    if not span.is_error and named is None:
        return
    span.is_error = True
    for event in raw.events:
        if event.name == "exception":
            named = named or event.attributes.get("exception.type")
            message = message or event.attributes.get("exception.message")
    span.error_type = values.name(named)
    if keep_content and message:
        span.content["error_message"] = values.text(message, max_text)


def _keep_content(
    span: Span,
    raw: RawSpan,
    attributes: Attributes,
    fields: dict[str, object],
    rest: list[tuple[str, object]],
    dialect: Dialect,
    limit: int,
) -> None:
    content = span.content
    if span.kind is Kind.TOOL:
        if (value := fields.get("arguments")) is not None:
            arguments = dialect.arguments(raw, value)
            content["arguments"] = values.text(arguments, limit) if isinstance(arguments, str) else arguments
        if (value := fields.get("result")) is not None:
            content["result"] = values.text(value, limit)
    else:
        for field, key in _TEXTS:
            if (value := fields.get(field)) is not None:
                content[key] = values.text(value, limit)
    if span.kind in COSTED_KINDS and (requested := dialect.requested_tools(raw, attributes)):
        content["requested_tools"] = requested[:MAX_REQUESTED_TOOLS]
    kept = {
        values.clean(key[: values.MAX_NAME_CHARS]): (
            value if isinstance(value, (int, float)) else values.text(value, MAX_ATTRIBUTE_CHARS)
        )
        for key, value in rest[:MAX_ATTRIBUTES]
        if value is not None
    }
    if kept:
        content["attributes"] = kept
