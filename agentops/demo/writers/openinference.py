"""OpenInference as three instrumentations write it: plain, on LangGraph, on the OpenAI Agents SDK."""

from __future__ import annotations

from agentops.demo.plan import Failure, Step
from agentops.demo.writers.base import Writer, compact, record_exception
from agentops.demo.writers.genai import finish_reason
from agentops.demo.writers.wire import STATUS_OK, Attributes, WireSpan
from agentops.domain.spans import Kind

_USAGE = (
    ("input", "llm.token_count.prompt"),
    ("output", "llm.token_count.completion"),
    ("cache_read", "llm.token_count.prompt_details.cache_read"),
    ("cache_creation", "llm.token_count.prompt_details.cache_write"),
    ("reasoning", "llm.token_count.completion_details.reasoning"),
)
_SPAN_KINDS = {
    Kind.AGENT: "AGENT",
    Kind.WORKFLOW: "CHAIN",
    Kind.LLM: "LLM",
    Kind.EMBEDDING: "EMBEDDING",
    Kind.TOOL: "TOOL",
    Kind.RETRIEVAL: "RETRIEVER",
}


class OpenInferenceWriter(Writer):
    """Plain spans with who and what for on each of them."""

    scope = ("openinference.instrumentation.openai", "0.1.66")
    ok = STATUS_OK

    def write(self, step: Step, parent: bytes) -> None:
        """One span a step."""
        span_id = self.new_id()
        self.children(step, span_id)
        self.put(step, parent, span_id)

    def put(self, step: Step, parent: bytes, span_id: bytes) -> None:
        """Record the step's own span."""
        name, attributes = step.name, self.describe(step)
        if step.kind is Kind.LLM and step.model:
            name = "Messages" if step.model.provider == "anthropic" else "ChatCompletion"
        elif step.kind is Kind.EMBEDDING:
            name = "CreateEmbeddings"
        attributes += self.identity()
        attributes.append(("openinference.span.kind", _SPAN_KINDS[step.kind]))
        span = self.emit(step, parent, name, attributes, span_id=span_id, failure=step.failure)
        if step.failure:
            record_exception(span, step.failure)

    def identity(self, **more: str) -> Attributes:
        """Session, user, and a ``metadata`` object with the feature and whatever a framework adds."""
        found: Attributes = [("session.id", self.plan.session)]
        if self.plan.user:
            found.append(("user.id", self.plan.user))
        metadata = ({"feature": self.plan.feature} if self.plan.feature else {}) | more
        if metadata:
            found.append(("metadata", compact(metadata)))
        if self.plan.feature:
            found.append(("tag.tags", [self.plan.feature, self.plan.team or "unclaimed"]))
        return found

    def describe(self, step: Step) -> Attributes:
        """What went in and came out, and what a model call used."""
        if step.kind is Kind.TOOL:
            return [
                ("tool.name", step.name),
                ("input.value", compact(step.arguments)),
                ("input.mime_type", "application/json"),
                ("output.value", step.answer),
            ]
        found: Attributes = [("input.value", step.prompt)] if step.prompt else []
        if step.kind is Kind.EMBEDDING and step.model:
            return [
                *found,
                ("embedding.model_name", step.model.snapshot),
                ("llm.provider", step.model.provider),
                ("llm.token_count.prompt", step.usage.input or 0),
            ]
        if step.kind is Kind.LLM:
            return found + _model_call(step)
        return found + ([("output.value", step.answer)] if step.answer else [])

    def around(
        self,
        step: Step,
        parent: bytes,
        name: str,
        *,
        span_id: bytes,
        said: str = "CHAIN",
        until_ns: int | None = None,
        failure: Failure | None = None,
        **metadata: str,
    ) -> WireSpan:
        """A container that the framework puts around a step; it means nothing but structure."""
        attributes = [*self.identity(**metadata), ("openinference.span.kind", said)]
        return self.emit(
            step, parent, name, attributes, span_id=span_id, kind=Kind.WORKFLOW, until_ns=until_ns, failure=failure
        )


def _model_call(step: Step) -> Attributes:
    model = step.asked
    provider = "google" if model.provider.startswith("gcp.") else model.provider
    found: Attributes = [
        ("llm.provider", provider),
        ("llm.system", provider),
        ("llm.invocation_parameters", compact({"model": model.name, "stream": False})),
        ("llm.input_messages.0.message.role", "system"),
        ("llm.input_messages.0.message.content", step.system),
        ("llm.input_messages.1.message.role", "user"),
        ("llm.input_messages.1.message.content", step.prompt),
    ]
    if step.failure:
        return [*found, ("llm.model_name", model.name)]
    found += [
        ("llm.model_name", model.snapshot),
        ("llm.finish_reason", finish_reason(step)),
        ("output.value", compact({"id": step.response_id, "content": step.answer})),
        ("output.mime_type", "application/json"),
        ("llm.output_messages.0.message.role", "assistant"),
    ]
    if step.answer:
        found.append(("llm.output_messages.0.message.content", step.answer))
    for number, tool in enumerate(step.requests):
        prefix = f"llm.output_messages.0.message.tool_calls.{number}.tool_call"
        found += [
            (f"{prefix}.id", tool.call_id),
            (f"{prefix}.function.name", tool.name),
            (f"{prefix}.function.arguments", compact(tool.arguments)),
        ]
    found += [(key, value) for field, key in _USAGE if (value := getattr(step.usage, field)) is not None]
    found.append(("llm.token_count.total", (step.usage.input or 0) + (step.usage.output or 0)))
    return found


