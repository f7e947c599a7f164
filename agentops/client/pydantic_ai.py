"""Pydantic AI: a model and a toolset that ask the guard before each call, and tell it after.

``Agent(GuardedModel("openai:gpt-5", guard), toolsets=[GuardedToolset(tools, guard)])``; a stop is raised out of the
run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import KnownModelName, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.toolsets import WrapperToolset
from pydantic_ai.toolsets.abstract import ToolsetTool
from pydantic_ai.usage import RequestUsage

from agentops.client.calls import estimated_input, size_of, tokens_of
from agentops.client.guard import Guard
from agentops.client.questions import Usage
from agentops.client.steps import Step, outcome_of


class GuardedModel(WrapperModel):
    """A model that is called only if the guard lets it."""

    def __init__(self, wrapped: Model | KnownModelName | str, guard: Guard) -> None:
        super().__init__(wrapped)
        self._guard = guard

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask, call the model, and say what it took."""
        async with self._step(messages, model_settings) as step:
            response = await super().request(messages, model_settings, model_request_parameters)
            await step.asettle(
                _usage(response.usage), model=response.model_name, response_id=response.provider_response_id
            )
            return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Ask, let the model stream, and say what it took as far as it went."""
        async with (
            self._step(messages, model_settings) as step,
            super().request_stream(messages, model_settings, model_request_parameters, run_context) as stream,
        ):
            error: BaseException | None = None
            try:
                yield stream
            except BaseException as raised:
                error = raised
                raise
            finally:
                await _settle(step, stream, error)

    def _step(self, messages: list[ModelMessage], settings: ModelSettings | None) -> Step:
        # Binary content is base64 there, and recognised as such.
        told = ModelMessagesTypeAdapter.dump_python(messages, mode="json")
        texts = [part.get("content") or part.get("args") for message in told for part in message.get("parts", ())]
        return self._guard.step(
            "llm",
            model=self.wrapped.model_name,
            provider=self.wrapped.system,
            input_tokens=estimated_input({"messages": texts}),
            max_output_tokens=(settings or {}).get("max_tokens"),
        )


@dataclass
class GuardedToolset(WrapperToolset[Any]):
    """Tools that are called only if the guard lets them."""

    guard: Guard

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        """Ask, and call the tool."""
        async with self.guard.step("tool", tool=name, arguments=tool_args):
            return await super().call_tool(name, tool_args, ctx, tool)


async def _settle(step: Step, stream: StreamedResponse, error: BaseException | None) -> None:
    usage = _usage(stream.usage)
    is_estimated = not usage.output_tokens
    if is_estimated:
        # Left early, or never told: what was seen of it, as the provider bills it.
        seen = stream.get()
        size = sum(size_of(str(getattr(part, "content", part))) for part in seen.parts)
        usage = Usage(usage.input_tokens or step.question.input_tokens, tokens_of(size))
    await step.asettle(
        usage,
        outcome=outcome_of(error),
        model=stream.model_name,
        response_id=stream.provider_response_id,
        is_estimated=is_estimated,
    )


def _usage(told: RequestUsage) -> Usage:
    if not (told.input_tokens or told.output_tokens):
        return Usage()
    return Usage(
        input_tokens=told.input_tokens,
        output_tokens=told.output_tokens,
        cache_read_input_tokens=told.cache_read_tokens or None,
        cache_creation_input_tokens=told.cache_write_tokens or None,
        reasoning_output_tokens=told.details.get("reasoning_tokens"),
    )
