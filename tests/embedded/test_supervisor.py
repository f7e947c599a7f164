"""The supervisor keeps its servers alone, alive, and, when told so, dead."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.embedded.running import kill_all, processes_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.embedded.running import Homes, Running

SLEEP = "sleep 1000"


def test_a_second_start_on_the_same_home_says_so_and_stops(homes: Homes) -> None:
    home = homes.new()
    first = homes.start(home).ready()
    second = homes.start(home)
    assert second.wait() == 1
    assert f"already running in {home} (process {first.process.pid}" in second.said
    assert first.query("SELECT 1") == [(1,)]


def test_four_starts_at_once_leave_one_running(homes: Homes) -> None:
    home = homes.new()
    started = [homes.start(home) for _ in range(4)]
    wait_until(lambda: sum(one.process.poll() is None for one in started) == 1, "three have given up")
    (survivor,) = [one for one in started if one.process.poll() is None]
    assert survivor.ready().query("SELECT 1") == [(1,)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_ends_everything_and_leaves_no_process(homes: Homes, number: signal.Signals) -> None:
    stubborn = """--run=stubborn=sh -c 'trap "" TERM INT HUP; sleep 1000 & wait; sleep 1000'"""
    running = homes.start(homes.new(), stubborn).ready()
    wait_until(lambda: any(child.name() == "sleep" for child in running.descendants()), "the grandchild runs")
    with_client = psutil.Process(running.process.pid).children()
    assert {child.name() for child in with_client} == {"postgres", "valkey-server", "sh"}
    running.process.send_signal(number)
    assert running.wait() == 0
    assert processes_of(running.home) == []
    assert all(not child.is_running() for child in with_client)


def test_a_stop_signal_during_the_first_start_leaves_no_process_and_no_half_database(homes: Homes) -> None:
    running = homes.start(homes.new())
    wait_until(lambda: any(running.home.glob("pg.init-*")), "initdb runs")
    assert running.stop() == 0
    wait_until(lambda: processes_of(running.home) == [], "nothing is left")
    assert not (running.home / "pg").exists()
    assert homes.start(running.home).ready().query("SELECT 1") == [(1,)]


def _kill_postmaster(running: Running) -> None:
    running.child("postgres").kill()


def _kill_valkey(running: Running) -> None:
    running.child("valkey-server").kill()


def _kill_supervisor(running: Running) -> None:
    running.kill()


@pytest.mark.parametrize("kill", [_kill_postmaster, _kill_valkey, _kill_supervisor, kill_all])
def test_kill_9_loses_no_committed_row(homes: Homes, kill: Callable[[Running], None]) -> None:
    running = homes.start(homes.new()).ready()
    running.query("CREATE TABLE kept (id int)")
    for number in range(1, 4):
        running.query(f"INSERT INTO kept VALUES ({number})")
        kill(running)
        if running.process.poll() is None:
            running.wait_for("is running again", times=number)
        else:
            running = homes.start(running.home).ready()
        assert running.query("SELECT count(*) FROM kept") == [(number,)]


def test_kill_9_of_the_supervisor_takes_everything_with_it(homes: Homes) -> None:
    running = homes.start(homes.new(), f"--run=program={SLEEP}").ready()
    wait_until(lambda: len(psutil.Process(running.process.pid).children()) == 3, "all run")
    running.kill()
    wait_until(lambda: processes_of(running.home) == [], "nothing is left")


def test_a_dead_program_is_started_again_alone(homes: Homes) -> None:
    running = homes.start(homes.new(), f"--run=program={SLEEP}").ready()
    wait_until(lambda: len(psutil.Process(running.process.pid).children()) == 3, "all run")
    before = running.child("sleep"), running.child("postgres")
    before[0].kill()
    running.wait_for("program is running again")
    assert running.child("sleep") != before[0]
    assert running.child("postgres") == before[1]


def test_a_program_that_always_dies_stops_everything_with_an_error(homes: Homes) -> None:
    running = homes.start(homes.new(), "--run=broken=sh -c 'echo no luck; exit 7'", "--max-restarts=2")
    assert running.wait() == 1
    assert "broken died 3 times" in running.said
    assert "no luck" in running.said
    assert processes_of(running.home) == []


def test_a_program_that_is_killed_again_and_again_is_started_again_and_again(homes: Homes) -> None:
    running = homes.start(homes.new(), "--no-postgres", f"--run=program={SLEEP}", "--max-restarts=1").ready()
    for number in range(1, 5):
        wait_until(lambda: len(psutil.Process(running.process.pid).children()) == 2, "both run")
        running.child("sleep").kill()
        running.wait_for("program is running again", times=number)


def test_a_failing_preparation_stops_everything_with_an_error(homes: Homes) -> None:
    running = homes.start(homes.new(), "--prepare=false")
    assert running.wait() == 1
    assert "prepare failed with exit code 1" in running.said
    assert processes_of(running.home) == []


def test_a_home_with_a_long_name_keeps_its_sockets_elsewhere_and_private(homes: Homes) -> None:
    home = homes.new() / ("long" * 30)
    running = homes.start(home).ready()
    assert running.query("SELECT 1") == [(1,)]
    valkey = Path((home / "valkey_url").read_text().strip().removeprefix("unix://"))
    assert not valkey.is_relative_to(home)
    assert valkey.parent.stat().st_mode & 0o777 == 0o700
    homes.homes.append(valkey.parent)


def test_valkey_keeps_its_keys_over_a_restart(homes: Homes) -> None:
    running = homes.start(homes.new(), "--no-postgres").ready()
    assert _valkey(running, b"SET it here\r\n") == b"+OK\r\n"
    assert running.stop() == 0
    assert _valkey(homes.start(running.home, "--no-postgres").ready(), b"GET it\r\n") == b"$4\r\nhere\r\n"


def _valkey(running: Running, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.home / "run" / "valkey.sock"))
        connection.sendall(command)
        return connection.recv(100)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand over")
def test_root_refuses_a_home_that_holds_other_things(homes: Homes) -> None:
    home = homes.new()
    (home / "thesis.tex").touch()
    running = homes.start(home)
    assert running.wait() == 1
    assert "holds other things (thesis.tex)" in running.said
    assert home.stat().st_uid == 0
