"""Telemetry that the browser tests send through the front door."""

from __future__ import annotations

import gzip
import json
import secrets
import time
import urllib.request
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.captures import captures

SECOND = 10**9
EXAMPLES = ("pydantic-ai/handoff", "oi-langgraph/tools", "otel-openai-v2/tool_error", "smolagents/llm_error")
HOSTILE = "<img src=x onerror=alert(1)>\"><script>alert(2)</script>'};alert(3)//{{ 7|add:7 }}<svg/onload=alert(4)>"
#: Nowhere to break a line, and a mark that turns what follows it.
ENDLESS = "\N{RIGHT-TO-LEFT OVERRIDE}" + "x" * 150


@dataclass(frozen=True)
class Sender:
    """Sends to one web process with one key."""

    url: str
    key: str

    def post(self, body: bytes, content_type: str) -> None:
        """Send a request; anything but 200, or a rejected span, is an error."""
        headers = {"content-type": content_type, "authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(f"{self.url}/v1/traces", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
            assert content_type != "application/json" or "partialSuccess" not in json.load(answer)

    def ask(self, **said: Any) -> str:
        """Ask the guard for a step; its decision."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(f"{self.url}/api/v1/guard/check", json.dumps(said).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.load(answer)["decision"])

    def send(self, service: str, *spans: dict[str, Any]) -> None:
        """Send spans of one service."""
        resource = {"attributes": _attributes({"service.name": service, "deployment.environment.name": "production"})}
        body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
        self.post(json.dumps(body).encode(), "application/json")


def span(
    name: str, attributes: dict[str, Any], *, trace: str = "", parent: str = "", error: str = ""
) -> dict[str, Any]:
    """A span that ended just now, of a trace of its own unless one is named."""
    now = time.time_ns()
    return {
        "name": name,
        "traceId": trace or secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "parentSpanId": parent,
        "startTimeUnixNano": str(now - SECOND),
        "endTimeUnixNano": str(now),
        "status": {"code": 2, "message": error} if error else {},
        "attributes": _attributes(attributes),
    }


def call(model: str = "gpt-4o", **attributes: Any) -> dict[str, Any]:
    """The attributes of a model call of 1000 tokens in and 200 out."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 200,
        **{name.replace("__", "."): value for name, value in attributes.items()},
    }


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]


def example_runs(sender: Sender) -> tuple[str, str]:
    """Send captures of real clients as if they ended just now; trace id and span id of the last span of one."""
    example = ("", "")
    for capture in captures():
        if capture.name in EXAMPLES:
            message = ExportTraceServiceRequest()
            for body, _, encoding in capture.requests():
                message.MergeFromString(gzip.decompress(body) if encoding == "gzip" else body)
            spans = [s for group in message.resource_spans for scoped in group.scope_spans for s in scoped.spans]
            shift = time.time_ns() - max(span.end_time_unix_nano for span in spans)
            for span in spans:
                span.start_time_unix_nano += shift
                span.end_time_unix_nano += shift
            example = spans[-1].trace_id.hex(), spans[-1].span_id.hex()
            sender.post(message.SerializeToString(), "application/x-protobuf")
    return example


def hostile_run(sender: Sender) -> tuple[str, str]:
    """Send a run whose every text is an attempt to become markup or script; its trace id and a span id.

    Beside it one whose names are longer than any page is wide.
    """
    trace = secrets.token_hex(16)
    who = {"user.id": HOSTILE, "session.id": HOSTILE, "agentops.feature": HOSTILE, "service.version": HOSTILE}
    said = json.dumps([{"role": HOSTILE, "parts": [{"type": "text", "content": HOSTILE}]}])
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": HOSTILE, HOSTILE: HOSTILE, **who}
    root = span(HOSTILE, agent, trace=trace)
    messages = {"gen_ai.input.messages": said, "gen_ai.output.messages": said, "gen_ai.system_instructions": HOSTILE}
    model = span(HOSTILE, {**call(HOSTILE), **messages}, trace=trace, parent=root["spanId"])
    uses = {"gen_ai.tool.call.arguments": f'{{"q": "{HOSTILE}"}}', "gen_ai.tool.call.result": HOSTILE}
    names = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": HOSTILE, "error.type": HOSTILE}
    tool = span(HOSTILE, {**names, **uses}, trace=trace, parent=root["spanId"], error=HOSTILE)
    sender.send(HOSTILE, root, model, tool)
    sender.send(ENDLESS, span(ENDLESS, {**call(ENDLESS), "user.id": ENDLESS, "gen_ai.agent.name": ENDLESS}))
    return trace, str(model["spanId"])


def hostile_ceilings() -> str:
    """What a shell runs to make a budget, a raise and a kill switch of hostile texts; it prints the budget's id."""
    return f"""
from datetime import timedelta
from django.utils import timezone
from agentops.budgets import actions
from agentops.budgets.definitions import Definition
from agentops.domain.budgets import Action, Amounts, Each, Period
text, until = {HOSTILE!r}, timezone.now() + timedelta(days=1)
wanted = Definition(
    Period.DAY, Action.STOP, name=text, services=(text,), each=Each.USER, limit_nano=10**6, note=text, count_past=True
)
budget = actions.create(wanted=wanted, by=None)
actions.raise_limit(budget=budget, extra=Amounts(1), until=until, reason=text, by=None)
actions.stop(what="user", value=text + "!", reason=text, by=None)
print(budget.pk)
"""


def refused_step(sender: Sender) -> None:
    """Ask for a step that no ceiling and no kill switch lets through, of hostile names."""
    step = {"kind": "llm", "model": HOSTILE}
    for user in (HOSTILE, f"{HOSTILE}!"):
        said = {"service": HOSTILE, "user": user, "session": HOSTILE, "agent": HOSTILE, "step": step}
        assert sender.ask(**said, estimate={"cost_usd": "0.5"}) == "stop"
