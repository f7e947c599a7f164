"""Runs the benchmarks: tables for people, and one JSON line a measurement for programs.

python -m bench [--only watch,ingest,visible,alarm,guard,memory,pages] [--spans 40000] [--sizes 10000,100000,1000000]
    [--cases 2000] [--port 8218]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench import alarm, fill, floor, guard, watch
from bench.instance import PASSWORD, ROOT, Instance, running
from bench.payload import LARGE, Generator, Request, requests

NS = 1_000_000_000
#: (spans a request, senders)
_SHAPES = ((512, 4), (32, 8))
_WARM_SPANS = 4_000
_HISTORY_SECONDS = 90 * 86_400.0
_PARTS = ("watch", "ingest", "visible", "alarm", "guard", "memory", "pages")
_RUNS_ASKED = 40
_LONG_RUN_STEPS = 2_990


def main() -> int:
    """Measure what is asked for."""
    options = _parser().parse_args()
    parts = options.only.split(",") if options.only else _PARTS
    if "watch" in parts:
        _watch(options.cases)
    if set(parts) == {"watch"}:
        return 0
    with running(options.port) as instance:
        key = instance.manage("create_ingest_key", "--collector", "--name", "bench")
        lowest = _ingest(instance, key, options.spans) if "ingest" in parts else None
        if "visible" in parts:
            _visible(instance, key)
        if "alarm" in parts:
            _alarm(instance, key, options.spans)
        if "guard" in parts:
            _guard(instance, key, options.spans)
        if "memory" in parts:
            _memory(instance)
        if "pages" in parts:
            _pages(instance, key, [int(size) for size in options.sizes.split(",")])
    return 0 if lowest is None or lowest else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--only", default="", help=f"some of {','.join(_PARTS)}")
    parser.add_argument("--spans", type=int, default=40_000, help="to send in each shape")
    parser.add_argument("--sizes", default="10000,100000,300000,1000000", help="spans in the books of pages")
    parser.add_argument("--cases", type=int, default=2_000, help="labelled runs to watch")
    parser.add_argument("--port", type=int, default=8218)
    return parser


def _watch(cases: int) -> None:
    speed = watch.speed()
    rows = [
        {
            "batch": batch,
            "content_bytes": round(speed.bytes),
            "parse_us": round(speed.parse, 2),
            "make_us": round(speed.make, 1),
            "judge_us": round(judge, 1),
            "step_us": round(speed.whole(batch), 1),
            "ratio_to_parse": round(speed.whole(batch) / speed.parse, 1),
        }
        for batch, judge in speed.judge.items()
    ]
    for row in rows:
        _emit("watch", row)
    _table("Watching: microseconds a step, with the content parsed as JSON to compare", tuple(rows[0]), rows)
    found = watch.table(cases)
    print(f"\nLabelled runs\n{found}")
    for kind, figures in (
        ("watch_recall", watch.families(found)),
        ("watch_precision", watch.kinds(found)),
        ("watch_false_alarms", watch.false_alarms(found)),
    ):
        for row in figures:
            _emit(kind, row)
        _table(kind.replace("_", " ").capitalize(), tuple(figures[0]), figures)


def _ingest(instance: Instance, key: str, spans: int) -> bool:
    generator = Generator("bench")
    _send(instance, key, list(requests(generator.spans(_WARM_SPANS, time.time_ns(), 3_600.0, 9_000_000), 512)), 4)
    first, rows, floors = 0, [], None
    for batch, senders in _SHAPES:
        made = generator.spans(spans, time.time_ns(), 3_600.0, first)
        first += spans
        todo = list(requests(made, batch))
        if floors is None:
            floors = floor.measure(instance, todo)
            _describe(made, todo, floors)
        rows.append(_shape(instance, key, todo, batch, senders) | {"floor": round(floors.lowest, 1)})
    for row in rows:
        row["ratio_to_floor"] = round(row["cpu_ms"] / row["floor"], 2)
        row["ratio_to_first_shape"] = round(row["cpu_ms"] / rows[0]["cpu_ms"], 2)
        _emit("ingest", row)
    names = (
        "batch",
        "senders",
        "spans_per_second",
        "web_ms",
        "postgres_ms",
        "cpu_ms",
        "ratio_to_floor",
        "ratio_to_first_shape",
    )
    _table("Ingest: CPU in ms for 1,000 spans", (*names, "post_p50_ms", "post_p95_ms"), rows)
    return all(set(row["statuses"]) == {"200"} for row in rows)


def _describe(made: Sequence[Any], todo: Sequence[Request], floors: floor.Floor) -> None:
    _emit(
        "payload",
        {
            "spans": len(made),
            "attributes_per_span": round(sum(len(span.attributes) for span in made) / len(made), 1),
            "wire_bytes_per_span": round(sum(len(request.body) for request in todo) / len(made)),
        },
    )
    figures = {
        "decode_ms": round(floors.decode, 1),
        "copy_text_client_ms": round(floors.copy_text[0], 1),
        "copy_text_server_ms": round(floors.copy_text[1], 1),
        "copy_binary_client_ms": round(floors.copy_binary[0], 1),
        "copy_binary_server_ms": round(floors.copy_binary[1], 1),
        "floor_ms": round(floors.lowest, 1),
    }
    _emit("floor", figures)
    _table("The floor: CPU in ms for 1,000 spans", tuple(figures), [figures])


def _shape(instance: Instance, key: str, todo: list[Request], batch: int, senders: int) -> dict[str, Any]:
    web, postgres = instance.cpu_seconds("web"), instance.cpu_seconds("postgres")
    result = _send(instance, key, todo, senders)
    time.sleep(0.5)  # what is told to browsers after the commits belongs to it
    web, postgres = instance.cpu_seconds("web") - web, instance.cpu_seconds("postgres") - postgres
    scale = 1e6 / result["spans"]
    return {
        "batch": batch,
        "senders": senders,
        "spans_per_second": round(result["spans"] / result["seconds"]),
        "web_ms": round(web * scale, 1),
        "postgres_ms": round(postgres * scale, 1),
        "cpu_ms": round((web + postgres) * scale, 1),
        **result,
    }


def _send(instance: Instance, key: str, todo: list[Request], senders: int) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(pickle.dumps(todo))
        file.flush()
        command = [sys.executable, "-m", "bench.sender", file.name, instance.url, str(senders)]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"BENCH_KEY": key}, check=True, capture_output=True, timeout=300
        )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _visible(instance: Instance, key: str) -> None:
    """From just before a POST until the API shows the run."""
    token = instance.manage("create_token", "--user", "admin")
    parts = urlsplit(instance.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    generator = Generator(uuid.uuid4().hex)
    times = []
    for number in range(_RUNS_ASKED):
        spans = generator.run(number, time.time_ns() - 60 * NS)
        (request,) = requests(spans, len(spans))
        headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
        }
        begun = time.perf_counter()
        connection.request("POST", "/v1/traces", request.body, headers)
        connection.getresponse().read()
        status = 0
        while status != http.client.OK and time.perf_counter() - begun < 10.0:
            connection.request(
                "GET", f"/api/v1/runs/{spans[0].trace_id.hex()}", headers={"Authorization": f"Bearer {token}"}
            )
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        times.append(1_000 * (time.perf_counter() - begun))
    times.sort()
    row = {
        "posts": len(times),
        "p50_ms": round(times[len(times) // 2], 1),
        "p95_ms": round(times[int(len(times) * 0.95)], 1),
    }
    _emit("visible", row)
    _table("From POST until GET /api/v1/runs/{id} shows the run", tuple(row), [row])


def _alarm(instance: Instance, key: str, spans: int) -> None:
    """From the commit of a run that loops until a browser's socket says so, at the load of many small requests."""
    batch, senders = _SHAPES[-1]
    todo = list(requests(Generator("alarm").spans(2 * spans, time.time_ns(), 3_600.0, 50_000_000), batch))
    row = alarm.measure(
        instance.url, key=key, user="admin", password=PASSWORD, load=lambda: _send(instance, key, todo, senders)
    )
    load = row.pop("load")
    row["spans_per_second"] = round(load["spans"] / load["seconds"])
    _emit("alarm", row)
    _table("From the commit of a loop to the alert in a browser, under load", tuple(row), [row])


