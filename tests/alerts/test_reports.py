"""From signals to alerts: raised once, counted up, coming back, held, and very many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from agentops.accounts.models import User
from agentops.alerts import actions
from agentops.alerts.actions import clear, report
from agentops.alerts.models import Alert, AlertMove, StormMember
from tests.alerts.signalling import raised, run_of, signal

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def only() -> Alert:
    return Alert.objects.get()


def moves(alert: Alert) -> list[tuple[str, str, str]]:
    return list(alert.moves.values_list("move", "from_state", "to_state"))


def test_a_signal_opens_an_alert_with_what_it_says() -> None:
    [alert] = raised(signal(title="a\0 loop", environment="production"), now=NOW)
    alert = only()
    assert (alert.state, alert.severity, alert.count, alert.version) == ("firing", "warn", 1, 0)
    assert (alert.title, alert.run_hex, alert.user, alert.environment) == ("a loop", f"{1:032x}", "maria", "production")
    assert (alert.cost_nano, alert.nano_per_hour) == (41_200_000_000, 178_000_000_000)
    assert alert.evidence["steps"] == ["00f067aa0ba902b7"]
    assert moves(alert) == [("open", "", "firing")]


def test_further_signals_count_it_up_and_refresh_it() -> None:
    raised(signal(), now=NOW)
    [alert] = raised(
        signal(title="24 rounds", observations=3, evidence={"cost_usd": Decimal("42.5")}), now=NOW + MINUTE
    )
    assert alert.change == "counted"
    alert = only()
    assert (alert.count, alert.title, alert.cost_nano, alert.version) == (4, "24 rounds", 42_500_000_000, 0)
    assert (alert.opened_at, alert.nano_per_hour) == (NOW, None)
    assert len(moves(alert)) == 1


def test_several_signals_of_one_fingerprint_in_a_report_are_one() -> None:
    raised(signal(severity="page"), signal(title="later", seen_at=NOW + MINUTE), signal(seen_at=NOW), now=NOW)
    assert (only().count, only().severity) == (3, "page")


def test_what_is_somebody_else_s_is_another_alert() -> None:
    raised(signal(1), signal(2), signal(1, kind="loop.cycle"), signal(1, service="other"), signal(1, run=None), now=NOW)
    assert Alert.objects.count() == 5


def test_what_becomes_known_of_a_run_later_makes_no_other_alert_of_it() -> None:
    raised(signal(1, session=None, user=None), signal(1, session="late", user="tom"), now=NOW)
    assert Alert.objects.count() == 1


def test_the_severity_only_rises() -> None:
    raised(signal(severity="page"), now=NOW)
    raised(signal(severity="warn"), now=NOW)
    assert only().severity == "page"


def test_when_a_warning_became_a_page_is_on_record_and_is_news() -> None:
    raised(signal(), now=NOW)
    [alert] = raised(signal(severity="page"), now=NOW + MINUTE)
    assert (alert.state, alert.change) == ("firing", "worsened")
    assert moves(only())[-1] == ("worsen", "firing", "firing")
    assert only().moves.last().reason == "from warn to page"  # type: ignore[union-attr]
    [alert] = raised(signal(severity="page"), now=NOW + MINUTE)
    assert alert.change == "counted"


def test_a_warning_that_becomes_a_page_fires_again_though_it_was_acknowledged(ada: User) -> None:
    raised(signal(), now=NOW)
    actions.acknowledge(alert=only(), by=ada, now=NOW)
    raised(signal(), now=NOW)
    assert only().state == "acknowledged"
    [alert] = raised(signal(severity="page"), now=NOW)
    assert alert.change == "worsened"
    alert = only()
    assert (alert.state, alert.severity, alert.acknowledged_by) == ("firing", "page", None)
    assert moves(alert)[-1] == ("worsen", "acknowledged", "firing")


def test_what_resolved_by_itself_comes_back_as_the_same_alert_within_an_hour(ada: User) -> None:
    raised(signal(), now=NOW)
    clear([signal().fingerprint], now=NOW)
    actions.settle(now=NOW + MINUTE)
    assert only().state == "resolved"
    [alert] = raised(signal(severity="page"), now=NOW + timedelta(minutes=60))
    assert (alert.pk, alert.change) == (only().pk, "reopened")
    alert = only()
    assert (alert.state, alert.reopened, alert.severity, alert.cleared_at, alert.resolved_at) == (
        "firing",
        1,
        "page",
        None,
        None,
    )
    assert moves(alert)[-1] == ("reopen", "resolved", "firing")


def test_after_an_hour_it_is_a_new_one() -> None:
    raised(signal(), now=NOW)
    clear([signal().fingerprint], now=NOW)
    actions.settle(now=NOW + MINUTE)
    raised(signal(), now=NOW + timedelta(minutes=62))
    assert [alert.state for alert in Alert.objects.order_by("pk")] == ["resolved", "firing"]


def test_what_a_person_resolved_stays_quiet_for_ten_minutes_unless_it_is_worse(ada: User) -> None:
    raised(signal(), now=NOW)
    actions.resolve(alert=only(), by=ada, now=NOW, reason="restarted it")
    assert raised(signal(), now=NOW + timedelta(minutes=9)) == []
    assert only().state == "resolved"
    raised(signal(severity="page"), now=NOW + timedelta(minutes=9))
    assert Alert.objects.filter(state="firing").count() == 1


def test_after_the_cool_off_it_is_a_new_one(ada: User) -> None:
    raised(signal(), now=NOW)
    actions.resolve(alert=only(), by=ada, now=NOW)
    raised(signal(), now=NOW + timedelta(minutes=10))
    assert Alert.objects.count() == 2


def test_a_condition_that_has_ended_resolves_after_a_minute_unless_it_comes_back(ada: User) -> None:
    raised(signal(1), signal(2), now=NOW)
    actions.acknowledge(alert=Alert.objects.get(session="session-2"), by=ada, now=NOW)
    cleared = clear([signal(1).fingerprint, signal(2).fingerprint, "of nothing"], now=NOW, reason="the run ended")
    assert [alert.change for alert in cleared] == ["cleared"] * 2
    assert clear([signal(1).fingerprint], now=NOW + SECOND) == []
    assert actions.settle(now=NOW + 59 * SECOND) == []
    raised(signal(1), now=NOW + 59 * SECOND)
    [resolved] = actions.settle(now=NOW + 60 * SECOND)
    assert (resolved.session, resolved.state, resolved.resolved_by) == ("session-2", "resolved", None)
    assert resolved.moves.last().reason == "the run ended"  # type: ignore[union-attr]
    assert actions.settle(now=NOW + 61 * SECOND) == []


def test_more_than_25_within_a_minute_are_one_storm() -> None:
    raised(*(signal(n) for n in range(20)), now=NOW)
    assert Alert.objects.count() == 20
    found = raised(*(signal(n, severity="page") for n in range(20, 112)), now=NOW + 30 * SECOND)
    storm = Alert.objects.get(is_storm=True)
    assert storm.title == "112 runs of research-assistant: loop.ping_pong within a minute"
    assert (storm.count, storm.run, storm.session, storm.severity, storm.state) == (112, None, None, "page", "firing")
    assert (storm.cost_nano, storm.evidence["cost_usd"]) == (112 * 41_200_000_000, "4614.4")
    assert len(storm.evidence["runs"]) == 20
    single = Alert.objects.exclude(pk=storm.pk)
    assert {(one.state, one.resolved_reason, one.group_id) for one in single} == {
        ("resolved", f"part of storm #{storm.pk}", storm.pk)
    }
    assert len(single) == 20
    assert {alert.change for alert in found} == {"opened", "resolved"}


def test_25_are_none() -> None:
    raised(*(signal(n) for n in range(25)), now=NOW)
    raised(signal(26), now=NOW + 61 * SECOND)
    raised(signal(27, kind="loop.cycle"), signal(28, service="other"), now=NOW)
    assert not Alert.objects.filter(is_storm=True).exists()
    assert Alert.objects.filter(state="firing").count() == 28


def test_as_long_as_a_storm_is_open_further_ones_join_it_and_nobody_counts_twice() -> None:
    raised(*(signal(n) for n in range(30)), now=NOW)
    raised(*(signal(n, evidence={"cost_usd": "50"}) for n in range(30)), now=NOW + 10 * SECOND)
    [storm] = raised(signal(30), now=NOW + 5 * MINUTE)
    assert (storm.count, storm.change) == (31, "counted")
    storm = only()
    assert storm.title == "31 runs of research-assistant: loop.ping_pong within 5 minutes"
    assert storm.cost_nano == 30 * 50_000_000_000 + 41_200_000_000


def test_what_was_open_before_a_storm_stays_its_own_alert() -> None:
    raised(signal(1), now=NOW)
    raised(*(signal(n) for n in range(2, 40)), now=NOW + 2 * MINUTE)
    raised(signal(1), now=NOW + 2 * MINUTE)
    assert Alert.objects.get(session="session-1").count == 2
    assert Alert.objects.get(is_storm=True).count == 38


def test_a_storm_is_over_when_the_last_of_its_members_is() -> None:
    raised(*(signal(n) for n in range(30)), now=NOW)
    prints = [signal(n).fingerprint for n in range(30)]
    assert clear(prints[1:], now=NOW) == []
    [storm] = clear(prints[:1], now=NOW)
    assert storm.is_storm
    raised(signal(3), now=NOW + SECOND)
    assert only().cleared_at is None
    clear([prints[3]], now=NOW + 2 * SECOND)
    actions.settle(now=NOW + 2 * MINUTE)
    assert only().state == "resolved"
    raised(signal(3), now=NOW + 3 * MINUTE)
    assert Alert.objects.get(state="firing").run_hex == run_of(3).hex()


def test_a_storm_does_not_wait_for_what_had_ended_before_it_took_it_in() -> None:
    raised(signal(0), now=NOW)
    clear([signal(0).fingerprint], now=NOW + SECOND)
    raised(*(signal(n) for n in range(1, 30)), now=NOW + 2 * SECOND)
    assert Alert.objects.get(session="session-0").group == Alert.objects.get(is_storm=True)
    [storm] = clear([signal(n).fingerprint for n in range(1, 30)], now=NOW + 3 * SECOND)
    assert storm.is_storm
    actions.settle(now=NOW + 2 * MINUTE)
    assert not Alert.objects.exclude(state="resolved").exists()


def test_what_a_person_resolved_as_a_storm_stays_quiet_too(ada: User) -> None:
    raised(*(signal(n) for n in range(30)), now=NOW)
    actions.resolve(alert=only(), by=ada, now=NOW)
    raised(*(signal(n) for n in range(3)), now=NOW + MINUTE)
    raised(*(signal(n) for n in range(100)), now=NOW + MINUTE)
    assert only().state == "resolved"
    raised(signal(200), now=NOW + MINUTE)
    assert Alert.objects.get(state="firing").session == "session-200"
    raised(*(signal(n) for n in range(30)), now=NOW + 11 * MINUTE)
    assert Alert.objects.filter(is_storm=True, state="firing").count() == 1


def test_a_silence_keeps_a_new_alert_and_one_that_comes_back_quiet(ada: User) -> None:
    actions.create_silence(matchers={"kind": "loop.*", "user": "maria"}, ends_at=NOW + 60 * MINUTE, by=ada, now=NOW)
    [alert] = raised(signal(), now=NOW)
    assert alert.state == "silenced"
    raised(signal(2, user="tom"), now=NOW)
    assert Alert.objects.get(user="tom").state == "firing"
    clear([signal().fingerprint], now=NOW)
    actions.settle(now=NOW + MINUTE)
    [alert] = raised(signal(), now=NOW + 2 * MINUTE)
    assert (alert.state, alert.reopened) == ("silenced", 1)


def test_what_gets_worse_under_a_silence_is_given_back_without_a_sound(ada: User) -> None:
    raised(signal(), now=NOW)
    actions.acknowledge(alert=only(), by=ada, now=NOW)
    actions.create_silence(matchers={"kind": "loop.*"}, ends_at=NOW + 60 * MINUTE, by=ada, now=NOW)
    [alert] = raised(signal(severity="page"), now=NOW)
    assert (alert.state, alert.severity, alert.change) == ("silenced", "page", "silenced")
    assert [move for move, _, _ in moves(alert)][-2:] == ["worsen", "silence"]


def statements(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        act()
    return len([query for query in captured if "SAVEPOINT" not in query["sql"]])


@pytest.mark.parametrize("kinds", [("loop.repeat",), ("loop.repeat", "loop.cycle", "cost.velocity")])
def test_no_report_takes_more_statements_than_a_constant(kinds: tuple[str, ...]) -> None:
    many = [signal(n, kind=kind, service=f"service-{n % 60}") for n in range(1_000) for kind in kinds]
    assert statements(lambda: report(many, now=NOW)) <= 9
    assert statements(lambda: report(many, now=NOW)) <= 9
    assert statements(lambda: report([signal(n) for n in range(500)], now=NOW)) <= 9
    assert statements(lambda: clear([one.fingerprint for one in many], now=NOW)) <= 4
    assert Alert.objects.filter(is_storm=True).count() == 1
    assert Alert.objects.get(is_storm=True).count == 500
    assert report([], now=NOW) == []
    assert clear([], now=NOW) == []


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_open_each_alert_once_and_one_storm() -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(offset: int) -> None:
        try:
            barrier.wait(timeout=10)
            for turn in range(5):
                numbers = [(offset + turn + n) % 22 for n in range(22)]
                raised(*(signal(n) for n in numbers), now=NOW)
                raised(*(signal(1_000 + n, kind="loop.cycle") for n in range(offset * 8, offset * 8 + 8)), now=NOW)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Alert.objects.filter(kind="loop.ping_pong").count() == 22
    assert {alert.count for alert in Alert.objects.filter(kind="loop.ping_pong")} == {20}
    storm = Alert.objects.get(is_storm=True)
    assert (storm.kind, storm.count, StormMember.objects.count()) == ("loop.cycle", 32, 32)
    assert not Alert.objects.filter(kind="loop.cycle", state="firing", is_storm=False).exists()
    assert AlertMove.objects.filter(move="open", alert__kind="loop.ping_pong").count() == 22


@pytest.mark.django_db(transaction=True)
def test_a_report_is_undone_with_the_transaction_that_it_is_part_of() -> None:
    class Undone(Exception):
        pass

    def work() -> None:
        with transaction.atomic():
            report([signal()], now=NOW)
            raise Undone

    with pytest.raises(Undone):
        work()
    assert not Alert.objects.exists()
