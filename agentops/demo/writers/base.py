"""What every writer does: walk a plan's steps and give each span its ids, its resource and its status."""

from __future__ import annotations

import json
import random

from agentops.demo.plan import Failure, RunPlan, Step
from agentops.demo.writers.wire import SPAN_INTERNAL, STATUS_ERROR, STATUS_UNSET, Attributes, Names, WireSpan
from agentops.domain.spans import Kind


def compact(value: object) -> str:
    """JSON as SDKs write it into attributes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Writer:
    """Writes the spans of one run into ``spans``. Subclasses say how a step is spelled in ``write``."""

    scope = ("agentops.demo", "1")
    ok = STATUS_UNSET

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.spans: list[WireSpan] = []
        self._ids = random.Random(plan.trace_id)
        self._resource: Names = (
            ("service.name", plan.service),
            ("service.version", plan.release),
            ("service.instance.id", plan.instance),
            ("deployment.environment.name", plan.environment),
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.name", "opentelemetry"),
            ("telemetry.sdk.version", "1.45.2"),
        )

    def write(self, step: Step, parent: bytes) -> None:
        """Write a step and what is below it, under a parent span (empty: a root)."""
        raise NotImplementedError

    def new_id(self) -> bytes:
        """The next span id of this run."""
        return (self._ids.getrandbits(64) | 1).to_bytes(8, "big")

    def emit(
        self,
        step: Step,
        parent: bytes,
        name: str,
        attributes: Attributes,
        *,
        span_id: bytes,
        kind: Kind | None = None,
        span_kind: int = SPAN_INTERNAL,
        failure: Failure | None = None,
        until_ns: int | None = None,
        scope: tuple[str, str] | None = None,
    ) -> WireSpan:
        """Record one span for a step; ``kind`` when it is not the step itself but what a framework puts around it."""
        span = WireSpan(
            trace_id=self.plan.trace_id,
            span_id=span_id,
            parent_span_id=parent,
            name=name,
            span_kind=span_kind,
            start_ns=step.start_ns,
            end_ns=until_ns or step.end_ns,
            attributes=attributes,
            status=STATUS_ERROR if failure else self.ok,
            message=failure.message if failure else "",
            resource=self._resource,
            scope=scope or self.scope,
            kind=step.kind if kind is None else kind,
            step=step if kind is None else None,
        )
        self.spans.append(span)
        return span

    def children(self, step: Step, parent: bytes) -> None:
        """Write what is below a step."""
        for child in step.children:
            self.write(child, parent)


def record_exception(span: WireSpan, failure: Failure) -> None:
    """Add the event that SDKs add for an exception."""
    span.events.append(
        (
            "exception",
            [
                ("exception.type", failure.type),
                ("exception.message", failure.message),
                ("exception.stacktrace", f"Traceback (most recent call last):\n{failure.type}: {failure.message}\n"),
            ],
        )
    )