def _guard(instance: Instance, key: str, spans: int) -> None:
    """How long agents wait: one alone, many on one hot budget, and these while spans come in."""
    token = instance.manage("create_token", "--user", "admin", "--scope", "write")
    guard.make_budget(instance.url, token)
    alone = [guard.under_load(instance.url, key, clients=many, load=lambda: time.sleep(8.0)) for many in (1, 50)]
    rows = [{"ingest": 0} | row for row, _ in alone]
    batch, senders = _SHAPES[0]
    todo = list(requests(Generator("guard").spans(spans, time.time_ns(), 3_600.0, 60_000_000), batch))
    row, load = guard.under_load(instance.url, key, clients=50, load=lambda: _send(instance, key, todo, senders))
    rows.append({"ingest": round(load["spans"] / load["seconds"])} | row)
    for row in rows:
        _emit("guard", row)
    _table("Guard: checks a second, each settled; ingest is spans a second beside them", tuple(rows[0]), rows)


def _memory(instance: Instance) -> None:
    rows: list[dict[str, Any]] = [
        {"program": name, "processes": count, "rss_mb": round(rss / 1e6), "pss_mb": round(pss / 1e6)}
        for name, (count, rss, pss) in sorted(instance.memory().items())
    ]
    total = {"program": "all", **{name: sum(row[name] for row in rows) for name in ("processes", "rss_mb", "pss_mb")}}
    _emit("memory", total)
    _table("Memory (pss counts shared pages once)", tuple(total), [*rows, total])


