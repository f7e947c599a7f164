"""From the commit to the alert: what waits is judged once, whatever happens meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agentops import current
from agentops.alerts.models import Alert
from agentops.domain.loops import Watch
from agentops.domain.spans import Kind
from agentops.domain.steps import Seen, Step, step_of, withheld
from agentops.ingest.booking import Entry
from agentops.runs import findings, pending
from agentops.watch import look, streams
from agentops.watch import look as looking
from agentops.watch.speed import Speeds
from tests.watch.scenes import Scene, booked, watched

pytestmark = pytest.mark.django_db(transaction=True)


def looping(number: int = 1, times: int = 6, **more: object) -> Scene:
    scene = Scene(number, **more)  # type: ignore[arg-type]
    for _ in range(times):
        scene.says("", requested_tools=[{"tool": "grep", "arguments": {"q": "total"}}])
        scene.tool("grep", {"q": "total"}, "invoice.py:12 total = 0")
    return scene


def test_a_repeated_call_is_found_with_its_evidence_and_opens_one_alert() -> None:
    scene = looping()
    booked(scene)
    assert watched() == 1
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert (found.kind, found.mode, found.severity, found.count) == ("loop.repeat", "generic_repeat", "page", 6)
    assert found.detail["detected_span_id"] == (6).to_bytes(8, "big").hex()
    assert found.detail["first_span_id"] == (2).to_bytes(8, "big").hex()
    assert len(found.detail["steps"]) == 6
    assert float(found.detail["cost_usd"]) > 0
    assert float(found.detail["usd_per_hour"]) > 0
    alert = Alert.objects.get()
    assert (alert.kind, alert.severity, alert.state, bytes(alert.run)) == (
        "loop.repeat",
        "page",
        "firing",
        scene.trace_id,
    )
    assert pending.lag().pending == 0


@pytest.mark.parametrize("batch", [1, 3])
def test_in_batches_the_findings_are_the_same_and_the_alert_is_one(batch: int) -> None:
    scene = looping()
    for at in range(0, len(scene.entries), batch):
        part = Scene()
        part.entries = scene.entries[at : at + batch]
        booked(part)
        watched()
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert (found.count, found.detail["detected_span_id"]) == (6, (6).to_bytes(8, "big").hex())
    assert Alert.objects.count() == 1
    booked(scene)
    assert watched() == 0


def test_what_could_not_be_committed_waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = looping()
    booked(scene)
    with monkeypatch.context() as broken:
        broken.setattr("agentops.watch.look.findings.save", _fail)
        assert watched() == 0
    assert not Alert.objects.exists()
    assert pending.lag().pending == 1
    assert watched() == 1
    assert Alert.objects.count() == 1


def test_a_run_that_cannot_be_judged_is_set_aside_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    booked(looping(1), looping(2))
    real = findings.save

    def save(found: list[findings.StoredFinding]) -> None:
        if any(f.place.key.endswith("01") for f in found):
            _fail()
        real(found)

    monkeypatch.setattr("agentops.watch.look.findings.save", save)
    for _ in range(4):
        watched()
    lag = pending.lag()
    assert (lag.pending, lag.set_aside) == (0, 1)
    assert Alert.objects.count() == 1


def test_agents_that_pass_a_question_on_with_a_run_for_each_hop_are_found_in_their_session() -> None:
    texts = ["Could you clarify which quarter is meant?", "Which quarter do you need, please clarify?"]
    for hop in range(20):
        scene = Scene(hop + 1, session="s1", ago=600 - 10 * hop)
        heard = [{"role": "user", "content": texts[(hop + 1) % 2]}]
        scene.says(texts[hop % 2], agent=("analyst", "verifier")[hop % 2], input=str(heard).replace("'", '"'))
        scene.end()
        booked(scene)
        watched()
    found = findings.of_run("shop", (20).to_bytes(16, "big"), "s1")
    assert [(f.kind, f.severity) for f in found] == [("loop.ping_pong", "page")]
    alert = Alert.objects.get()
    assert (alert.kind, alert.session, alert.run) == ("loop.ping_pong", "s1", None)


def test_what_goes_round_in_a_session_goes_on_while_any_of_its_runs_does() -> None:
    for hop in range(20):
        scene = Scene(hop + 1, session="s1", ago=600 - 10 * hop)
        scene.says("Could you clarify which quarter is meant?", agent=("analyst", "verifier")[hop % 2])
        scene.end()
        booked(scene)
        watched()
    long_ago = (now := timezone.now()) - timedelta(days=1)
    (found,) = findings.of_run("shop", scene.trace_id, "s1")
    assert found.place.scope is findings.Scope.SESSION
    assert found.is_open
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs SET last_received_at = %s WHERE trace_id <> %s", [long_ago, scene.trace_id])
        cursor.execute("UPDATE run_findings SET trace_id = %s", [(1).to_bytes(16, "big")])
        assert look.look_at_quiet(now=now) == 0
        cursor.execute("UPDATE runs SET last_received_at = %s", [long_ago])
    assert look.look_at_quiet(now=now) == 1
    assert Alert.objects.get().cleared_at == now


def test_an_error_that_the_model_never_saw_is_found() -> None:
    scene = Scene()
    scene.says("", requested_tools=[{"tool": "fetch", "arguments": {}}])
    scene.tool("fetch", {}, None, is_error=True, error_type="ConnectionError")
    scene.entries[-1].content = '{"arguments": {}, "error_message": "ConnectionError: name or service not known"}'
    said = (("user", "look it up"), ("assistant", "I fetch it"), ("user", "go on"))
    shown = json.dumps([{"role": role, "content": text} for role, text in said])
    scene.says("All figures are as expected.", input=shown)
    booked(scene)
    watched()
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert (found.kind, found.mode) == ("run.errors_hidden", "hidden")


def test_when_the_run_has_ended_its_alert_is_cleared() -> None:
    scene = looping()
    booked(scene)
    watched()
    assert Alert.objects.get().cleared_at is None
    rest = Scene()
    rest.number, rest.at = scene.number, scene.at
    rest.end()
    booked(rest)
    watched()
    assert Alert.objects.get().cleared_at is not None


def test_the_number_of_statements_does_not_depend_on_the_number_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "FRESH_SECONDS", 3_600.0)  # every now and then it looks whether anything was decided
    counts = []
    for runs in (1, 40):
        booked(*(looping(100 * runs + n, times=4, service=f"s{runs}") for n in range(runs)))
        for known in (looking._rulebook, looking._speeds._rulebook):
            known.get()
        with CaptureQueriesContext(connection) as asked:
            watched()
        counts.append(len(asked))
    assert counts[1] <= counts[0] + 4


def test_a_new_service_that_runs_away_is_found_before_it_has_spent_five_dollars() -> None:
    scene = Scene(ago=240)
    while not Alert.objects.filter(kind="cost.velocity").exists():
        before = len(scene.entries)
        scene.says(f"about {len(scene.entries)} things", agent=f"agent-{before}", tokens=100_000)
        part = Scene()
        part.entries = scene.entries[before:]
        booked(part)
        look._speeds = Speeds()  # it judges a service every few seconds only, and these few pass at once
        watched()
        assert before < 20, "$5 are spent"
    alert = Alert.objects.get(kind="cost.velocity")
    assert (alert.severity, alert.service, alert.run) == ("page", "shop", None)
    assert 4 <= float(alert.evidence["cost_usd"]) < 5
    assert findings.of_run("shop", scene.trace_id, None) == []
    look.look_at_speeds(now=timezone.now() + timedelta(minutes=30))
    assert Alert.objects.get(kind="cost.velocity").cleared_at is not None


def test_a_run_that_ended_well_with_failures_inside_was_salvaged() -> None:
    scene = Scene()
    for number in range(4):
        scene.tool(f"tool-{number}", {"n": f"word{number}"}, f"nothing like it {number} " * 9, is_error=number > 0)
    scene.end()
    booked(scene)
    watched()
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert (found.kind, found.mode, found.count, found.per_hour_nano) == ("run.errors_hidden", "salvaged", 3, None)
    assert Alert.objects.get().run is None


def test_a_run_that_failed_was_not_salvaged() -> None:
    scene = Scene()
    for number in range(4):
        scene.tool(f"tool-{number}", {"n": f"word{number}"}, f"nothing like it {number} " * 9, is_error=True)
    scene.end(failed=True)
    booked(scene)
    watched()
    assert findings.of_run("shop", scene.trace_id, None) == []


def new_step(scene: Scene, number: int) -> None:
    answer = f"answer {number} of many words that say something new {number}"
    scene.tool(f"tool-{number}", {"q": f"word{number}"}, answer)


def test_what_a_service_s_good_runs_take_makes_its_budget() -> None:
    for number in range(1, 7):
        scene = Scene(number)
        for step in range(30):
            scene.tool(
                f"tool-{step}", {"q": f"word{step}"}, f"answer {step} of many words that say something new {step}"
            )
        scene.end()
        booked(scene)
        watched()
    scene = Scene(99)
    for step in range(80):
        new_step(scene, step)
    booked(scene)
    watched()
    assert findings.of_run("shop", scene.trace_id, None) == []
    for step in range(80, 110):
        new_step(scene, step)
    booked(scene)
    watched()
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert (found.kind, found.mode, found.severity, found.count) == ("steps.budget", "global_breaker", "warn", 110)


def test_history_is_found_and_wakes_nobody() -> None:
    scene = looping(ago=3 * 86_400)
    scene.end()
    booked(scene)
    watched()
    assert len(findings.of_run("shop", scene.trace_id, None)) == 1
    assert not Alert.objects.exists()


def test_a_slow_clock_keeps_no_alert_back() -> None:
    booked(looping(ago=3 * 86_400))
    watched()
    assert Alert.objects.count() == 1


def test_an_agent_that_becomes_known_when_it_has_ended_is_told_of_its_steps() -> None:
    scene = Scene()
    parent = b"A" * 8
    for _ in range(6):
        scene.tool("grep", {"q": "total"}, "invoice.py:12 total = 0", agent=None, parent_span_id=parent)
    booked(scene)
    watched()
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert found.title.startswith("grep")
    rest = Scene()
    rest.number, rest.at = 50, scene.at
    rest.add(Kind.AGENT, {}, agent_name="coder", parent_span_id=b"")
    agent = rest.entries[-1].span
    rest.entries[-1] = Entry(replace(agent, span_id=parent), rest.entries[-1].cost, None)
    booked(rest)
    watched()
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert found.title.startswith("coder: grep")


def test_a_finding_that_a_late_step_refutes_is_taken_back_with_its_alert() -> None:
    scene = Scene()
    said = ["first", "second", "third", "fourth"]
    for number in range(3):
        scene.tool("sum_up", {"q": "total"}, "the total is 5 and the average of all of them is 3 again")
        if number < 2:
            scene.tool("edit", {"file": f"{said[number]}.py"}, f"{said[number]} change of many words that are all new")
    late = [entry for entry in scene.entries if entry.span.tool_name == "edit"]
    early = [entry for entry in scene.entries if entry not in late]
    first, then = Scene(), Scene()
    first.entries, then.entries = early, late
    booked(first)
    watched()
    assert len(findings.of_run("shop", scene.trace_id, None)) == 1
    booked(then)
    watched()
    whole = Watch()
    whole.see(step for entry in scene.entries if (step := _step_of(entry)) is not None)
    assert len(findings.of_run("shop", scene.trace_id, None)) == len(whole.findings)
    assert (Alert.objects.get().cleared_at is not None) == (not whole.findings)


def test_what_an_earlier_version_found_stays_when_its_state_is_not_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = looping()
    with monkeypatch.context() as earlier:
        earlier.setattr("agentops.domain.loops.VERSION", -1)
        earlier.setattr("agentops.watch.streams._LOOPS", "loops--1")
        booked(scene)
        watched()
    streams.forget_remembered()
    more = Scene()
    more.number, more.at = scene.number, scene.at
    more.says("That is all.")
    booked(more)
    watched()
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert (found.count, found.is_open) == (6, True)
    assert Alert.objects.get().cleared_at is None
    look.look_at_quiet(now=timezone.now() + timedelta(minutes=30))
    assert Alert.objects.get().cleared_at is not None


def _step_of(entry: Entry) -> Step | None:
    span = entry.span
    seen = Seen(
        span.trace_id, span.span_id, span.kind, span.is_error, span.agent_name, span.tool_name, span.start_ns,
        span.end_ns, None,
    )  # fmt: skip
    return step_of(seen, span.content)


def test_without_its_texts_a_loop_is_found_all_the_same() -> None:
    scene = looping()
    for entry in scene.entries:
        entry.content = json.dumps(withheld(entry.span))
        assert "invoice" not in entry.content
    booked(scene)
    watched()
    (found,) = findings.of_run("shop", scene.trace_id, None)
    assert (found.kind, found.severity, found.count) == ("loop.repeat", "page", 6)


def _fail(*_: object) -> None:
    message = "no"
    raise RuntimeError(message)
