"""What a run's tree decides, and that it decides the same whatever the order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.domain.runtree import Booking, Node, lineages, merge_across, needs_tree, outermost_calls, resolve
from agentops.domain.spans import COSTED_KINDS, Kind, Span

SDK = "com.anthropic.sdk.python"


def node(span_id: str, parent: str = "", kind: Kind = Kind.LLM, **more: object) -> Node:
    made = Node(
        span_id=span_id.encode(),
        parent_span_id=parent.encode(),
        kind=kind,
        own_agent=None,
        scope="framework",
        response_id=None,
        start_ns=ord(span_id[0]),
        end_ns=1_000,
        usage_fields=2,
    )
    for name, value in more.items():
        setattr(made, name, value)
    return made


def merged(*nodes: Node) -> dict[str, str]:
    return {
        span_id.decode(): booking.merged_into.decode()
        for span_id, booking in resolve(nodes).items()
        if booking.merged_into is not None
    }


def agents(*nodes: Node) -> dict[str, str | None]:
    return {span_id.decode(): booking.agent for span_id, booking in resolve(nodes).items()}


def test_a_step_belongs_to_the_nearest_agent_above_it() -> None:
    assert agents(
        node("a", kind=Kind.AGENT, own_agent="planner"),
        node("b", "a", Kind.OTHER),
        node("c", "b"),
        node("d", "a", Kind.TOOL),
        node("e", "d", Kind.AGENT, own_agent="writer"),
        node("f", "e"),
        node("g", "f", own_agent="itself"),
    ) == {"a": "planner", "b": None, "c": "planner", "d": "planner", "e": "writer", "f": "writer", "g": "itself"}


def test_a_step_whose_parent_has_not_come_has_no_agent() -> None:
    assert agents(node("a", "missing")) == {"a": None}


def test_a_span_that_is_its_own_parent_is_a_root() -> None:
    assert agents(node("a", "a", Kind.AGENT, own_agent="planner"), node("b", "a")) == {"a": "planner", "b": "planner"}


def test_a_cycle_of_parents_is_cut_above_its_earliest_span_whoever_comes_first() -> None:
    cycle = [
        node("a", "c", Kind.OTHER),
        node("b", "a", Kind.AGENT, own_agent="planner"),
        node("c", "b", Kind.OTHER),
        node("d", "a"),
    ]
    expected = {"a": None, "b": "planner", "c": None, "d": None}
    assert agents(*cycle) == agents(*reversed(cycle)) == agents(*cycle[2:], *cycle[:2]) == expected


def test_of_nested_model_calls_the_innermost_that_knows_its_tokens_counts() -> None:
    assert merged(node("a"), node("b", "a"), node("c", "b")) == {"a": "c", "b": "c"}


def test_a_layer_without_tokens_between_two_with_tokens_does_not_hide_that_they_are_one_call() -> None:
    assert merged(node("a"), node("b", "a", usage_fields=0), node("c", "b")) == {"a": "c", "b": "c"}


def test_nested_model_calls_without_tokens_are_one_call() -> None:
    outer, inner = node("a", usage_fields=0), node("b", "a", usage_fields=0)
    assert merged(outer, inner) == {"b": "a"}


def test_layers_without_tokens_below_a_call_with_tokens_are_that_call() -> None:
    assert merged(node("a"), node("b", "a", usage_fields=0), node("c", "a", usage_fields=0)) == {"b": "a", "c": "a"}


def test_a_try_that_failed_beside_one_that_worked_is_a_call_of_its_own() -> None:
    assert merged(node("a"), node("b", "a", usage_fields=0), node("c", "a")) == {"a": "c"}


def test_a_span_of_the_very_same_time_below_another_tells_the_same_again() -> None:
    def pair(**more: object) -> dict[str, str]:
        return merged(node("a", start_ns=5, end_ns=9), node("b", "a", **({"start_ns": 5, "end_ns": 9} | more)))

    assert pair() == {"b": "a"}
    assert pair(usage_fields=3) == pair(scope="another") == pair(end_ns=8) == {"a": "b"}
    told_twice = [node("a", start_ns=5, end_ns=9), node("b", "a", start_ns=5, end_ns=9), node("c", "a")]
    assert merged(*told_twice) == {"a": "b"}


def test_several_calls_in_one_model_span_all_count() -> None:
    assert merged(node("a"), node("b", "a"), node("c", "a")) == {"a": "b"}


@pytest.mark.parametrize("kind", [Kind.AGENT, Kind.TOOL, Kind.RETRIEVAL])
def test_a_model_call_made_by_an_agent_or_tool_in_a_model_span_is_another_call(kind: Kind) -> None:
    assert merged(node("a"), node("b", "a", kind), node("c", "b")) == {}


def test_an_embedding_in_a_model_span_is_another_call() -> None:
    assert merged(node("a"), node("b", "a", Kind.EMBEDDING)) == {}


def test_nested_embeddings_are_one_call() -> None:
    assert merged(node("a", kind=Kind.EMBEDDING), node("b", "a", Kind.EMBEDDING)) == {"a": "b"}


@pytest.mark.parametrize("parent", ["a", "", "z"])
def test_the_sdks_own_span_is_merged_into_the_instrumentations(parent: str) -> None:
    outer = node("a", response_id="msg_0001")
    native = node("b", parent, scope=SDK, response_id="msg_0001")
    assert merged(outer, native) == merged(native, outer) == {"b": "a"}


def test_the_sdks_own_span_is_merged_even_where_it_came_first() -> None:
    native = node("a", scope=SDK, response_id="msg_0001")
    assert merged(native, node("b", response_id="msg_0001")) == {"a": "b"}


def test_the_sdks_own_span_counts_where_it_knows_more_tokens() -> None:
    outer = node("a", response_id="msg_0001", usage_fields=0)
    assert merged(outer, node("b", "a", scope=SDK, response_id="msg_0001", usage_fields=3)) == {"a": "b"}
    known = node("a", response_id="msg_0001")
    assert merged(known, node("b", scope=SDK, response_id="msg_0001", usage_fields=3)) == {"a": "b"}


def test_the_same_response_seen_three_times_is_one_call() -> None:
    three = [node(c, scope=scope, response_id="resp_1") for c, scope in (("a", "x"), ("b", "y"), ("c", SDK))]
    assert merged(*three) == {"b": "a", "c": "a"}


def test_the_sdk_is_believed_where_the_two_disagree_about_the_output() -> None:
    one, own = (
        node("a", response_id="msg_1", output_tokens=59),
        node("b", scope=SDK, response_id="msg_1", output_tokens=58),
    )
    assert merged(one, own) == merged(own, one) == {"a": "b"}
    below = node("b", "a", scope=SDK, response_id="msg_1", output_tokens=58)
    assert merged(one, below) == {"a": "b"}
    agreed = node("b", scope=SDK, response_id="msg_1", output_tokens=59)
    assert merged(one, agreed) == {"b": "a"}
    less = node("b", scope=SDK, response_id="msg_1", output_tokens=58, usage_fields=1)
    assert merged(one, less) == {"b": "a"}


def test_ids_drawn_from_a_thousand_numbers_do_not_make_two_calls_one() -> None:
    assert merged(node("a", response_id="chatcmpl-17"), node("b", response_id="chatcmpl-17")) == {}


def call(span_id: str, parent: str = "p", **more: object) -> Node:
    """A streamed call: one that tells no tokens and ends while the answer is still to come."""
    return node(span_id, parent, **({"usage_fields": 0, "end_ns": ord(span_id[0]) + 1} | more))


def record(span_id: str, parent: str = "p", **more: object) -> Node:
    """What came of a streamed call: a span that lasts no time."""
    return node(span_id, parent, **({"end_ns": ord(span_id[0])} | more))


def test_a_streamed_call_and_the_record_of_its_answer_are_one() -> None:
    assert merged(call("a"), record("c")) == merged(record("c"), call("a")) == {"a": "c"}


def test_records_are_joined_with_their_calls_in_order() -> None:
    assert merged(call("a"), record("c"), call("d"), record("f")) == {"a": "c", "d": "f"}
    assert merged(call("a"), call("b"), record("f"), record("g")) == {"b": "f", "a": "g"}


def test_a_record_is_joined_with_what_counts_for_its_call() -> None:
    own = node("b", "a", scope=SDK, usage_fields=2)
    assert merged(call("a"), own, record("d")) == {"a": "d", "b": "d"}
    assert merged(call("a"), node("b", "a", scope=SDK, usage_fields=3), record("d")) == {"a": "b", "d": "b"}
    assert merged(call("a"), own, record("d"), record("e")) == {"a": "d", "b": "d"}


def test_a_record_without_tokens_is_merged_into_its_call() -> None:
    assert merged(call("a"), record("c", usage_fields=0)) == {"c": "a"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (call("a"), record("c", parent="q")),
        (call("a"), record("c", scope="another")),
        (call("a"), record("c", kind=Kind.EMBEDDING)),
        (call("b"), record("a")),
        (call("a", end_ns=200), record("c")),
        (call("a", usage_fields=2), record("c")),
        (call("a", is_error=True), record("c")),
        (call("a"), record("c", usage_fields=0, is_error=True)),
        (call("a", response_id="resp_1"), record("c", response_id="resp_2")),
        (call("a"), call("c", usage_fields=2)),
        (record("a", usage_fields=0), record("c")),
    ],
    ids=[
        "below another",
        "of another scope",
        "of another kind",
        "before the call",
        "during the call",
        "after a call that knows its tokens",
        "after a call that failed",
        "a call that failed at once",
        "of another answer",
        "a call",
        "after another record",
    ],
)
def test_what_is_no_record_of_a_call_is_a_call_of_its_own(one: Node, other: Node) -> None:
    assert merged(one, other) == {}


def test_a_chain_of_ten_thousand_spans_is_no_trouble() -> None:
    chain = [
        Node(i.to_bytes(8, "big"), (i - 1).to_bytes(8, "big") if i else b"", Kind.LLM, None, "s", None, i, i + 1, 2)
        for i in range(10_000)
    ]
    chain[0].own_agent = "first"
    booked = resolve(reversed(chain))
    last = chain[-1].span_id
    assert booked[last] == Booking("first", None)
    assert all(booking == Booking("first", last) for span_id, booking in booked.items() if span_id != last)


@st.composite
def runs(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 12))
    ids = [bytes([65 + i]) for i in range(count)]
    return [
        Node(
            span_id=span_id,
            parent_span_id=draw(st.sampled_from([*ids, b"", b"?"])),  # cycles and orphans too
            kind=draw(st.sampled_from([Kind.LLM, Kind.LLM, Kind.EMBEDDING, Kind.AGENT, Kind.TOOL, Kind.OTHER])),
            own_agent=draw(st.sampled_from([None, "planner", "writer"])),
            scope=draw(st.sampled_from(["x", "y", SDK])),
            response_id=draw(st.sampled_from([None, "resp_1", "resp_2", "chatcmpl-1"])),
            start_ns=draw(st.integers(0, 3)),
            end_ns=draw(st.integers(3, 5)),
            usage_fields=draw(st.integers(0, 3)),
            output_tokens=draw(st.integers(0, 2)),
            is_error=draw(st.booleans()),
        )
        for span_id in ids
    ]


@settings(max_examples=200, deadline=None)
@given(runs().flatmap(lambda run: st.tuples(st.just(run), st.permutations(run))))
def test_the_order_of_spans_changes_nothing(orders: tuple[list[Node], list[Node]]) -> None:
    one, other = orders
    assert resolve(one) == resolve(other)


@settings(max_examples=200, deadline=None)
@given(runs())
def test_every_call_is_merged_into_a_call_of_its_kind_that_counts(run: list[Node]) -> None:
    by_id = {each.span_id: each for each in run}
    booked = resolve(run)
    assert booked.keys() == by_id.keys()
    for span_id, booking in booked.items():
        if booking.merged_into is not None:
            assert by_id[span_id].kind in COSTED_KINDS
            assert by_id[booking.merged_into].kind is by_id[span_id].kind
            assert booked[booking.merged_into].merged_into is None


@settings(max_examples=200, deadline=None)
@given(runs())
def test_no_response_counts_twice(run: list[Node]) -> None:
    booked = resolve(run)
    counted = [
        (each.kind, each.response_id)
        for each in run
        if each.kind in COSTED_KINDS
        and booked[each.span_id].merged_into is None
        and each.response_id
        and each.response_id.startswith("resp")
    ]
    assert len(counted) == len(set(counted))


@settings(max_examples=300, deadline=None)
@given(runs())
def test_a_run_that_needs_no_tree_is_booked_by_what_each_span_says_of_itself(run: list[Node]) -> None:
    spans = [
        Span(
            trace_id=b"t" * 16,
            span_id=each.span_id,
            parent_span_id=each.parent_span_id,
            service="service",
            kind=each.kind,
            name="span",
            scope=each.scope,
            start_ns=each.start_ns,
            end_ns=each.end_ns,
            agent_name=each.own_agent,
            response_id=each.response_id,
        )
        for each in run
    ]
    if needs_tree(spans):
        return
    booked = resolve(run)
    for each in run:
        if each.kind not in (Kind.AGENT, Kind.WORKFLOW, Kind.OTHER):
            assert booked[each.span_id] == Booking(each.own_agent, None)


def strays(*calls: tuple[str, Node]) -> tuple[dict[str, str], dict[str, str]]:
    merged_calls, told = merge_across((trace.encode(), call) for trace, call in calls)
    return (
        {(a[0] + a[1]).decode(): (b[0] + b[1]).decode() for a, b in merged_calls.items()},
        {(a[0] + a[1]).decode(): (b[0] + b[1]).decode() for a, b in told.items()},
    )


def test_a_call_without_a_parent_is_merged_into_the_same_call_of_another_instrumentation() -> None:
    assert strays(("1", node("a", "p")), ("2", node("b", scope=SDK))) == ({"2b": "1a"}, {})
    assert strays(("1", node("a")), ("2", node("b", scope=SDK))) == ({"2b": "1a"}, {})
    assert strays(("1", node("a", "p")), ("2", node("b", scope="other"))) == ({"2b": "1a"}, {})


def test_of_three_that_tell_one_call_all_are_merged_into_one() -> None:
    calls = [("1", node("a", "p")), ("2", node("b", scope=SDK)), ("3", node("c", scope="other"))]
    assert strays(*calls) == strays(*reversed(calls)) == ({"2b": "1a", "3c": "1a"}, {})


@pytest.mark.parametrize(
    ("trace", "other"),
    [
        ("1", node("b", scope=SDK)),
        ("2", node("b", "q", scope=SDK)),
        ("2", node("b")),
        ("2", node("b", scope=SDK, start_ns=2_000, end_ns=3_000)),
        ("2", node("b", scope=SDK, kind=Kind.EMBEDDING)),
    ],
    ids=["same trace", "with a parent", "same scope", "later", "another kind"],
)
def test_what_may_be_another_call_is_not_merged(trace: str, other: Node) -> None:
    assert strays(("1", node("a", "p")), (trace, other)) == ({}, {})


def test_who_knows_more_tokens_tells_them_and_the_sdk_knows_the_output_best() -> None:
    known = ("1", node("a", "p", output_tokens=5))
    silent = ("1", node("a", "p", usage_fields=0))
    assert strays(silent, ("2", node("b", scope=SDK)))[1] == {"1a": "2b"}
    assert strays(known, ("2", node("b", scope=SDK, output_tokens=5)))[1] == {}
    assert strays(known, ("2", node("b", scope=SDK, output_tokens=4)))[1] == {"1a": "2b"}
    assert strays(known, ("2", node("b", scope="other", output_tokens=4)))[1] == {}


def test_the_outermost_model_call_is_found_up_to_an_agent_or_tool() -> None:
    found = outermost_calls(
        [
            node("a"),
            node("b", "a", Kind.OTHER),
            node("c", "b"),
            node("d", "c", Kind.TOOL),
            node("e", "d"),
            node("f", "e"),
            node("g", kind=Kind.OTHER),
        ]
    )
    outermost = {span_id.decode(): top and top.span_id.decode() for span_id, top in found.items()}
    assert outermost == {"a": "a", "b": "a", "c": "a", "d": "a", "e": "e", "f": "e", "g": None}


def test_a_lineage_is_an_agent_or_what_may_lead_to_one() -> None:
    found = lineages(
        [
            node("a", kind=Kind.AGENT, own_agent="planner"),
            node("b", "a"),
            node("c", "missing"),
            node("d", "c", Kind.OTHER),
            node("e", "d", own_agent="writer"),
            node("f", "e"),
            node("g"),
            node("h", "i", Kind.OTHER),
            node("i", "h", Kind.OTHER),
        ]
    )
    assert {span_id.decode(): answer for span_id, answer in found.items()} == {
        "a": ("planner", None),
        "b": ("planner", None),
        "c": (None, b"missing"),
        "d": (None, b"missing"),
        "e": ("writer", None),
        "f": ("writer", None),
        "g": (None, None),
        "h": (None, None),
        "i": (None, None),
    }


def test_a_streamed_answer_that_is_told_much_later_is_another_call() -> None:
    call, record = node("a", "p", usage_fields=0), node("b", "p", start_ns=700 * 10**9, end_ns=700 * 10**9)
    assert merged(call, record) == {}
