"""What a span's texts say about themselves, and what is kept of them where they are not."""

from __future__ import annotations

import orjson
import pytest

from agentops.domain.sketches import digest, words_of
from agentops.domain.spans import Kind, Span
from agentops.domain.steps import Act, Seen, Step, Trait, result_of, step_of, withheld


def seen(kind: Kind = Kind.TOOL, tool: str | None = "grep", *, agent: str = "agent", is_error: bool = False) -> Seen:
    return Seen(b"trace", b"span", int(kind), is_error, agent, tool, 10, 20, 7)


def step(content: dict[str, object], kind: Kind = Kind.TOOL, tool: str | None = "grep", **more: bool) -> Step:
    asked = {name: more.pop(name) for name in ("hears", "results") if name in more}
    made = step_of(seen(kind, tool, **more), content, **asked)
    assert made is not None
    return made


def kept(kind: Kind, content: dict[str, object]) -> dict[str, object]:
    return withheld(Span(b"trace", b"span", b"", "s", kind, "n", "", 10, 20, tool_name="grep", content=content))


def said(text: str) -> str:
    parts = [{"type": "text", "content": text}]
    return orjson.dumps([{"role": "assistant", "parts": parts, "finish_reason": "stop"}]).decode()


@pytest.mark.parametrize(
    ("kind", "content", "act"),
    [
        (Kind.TOOL, {}, Act.TOOL),
        (Kind.RETRIEVAL, {"input": "q", "output": "r"}, Act.TOOL),
        (Kind.AGENT, {"output": "done"}, Act.AGENT),
        (Kind.LLM, {"output": "hello"}, Act.MESSAGE),
        (Kind.LLM, {}, Act.MESSAGE),
        (Kind.LLM, {"requested_tools": [{"tool": "grep", "arguments": {}}]}, Act.CALL),
        (Kind.LLM, {"asks_for_tools": True}, Act.CALL),
        (Kind.EMBEDDING, {"input": "hello"}, Act.CALL),
    ],
)
def test_a_span_is_one_of_four_things(kind: Kind, content: dict[str, object], act: Act) -> None:
    assert step(content, kind).act is act


@pytest.mark.parametrize("kind", [Kind.OTHER, Kind.WORKFLOW])
def test_what_only_holds_others_is_no_step(kind: Kind) -> None:
    assert step_of(seen(kind), {"output": "x"}) is None
    assert kept(kind, {"output": "x"}) == {}


@pytest.mark.parametrize(
    ("result", "is_error", "traits"),
    [
        ("Error: permission denied", False, Trait.FAILED),
        ("boom", True, Trait.FAILED),
        ("HTTP 429 Too Many Requests", True, Trait.FAILED | Trait.TRANSIENT),
        ("Error: connection reset by peer", False, Trait.FAILED | Trait.TRANSIENT),
        ("[]", False, Trait.EMPTY),
        ("No results found.", False, Trait.EMPTY),
        ("", False, Trait.EMPTY),
        ("ok", False, Trait.DONE),
        ("Error: unknown tool 'frobnicate'", False, Trait.FAILED | Trait.UNKNOWN_TOOL),
        ("Tool frobnicate not found", False, Trait.EMPTY | Trait.UNKNOWN_TOOL),
        ("Invalid JSON in tool call", True, Trait.FAILED | Trait.MALFORMED),
        ("The report says that prices rose by a tenth in spring and fell again later", False, Trait.LONG),
    ],
)
def test_a_result_says_what_became_of_it(result: str, is_error: bool, traits: int) -> None:
    found = result_of(result, is_error=is_error, tool="grep").traits
    mask = ~0 if traits & Trait.LONG else ~Trait.LONG
    assert found & mask == traits


def test_silence_of_a_command_says_that_it_is_done_and_of_a_search_that_nothing_is_there() -> None:
    assert result_of("", is_error=False, tool="bash").traits == Trait.DONE
    assert result_of("null", is_error=False, tool="update_record").traits == Trait.DONE
    assert result_of("null", is_error=False, tool="find_customer").traits == Trait.EMPTY


def test_a_long_result_about_errors_is_no_error() -> None:
    page = "Error handling. " + "Not found pages and timeouts are described in this chapter of the manual. " * 20
    assert result_of(page, is_error=False).traits == Trait.LONG


def test_a_failed_tool_without_result_answers_its_error() -> None:
    assert step({"error_message": "denied"}, is_error=True).result == result_of("denied", is_error=True).digest


@pytest.mark.parametrize("tool", ["check_status", "wait_for_job", "get_progress", "is_ready"])
def test_some_tools_wait(tool: str) -> None:
    assert step({}, tool=tool).traits & Trait.POLL


@pytest.mark.parametrize(
    ("tool", "is_handoff"),
    [
        ("transfer_to_billing", True), ("handoff to writer", True), ("transfer_back_to_triage", True),
        ("hand_over_to_person", True), ("transfer_to_agent", True), ("transfer_money", False),
        ("route_plan", False), ("switch_branch", False), ("delegate_work_to_coworker", False),
    ],
)  # fmt: skip
def test_some_tools_pass_the_conversation_on(tool: str, is_handoff: bool) -> None:
    made = step({}, tool=tool)
    assert bool(made.traits & Trait.HANDOFF) is is_handoff
    assert bool(made.what) is is_handoff


