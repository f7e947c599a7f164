"""pydantic-ai 2: sums repeated on the agent's span, and a provider's SDK that records the call again."""

from __future__ import annotations

from agentops.demo.plan import NS, Step, sum_steps
from agentops.demo.writers.base import Writer, compact, record_exception
from agentops.demo.writers.genai import finish_reason, messages
from agentops.demo.writers.wire import SPAN_CLIENT, SPAN_INTERNAL, Attributes
from agentops.domain.spans import Kind

_ANTHROPIC_SDK = ("com.anthropic.sdk.python", "2.12.0")


class PydanticAIWriter(Writer):
    """``invoke_agent`` above ``chat`` and ``execute_tool``; who and what for in ``metadata`` on agents only."""

    scope = ("pydantic-ai", "2.68.0")

    def write(self, step: Step, parent: bytes) -> None:
        """One span a step, and a second one for calls to Anthropic."""
        span_id = self.new_id()
        self.children(step, span_id)
        if step.kind is Kind.AGENT:
            name, attributes = f"invoke_agent {step.name}", self._agent(step)
        elif step.kind is Kind.TOOL:
            name, attributes = f"execute_tool {step.name}", self._tool(step)
        else:
            name, attributes = f"chat {step.asked.name}", self._chat(step)
            if step.asked.provider == "anthropic":
                self._native(step, span_id)
        attributes += [("gen_ai.agent.name", step.agent), ("gen_ai.conversation.id", self.plan.session)]
        span_kind = SPAN_CLIENT if step.kind is Kind.LLM else SPAN_INTERNAL
        span = self.emit(step, parent, name, attributes, span_id=span_id, span_kind=span_kind, failure=step.failure)
        if step.failure:
            record_exception(span, step.failure)

    def _agent(self, step: Step) -> Attributes:
        totals = sum_steps(step.walk())
        metadata = {"session_id": self.plan.session}
        if self.plan.user:
            metadata["user_id"] = self.plan.user
        if self.plan.feature:
            metadata["feature"] = self.plan.feature
        return [
            ("gen_ai.operation.name", "invoke_agent"),
            ("agent_name", step.name),
            ("logfire.msg", f"{step.name} run"),
            ("final_result", step.answer),
            (
                "pydantic_ai.all_messages",
                compact([{"role": "user", "parts": [{"type": "text", "content": step.prompt}]}]),
            ),
            ("gen_ai.aggregated_usage.input_tokens", totals.input_tokens),
            ("gen_ai.aggregated_usage.output_tokens", totals.output_tokens),
            ("metadata", compact(metadata)),
        ]

    def _tool(self, step: Step) -> Attributes:
        return [
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", step.name),
            ("gen_ai.tool.call.id", step.call_id),
            ("gen_ai.tool.call.arguments", compact(step.arguments)),
            ("gen_ai.tool.call.result", step.answer),
            ("logfire.msg", f"running tool: {step.name}"),
        ]

    def _chat(self, step: Step) -> Attributes:
        found: Attributes = [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", step.asked.provider),
            ("gen_ai.system", step.asked.provider),
            ("gen_ai.request.model", step.asked.name),
            *messages(step),
        ]
        if step.failure:
            return found
        usage = step.usage
        found += [
            ("gen_ai.response.model", step.asked.snapshot),
            ("gen_ai.response.id", step.response_id),
            ("gen_ai.response.finish_reasons", [finish_reason(step).removesuffix("s")]),
            ("gen_ai.usage.input_tokens", usage.input or 0),
            ("gen_ai.usage.output_tokens", usage.output or 0),
        ]
        if usage.cache_read:
            found.append(("gen_ai.usage.cache_read.input_tokens", usage.cache_read))
        if usage.cache_creation:
            found.append(("gen_ai.usage.cache_creation.input_tokens", usage.cache_creation))
        if usage.reasoning is not None:
            found.append(("gen_ai.usage.details.reasoning_tokens", usage.reasoning))
        if (cost := step.cost_nano) is not None:
            found.append(("operation.cost", cost / NS))  # nano-dollars; a float is what it reports
        return found

    def _native(self, step: Step, parent: bytes) -> None:
        """Anthropic's own SDK records the same call below the framework's span."""
        attributes: Attributes = [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "anthropic"),
            ("gen_ai.request.model", step.asked.name),
            ("http.request.method", "POST"),
            ("url.full", "https://api.anthropic.com/v1/messages"),
        ]
        if not step.failure:
            attributes += [
                ("gen_ai.response.id", step.response_id),
                ("gen_ai.response.model", step.asked.snapshot),
                ("gen_ai.usage.input_tokens", step.usage.input or 0),
                ("gen_ai.usage.output_tokens", step.usage.output or 0),
            ]
        self.emit(
            step,
            parent,
            "anthropic.messages.create",
            attributes,
            span_id=self.new_id(),
            kind=Kind.LLM,
            span_kind=SPAN_CLIENT,
            failure=step.failure,
            scope=_ANTHROPIC_SDK,
        )
