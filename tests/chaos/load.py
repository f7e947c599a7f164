"""Seeded spans over HTTP, sent until acknowledged, with the truth about them."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from dataclasses import dataclass, field

MODEL = "gpt-4o-2024-08-06"
SPANS_PER_REQUEST = 12
#: Every so many requests a run calls the same tool again and again, so often.
LOOPS_EVERY, CALLS_OF_A_LOOP = 4, 5
RETRY_SECONDS = 0.2


def request_body(seed: str, number: int) -> tuple[bytes, int, int]:
    """One request: the body, its input tokens and its output tokens, all from the seed."""
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    trace_id = digest[:16].hex()
    now = time.time_ns()
    spans, inputs, outputs = [], 0, 0
    for i in range(SPANS_PER_REQUEST):
        own = hashlib.sha256(digest + bytes([i])).digest()
        span = {
            "traceId": trace_id,
            "spanId": own[:8].hex(),
            "name": "invoke_agent worker",
            "kind": 1,
            "startTimeUnixNano": str(now + i * 1_000),
            "endTimeUnixNano": str(now + i * 1_000 + 500),
            "status": {},
        }
        attributes: dict[str, str | int] = {"gen_ai.agent.name": "worker", "user.id": f"user-{digest[0]}"}
        if i == 0:
            attributes["gen_ai.operation.name"] = "invoke_agent"
        else:
            tokens_in, tokens_out = 100 + own[8], 10 + own[9]
            inputs, outputs = inputs + tokens_in, outputs + tokens_out
            span["parentSpanId"] = hashlib.sha256(digest + bytes([0])).digest()[:8].hex()
            span["name"] = "chat gpt-4o"
            attributes |= {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.response.model": MODEL,
                "gen_ai.usage.input_tokens": tokens_in,
                "gen_ai.usage.output_tokens": tokens_out,
            }
        span["attributes"] = [
            {"key": key, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
            for key, value in attributes.items()
        ]
        spans.append(span)
    if is_loop(number):
        spans += [_tool_call(digest, trace_id, now + SECOND * (call + 1), call) for call in range(CALLS_OF_A_LOOP)]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": f"chaos-{number % 3}"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "chaos"}, "spans": spans}]}]}
    return json.dumps(body).encode(), inputs, outputs


def is_loop(number: int) -> bool:
    """Whether the run of a request loops."""
    return number % LOOPS_EVERY == 0


SECOND = 1_000_000_000


def _tool_call(digest: bytes, trace_id: str, start: int, call: int) -> dict[str, object]:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "grep",
        "gen_ai.agent.name": "worker",
        "gen_ai.tool.call.arguments": '{"pattern": "total"}',
        "gen_ai.tool.call.result": "invoice.py:12 total = 0",
    }
    return {
        "traceId": trace_id,
        "spanId": hashlib.sha256(digest + b"tool" + bytes([call])).digest()[:8].hex(),
        "parentSpanId": hashlib.sha256(digest + bytes([0])).digest()[:8].hex(),
        "name": "execute_tool grep",
        "kind": 1,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + SECOND // 2),
        "status": {},
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }


@dataclass
class Acknowledged:
    """What the server said is in the books."""

    requests: int = 0
    loops: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, status: str) -> None:
        """Count an answer, or the lack of one."""
        with self.lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1


class Sender(threading.Thread):
    """Sends request after request; one that is not acknowledged is sent again, and some twice."""

    def __init__(self, port: int, key: str, seed: str, acknowledged: Acknowledged, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.key, self.seed = port, key, seed
        self.acknowledged, self.stop = acknowledged, stop

    def run(self) -> None:
        """Send until told to stop; the request under way is seen through."""
        number = 0
        while not self.stop.is_set():
            body, inputs, outputs = request_body(self.seed, number)
            while not self._post(body):
                time.sleep(RETRY_SECONDS)
            with self.acknowledged.lock:
                self.acknowledged.requests += 1
                self.acknowledged.loops += is_loop(number)
                self.acknowledged.input_tokens += inputs
                self.acknowledged.output_tokens += outputs
            if number % 5 == 0:
                self._post(body)
            number += 1

    def _post(self, body: bytes) -> bool:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", "/v1/traces", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.acknowledged.note(type(error).__name__)
            return False
        finally:
            connection.close()
        self.acknowledged.note(str(answer.status))
        return answer.status == http.client.OK
