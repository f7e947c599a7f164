"""The OpenTelemetry GenAI conventions as services wrote them in 2024, and as they write them now."""

from __future__ import annotations

from agentops.demo.plan import Step
from agentops.demo.writers.base import Writer, compact
from agentops.demo.writers.wire import SPAN_CLIENT, SPAN_INTERNAL, Attributes, WireSpan
from agentops.domain.spans import Kind

_OPERATIONS = {
    Kind.AGENT: "invoke_agent",
    Kind.WORKFLOW: "invoke_workflow",
    Kind.LLM: "chat",
    Kind.EMBEDDING: "embeddings",
    Kind.TOOL: "execute_tool",
    Kind.RETRIEVAL: "retrieval",
}
_REMOTE = frozenset({Kind.LLM, Kind.EMBEDDING})


def finish_reason(step: Step) -> str:
    """Why the model stopped."""
    return "tool_calls" if step.requests else "stop"


def tool_attributes(step: Step) -> Attributes:
    """A tool's own attributes."""
    return [
        ("gen_ai.tool.name", step.name),
        ("gen_ai.tool.type", "function"),
        ("gen_ai.tool.call.id", step.call_id),
        ("gen_ai.tool.call.arguments", compact(step.arguments)),
        ("gen_ai.tool.call.result", step.answer),
    ]


def messages(step: Step) -> Attributes:
    """What went to the model and what came back, as the conventions' JSON."""
    said = [{"role": "user", "parts": [{"type": "text", "content": step.prompt}]}]
    parts: list[dict[str, object]] = [
        {"type": "tool_call", "id": tool.call_id, "name": tool.name, "arguments": tool.arguments}
        for tool in step.requests
    ]
    if step.answer:
        parts.insert(0, {"type": "text", "content": step.answer})
    found: Attributes = [
        ("gen_ai.system_instructions", compact([{"type": "text", "content": step.system}])),
        ("gen_ai.input.messages", compact(said)),
    ]
    if not step.failure:
        answer = [{"role": "assistant", "parts": parts, "finish_reason": finish_reason(step)}]
        found.append(("gen_ai.output.messages", compact(answer)))
    return found


class GenaiWriter(Writer):
    """Today's names; who and what for stand on the root alone, which comes last."""

    scope = ("opentelemetry.instrumentation.genai", "1.3b0")
    provider = "gen_ai.provider.name"
    usage = (
        ("input", "gen_ai.usage.input_tokens"),
        ("output", "gen_ai.usage.output_tokens"),
        ("cache_read", "gen_ai.usage.cache_read.input_tokens"),
        ("cache_creation", "gen_ai.usage.cache_creation.input_tokens"),
        ("reasoning", "gen_ai.usage.reasoning.output_tokens"),
    )

    def write(self, step: Step, parent: bytes) -> None:
        """One span a step."""
        span_id = self.new_id()
        self.children(step, span_id)
        name = step.model.name if step.model else step.name
        operation = _OPERATIONS[step.kind]
        attributes: Attributes = [("gen_ai.operation.name", operation), *self._attributes(step)]
        if step.failure:
            attributes.append(("error.type", step.failure.type))
        attributes += self.identity(is_root=not parent)
        span_kind = SPAN_CLIENT if step.kind in _REMOTE else SPAN_INTERNAL
        span = self.emit(
            step, parent, f"{operation} {name}", attributes, span_id=span_id, span_kind=span_kind, failure=step.failure
        )
        if step.kind is Kind.LLM:
            self.say(step, span)

    def identity(self, *, is_root: bool) -> Attributes:
        """Who it is for, and what for."""
        if not is_root:
            return []
        found: Attributes = [("gen_ai.conversation.id", self.plan.session)]
        if self.plan.user:
            found.append(("user.id", self.plan.user))
        if self.plan.feature:
            found.append(("app.feature", self.plan.feature))
        return found

    def say(self, step: Step, span: WireSpan) -> None:
        """Record the messages of a model call."""
        span.attributes += messages(step)

    def _attributes(self, step: Step) -> Attributes:
        if step.kind is Kind.AGENT:
            return [("gen_ai.agent.name", step.name)]
        if step.kind is Kind.WORKFLOW:
            return [("gen_ai.workflow.name", step.name)] if self.plan.feature else []
        if step.kind is Kind.RETRIEVAL:
            return [("gen_ai.data_source.id", step.name)]
        if step.kind is Kind.TOOL:
            return tool_attributes(step)
        found: Attributes = [(self.provider, step.asked.provider), ("gen_ai.request.model", step.asked.name)]
        if not step.failure:
            found.append(("gen_ai.response.model", step.asked.snapshot))
            if step.response_id:
                found.append(("gen_ai.response.id", step.response_id))
                found.append(("gen_ai.response.finish_reasons", [finish_reason(step)]))
            found += [(key, value) for field, key in self.usage if (value := getattr(step.usage, field)) is not None]
        return found


class OldGenaiWriter(GenaiWriter):
    """The names of 2024; messages are events; who and what for stand on every span."""

    scope = ("opentelemetry.instrumentation.openai_v2", "2.0b0")
    provider = "gen_ai.system"
    usage = (
        ("input", "gen_ai.usage.prompt_tokens"),
        ("output", "gen_ai.usage.completion_tokens"),
        ("cache_read", "gen_ai.usage.cache_read_input_tokens"),
        ("cache_creation", "gen_ai.usage.cache_creation_input_tokens"),
        ("reasoning", "gen_ai.usage.reasoning_tokens"),
    )

    def identity(self, *, is_root: bool) -> Attributes:
        """On every span, as baggage."""
        del is_root
        found: Attributes = [("session.id", self.plan.session)]
        if self.plan.user:
            found.append(("enduser.id", self.plan.user))
        if self.plan.feature:
            found.append(("app.feature", self.plan.feature))
        return found

    def say(self, step: Step, span: WireSpan) -> None:
        """Record the messages as events."""
        span.events.append(("gen_ai.user.message", [("content", step.prompt)]))
        if step.failure:
            return
        calls = [
            {
                "id": tool.call_id,
                "type": "function",
                "function": {"name": tool.name, "arguments": compact(tool.arguments)},
            }
            for tool in step.requests
        ]
        message = {"role": "assistant", "content": step.answer} | ({"tool_calls": calls} if calls else {})
        choice: Attributes = [("index", 0), ("finish_reason", finish_reason(step)), ("message", compact(message))]
        span.events.append(("gen_ai.choice", choice))
