"""Runs and steps: who they are for, when they ask, and how they are settled however they end."""

from __future__ import annotations

import asyncio
import contextvars
import pickle
import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest

from agentops.client import BudgetExceeded, Guard, Stopped, current_run, current_step
from tests.client.servers import ScriptedGuard


def test_a_run_without_an_id_gets_one_and_what_is_nested_knows_it(guard: Guard, server: ScriptedGuard) -> None:
    with guard.run(user="ada", agent="planner") as run:
        assert current_run() is run
        with guard.run(agent="writer", feature="essays") as inner:
            assert inner.id == run.id
            with guard.step("llm") as step:
                assert current_step() is step
        with guard.run("another"), guard.step("tool", tool="search"):
            pass
    assert (current_run(), current_step()) == (None, None)
    told = [{name: asked.get(name) for name in ("run", "user", "agent", "feature")} for asked in server.checks]
    assert told == [
        {"run": run.id, "user": "ada", "agent": "writer", "feature": "essays"},
        {"run": "another", "user": "ada", "agent": "planner", "feature": None},
    ]


def test_a_thread_knows_a_run_that_is_handed_to_it(guard: Guard, server: ScriptedGuard) -> None:
    with guard.run("r-1") as run:
        thread = threading.Thread(target=lambda: run.step("llm").ask())
        context = contextvars.copy_context()
        other = threading.Thread(target=lambda: context.run(lambda: guard.step("llm").ask()))
        for each in (thread, other):
            each.start()
            each.join()
    assert [asked["run"] for asked in server.checks] == ["r-1", "r-1"]


def test_a_step_that_was_not_settled_is_when_it_is_left(guard: Guard, server: ScriptedGuard) -> None:
    with guard.step("tool", tool="search", cost_usd="0.02"):
        pass
    with pytest.raises(ZeroDivisionError), guard.step("tool", tool="search", cost_usd="0.02"):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), guard.step("tool", tool="search", cost_usd="0.02"):
        raise KeyboardInterrupt
    assert [told["outcome"] for told in server.settled] == ["ok", "error", "cancelled"]
    assert server.spent == Decimal("0.02")


def test_a_step_in_a_generator_that_is_closed_is_cancelled(guard: Guard, server: ScriptedGuard) -> None:
    def words() -> Iterator[str]:
        with guard.run(), guard.step("llm"):
            yield "one"
            yield "two"

    speaking = words()
    next(speaking)
    contextvars.copy_context().run(speaking.close)
    assert [told["outcome"] for told in server.settled] == ["cancelled"]
    assert (current_run(), current_step()) == (None, None)


def test_a_step_is_settled_once(guard: Guard, server: ScriptedGuard) -> None:
    with guard.step("llm", model="gpt-5") as step:
        step.settle(input_tokens=10, output_tokens=5, reasoning_output_tokens=2, response_id="resp_1")
        step.settle(input_tokens=99)
    [told] = server.settled
    assert told["usage"] == {"input_tokens": 10, "output_tokens": 5, "reasoning_output_tokens": 2}
    assert (told["response_id"], told["model"], told["outcome"]) == ("resp_1", "gpt-5", "ok")


def test_a_warning_lets_the_step_through_and_says_why(guard: Guard, server: ScriptedGuard) -> None:
    server.warn_with = {**server.budget_reason(), "action": "warn", "limit": "10", "message": "Eight tenths are spent."}
    with guard.step("llm") as step:
        [reason] = step.warnings
    assert (reason.message, reason.limit, reason.unit) == ("Eight tenths are spent.", 10, "usd")


def test_a_stop_reserves_nothing_and_its_step_is_not_made(guard: Guard, server: ScriptedGuard) -> None:
    server.limit = Decimal("0.01")
    with pytest.raises(BudgetExceeded) as stopped, guard.step("llm", cost_usd="0.02"):
        pytest.fail("it was not to be made")
    assert (server.reserved, server.settled, current_step()) == ({}, [], None)
    assert stopped.value.reasons[0].limit == Decimal("0.01")
    again = pickle.loads(pickle.dumps(stopped.value))
    assert (type(again), again.decision, str(again)) == (BudgetExceeded, stopped.value.decision, str(stopped.value))


def test_the_kill_switch_goes_before_other_reasons(guard: Guard, server: ScriptedGuard) -> None:
    server.stop_with = {"mode": "kill_switch", "action": "stop", "message": "Ada stopped checkout."}
    with pytest.raises(Stopped, match="Ada stopped checkout") as stopped, guard.step("handoff"):
        pass
    assert (stopped.value.resets_at, stopped.value.final_answer) == (None, False)


def test_the_final_answer_may_use_what_is_kept_for_it(guard: Guard, server: ScriptedGuard) -> None:
    server.limit, server.kept_for_the_end = Decimal("0.03"), Decimal("0.01")
    with guard.run() as run:
        with run.step("llm", cost_usd="0.02"):
            pass
        with pytest.raises(BudgetExceeded) as stopped, run.step("llm", cost_usd="0.01"):
            pass
        assert stopped.value.final_answer
        with run.final_answer(), run.step("llm", cost_usd="0.01"):
            pass
    assert [asked.get("final_answer", False) for asked in server.checks] == [False, False, True]
    assert server.spent == Decimal("0.03")


def test_equal_arguments_of_a_tool_are_told_by_the_same_hash_and_nothing_else(
    guard: Guard, server: ScriptedGuard
) -> None:
    for arguments in ({"a": 1, "b": "secret"}, {"b": "secret", "a": 1}, {"a": 2, "b": "secret"}):
        guard.step("tool", tool="search", arguments=arguments).ask()
    first, same, other = (asked["step"]["arguments_hash"] for asked in server.checks)
    assert first == same != other
    assert "secret" not in str(server.checks)


@pytest.mark.anyio
async def test_coroutines_have_the_same_contexts(guard: Guard, server: ScriptedGuard) -> None:
    async with guard, guard.run("r-1"):
        async with guard.step("llm") as step:
            await step.asettle(input_tokens=1, output_tokens=1)
            await step.asettle(input_tokens=2)
        begun = asyncio.Event()
        task = asyncio.create_task(_waiting(guard, begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [asked["run"] for asked in server.checks] == ["r-1", "r-1"]
    assert [told["outcome"] for told in server.settled] == ["ok", "cancelled"]


async def _waiting(guard: Guard, begun: asyncio.Event) -> None:
    async with guard.step("tool", tool="slow"):
        begun.set()
        await asyncio.sleep(30)