def test_the_words_of_a_message_are_what_was_said_and_not_the_json_around_it() -> None:
    plain, wrapped = (
        step({"output": "Which region is meant?"}, Kind.LLM),
        step({"output": said("Which region is meant?")}, Kind.LLM),
    )
    assert (
        (plain.what, plain.words)
        == (wrapped.what, wrapped.words)
        == (
            digest("Which region is meant?"),
            words_of("Which region is meant?"),
        )
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "chatcmpl-7", "content": "Which one?"},
        {"id": "msg_7", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Which one?"}]},
        {"id": "7", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Which one?"}}]},
        {"candidates": [{"content": {"parts": [{"text": "Which one?"}]}, "finishReason": "STOP"}]},
    ],
)
def test_the_id_of_an_answer_is_none_of_its_words(answer: object) -> None:
    made = step({"output": orjson.dumps(answer).decode()}, Kind.LLM)
    assert made.what == digest("Which one?")


def test_json_that_is_the_answer_is_taken_as_it_is() -> None:
    one, other = ('{"score": 3, "value": "good"}', '{"score": 4, "value": "good"}')
    assert step({"output": one}, Kind.LLM).what != step({"output": other}, Kind.LLM).what


def test_one_asks_at_the_end_of_a_message() -> None:
    draft = (
        "The missing ledger is described below. " + "The region closes its books before the archive is written. " * 9
    )
    assert not step({"output": draft}, Kind.LLM).traits & Trait.ASKS
    assert step({"output": draft + "Could you confirm that?"}, Kind.LLM).traits & Trait.ASKS


@pytest.mark.parametrize("name", ["user", "Customer", "user_proxy", "Human", "end_user", "customer-simulator"])
def test_some_names_stand_for_people(name: str) -> None:
    is_person = bool(step_of(seen(Kind.LLM, agent=name), {"output": "hi"}).traits & Trait.PERSON)  # type: ignore[union-attr]
    assert is_person is (name != "user_proxy")


def test_code_is_work() -> None:
    assert step({"output": "Here:\n```python\nx = 1\n```"}, Kind.LLM).traits & Trait.CODE


def test_a_message_remembers_what_it_answers() -> None:
    one, other = (
        step({"output": "yes", "input": "first?"}, Kind.LLM),
        step({"output": "yes", "input": "second?"}, Kind.LLM),
    )
    assert one.what == other.what
    assert one.after != other.after
    assert step({"output": "yes"}, Kind.LLM).after == 0


@pytest.mark.parametrize(
    "given",
    [
        [{"role": "user", "content": "go"}, {"role": "tool", "content": "one"}, {"role": "tool", "content": "two"}],
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "one"}]},
                      {"role": "tool", "parts": [{"type": "tool_call_response", "result": "two"}]}]},
        [[{"type": "human", "content": "go"}, {"type": "tool", "content": "one"}, {"type": "tool", "content": "two"}]],
    ],
)  # fmt: skip
def test_an_input_tells_what_tools_answered(given: object) -> None:
    made = step({"input": orjson.dumps(given).decode(), "output": "ok"}, Kind.LLM, results=True)
    assert [result.digest for result in made.results] == [digest("one"), digest("two")]


def test_an_input_tells_what_was_heard_last() -> None:
    given = orjson.dumps(
        [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Where is it?"}]
    ).decode()
    assert step({"input": given, "output": "ok"}, Kind.LLM, hears=True).heard == words_of("Where is it?", sample=False)
    assert step({"input": "Where is it?", "output": "ok"}, Kind.LLM, hears=True).heard == words_of("Where is it?")
    assert step({"input": given[:-5], "output": "ok"}, Kind.LLM, hears=True).heard == 0
    assert step({"input": given, "output": "ok"}, Kind.LLM).heard == 0


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Kind.TOOL, {"arguments": {"path": "a/b", "line": 3}, "result": "found in 12 ms"}),
        (Kind.LLM, {"output": "Which one?", "input": "that one"}),
        (Kind.LLM, {"requested_tools": [{"tool": "grep", "arguments": {"q": "x"}}, {"tool": None, "arguments": None}]}),
        (Kind.AGENT, {"output": "done", "input": "do it"}),
        (Kind.LLM, {}),
    ],
)
def test_a_sketch_makes_the_same_step_as_the_texts(kind: Kind, content: dict[str, object]) -> None:
    assert step(orjson.loads(orjson.dumps(kept(kind, content))), kind) == step(content, kind)


@pytest.mark.parametrize("other", [None, [], [1, 2], "text", 5])
def test_what_is_no_sketch_is_passed_over(other: object) -> None:
    assert step({"sketch": other, "result": "found"}) == step({"result": "found"})
