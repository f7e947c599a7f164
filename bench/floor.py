"""The least that receiving could cost on this machine: decode the same requests, copy the same rows into one table."""

from __future__ import annotations

import gzip
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from agentops.demo.writers.wire import SPAN_CLIENT
from bench.instance import Instance
from bench.payload import Request

_TABLE = """
CREATE TABLE IF NOT EXISTS bench_floor (trace_id bytea, span_id bytea, parent bytea, service text, name text,
    kind smallint, failed boolean, start_ns bigint, end_ns bigint, model text, tool text, agent text, input bigint,
    output bigint, cached bigint, cost bigint, "user" text, session text, feature text, content text,
    PRIMARY KEY (trace_id, span_id, service))
"""
_TYPES = (
    "bytea bytea bytea text text int2 bool int8 int8 text text text int8 int8 int8 int8 text text text text".split()  # noqa: SIM905
)
#: Nano-dollars per token in and out: any will do.
_RATES = {"openai": (2_500, 10_000), "anthropic": (3_000, 15_000)}
#: Rows that one COPY and its commit take: what the larger requests bring.
_BATCH = 512

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Floor:
    """Milliseconds of CPU for 1,000 spans."""

    decode: float
    copy_text: tuple[float, float]
    copy_binary: tuple[float, float]

    @property
    def lowest(self) -> float:
        """Decoding and the cheaper way to copy, client and server."""
        return self.decode + min(sum(self.copy_text), sum(self.copy_binary))


def measure(instance: Instance, requests: Sequence[Request]) -> Floor:
    """Decode on one core, then copy; everything in this process and the instance's PostgreSQL."""
    rows: list[Row] = []
    begun = time.process_time()
    for request in requests:
        rows += _decode(request.body)
    decode = time.process_time() - begun
    scale = 1e6 / len(rows)
    with psycopg.connect(instance.database_url, autocommit=True) as connection:
        text = _copy(instance, connection, rows, binary=False)
        binary = _copy(instance, connection, rows, binary=True)
        connection.execute("DROP TABLE bench_floor")
    return Floor(decode * scale, (text[0] * scale, text[1] * scale), (binary[0] * scale, binary[1] * scale))


def _copy(
    instance: Instance, connection: psycopg.Connection[Any], rows: list[Row], *, binary: bool
) -> tuple[float, float]:
    connection.execute("DROP TABLE IF EXISTS bench_floor")
    connection.execute(_TABLE)
    connection.execute("CREATE INDEX ON bench_floor (trace_id, start_ns)")
    server, client = instance.cpu_seconds("postgres"), time.process_time()
    for start in range(0, len(rows), _BATCH):
        with connection.cursor().copy(f"COPY bench_floor FROM STDIN{' (FORMAT binary)' if binary else ''}") as copy:
            if binary:
                copy.set_types(_TYPES)
            for row in rows[start : start + _BATCH]:
                copy.write_row(row)
    return time.process_time() - client, instance.cpu_seconds("postgres") - server


def _decode(body: bytes) -> list[Row]:
    """Decompress, parse, read all attributes into dictionaries, make rows, price them: and nothing else."""
    message = ExportTraceServiceRequest.FromString(gzip.decompress(body))
    rows: list[Row] = []
    for resource in message.resource_spans:
        service = str({pair.key: _value(pair.value) for pair in resource.resource.attributes}["service.name"])
        for scope in resource.scope_spans:
            for span in scope.spans:
                found = {pair.key: _value(pair.value) for pair in span.attributes}
                get = found.get
                tokens, output = get("gen_ai.usage.input_tokens"), get("gen_ai.usage.output_tokens")
                cost = None
                if span.kind == SPAN_CLIENT:
                    rates = _RATES.get(str(get("gen_ai.provider.name")), (1_000, 4_000))
                    cost = int(tokens or 0) * rates[0] + int(output or 0) * rates[1]
                text = get("gen_ai.input.messages") or get("gen_ai.tool.call.arguments") or ""
                text += get("gen_ai.output.messages") or get("gen_ai.tool.call.result") or ""
                rows.append(
                    (
                        span.trace_id,
                        span.span_id,
                        span.parent_span_id,
                        service,
                        span.name,
                        span.kind,
                        span.status.code > 1,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        get("gen_ai.response.model"),
                        get("gen_ai.tool.name"),
                        get("gen_ai.agent.name"),
                        tokens,
                        output,
                        get("gen_ai.usage.cache_read.input_tokens"),
                        cost,
                        get("user.id"),
                        get("session.id"),
                        get("app.feature"),
                        text,
                    )
                )
    return rows


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
