"""From the commit to the alert: what waits is judged once, whatever happens meanwhile."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agentops.alerts.models import Alert
from agentops.runs import findings, pending
from agentops.watch import look as looking
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


def test_the_number_of_statements_does_not_depend_on_the_number_of_runs() -> None:
    counts = []
    for runs in (1, 40):
        booked(*(looping(100 * runs + n, times=4, service=f"s{runs}") for n in range(runs)))
        for known in (looking._rulebook, looking._speeds._rulebook):
            known.get()  # every now and then it looks whether anything was decided
        with CaptureQueriesContext(connection) as asked:
            watched()
        counts.append(len(asked))
    assert counts[1] <= counts[0] + 4


def _fail(*_: object) -> None:
    message = "no"
    raise RuntimeError(message)