def _pages(instance: Instance, key: str, sizes: list[int]) -> None:
    base = min(sizes)
    generator = Generator("pages", LARGE)
    spans = generator.spans(base, time.time_ns() - 600 * NS, _HISTORY_SECONDS)
    longest = generator.run(10**9, time.time_ns() - 3 * 3_600 * NS, _LONG_RUN_STEPS)
    with psycopg.connect(instance.database_url, autocommit=True, options="-c timezone=UTC") as connection:
        fill.forget_everything(connection)
        _module(instance, "bench.maintenance", "partitions")
        _send(instance, key, list(requests(spans, 512)), 2)
        fill.remember_templates(connection)
        _send(instance, key, list(requests(longest, 512)), 1)  # once, whatever the size
        copies, by_size = 0, dict[int, list[dict[str, Any]]]()
        for size in sorted(sizes):
            begun = time.monotonic()
            wanted = size // base - 1
            if wanted > copies:
                fill.copy(connection, copies + 1, wanted)
                copies = wanted
            _module(instance, "bench.maintenance", "close")  # what beat does every few minutes
            connection.execute("VACUUM ANALYZE")
            _report_filled(instance, connection, time.monotonic() - begun)
            by_size[size] = _module(instance, "bench.pages")
        fill.forget_templates(connection)
    _report_pages(by_size)


def _report_filled(instance: Instance, connection: psycopg.Connection[Any], seconds: float) -> None:
    (row,) = connection.execute("SELECT count(*), pg_database_size(current_database()) FROM spans").fetchall()
    figures = {"spans": row[0], "seconds": round(seconds, 1), "bytes_per_span": row[1] // row[0]}
    try:
        books = _module(instance, "bench.maintenance", "reconcile")
        figures |= {"discrepancies": len(books["findings"]), "reconciled_in_ms": books["ms"]}
    except RuntimeError as error:  # on a slow machine the whole check may take longer than a statement may
        figures["reconciliation"] = str(error).strip().splitlines()[-1]
    _emit("filled", figures)


def _report_pages(by_size: dict[int, list[dict[str, Any]]]) -> None:
    smallest, largest = min(by_size), max(by_size)
    rows = []
    for position, first in enumerate(by_size[smallest]):
        row = {"case": first["case"], "status": first["status"], "statements": first["statements"]}
        for size, found in by_size.items():
            case = found[position]
            _emit("page", {"spans": size, **case})
            row[f"query {size:,}"] = f"{case['query_p50_ms']:.1f}/{case['query_p95_ms']:.1f}"
            row[f"slowest {size:,}"] = case["slowest_p95_ms"]
            row[f"whole {size:,}"] = f"{case['p50_ms']:.1f}/{case['p95_ms']:.1f}"
        row["growth"] = round(by_size[largest][position]["query_p50_ms"] / max(0.1, first["query_p50_ms"]), 1)
        rows.append(row)
    _table(
        "Pages and API: ms of their queries, of the slowest of them (p95) and of the whole answer, p50/p95",
        tuple(rows[0]),
        rows,
    )


def _module(instance: Instance, *arguments: str) -> Any:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=instance.environment, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        message = f"{' '.join(arguments)} failed:\n{done.stderr[-3_000:]}"
        raise RuntimeError(message)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _emit(kind: str, figures: dict[str, Any]) -> None:
    print(json.dumps({"bench": kind, **figures}), flush=True)


def _table(title: str, names: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    cells = [list(names), *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    print(f"\n{title}")
    for line in cells:
        print(
            "  "
            + "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
        )
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
