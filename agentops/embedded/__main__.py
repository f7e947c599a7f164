"""The supervisor's command line: servers alone for tests, or all of the product for ``manage.py up``."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

from agentops.embedded.home import EmbeddedError, Home
from agentops.embedded.postgres import Postgres
from agentops.embedded.postgres import binaries as postgres_binaries
from agentops.embedded.privileges import give_up_root
from agentops.embedded.processes import Command, die_with_parent
from agentops.embedded.supervisor import Child, Plan, Program, Supervisor, say
from agentops.embedded.valkey import Valkey
from agentops.embedded.valkey import binary as valkey_binary


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; the exit code."""
    options = _parser().parse_args(arguments)
    parent = os.getppid()
    home = Home(options.home.resolve())
    try:
        give_up_root(home.path, _programs(options))
        if options.with_parent:
            die_with_parent(signal.SIGTERM, parent)
        return Supervisor(home, _plan(options, home)).run()
    except EmbeddedError as error:
        say(f"agentops: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m agentops.embedded", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="directory of data, sockets and logs")
    parser.add_argument("--no-postgres", action="store_true", help="the database is somewhere else")
    parser.add_argument("--no-valkey", action="store_true", help="the broker is somewhere else")
    parser.add_argument("--create-databases", action="store_true", help="let the role create databases (tests)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a PostgreSQL setting")
    parser.add_argument("--prepare", metavar="COMMAND", help="run to its end before the programs start")
    parser.add_argument("--run", action="append", default=[], metavar="NAME=COMMAND", help="keep running")
    parser.add_argument(
        "--later", action="append", default=[], metavar="NAME=COMMAND", help="likewise, once URL answers"
    )
    parser.add_argument("--url", default="", help="where the web processes will answer, with a slash at the end")
    parser.add_argument("--pass-fd", action="append", default=[], type=int, help="descriptor that programs inherit")
    parser.add_argument("--max-restarts", type=int, default=5, help="of one process within five minutes")
    parser.add_argument("--with-parent", action="store_true", help="stop when the starting process dies")
    return parser


def _programs(options: argparse.Namespace) -> list[Path]:
    """What the processes must be able to read."""
    found = [Path(sys.executable), Path(os.__file__), Path(__file__)]
    if not options.no_postgres:
        found.append(postgres_binaries() / "postgres")
    if not options.no_valkey:
        found.append(valkey_binary())
    return found


def _plan(options: argparse.Namespace, home: Home) -> Plan:
    servers: list[Child] = []
    if not options.no_postgres:
        overrides = dict(text.split("=", 1) for text in options.set)
        servers.append(Postgres(home, overrides=overrides, may_create_databases=options.create_databases))
    if not options.no_valkey:
        servers.append(Valkey(home))
    return Plan(
        servers=servers,
        prepare=replace(_command(f"prepare={options.prepare}", home, ()), log=None) if options.prepare else None,
        programs=[Program(_command(text, home, tuple(options.pass_fd))) for text in options.run],
        later=[Program(_command(text, home, ())) for text in options.later],
        url=options.url,
        max_restarts=options.max_restarts,
    )


def _command(text: str, home: Home, pass_fds: tuple[int, ...]) -> Command:
    name, command = text.split("=", 1)
    return Command(
        name=name,
        argv=tuple(shlex.split(command)),
        log=home.logs / f"{name}.log",
        env={
            "MALLOC_ARENA_MAX": "1",  # a heap for every thread costs much memory and saves little time
            **os.environ,
            "AGENTOPS_HOME": str(home.path),
            "AGENTOPS_ROLE": name.partition("-")[0],
        },
        pass_fds=pass_fds,
    )


if __name__ == "__main__":
    sys.exit(main())