class LangGraphWriter(OpenInferenceWriter):
    """LangChain's ``create_agent``: chains around every call, agents that show as chains."""

    scope = ("openinference.instrumentation.langchain", "0.1.80")

    def write(self, step: Step, parent: bytes) -> None:
        """The step and the chain around it."""
        outer = span_id = self.new_id()
        if step.kind is Kind.AGENT:
            if parent:  # an agent in a graph shows as its node and as its own graph
                span_id = self.new_id()
                self.around(step, parent, step.name, span_id=outer, failure=step.failure, langgraph_node=step.name)
            self.children(step, span_id)
            self._agent(step, outer if parent else b"", span_id)
            return
        if step.kind is Kind.WORKFLOW:
            self.children(step, span_id)
            self.around(step, parent, step.name, span_id=span_id, failure=step.failure)
            return
        node = "tools" if step.kind is Kind.TOOL else "model"
        inner = self.new_id()
        self.children(step, inner)
        self._leaf(step, outer, inner, node)
        failure = step.failure if step.kind is Kind.LLM else None
        self.around(step, parent, node, span_id=outer, failure=failure, langgraph_node=node)

    def _agent(self, step: Step, parent: bytes, span_id: bytes) -> None:
        attributes = self.describe(step)
        attributes += self.identity(ls_integration="langchain_create_agent", lc_agent_name=step.name)
        attributes.append(("openinference.span.kind", "CHAIN"))
        self.emit(step, parent, step.name, attributes, span_id=span_id, failure=step.failure)

    def _leaf(self, step: Step, parent: bytes, span_id: bytes, node: str) -> None:
        name, attributes = step.name, self.describe(step)
        if step.model:
            provider = step.model.provider
            name = {"openai": "ChatOpenAI", "anthropic": "ChatAnthropic"}.get(provider, "ChatGoogleGenerativeAI")
        attributes += self.identity(
            ls_integration="langchain_chat_model",
            lc_agent_name=step.agent,
            langgraph_node=node,
            thread_id=self.plan.session,
        )
        attributes.append(("openinference.span.kind", _SPAN_KINDS[step.kind]))
        span = self.emit(step, parent, name, attributes, span_id=span_id, failure=step.failure)
        if step.failure:
            record_exception(span, step.failure)


class OpenAIAgentsWriter(OpenInferenceWriter):
    """The OpenAI Agents SDK: a workflow twice, agents, and a chain for every turn of theirs."""

    scope = ("openinference.instrumentation.openai_agents", "2.6.0")

    def write(self, step: Step, parent: bytes) -> None:
        """The step; an agent's steps by turn, each of which begins with a model call."""
        span_id = self.new_id()
        if step.kind is Kind.WORKFLOW:
            inner = self.new_id()
            self.children(step, inner)
            self.around(step, span_id, step.name, span_id=inner)
            self.around(step, parent, step.name, span_id=span_id, said="AGENT")  # it stays OK when the run fails
        elif step.kind is Kind.AGENT:
            self._turns(step, span_id)
            attributes: Attributes = [("agent.name", step.name), ("graph.node.id", step.name), *self.identity()]
            attributes.append(("openinference.span.kind", "AGENT"))
            self.emit(step, parent, step.name, attributes, span_id=span_id, failure=step.failure)
        else:
            self.put(step, parent, span_id)

    def _turns(self, agent: Step, parent: bytes) -> None:
        turns: list[list[Step]] = []
        for step in agent.children:
            if step.kind is Kind.LLM or not turns:
                turns.append([])
            turns[-1].append(step)
        for turn in turns:
            span_id = self.new_id()
            for step in turn:
                self.write(step, span_id)
            self.around(turn[0], parent, "turn", span_id=span_id, until_ns=max(step.end_ns for step in turn))

    def put(self, step: Step, parent: bytes, span_id: bytes) -> None:
        """Calls and tools as the SDK's tracing names them; a failed call says nothing of its model."""
        name, attributes = step.name, self.describe(step)
        if step.kind is Kind.LLM:
            name = "response"
            if step.failure:
                attributes = [("llm.system", "openai")]
        elif step.handoff_to:
            attributes = [("input.value", step.agent), ("output.value", step.handoff_to)]
        attributes += self.identity()
        attributes.append(("openinference.span.kind", _SPAN_KINDS[step.kind]))
        self.emit(step, parent, name, attributes, span_id=span_id, failure=step.failure)
