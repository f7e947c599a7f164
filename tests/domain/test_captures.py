"""Captured telemetry of real frameworks comes out as what is known to be true of it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from agentops.domain.dialects import normalise
from agentops.domain.pricing import PriceList, span_cost
from agentops.domain.runtree import Booking, Node, resolve
from agentops.domain.spans import COSTED_KINDS, CostBasis, Kind, PriceSource, Span
from agentops.ingest.otlp import Limits, decode_protobuf
from agentops.ingest.otlp_json import decode_json
from tests.captures import Capture, captures

ANY_TIME = Limits(spans=10_000, now_ns=1 << 62, past_ns=0, future_ns=1 << 63)
PRICES = PriceList()
COUNTS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cached_input_tokens": "cache_read",
    "cache_write_input_tokens": "cache_creation",
    "reasoning_tokens": "reasoning",
}
#: Tools by which an agent hands over to another or ends: they ran, but the scripts do not list them.
HAND_OVERS = re.compile(
    r"(transfer|handoff|hand_off)_to_\w+|ask_\w+_agent|[Dd]elegate[ _]work[ _]to[ _]coworker|final_answer"
)


@dataclass
class Understood:
    """A capture, understood: its spans, how they are booked, and what is true of it."""

    expected: dict[str, Any]
    spans: list[Span]
    bookings: dict[tuple[bytes, bytes], Booking] = field(default_factory=dict)

    @property
    def not_carried(self) -> dict[str, Any]:
        carried: dict[str, Any] = self.expected["not_carried"]
        return carried

    @property
    def calls(self) -> list[Span]:
        """The model calls that count, in the order in which they started."""
        counted = [s for s in self.spans if s.kind in COSTED_KINDS and self.booking(s).merged_into is None]
        return sorted(counted, key=lambda s: (s.start_ns, s.end_ns))

    def booking(self, span: Span) -> Booking:
        return self.bookings[span.trace_id, span.span_id]

    def requested(self, call: Span) -> list[Any]:
        """What a call asked for: it may stand on any of the spans that are merged into it."""
        told = [call, *(s for s in self.spans if self.booking(s).merged_into == call.span_id)]
        return next((asked for s in told if (asked := s.content.get("requested_tools"))), [])  # type: ignore[misc]

    def runs(self) -> dict[bytes, list[Span]]:
        runs: dict[bytes, list[Span]] = {}
        for span in self.spans:
            runs.setdefault(span.trace_id, []).append(span)
        return runs


def understand(capture: Capture) -> Understood:
    spans = []
    for body, content_type in capture.bodies():
        decode = decode_json if content_type == "application/json" else decode_protobuf
        decoded = decode(body, ANY_TIME)
        assert decoded.rejected == 0
        spans += [normalise(raw, "shop-assistant") for raw in decoded.spans]
    found = Understood(capture.expected, spans)
    for trace_id, run in found.runs().items():
        for span_id, booking in resolve([node_of(span) for span in run]).items():
            found.bookings[trace_id, span_id] = booking
    return found


def node_of(span: Span) -> Node:
    usage = span.usage
    counts = (usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning)
    return Node(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        kind=span.kind,
        own_agent=span.agent_name,
        scope=span.scope,
        response_id=span.response_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        usage_fields=sum(1 for count in counts if count),
        output_tokens=usage.output,
        is_error=span.is_error,
    )


@pytest.fixture(scope="module", params=captures(), ids=lambda capture: capture.name)
def found(request: pytest.FixtureRequest) -> Understood:
    return understand(request.param)


def test_there_are_captures_of_every_dialect_understood() -> None:
    clients = {capture.name.partition("/")[0] for capture in captures()}
    assert len(clients) >= 12
    assert len(captures()) >= 50


def test_nothing_in_real_telemetry_is_refused(found: Understood) -> None:
    assert [warning for span in found.spans for warning in span.warnings] == []


def test_model_calls_are_counted_once(found: Understood) -> None:
    expected = None if "llm_calls" in found.not_carried else found.expected["llm_calls"]
    calls = found.calls
    if expected is None:
        assert calls == []
        return
    assert len(calls) == sum(model["calls"] for model in found.expected["models"])
    assert sum(call.is_error for call in calls) == expected["failed"]


@pytest.mark.parametrize("count", COUNTS)
def test_tokens_are_right_to_the_last_one(found: Understood, count: str) -> None:
    if "llm_calls" in found.not_carried:
        return
    reported = [getattr(call.usage, COUNTS[count]) for call in found.calls]
    if count in found.not_carried:
        # What another span of the same call knows better is right; else nothing is told.
        if sum(value or 0 for value in reported) != found.not_carried[count]["truth"]:
            assert not any(reported)
            assert all(value is None or COUNTS[count] not in ("input", "output") for value in reported)
        return
    assert sum(value or 0 for value in reported) == sum(model[count] for model in found.expected["models"])


def test_tokens_are_right_for_each_model(found: Understood) -> None:
    if found.not_carried.keys() & {"llm_calls", "model"}:
        return
    # What is not carried may be left out, and may be found all the same; it is never something else.
    untold = tuple(fact for fact in ("provider", "request_model", "response_model") if fact in found.not_carried)
    if "response_model" not in untold and "request_model" in untold:
        assert {call.request_model for call in found.calls} <= {None, *truths(found, "request_model")}
    sums: dict[tuple[str | None, ...], Counter[str]] = {}
    for call in found.calls:
        if call.is_error and not call.response_model:
            continue  # what failed may name no model that answered
        assert "response_model" not in untold or call.response_model is None
        key = names(call.provider, call.request_model, call.response_model, untold)
        sums.setdefault(key, Counter()).update({c: getattr(call.usage, f) or 0 for c, f in COUNTS.items()})
    for model in found.expected["models"]:
        asked = model["request_model"]
        if asked is None and "response_model" in untold:
            asked = found.not_carried["request_model"]["truth"]
        got = sums.pop(names(model["provider"], asked, model["response_model"], untold), Counter())
        carried = [count for count in COUNTS if count not in found.not_carried]
        assert {c: got[c] for c in carried} == {c: model[c] or 0 for c in carried}
    assert sums == {}


def truths(found: Understood, fact: str) -> list[Any]:
    truth = found.not_carried[fact]["truth"]
    return truth if isinstance(truth, list) else [truth]


def names(provider: str | None, asked: str | None, answered: str | None, untold: tuple[str, ...]) -> tuple[Any, ...]:
    """Provider and models, but for what is not told. An answer that repeats the name asked for says nothing more."""
    return (
        None if "provider" in untold else provider,
        None if "request_model" in untold and "response_model" not in untold else asked,
        None if "response_model" in untold or answered == asked else answered,
    )


def test_known_models_have_a_price_and_only_model_calls_cost(found: Understood) -> None:
    for span in found.spans:
        cost = span_cost(span, PRICES)
        if span.kind not in COSTED_KINDS or span.usage.input is None:
            assert cost.nano is None
        else:
            assert cost.nano
            assert cost.source in (PriceSource.GENAI_PRICES, PriceSource.PROVIDER)


def test_costs_agree_with_what_clients_report(found: Understood) -> None:
    for span in found.spans:
        if (reported := span.reported_cost_nano) is None:
            continue
        assert span_cost(span, PRICES).nano == reported
        if span.reported_cost_basis is CostBasis.BILL:
            span.reported_cost_nano = None
            assert span_cost(span, PRICES).nano == reported


def plain(calls: list[tuple[str | None, object]]) -> Counter[str]:
    return Counter(orjson.dumps(call, option=orjson.OPT_SORT_KEYS).decode() for call in calls)


def test_the_tools_that_ran_are_known_with_their_arguments(found: Understood) -> None:
    ran = [(s.tool_name, s.content.get("arguments")) for s in found.spans if s.kind is Kind.TOOL]
    if "tool_calls_executed" in found.not_carried:
        assert ran == []
        return
    listed = [(call["name"], call["arguments"]) for call in found.expected["tool_calls_executed"]]
    if "tool_arguments_form" in found.not_carried:
        # The argument's name is not carried where there is only one: its value stands alone.
        listed = [(name, next(iter(a.values())) if len(a) == 1 else a) for name, a in listed]
    extra = plain([call for call in ran if not HAND_OVERS.fullmatch(str(call[0]))]) - plain(listed)
    assert not extra
    assert not plain(listed) - plain(ran)


def test_tools_are_in_the_order_in_which_they_ran(found: Understood) -> None:
    if "tool_calls_executed" in found.not_carried:
        return
    tools = [s for s in found.spans if s.kind is Kind.TOOL and not HAND_OVERS.fullmatch(str(s.tool_name))]
    listed = [call["name"] for call in found.expected["tool_calls_executed"]]
    together: list[str | None] = []
    ended = 0
    for tool in [*sorted(tools, key=lambda s: (s.start_ns, s.end_ns)), None]:
        if together and (tool is None or tool.start_ns >= ended):
            # What ran at the same time has no order.
            assert Counter(together) == Counter(listed[: len(together)])
            del listed[: len(together)]
            together = []
        if tool is not None:
            together.append(tool.tool_name)
            ended = max(ended, tool.end_ns)
    assert listed == []


def test_failed_tools_are_errors(found: Understood) -> None:
    if "tool_calls_executed" in found.not_carried:
        return
    listed = Counter(call["name"] for call in found.expected["tool_calls_executed"] if call["error"])
    failed = Counter(span.tool_name for span in found.spans if span.kind is Kind.TOOL and span.is_error)
    assert failed - listed == Counter()


def test_the_tools_that_a_model_asked_for_are_known(found: Understood) -> None:
    asked = [(tool["tool"], tool["arguments"]) for call in found.calls for tool in found.requested(call)]
    if "tool_calls_requested" in found.not_carried:
        untold = found.not_carried["tool_calls_requested"]
        assert not plain(untold["in_payload"]) - plain(asked)
        assert not plain(asked) - plain([(call["name"], call["arguments"]) for call in untold["truth"]])
        return
    assert asked == [(c["name"], c["arguments"]) for c in found.expected["tool_calls_requested"]]


def test_each_model_call_belongs_to_the_agent_that_made_it(found: Understood) -> None:
    if found.expected["agents"] is None or found.expected["agent_turns"] is None:
        return
    if "llm_calls" not in found.not_carried:
        turns = [found.booking(call).agent for call in found.calls if call.kind is Kind.LLM]
        assert turns == found.expected["agent_turns"]
    named = {span.agent_name for span in found.spans if span.agent_name is not None}
    assert named == set(found.expected["agents"]["names"])


@pytest.mark.parametrize(
    ("dimension", "fact"), [("user", "user_id"), ("session", "session_id"), ("feature", "feature")]
)
def test_each_run_is_attributed_or_says_that_it_does_not_know(found: Understood, dimension: str, fact: str) -> None:
    expected = {None, *truths(found, fact)} if fact in found.not_carried else {found.expected[fact]}
    for run in found.runs().values():
        offers = [
            (s.attribution[dimension][1], bool(s.parent_span_id), s.start_ns, s.attribution[dimension][0])
            for s in run
            if dimension in s.attribution
        ]
        assert (min(offers)[-1] if offers else None) in expected


def test_tags_are_kept(found: Understood) -> None:
    kept = [tuple(span.content["tags"]) for span in found.spans if "tags" in span.content]  # type: ignore[arg-type]
    expected = None if "tags" in found.not_carried else found.expected["tags"]
    assert set(kept) == ({tuple(expected)} if expected else set())


def test_a_run_erred_when_its_root_did_or_the_agent_or_model_call_that_ended_last(found: Understood) -> None:
    if "run.erred" in found.not_carried:
        return
    erred = False
    for run in found.runs().values():
        root = any(span.is_error for span in run if not span.parent_span_id)
        ended = [(s.end_ns, s.span_id, s.is_error) for s in run if s.kind in (Kind.AGENT, Kind.LLM)]
        erred |= root or any(is_error for *_, is_error in sorted(ended)[-1:])
    expected = found.expected["run"]["erred"]
    assert erred == (found.not_carried["run.erred"]["in_payload"] if expected is None else expected)
