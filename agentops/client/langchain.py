"""LangChain and LangGraph: a callback handler that asks the guard before each model and tool, and tells it after.

``graph.invoke(…, config={"callbacks": [GuardHandler(guard)]})``; a stop is raised out of it. Use it or the transport,
not both for the same calls: each asks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from agentops.client.calls import estimated_input, max_output, size_of, tokens_of
from agentops.client.guard import Guard
from agentops.client.questions import Question, Usage, Whose, hash_of
from agentops.client.steps import Step, outcome_of


class GuardHandler(BaseCallbackHandler):
    """A handler for one guard; for any number of chains, threads and coroutines."""

    #: A stop is an exception of the agent, not of the handler.
    raise_error = True

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._steps: dict[UUID, Step] = {}
        self._streamed: dict[UUID, int] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A chat model is about to be called: ask."""
        contents = [
            {"content": each.content, "calls": getattr(each, "tool_calls", None)} for m in messages for each in m
        ]
        self._ask_model(run_id, contents, metadata, kwargs)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A model is about to be called: ask."""
        self._ask_model(run_id, prompts, metadata, kwargs)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A stream goes on: what it has said counts, should it break off."""
        if run_id in self._steps:
            self._streamed[run_id] = self._streamed.get(run_id, 0) + size_of(str(token))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model has answered."""
        step, _ = self._take(run_id)
        if step is not None:
            message = _message(response)
            facts = getattr(message, "response_metadata", None) or {}
            step.settle(
                _usage(message),
                model=facts.get("model_name") or facts.get("model"),
                response_id=_provider_id(facts.get("id")) or _provider_id(getattr(message, "id", None)),
            )

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A model has failed, or its stream was left."""
        step, streamed = self._take(run_id)
        if step is not None:
            seen = Usage(step.question.input_tokens, tokens_of(streamed)) if streamed else Usage()
            step.settle(seen, outcome=outcome_of(error), is_estimated=bool(streamed))

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool is about to be called: ask."""
        name = kwargs.get("name") or (serialized or {}).get("name")
        given = hash_of(inputs if inputs is not None else input_str)
        self._ask(run_id, Question("tool", whose=_whose(metadata), tool=name, arguments_hash=given))

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool has answered."""
        step, _ = self._take(run_id)
        if step is not None:
            step.settle()

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool has failed."""
        step, _ = self._take(run_id)
        if step is not None:
            step.settle(outcome=outcome_of(error))

    def _ask_model(
        self, run_id: UUID, prompt: Sequence[Any], metadata: dict[str, Any] | None, more: dict[str, Any]
    ) -> None:
        settings, facts = more.get("invocation_params") or {}, metadata or {}
        body = {"messages": prompt, "tools": dumpd(settings.get("tools") or [])}
        question = Question(
            "llm",
            whose=_whose(metadata),
            provider=facts.get("ls_provider"),
            model=facts.get("ls_model_name") or settings.get("model"),
            input_tokens=estimated_input(body),
            max_output_tokens=max_output(settings) or facts.get("ls_max_tokens"),
        )
        self._ask(run_id, question)

    def _ask(self, run_id: UUID, question: Question) -> None:
        step = Step(self._guard, question).ask()
        with self._lock:
            self._steps[run_id] = step

    def _take(self, run_id: UUID) -> tuple[Step | None, int]:
        with self._lock:
            return self._steps.pop(run_id, None), self._streamed.pop(run_id, 0)


def _whose(metadata: dict[str, Any] | None) -> Whose:
    """What the configuration's metadata says; the run around it says the rest."""
    told = metadata or {}

    def first(*names: str) -> str | None:
        return next((str(told[name]) for name in names if told.get(name)), None)

    return Whose(
        run=first("run"),
        session=first("session_id", "thread_id"),
        user=first("user_id"),
        feature=first("feature"),
        agent=first("lc_agent_name", "langgraph_node"),
    )


def _message(response: LLMResult) -> Any:
    first = response.generations[0][0] if response.generations and response.generations[0] else None
    return getattr(first, "message", None)


def _usage(message: Any) -> Usage:
    told = getattr(message, "usage_metadata", None)
    if not told:
        return Usage()
    into, out = told.get("input_token_details") or {}, told.get("output_token_details") or {}
    return Usage(
        input_tokens=told.get("input_tokens"),
        output_tokens=told.get("output_tokens"),
        cache_read_input_tokens=into.get("cache_read"),
        cache_creation_input_tokens=into.get("cache_creation"),
        reasoning_output_tokens=out.get("reasoning"),
    )


def _provider_id(name: Any) -> str | None:
    # LangChain gives messages ids of its own where the provider gave none.
    return name if isinstance(name, str) and not name.startswith(("run-", "lc_")) else None
