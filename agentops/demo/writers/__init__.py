"""Plans to OTLP: one writer for each instrumentation that the simulated services use."""

from __future__ import annotations

from agentops.demo.plan import Dialect, RunPlan
from agentops.demo.writers.base import Writer
from agentops.demo.writers.genai import GenaiWriter, OldGenaiWriter
from agentops.demo.writers.openinference import LangGraphWriter, OpenAIAgentsWriter, OpenInferenceWriter
from agentops.demo.writers.pydantic_ai import PydanticAIWriter
from agentops.demo.writers.wire import WireSpan, encode

__all__ = ["WireSpan", "encode", "spans_of"]

_WRITERS: dict[Dialect, type[Writer]] = {
    Dialect.GENAI: GenaiWriter,
    Dialect.GENAI_OLD: OldGenaiWriter,
    Dialect.LANGGRAPH: LangGraphWriter,
    Dialect.OPENAI_AGENTS: OpenAIAgentsWriter,
    Dialect.OPENINFERENCE: OpenInferenceWriter,
    Dialect.PYDANTIC_AI: PydanticAIWriter,
}


def spans_of(plan: RunPlan) -> list[WireSpan]:
    """The spans of a run as its instrumentation would record them, in the order in which they end."""
    writer = _WRITERS[plan.dialect](plan)
    writer.write(plan.root, b"")
    return sorted(writer.spans, key=lambda span: span.end_ns)
