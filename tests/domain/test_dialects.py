"""How vendor attributes are understood: precedence, bounds, and that nothing makes it raise."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.domain.dialects import clean, normalise, table
from agentops.domain.dialects.normalise import DIALECTS
from agentops.domain.spans import (
    RANK_EXPLICIT,
    RANK_FALLBACK,
    AttributeValue,
    CostBasis,
    Event,
    Kind,
    RawSpan,
    Resource,
    TokenUsage,
)
from agentops.domain.steps import withheld
from tests.understanding import CHAT, START, understood

OI = "openinference.span.kind"


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"gen_ai.operation.name": "chat"}, Kind.LLM),
        ({"gen_ai.operation.name": "text_completion"}, Kind.LLM),
        ({"gen_ai.operation.name": "generate_content"}, Kind.LLM),
        ({"gen_ai.operation.name": "embeddings"}, Kind.EMBEDDING),
        ({"gen_ai.operation.name": "execute_tool"}, Kind.TOOL),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "(merged tools)"}, Kind.OTHER),
        ({"gen_ai.operation.name": "invoke_agent"}, Kind.AGENT),
        ({"gen_ai.operation.name": "invoke_workflow"}, Kind.WORKFLOW),
        ({"gen_ai.operation.name": "create_agent"}, Kind.OTHER),
        ({"gen_ai.operation.name": "retrieval"}, Kind.RETRIEVAL),
        ({"gen_ai.operation.name": "chat", "gen_ai.tool.name": "search"}, Kind.LLM),
        ({"gen_ai.operation.name": "new_thing"}, Kind.OTHER),
        ({"gen_ai.operation.name": "new_thing", "gen_ai.request.model": "m", "gen_ai.response.model": "m"}, Kind.LLM),
        ({"gen_ai.request.model": "m", "gen_ai.usage.output_tokens": 5}, Kind.LLM),
        ({"gen_ai.request.model": "m"}, Kind.OTHER),
        ({OI: "LLM", "gen_ai.operation.name": "execute_tool"}, Kind.LLM),
        ({OI: "EMBEDDING"}, Kind.EMBEDDING),
        ({OI: "TOOL"}, Kind.TOOL),
        ({OI: "AGENT"}, Kind.AGENT),
        ({OI: "AGENT", "tool.name": "transfer_to_agent"}, Kind.TOOL),
        ({OI: "CHAIN"}, Kind.WORKFLOW),
        ({OI: "RETRIEVER"}, Kind.RETRIEVAL),
        ({OI: "RERANKER"}, Kind.RETRIEVAL),
        ({OI: 5}, Kind.OTHER),
        ({"http.request.method": "POST"}, Kind.OTHER),
        ({}, Kind.OTHER),
    ],
)
def test_what_a_span_is(attributes: dict[str, AttributeValue], kind: Kind) -> None:
    assert understood(attributes).kind is kind


@pytest.mark.parametrize("name", ["InputTokenCountResponse", "OpenAI._prepare_chat_with_tools"])
def test_a_span_that_only_prepares_a_model_call_is_none(name: str) -> None:
    assert understood({OI: "LLM"}, name=name).kind is Kind.OTHER


@pytest.mark.parametrize(
    ("value", "count"),
    [(5, 5), (0, 0), (5.0, 5), ("5", 5), (1 << 40, 1 << 40), ("0000000000005", 5)],
)
def test_a_count_of_tokens_may_come_as_a_number_or_as_digits(value: AttributeValue, count: int) -> None:
    span = understood({**CHAT, "gen_ai.usage.output_tokens": value})
    assert span.usage.output == count
    assert span.warnings == []


@pytest.mark.parametrize(
    "value",
    [
        -1,
        True,
        5.5,
        float("nan"),
        float("inf"),
        (1 << 40) + 1,
        1 << 62,
        "9999999999999",
        "12345678901234",
        "five",
        " 5",
        "\u0665",
        [5],
    ],
)
def test_what_is_no_count_of_tokens_is_unknown_and_said(value: AttributeValue) -> None:
    span = understood({**CHAT, "gen_ai.usage.output_tokens": value, "gen_ai.usage.input_tokens": 7})
    assert span.usage == TokenUsage(input=7)
    assert len(span.warnings) == 1
    assert "output tokens" in span.warnings[0]


def test_new_names_go_before_old_ones_and_both_are_one_count() -> None:
    names = {"gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.input_tokens": 5, "gen_ai.usage.completion_tokens": 3}
    for attributes in (names, dict(reversed(names.items()))):
        assert understood({**CHAT, **attributes}).usage == TokenUsage(5, 3)


def test_precedence_does_not_depend_on_the_order_of_attributes() -> None:
    names = [
        ("gen_ai.usage.cache_creation.input_tokens", 1),
        ("gen_ai.usage.cache_write.input_tokens", 2),
        ("gen_ai.usage.cache_creation_input_tokens", 3),
        ("gen_ai.usage.cache_write_input_tokens", 4),
    ]
    for first in range(4):
        for turn in range(4):
            left = names[first:]
            attributes = dict(left[turn % len(left) :] + left[: turn % len(left)])
            assert understood({**CHAT, **attributes}).usage.cache_creation == first + 1


def test_raw_numbers_that_leave_out_the_caches_are_made_whole() -> None:
    attributes = {
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 2_048,
        "gen_ai.usage.cache_creation.input_tokens": 10,
    }
    assert understood({**CHAT, **attributes}).usage.input == 2_158
    assert understood({**CHAT, **attributes, "gen_ai.usage.input_tokens": 2_058}).usage.input == 2_058


@pytest.mark.parametrize("kind", ["invoke_agent", "invoke_workflow", "execute_tool"])
def test_tokens_of_what_contains_model_calls_are_not_read(kind: str) -> None:
    span = understood({"gen_ai.operation.name": kind, "gen_ai.usage.input_tokens": 5, "operation.cost": 1.0})
    assert span.usage == TokenUsage()
    assert span.reported_cost_nano is None


@pytest.mark.parametrize(
    ("named", "provider"),
    [
        ("OpenAI", "openai"),
        ("gcp.gemini", "google"),
        ("gcp.vertex_ai", "google"),
        ("strands-agents", None),
        ("langchain", None),
        ("  ", None),
    ],
)
def test_providers_are_lower_case_and_frameworks_are_none(named: str, provider: str | None) -> None:
    assert understood({**CHAT, "gen_ai.provider.name": named}).provider == provider


@pytest.mark.parametrize(
    ("attributes", "nano", "basis"),
    [
        ({"gen_ai.usage.cost": 0.000_000_001}, 1, CostBasis.BILL),
        ({"gen_ai.usage.cost": "0.25"}, 250_000_000, CostBasis.BILL),
        ({"gen_ai.usage.cost.amount": 0.5, "gen_ai.usage.cost.currency": "USD"}, 500_000_000, CostBasis.BILL),
        ({"gen_ai.usage.cost.amount": 0.5, "gen_ai.usage.cost.source": "local"}, 500_000_000, CostBasis.OTHER_LIST),
        ({"gen_ai.cost.total_cost": 5.82e-05}, 58_200, CostBasis.BILL),
        ({"operation.cost": 5.82e-05}, 58_200, CostBasis.SAME_LIST),
        ({"gen_ai.usage.cost": 0}, None, CostBasis.BILL),
        ({"gen_ai.usage.cost": 0.0, "gen_ai.usage.cost.source": "provider"}, 0, CostBasis.BILL),
        ({"gen_ai.usage.cost": 1_000_000}, 10**15, CostBasis.BILL),
    ],
)
def test_a_reported_cost(attributes: dict[str, AttributeValue], nano: int | None, basis: CostBasis) -> None:
    span = understood({**CHAT, **attributes})
    assert (span.reported_cost_nano, span.reported_cost_basis) == (nano, basis)
    assert span.warnings == []


@pytest.mark.parametrize(
    "cost",
    [-0.1, True, float("nan"), float("inf"), "9e999999", "sNaN", "much", 1_000_000.01, [0.1], b"0.1"],
)
def test_what_is_no_amount_of_money_is_unknown_and_said(cost: AttributeValue) -> None:
    span = understood({**CHAT, "gen_ai.usage.cost": cost})
    assert span.reported_cost_nano is None
    assert len(span.warnings) == 1


def test_another_currency_is_not_taken_for_dollars() -> None:
    span = understood({**CHAT, "gen_ai.usage.cost.amount": 0.5, "gen_ai.usage.cost.currency": "EUR"})
    assert span.reported_cost_nano is None
    assert len(span.warnings) == 1


def test_openlit_works_its_cost_out_itself() -> None:
    span = understood({**CHAT, "gen_ai.usage.cost": 0.5}, scope="openlit.otel.tracing")
    assert span.reported_cost_basis is CostBasis.OTHER_LIST


@pytest.mark.parametrize(
    ("attributes", "dimension", "value", "rank"),
    [
        ({"session.id": "s", "gen_ai.conversation.id": "c"}, "session", "c", RANK_EXPLICIT),
        ({"session.id": "s"}, "session", "s", RANK_EXPLICIT),
        ({"session.id": "s", "gen_ai.conversation.id": "[Scrubbed due to 'x']"}, "session", "s", RANK_EXPLICIT),
        ({"session.id": "s", "gen_ai.conversation.id": "  "}, "session", "s", RANK_EXPLICIT),
        ({"enduser.id": "e", "user.id": "u"}, "user", "u", RANK_EXPLICIT),
        ({"enduser.id": "e"}, "user", "e", RANK_EXPLICIT),
        ({"user.id": 42}, "user", "42", RANK_EXPLICIT),
        ({"feature": "f", "app.feature": "a", "agentops.feature": "o"}, "feature", "o", RANK_EXPLICIT),
        ({"feature": "f", "app.feature": "a"}, "feature", "a", RANK_EXPLICIT),
        ({"gen_ai.workflow.name": "w"}, "feature", "w", RANK_FALLBACK),
        ({"gen_ai.workflow.name": "w", "feature": "f"}, "feature", "f", RANK_EXPLICIT),
        ({"tag.tags": ["first", "second"]}, "feature", "first", RANK_FALLBACK),
        ({"service.version": "1.2"}, "release", "1.2", RANK_EXPLICIT),
        ({"deployment.environment": "old", "deployment.environment.name": "new"}, "environment", "new", RANK_EXPLICIT),
        ({"user.id": "  a\x00b  "}, "user", "a�b", RANK_EXPLICIT),
        ({"user.id": "x" * 300}, "user", "x" * 256, RANK_EXPLICIT),
    ],
)
def test_to_whom_a_span_belongs(attributes: dict[str, AttributeValue], dimension: str, value: str, rank: int) -> None:
    for turned in (attributes, dict(reversed(attributes.items()))):
        assert understood(turned).attribution == {dimension: (value, rank)}


def test_the_resource_speaks_for_its_spans_and_a_span_for_itself() -> None:
    resource = {"service.version": "1", "deployment.environment.name": "staging", "gen_ai.workflow.name": "w"}
    assert understood({"service.version": "2"}, resource=resource).attribution == {
        "release": ("2", RANK_EXPLICIT),
        "environment": ("staging", RANK_EXPLICIT),
        "feature": ("w", RANK_FALLBACK),
    }
    assert understood({"feature": "f"}, resource=resource).attribution["feature"] == ("f", RANK_EXPLICIT)


@pytest.mark.parametrize("scope", ["pydantic-ai", "openinference.instrumentation.openai"])
@pytest.mark.parametrize("form", ["json", "map"])
def test_metadata_holds_what_the_app_says(scope: str, form: str) -> None:
    metadata: Any = {"user_id": "u", "session_id": "s", "feature": "f", "tags": "a,b"}
    attributes = {"metadata": orjson.dumps(metadata).decode() if form == "json" else metadata}
    attributes |= {OI: "LLM"} if scope.startswith("openinference") else CHAT
    assert {d: value for d, (value, _) in understood(attributes, scope=scope).attribution.items()} == {
        "user": "u",
        "session": "s",
        "feature": "f",
    }


def test_the_conversation_that_pydantic_ai_makes_up_does_not_hide_the_apps_session() -> None:
    attributes = {**CHAT, "gen_ai.conversation.id": "made-up", "metadata": '{"session_id": "s"}'}
    assert understood(attributes, scope="pydantic-ai").attribution["session"][0] == "s"


def test_an_error_is_told_by_status_or_by_type() -> None:
    assert understood({}).is_error is False
    assert understood({}, status_code=1).is_error is False
    assert understood({}, status_code=2).is_error is True
    assert understood({"error.type": ""}).is_error is False
    typed = understood({"error.type": "timeout"})
    assert (typed.is_error, typed.error_type) == (True, "timeout")


def test_the_exception_says_what_the_type_does_not() -> None:
    events = [Event("exception", START, {"exception.type": "ValueError", "exception.message": "no"})]
    span = understood({**CHAT, "error.type": "_OTHER"}, status_code=2, events=events)
    assert span.error_type == "ValueError"
    assert span.content["error_message"] == "no"
    named = understood(CHAT, status_code=2, status_message="GraphRecursionError('Recursion limit')")
    assert named.error_type == "GraphRecursionError"
    assert understood(CHAT, status_code=2, status_message="it broke").error_type is None


def test_an_exception_that_was_handled_is_no_error() -> None:
    events = [Event("exception", START, {"exception.type": "ValueError"})]
    assert understood(CHAT, events=events).is_error is False


def test_a_span_that_ends_before_it_starts_has_no_duration() -> None:
    span = understood({}, end_ns=START - 1)
    assert (span.start_ns, span.end_ns) == (START, START)
    assert len(span.warnings) == 1


def test_a_span_that_is_its_own_parent_has_none() -> None:
    assert understood({}, parent_span_id=b"s" * 8).parent_span_id == b""


@pytest.mark.parametrize(
    ("carried", "arguments"),
    [
        ('{"city": "Paris"}', {"city": "Paris"}),
        ({"city": "Paris"}, {"city": "Paris"}),
        ("Paris", "Paris"),
        ('"Paris"', "Paris"),
        ("{not json", "{not json"),
        ("5", 5),
    ],
)
def test_arguments_are_json_where_they_can_be(carried: AttributeValue, arguments: object) -> None:
    span = understood({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": carried})
    assert span.content["arguments"] == arguments


@pytest.mark.parametrize(
    ("carried", "arguments"),
    [
        ('{"kwargs": {"city": "Paris"}}', {"city": "Paris"}),
        ('{"args": [], "sanitize_inputs_outputs": true, "kwargs": {"city": "Paris"}}', {"city": "Paris"}),
        ('{"args": ["Paris"], "kwargs": {}}', ["Paris"]),
        ('{"args": ["Paris"], "kwargs": {"unit": "C"}}', {"args": ["Paris"], "kwargs": {"unit": "C"}}),
        ('{"args": [], "kwargs": {}}', {}),
        ('{"city": "Paris"}', {"city": "Paris"}),
        ("Paris", "Paris"),
    ],
)
def test_arguments_are_unwrapped(carried: str, arguments: object) -> None:
    assert understood({OI: "TOOL", "input.value": carried}).content["arguments"] == arguments


def test_deeply_nested_arguments_stay_text_so_that_they_can_be_stored() -> None:
    deep = "[" * 300 + "]" * 300
    span = understood({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": deep})
    assert span.content["arguments"] == deep
    many = orjson.dumps([{"city": "Paris"}] * 300).decode()
    span = understood({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": many})
    assert span.content["arguments"] == [{"city": "Paris"}] * 300


def test_long_text_is_cut_and_says_so() -> None:
    span = understood({**CHAT, "gen_ai.input.messages": "x" * 70_000})
    assert str(span.content["input"]).startswith("x" * 65_536 + "…")
    assert "70000" in str(span.content["input"])


def test_other_spans_keep_their_skeleton_and_without_content_nothing_of_it_is_kept() -> None:
    assert understood({"http.url": "https://example.com", "input.value": "secret"}).content == {}
    raw_attributes = {**CHAT, "gen_ai.input.messages": "secret", "tags": ["secret"], "custom": "secret"}
    raw = RawSpan(b"t", b"s", b"", "n", 1, 2, 2, "secret", raw_attributes, [], "", Resource({}))
    kept = withheld(normalise(raw, "service"))
    assert list(kept) == ["sketch"]
    assert "secret" not in str(kept)


def test_further_attributes_are_kept_within_bounds() -> None:
    span = understood({**CHAT, "custom": "x" * 5_000, **{f"more.{i}": i for i in range(200)}})
    kept = span.content["attributes"]
    assert isinstance(kept, dict)
    assert len(kept) == 64
    assert len(kept["custom"]) < 1_100


def test_clean_text_has_no_nul_and_no_lone_surrogate() -> None:
    assert clean("a\x00b\ud800c") == "a�b�c"
    assert clean("plain, and not plain: ü 漢 🙂") == "plain, and not plain: ü 漢 🙂"


@pytest.mark.parametrize("parts", ["5", "null", '"tool_call"', '{"type": "tool_call"}', '[5, {"type": "tool_call"}]'])
def test_odd_messages_ask_for_no_tool_by_name(parts: str) -> None:
    messages = f'[{{"parts": {parts}, "type": "tool_call"}}, "tool_call"]'
    span = understood({**CHAT, "gen_ai.output.messages": messages})
    assert all(call["tool"] is None for call in span.content.get("requested_tools", ()))  # type: ignore[attr-defined]


NAMES = sorted(
    {name for dialect in DIALECTS for name in dialect.readers}
    | {dialect.mark for dialect in DIALECTS}
    | {source for dialect in DIALECTS for source, _ in dialect.expand}
    | {
        "error.type",
        "tool.parameters",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments",
        "gen_ai.completion.0.tool_calls.0.name",
        "gen_ai.completion.0.function_call.arguments",
        "gen_ai.prompt.0.content",
        "gen_ai.workflow.nodes",
        "code.args.keyword.count",
        "code.function.parameters.a.value",
        "message",
        "content",
        "tool_calls",
        "",
        "\ud800",
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=8)
    | st.sampled_from(
        [
            "LLM",
            "AGENT",
            "CHAIN",
            "TOOL",
            "chat",
            "execute_tool",
            "invoke_agent",
            "USD",
            '[{"parts":[{"type":"tool_call","name":5,"arguments":[[]]}]}]',
            '[{"parts":{"type":"tool_call"}}]',
            '[{"toolUse":5},{"message":{"tool_calls":[5,{"function":{"name":[],"arguments":{}}}]}}]',
            '{"input_str":{},"inputs":[{}]}',
            '["model",[],{}]',
            '{"output":[{"type":"function_call","name":{}}]}',
            '{"ls_integration":"langchain_create_agent","lc_agent_name":[1],"langgraph_node":{},"feature":{}}',
            '{"args":5,"kwargs":[5]}',
            '{"input":5,"output":true,"total":[],"usage":{"input_tokens":{}},"input_token_details":{"cache_read":-1}}',
            '{"replies":[{"meta":{"usage":{"prompt_tokens_details":5}}}],"generations":[[{"message":5}]]}',
            '[{"tool_calls":[{"function":5},{}]},{"type":"tool_use"},{"tool_call":{}},{"type":[]},{"type":{}}]',
            "{'a':{1:{2,3}},'prompt_tokens_details':(5,b'x'),'feature':...}",
            '"\\ud800"',
            "[" * 400,
            "1e999999999",
            "\ud800",
            "\x00",
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
EVENTS = [
    "exception",
    "gen_ai.choice",
    "gen_ai.tool.message",
    "gen_ai.user.message",
    "gen_ai.client.inference.operation.details",
]
ATTRIBUTES = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=12)


@settings(max_examples=400, deadline=None)
@given(
    ATTRIBUTES,
    ATTRIBUTES,
    st.sampled_from([*(scope for dialect in DIALECTS for scope in sorted(dialect.scopes)), "x", "", "\ud800"]),
    st.sampled_from(sorted(name for dialect in DIALECTS for name in dialect.names)) | st.text(max_size=20),
    st.lists(st.builds(Event, st.sampled_from(EVENTS), st.integers(0, 9), ATTRIBUTES), max_size=2),
    st.integers(0, 3),
)
def test_no_attribute_makes_it_raise_and_what_comes_out_can_be_stored(
    attributes: dict[str, Any],
    resource: dict[str, Any],
    scope: str,
    name: str,
    events: list[Event],
    status: int,
) -> None:
    raw = RawSpan(
        b"t" * 16, b"s" * 8, b"", name, START, START, status, name, attributes, events, scope, Resource(resource)
    )
    span = normalise(raw, "service")
    texts = [span.name, span.scope, span.error_type, span.agent_name, span.tool_name, span.provider]
    texts += [span.request_model, span.response_model, span.response_id, span.tool_call_id, span.finish_reason]
    texts += [value for value, _ in span.attribution.values()]
    for text in texts:
        assert text is None or (clean(text) == text and len(text) <= 256)
    counts = [span.usage.input, span.usage.output, span.usage.cache_read, span.usage.cache_creation]
    assert all(count is None or 0 <= count <= 3 * (1 << 40) for count in counts)
    assert span.reported_cost_nano is None or 0 <= span.reported_cost_nano <= 10**15
    orjson.dumps(span.content, default=str)


def test_what_is_remembered_of_names_is_bounded() -> None:
    dialect = dataclasses.replace(DIALECTS[0])
    for n in range(2 * table._MAX_READINGS):
        assert dialect.reading((f"a.{n}",)).rest == (f"a.{n}",)
    dialect.reading(("x" * 2 * table._MAX_CHARS,))
    dialect.reading(tuple(f"b.{n}" for n in range(2 * table._MAX_NAMES)))
    assert len(dialect._readings) <= table._MAX_READINGS
    assert max(sum(map(len, names)) for names in dialect._readings) <= table._MAX_CHARS
    assert max(map(len, dialect._readings)) <= table._MAX_NAMES
