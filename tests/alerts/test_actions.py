"""What people and the clock do to alerts: who wins, what is told, what stays on record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from agentops.accounts.models import User
from agentops.alerts import actions, queries, store
from agentops.alerts.actions import NotAllowed
from agentops.alerts.announcements import EVERY_RUN, NAMED_RUNS, TOLD, announce
from agentops.alerts.models import Alert, Silence
from agentops.alerts.tasks import settle
from agentops.domain.alerting import Move, UnsoundMatchers, UnsoundMoment
from agentops.live.models import LiveEvent
from tests.alerts.signalling import raised, run_of, signal

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def opened(number: int = 1, **changes: Any) -> Alert:
    [alert] = raised(signal(number, **changes), now=NOW)
    return alert


def last_event() -> LiveEvent:
    found = LiveEvent.objects.order_by("-id").first()
    assert found is not None
    return found


def test_an_alert_is_acknowledged_given_back_and_resolved_on_record(ada: User, tom: User) -> None:
    alert = opened()
    alert = actions.acknowledge(alert=alert, by=ada, now=NOW)
    assert (alert.state, alert.acknowledged_by, alert.acknowledged_at, alert.version) == ("acknowledged", ada, NOW, 1)
    alert = actions.unacknowledge(alert=alert, by=tom, now=NOW)
    assert (alert.state, alert.acknowledged_by, alert.acknowledged_at) == ("firing", None, None)
    actions.resolve(alert=alert, by=tom, now=NOW, reason="restarted")
    story = queries.story(alert.pk)
    assert story is not None
    assert (story.alert.state, story.alert.resolved_by, story.alert.resolved_reason) == ("resolved", tom, "restarted")
    assert [(entry.what, entry.by, entry.text) for entry in story.moves] == [
        ("open", None, ""),
        ("acknowledge", ada, ""),
        ("unacknowledge", tom, ""),
        ("resolve", tom, "restarted"),
    ]


def test_a_move_that_is_not_allowed_says_who_was_first(ada: User, tom: User) -> None:
    alert = opened()
    actions.acknowledge(alert=alert, by=ada, now=NOW)
    with pytest.raises(NotAllowed, match="ada has acknowledged it already") as told:
        actions.acknowledge(alert=alert, by=tom, now=NOW)
    assert (told.value.state, told.value.acknowledged_by) == ("acknowledged", "ada")
    actions.resolve(alert=alert, by=ada, now=NOW)
    with pytest.raises(NotAllowed, match="ada has resolved it"):
        actions.snooze(alert=alert, until=NOW + HOUR, by=tom, now=NOW)
    with pytest.raises(NotAllowed, match="firing"):
        actions.unacknowledge(alert=opened(2), by=tom, now=NOW)


@pytest.mark.django_db(transaction=True)
def test_of_several_who_acknowledge_at_once_one_wins_and_the_others_are_told_who() -> None:
    people = [User.objects.create_user(f"person-{n}") for n in range(4)]
    alert = opened()
    won: list[str] = []
    told: list[str] = []
    barrier = threading.Barrier(len(people))

    def try_it(person: User) -> None:
        barrier.wait(timeout=10)
        try:
            won.append(actions.acknowledge(alert=alert, by=person, now=NOW).acknowledged_by.username)  # type: ignore[union-attr]
        except NotAllowed as error:
            told.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=try_it, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert told == [f"{won[0]} has acknowledged it already."] * 3
    assert alert.moves.filter(move="acknowledge").count() == 1


def test_a_signal_meanwhile_neither_loses_its_count_nor_hinders_the_move(ada: User) -> None:
    alert = opened()
    raised(signal(title="later", severity="page"), now=NOW)
    actions.acknowledge(alert=alert, by=ada, now=NOW)
    alert.refresh_from_db()
    assert (alert.count, alert.title, alert.severity, alert.state) == (2, "later", "page", "acknowledged")


def test_an_end_that_is_noted_meanwhile_is_not_forgotten_by_a_move(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    alert, write = opened(), store.write

    def later(*args: Any, **more: Any) -> set[int]:
        actions.clear([alert.fingerprint], now=NOW)
        return write(*args, **more)

    with monkeypatch.context() as slow:
        slow.setattr(store, "write", later)
        actions.acknowledge(alert=alert, by=ada, now=NOW)
    alert.refresh_from_db()
    assert (alert.state, alert.cleared_at) == ("acknowledged", NOW)
    actions.settle(now=NOW + timedelta(minutes=2))
    alert.refresh_from_db()
    assert alert.state == "resolved"


def test_a_snooze_ends_by_itself(ada: User) -> None:
    alert = actions.snooze(alert=opened(), until=NOW + HOUR, by=ada, now=NOW, reason="deploying")
    assert (alert.state, alert.snoozed_until) == ("silenced", NOW + HOUR)
    raised(signal(), now=NOW + MINUTE)
    assert actions.settle(now=NOW + 59 * MINUTE) == []
    [woken] = actions.settle(now=NOW + HOUR)
    assert (woken.state, woken.snoozed_until, woken.change) == ("firing", None, "woken")
    assert woken.moves.last().reason == "its snooze ended"  # type: ignore[union-attr]


@pytest.mark.parametrize(("length", "words"), [(timedelta(0), "past"), (timedelta(days=30, seconds=1), "30 days")])
def test_nobody_snoozes_into_the_past_or_for_ever(ada: User, length: timedelta, words: str) -> None:
    alert = opened()
    with pytest.raises(UnsoundMoment, match=words):
        actions.snooze(alert=alert, until=NOW + length, by=ada, now=NOW)
    with pytest.raises(UnsoundMoment, match=words):
        actions.move_all(ids=[alert.pk], move=Move.SNOOZE, until=NOW + length, by=ada, now=NOW)


def test_several_are_moved_at_once_and_who_may_not_stays(ada: User, tom: User) -> None:
    alerts = [opened(n) for n in range(4)]
    actions.acknowledge(alert=alerts[0], by=tom, now=NOW)
    events = LiveEvent.objects.count()
    outcome = actions.move_all(ids=[a.pk for a in alerts] + [10**9], move=Move.ACKNOWLEDGE, by=ada, now=NOW)
    assert {a.pk for a in outcome.moved} == {a.pk for a in alerts[1:]}
    assert [a.pk for a in outcome.refused] == [alerts[0].pk]
    assert LiveEvent.objects.count() == events + 1
    assert Alert.objects.filter(acknowledged_by=ada).count() == 3


def test_a_silence_covers_what_fires_already_and_ends_by_hand(ada: User, tom: User) -> None:
    alert, other = opened(1), opened(2, user="tom")
    silence = actions.create_silence(
        matchers={"user": "mar*", "service": " research-assistant "},
        ends_at=NOW + HOUR,
        comment="a drill",
        by=ada,
        now=NOW,
    )
    assert silence.matchers == {"user": "mar*", "service": "research-assistant"}
    assert queries.silence_of(alert.labels, now=NOW) == silence
    states = dict(Alert.objects.values_list("pk", "state"))
    assert states == {alert.pk: "silenced", other.pk: "firing"}
    ended = actions.end_silence(silence=silence, by=tom, now=NOW + MINUTE)
    assert (ended.ended_by, ended.ended_at) == (tom, NOW + MINUTE)
    alert.refresh_from_db()
    assert alert.state == "firing"
    assert actions.end_silence(silence=silence, by=ada, now=NOW + HOUR).ended_by == tom


def test_what_a_silence_covered_fires_again_when_it_ends_by_itself_unless_it_is_snoozed(ada: User) -> None:
    first, second = opened(1), opened(2)
    actions.create_silence(matchers={"service": "*assistant"}, ends_at=NOW + HOUR, by=ada, now=NOW)
    actions.snooze(alert=second, until=NOW + 2 * HOUR, by=ada, now=NOW)
    assert actions.settle(now=NOW + 59 * MINUTE) == []
    assert [a.pk for a in actions.settle(now=NOW + HOUR)] == [first.pk]
    assert [a.pk for a in actions.settle(now=NOW + 2 * HOUR)] == [second.pk]


def test_a_snooze_that_ends_under_a_silence_stays_quiet(ada: User) -> None:
    alert = actions.snooze(alert=opened(), until=NOW + MINUTE, by=ada, now=NOW)
    actions.create_silence(matchers={"kind": "loop.*"}, ends_at=NOW + HOUR, by=ada, now=NOW)
    assert actions.settle(now=NOW + 2 * MINUTE) == []
    alert.refresh_from_db()
    assert (alert.state, alert.snoozed_until) == ("silenced", None)
    assert len(actions.settle(now=NOW + HOUR)) == 1


@pytest.mark.parametrize("matchers", [{}, {"kind": ""}, {"kind": "*"}, {"colour": "red"}, {"user": "x" * 513}])
def test_a_silence_looks_at_something(ada: User, matchers: dict[str, str]) -> None:
    with pytest.raises(UnsoundMatchers):
        actions.create_silence(matchers=matchers, ends_at=NOW + HOUR, by=ada, now=NOW)


@pytest.mark.parametrize(
    ("starts", "ends"), [(HOUR, HOUR), (-HOUR, timedelta(0)), (timedelta(0), timedelta(days=367)), (HOUR, MINUTE)]
)
def test_a_silence_lasts_for_some_time(ada: User, starts: timedelta, ends: timedelta) -> None:
    with pytest.raises(UnsoundMoment):
        actions.create_silence(matchers={"kind": "x"}, starts_at=NOW + starts, ends_at=NOW + ends, by=ada, now=NOW)
    assert not Silence.objects.exists()


def test_a_silence_to_come_covers_nothing_yet(ada: User) -> None:
    opened()
    actions.create_silence(matchers={"kind": "loop.*"}, starts_at=NOW + HOUR, ends_at=NOW + 2 * HOUR, by=ada, now=NOW)
    assert Alert.objects.get().state == "firing"
    assert actions.settle(now=NOW + 59 * MINUTE) == []
    assert [alert.state for alert in actions.settle(now=NOW + HOUR)] == ["silenced"]
    assert [alert.state for alert in actions.settle(now=NOW + 2 * HOUR)] == ["firing"]


def test_notes_need_words(ada: User) -> None:
    alert = opened()
    assert actions.add_note(alert=alert, text=" looking\0 at it ", by=ada, now=NOW).text == "looking at it"
    with pytest.raises(actions.EmptyNote):
        actions.add_note(alert=alert, text=" \0", by=ada, now=NOW)


def test_one_event_tells_of_all_and_names_what_matters_most(ada: User) -> None:
    many = [signal(n, evidence={"usd_per_hour": str(n)}) for n in range(24)]
    raised(*many, signal(99, severity="page", kind="loop.repeat", title="worst"), now=NOW)
    event = last_event()
    assert LiveEvent.objects.count() == 1
    assert {"alerts", f"run:{run_of(3).hex()}", f"run:{run_of(99).hex()}"} <= set(event.topics)
    assert (event.data["title"], event.data["severity"], event.data["change"]) == ("worst", "page", "opened")
    assert set(event.data) - {"alerts", "more"} == set(event.data["alerts"][0])
    assert [len(event.data["alerts"]), event.data["more"]] == [TOLD, 5]
    assert event.data["alerts"][1]["title"].endswith("run 23")
    # What is new comes before what is only worse off already.
    raised(signal(99, severity="page", kind="loop.repeat"), signal(200, kind="loop.cycle"), now=NOW)
    assert last_event().data["kind"] == "loop.cycle"


def test_of_very_many_runs_every_run_is_told(ada: User) -> None:
    raised(*(signal(n, service=f"service-{n}") for n in range(NAMED_RUNS + 1)), now=NOW)
    assert set(last_event().topics) == {"alerts", EVERY_RUN}


def test_nothing_is_announced_of_nothing() -> None:
    assert announce([]) is None
    assert settle() == 0
    assert not LiveEvent.objects.exists()


def _acknowledge(alert: Alert, by: User) -> None:
    actions.acknowledge(alert=alert, by=by, now=NOW)


def _note(alert: Alert, by: User) -> None:
    actions.add_note(alert=alert, text="so", by=by, now=NOW)


def _snooze(alert: Alert, by: User) -> None:
    actions.snooze(alert=alert, until=NOW + HOUR, by=by, now=NOW)


@pytest.mark.parametrize("act", [_acknowledge, _note, _snooze])
def test_what_people_do_is_announced_with_the_run(ada: User, act: Callable[[Alert, User], None]) -> None:
    alert = opened()
    act(alert, ada)
    assert set(last_event().topics) == {"alerts", f"run:{alert.run_hex}"}
