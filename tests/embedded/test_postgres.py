"""The embedded PostgreSQL starts after every accident, and touches nothing that is not its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from agentops.embedded.postgres import binaries
from tests.embedded.running import ROOT, kill_all, wait_until

if TYPE_CHECKING:
    from tests.embedded.running import Homes

NOBODY = 65534


def test_the_product_is_no_superuser_and_owns_its_database(homes: Homes) -> None:
    running = homes.start(homes.new()).ready()
    rights = "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    assert running.query(rights) == [("agentops", False, False, False)]
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert running.query(owner) == [("agentops",)]


def test_it_keeps_commits_and_opens_no_port(homes: Homes) -> None:
    running = homes.start(homes.new(), "--set=fsync=on").ready()
    for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
        assert running.query(f"SHOW {name}") == [("on",)]
    assert running.child("postgres").net_connections("inet") == []


def test_a_password_is_needed_even_on_the_private_socket(homes: Homes) -> None:
    running = homes.start(homes.new()).ready()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=str(running.home / "run"), user="postgres", dbname="postgres", password="wrong")


def test_root_never_runs_the_servers(homes: Homes) -> None:
    running = homes.start(homes.new()).ready()
    assert all(uid != 0 for child in running.descendants() for uid in child.uids())
    assert running.home.stat().st_uid == running.child("postgres").uids().effective
    assert (running.home / "database_url").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("moment", ["directory", "bootstrap", "end"])
def test_kill_9_during_the_first_start_is_forgotten_at_the_next(homes: Homes, moment: str) -> None:
    seen = {"directory": "pg.init-*", "bootstrap": "pg.init-*/PG_VERSION", "end": "pg/PG_VERSION"}[moment]
    running = homes.start(homes.new())
    wait_until(lambda: any(running.home.glob(seen)), f"{seen} is there")
    kill_all(running)
    again = homes.start(running.home).ready()
    assert again.query("SELECT 1") == [(1,)]
    assert list(running.home.glob("pg.init-*")) == []


@pytest.mark.parametrize("stop", ["killed", "stopped"])
def test_a_stale_pid_that_is_a_strangers_now_does_not_matter_and_the_stranger_lives(homes: Homes, stop: str) -> None:
    running = homes.start(homes.new()).ready()
    running.query("CREATE TABLE kept (id int)")
    pid_file = running.home / "pg" / "postmaster.pid"
    left_behind = pid_file.read_text()
    kill_all(running) if stop == "killed" else running.stop()
    # The stranger is of the same user: PostgreSQL by itself would take it for another postmaster and refuse.
    user = running.home.stat().st_uid
    with subprocess.Popen(["sleep", "1000"], user=user if os.geteuid() == 0 else None) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *left_behind.split("\n")[1:]]))
        os.chown(pid_file, user, -1)
        again = homes.start(running.home).ready()
        assert again.query("SELECT count(*) FROM kept") == [(0,)]
        assert again.stop() == 0
        assert stranger.poll() is None
        stranger.kill()


def test_a_directory_without_a_database_is_not_touched(homes: Homes) -> None:
    home = homes.new()
    (home / "pg").mkdir()
    (home / "pg" / "precious").write_text("text")
    running = homes.start(home)
    assert running.wait() == 1
    assert "not a PostgreSQL data directory" in running.said
    assert (home / "pg" / "precious").read_text() == "text"


def test_the_database_of_another_major_version_is_refused(homes: Homes) -> None:
    home = homes.new()
    (home / "pg").mkdir()
    (home / "pg" / "PG_VERSION").write_text("17\n")
    running = homes.start(home)
    assert running.wait() == 1
    assert "made by PostgreSQL 17" in running.said


def test_a_backup_by_pg_dump_restores_into_another_home(homes: Homes, tmp_path: Path) -> None:
    first, second = (homes.start(homes.new()).ready() for _ in range(2))
    first.query("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id")
    first_url, second_url = ((one.home / "database_url").read_text().strip() for one in (first, second))
    dump = tmp_path / "dump"
    subprocess.run([binaries() / "pg_dump", "-Fc", f"--file={dump}", first_url], check=True)
    subprocess.run([binaries() / "pg_restore", f"--dbname={second_url}", dump], check=True)
    assert second.query("SELECT sum(id) FROM kept") == [(500500,)]


def _python_for(user: int) -> tuple[str, dict[str, str]] | None:
    """An interpreter that the user may start: ours, or the system's of the same version with our packages."""
    probe = [sys.executable, "-c", "import psycopg"]
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(psycopg.__file__).parents[1])])}
        try:
            subprocess.run([python, *probe[1:]], env=environment, user=user, check=True, capture_output=True, cwd="/")
        except (OSError, subprocess.CalledProcessError):
            continue
        return python, environment
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an unprivileged user already")
def test_an_unprivileged_user_starts_it_as_well(homes: Homes) -> None:
    found = _python_for(NOBODY)
    if found is None or shutil.which("sleep") is None:
        pytest.skip("the user nobody may not read the interpreter")
    home = homes.new()
    os.chown(home, NOBODY, NOBODY)
    running = homes.start(home, python=found[0], env=found[1], user=NOBODY).ready()
    assert running.query("SELECT 1") == [(1,)]
    assert running.child("postgres").uids().effective == NOBODY
    assert running.stop() == 0
