"""Asking and telling: tries, what happens without an answer, what is told later."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import httpx
import pytest

from agentops.client import Guard, GuardMisconfigured, GuardUnavailable, Question, Told, Usage
from agentops.client.questions import Whose
from tests.client.servers import ScriptedGuard

LLM = Question("llm", model="gpt-5", input_tokens=100, max_output_tokens=50)


def tried(server: ScriptedGuard, call: str) -> int:
    return sum(1 for name, _ in server.tried if name == call)


def test_a_question_tells_whose_it_is_and_what_it_may_take(guard: Guard, server: ScriptedGuard) -> None:
    guard.environment = "staging"
    with guard.run("r-1", session="s", user="u", feature="f", agent="a") as run:
        run.step("llm", model="gpt-5", provider="openai", input_tokens=10, max_output_tokens=5, cost_usd=0.1).ask()
    [asked] = server.checks
    assert asked.pop("idempotency_key")
    assert asked == {
        "service": "checkout",
        "environment": "staging",
        "run": "r-1",
        "session": "s",
        "user": "u",
        "feature": "f",
        "agent": "a",
        "step": {"kind": "llm", "provider": "openai", "model": "gpt-5"},
        "estimate": {"input_tokens": 10, "max_output_tokens": 5, "cost_usd": "0.1"},
    }


def test_without_arguments_the_environment_says_where_the_guard_is(
    server: ScriptedGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTOPS_URL", server.url + "/")
    monkeypatch.setenv("AGENTOPS_INGEST_KEY", "agk_test")
    monkeypatch.setenv("AGENTOPS_SERVICE", "billing")
    with Guard() as guard:
        assert guard.check(LLM).decision == "allow"
    assert server.checks[0]["service"] == "billing"


@pytest.mark.parametrize(
    ("url", "key", "rule"),
    [
        (None, "k", "auto"),
        ("http://x", None, "auto"),
        ("ftp://x", "k", "auto"),
        ("x", "k", "auto"),
        ("http://x", "k", "?"),
    ],
)
def test_a_guard_that_cannot_work_is_told_when_it_is_made(url: str | None, key: str | None, rule: str) -> None:
    with pytest.raises(GuardMisconfigured):
        Guard(url, key, on_unreachable=rule)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["503", "500", "hang", "drop", "page"])
def test_two_tries_with_one_idempotency_key_get_one_reservation(hasty: Guard, server: ScriptedGuard, mode: str) -> None:
    server.fail(mode, times=1)
    decision = hasty.check(LLM)
    assert (decision.decision, decision.is_answer) == ("allow", True)
    assert [call for call, _ in server.tried] == ["check", "check"]
    assert server.tried[0][1] == server.tried[1][1]
    assert len(server.reserved) == 1


@pytest.mark.parametrize("mode", ["503", "hang", "drop", "page"])
def test_two_tries_are_all(hasty: Guard, server: ScriptedGuard, mode: str) -> None:
    server.fail(mode)
    assert not hasty.check(LLM).is_answer
    assert tried(server, "check") == 2


@pytest.mark.parametrize("mode", ["401", "403", "404", "409", "422", "301"])
def test_an_answer_that_refuses_the_question_is_raised_at_once(guard: Guard, server: ScriptedGuard, mode: str) -> None:
    server.fail(mode)
    with pytest.raises(GuardMisconfigured) as raised:
        guard.check(LLM)
    assert raised.value.status == int(mode)
    assert tried(server, "check") == 1
    assert not guard.missed


def test_a_guard_that_has_no_time_is_not_asked_again_at_once(guard: Guard, server: ScriptedGuard) -> None:
    server.fail("429")
    assert not guard.check(LLM).is_answer
    assert tried(server, "check") == 1


def test_what_the_server_would_refuse_is_not_sent(guard: Guard, server: ScriptedGuard) -> None:
    odd = Question("llm", Whose(run="r" * 200, user="a\0b\ud800"), model="m" * 300, tool="", input_tokens=-1)
    guard.check(replace(odd, max_output_tokens=2**50, cost_usd=Decimal("NaN")))
    guard.check(replace(odd, cost_usd=Decimal(-1)))
    first, second = server.checks
    assert (first["run"], first["user"], first["step"]) == ("r" * 200, "ab?", {"kind": "llm", "model": "m" * 256})
    assert first["estimate"] == {"max_output_tokens": 2**40}
    assert "estimate" not in second


def test_a_try_takes_as_long_as_it_was_told_and_two_seconds_otherwise(server: ScriptedGuard) -> None:
    with Guard(server.url, "agk_test") as guard:
        timeout = guard._wire._timeout
    assert {timeout.connect, timeout.read, timeout.write, timeout.pool} == {2.0}
    assert guard._tries == 2


def test_a_guard_that_never_answered_stops_every_step(guard: Guard, server: ScriptedGuard) -> None:
    server.fail("503")
    with pytest.raises(GuardUnavailable, match="could not be reached"), guard.step("llm"):
        pytest.fail("it was not to be made")
    assert (guard.missed.closed, guard.missed.open) == (1, 0)


@pytest.mark.parametrize(("limit", "expected"), [(None, "allow"), (Decimal(1), "stop")])
def test_without_an_answer_the_last_one_tells_whether_a_ceiling_must_hold(
    guard: Guard, server: ScriptedGuard, limit: Decimal | None, expected: str
) -> None:
    server.limit = limit
    assert guard.check(LLM).decision == "allow"
    server.fail("503")
    decision = guard.check(LLM)
    assert (decision.decision, decision.is_answer, decision.reservation) == (expected, False, None)


@pytest.mark.parametrize(("rule", "expected"), [("open", "allow"), ("closed", "stop")])
def test_a_rule_of_ones_own_holds_whatever_the_last_answer_said(
    server: ScriptedGuard, rule: str, expected: str
) -> None:
    with Guard(server.url, "agk_test", timeout=10, on_unreachable=rule) as guard:  # type: ignore[arg-type]
        server.limit = Decimal(1) if rule == "open" else None
        guard.check(LLM)
        server.fail("drop")
        assert guard.check(LLM).decision == expected


def test_nobody_listening_is_unreachable_too(free_port: int) -> None:
    with Guard(f"http://127.0.0.1:{free_port}", "agk_test", on_unreachable="open") as guard:
        with guard.step("llm") as step:
            assert (step.reservation, step.settle(input_tokens=1)) == (None, None)
        assert (guard.missed.open, guard.unsettled) == (1, 0)


def test_what_was_decided_without_an_answer_is_told_with_the_next_question_that_arrives(
    guard: Guard, server: ScriptedGuard, caplog: pytest.LogCaptureFixture
) -> None:
    guard.check(LLM)
    server.fail("503", times=4)
    guard.check(LLM)
    guard.check(LLM)
    assert (guard.missed.closed, guard.missed.open) == (0, 2)
    assert [r.levelno for r in caplog.records if r.name == "agentops.client"] == [logging.WARNING] * 2
    guard.check(LLM)
    assert server.checks[-1]["missed"] == {"closed": 0, "open": 2}
    assert not guard.missed
    guard.check(LLM)
    assert "missed" not in server.checks[-1]


def test_a_refusal_does_not_count_as_told(guard: Guard, server: ScriptedGuard) -> None:
    server.fail("503", times=2)
    guard.check(LLM)
    server.fail("422", times=1)
    with pytest.raises(GuardMisconfigured, match="scripted 422"):
        guard.check(LLM)
    assert guard.missed.closed == 1


def test_many_threads_tell_each_missed_step_once(server: ScriptedGuard) -> None:
    with Guard(server.url, "agk_test", timeout=5, on_unreachable="open") as guard:
        server.fail("503", times=20)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: guard.check(LLM), range(40)))
        told = sum(asked.get("missed", {}).get("open", 0) for asked in server.checks) + guard.missed.open
    # Tries that fail come in pairs only when no other thread comes between.
    assert told == 40 - len(server.checks)


def test_a_settlement_that_cannot_be_sent_goes_with_the_next_call(guard: Guard, server: ScriptedGuard) -> None:
    with guard.step("llm", model="gpt-5") as step:
        server.fail("503", times=1)
        assert step.settle(input_tokens=10, output_tokens=5) is None
    assert (guard.unsettled, server.settled) == (1, [])
    guard.check(LLM)
    assert guard.unsettled == 0
    assert server.settled[0]["usage"] == {"input_tokens": 10, "output_tokens": 5}


def test_settlements_that_wait_are_sent_when_the_guard_is_closed(server: ScriptedGuard) -> None:
    with Guard(server.url, "agk_test", timeout=1) as guard:
        with guard.step("tool", tool="search", cost_usd="0.5"):
            server.fail("hang", times=1)
        assert guard.unsettled == 1
    assert [told["outcome"] for told in server.settled] == ["ok"]
    assert server.spent == Decimal("0.5")


def test_no_more_settlements_wait_than_there_is_room_for(
    guard: Guard, server: ScriptedGuard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guard._outbox, "_capacity", 2)
    steps = [guard.step("llm", model=f"m{n}").ask() for n in range(3)]
    server.fail("503")
    for step in steps:
        step.settle()
    assert guard.unsettled == 2
    said = [record.getMessage() for record in caplog.records]
    assert [sum(words in line for line in said) for words in ("waits for", "given up")] == [3, 1]
    server.failing = 0
    guard.close()
    assert [told["model"] for told in server.settled] == ["m1", "m2"]


def test_a_settlement_that_is_refused_is_given_up_and_logged(
    guard: Guard, server: ScriptedGuard, caplog: pytest.LogCaptureFixture
) -> None:
    with guard.step("llm") as step:
        server.reserved.clear()
        assert step.settle() is None
    assert guard.unsettled == 0
    assert "No such reservation" in caplog.text
    with pytest.raises(GuardMisconfigured, match="No such reservation"):
        guard.settle(Told("res-99", "ok", Usage(1, 1)))


def test_a_settlement_tells_where_the_budget_stands(guard: Guard, server: ScriptedGuard) -> None:
    server.limit = Decimal(1)
    with guard.step("llm") as step:
        told = step.settle(input_tokens=1_000, output_tokens=500)
    assert told is not None
    assert (told.cost_usd, told.limit, told.spent, told.budget) == (Decimal("0.015"), 1, Decimal("0.015"), 7)
    assert told.unit == "usd"


def test_an_interrupt_while_asking_loses_no_count(
    guard: Guard, server: ScriptedGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fail("503", times=2)
    guard.check(LLM)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(guard._wire, "post", interrupt)
        with pytest.raises(KeyboardInterrupt):
            guard.check(LLM)
        with pytest.raises(KeyboardInterrupt):
            guard.settle(Told("res-1", "ok"))
    assert (guard.missed.closed, guard.unsettled) == (1, 1)


@pytest.mark.anyio
async def test_coroutines_ask_and_tell_the_same_way(guard: Guard, server: ScriptedGuard) -> None:
    server.fail("503", times=3)
    assert (await guard.acheck(LLM)).decision == "stop"
    decision = await guard.acheck(LLM)
    assert (decision.decision, server.checks[-1]["missed"]) == ("allow", {"closed": 1, "open": 0})
    server.fail("drop", times=1)
    assert await guard.asettle(Told(decision.reservation or "", "ok")) is None
    async with guard:
        assert guard.unsettled == 1
    assert len(server.settled) == 1
    server.fail("401")
    with pytest.raises(GuardMisconfigured):
        await guard.acheck(LLM)
    server.failing = 0
    await guard.aclose()


def test_threads_share_one_guard(guard: Guard, server: ScriptedGuard) -> None:
    server.limit = Decimal("0.2")
    barrier, stopped = threading.Barrier(8), []

    def agent(number: int) -> None:
        barrier.wait(5)
        for _ in range(5):
            decision = guard.check(Question("llm", cost_usd=Decimal("0.01")))
            if decision.decision == "stop":
                stopped.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(agent, range(8)))
    assert (len(server.reserved), len(stopped)) == (20, 20)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_event_loops_that_are_over_leave_no_connections_behind(guard: Guard, server: ScriptedGuard) -> None:
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def ask(*, is_last: bool = False) -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await guard.acheck(LLM)
        if is_last:
            await guard.aclose()

    for _ in range(5):
        asyncio.run(ask())
    asyncio.run(ask(is_last=True))
    gc.collect()
    # Each would be alive with what is still connected in it.
    assert [loop() for loop in loops] == [None] * 6
    assert len(server.checks) == 6


def test_a_try_after_others_closed_the_guard_has_connections_of_its_own(guard: Guard, server: ScriptedGuard) -> None:
    def close(_: httpx.Request) -> httpx.Response:
        guard.close()
        return httpx.Response(503)

    guard._wire._client = httpx.Client(transport=httpx.MockTransport(close))
    assert guard.check(LLM).is_answer
    assert len(server.checks) == 1


@pytest.mark.anyio
async def test_so_has_a_try_of_coroutines(guard: Guard, server: ScriptedGuard) -> None:
    async def close(_: httpx.Request) -> httpx.Response:
        await guard.aclose()
        return httpx.Response(503)

    guard._wire._by_loop[asyncio.get_running_loop()] = httpx.AsyncClient(transport=httpx.MockTransport(close))
    async with guard:
        assert (await guard.acheck(LLM)).is_answer
    assert len(server.checks) == 1
