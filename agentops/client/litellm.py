"""LiteLLM: its proxy and its coroutines ask the guard before each model call, and tell it after.

For the proxy: ``litellm_settings: {callbacks: agentops.client.litellm.hook}``, and the environment says where the guard
is. For programs: ``litellm.callbacks = [GuardHook(guard)]``, which ``acompletion`` and the other coroutines ask;
``completion`` asks no callback before it calls, and needs ``litellm.client_session`` with the guard's transport.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger

from agentops.client.calls import Dialect, estimated_input, max_output
from agentops.client.errors import GuardStopped
from agentops.client.guard import Guard
from agentops.client.questions import Outcome, Question, Usage, Whose
from agentops.client.refusals import spelled
from agentops.client.steps import Step
from agentops.client.usages import usage_of_openai

#: Calls that have been asked for and not been told of. One that is forgotten expires at the server.
OPEN_CALLS = 10_000
#: What is a model call; the rest (files, moderations, speech, …) is not asked for.
_CALLS = frozenset(
    {"completion", "acompletion", "text_completion", "atext_completion", "embedding", "aembedding"}
    | {"embeddings", "responses", "aresponses", "anthropic_messages"}
)
_CALL_ID = "litellm_call_id"


class GuardHook(CustomLogger):
    """Callbacks for one guard; without one, for that of the environment."""

    def __init__(self, guard: Guard | None = None) -> None:
        super().__init__()
        self._given = guard
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[Step, bool]] = OrderedDict()

    @property
    def guard(self) -> Guard:
        """The guard that is asked."""
        with self._lock:
            # Not before it is needed: to import this module takes no environment.
            if self._given is None:
                self._given = Guard()
            return self._given

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """The proxy is about to call a model: ask. A stop is raised, and answered with its status."""
        if call_type in _CALLS:
            name = data.setdefault(_CALL_ID, uuid.uuid4().hex)
            try:
                step = await self._step(data, _user(user_api_key_dict)).aask()
            except GuardStopped as stop:
                raise with_status(stop) from None
            self._remember(name, step, by_proxy=True)
        return data

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> dict[str, Any] | None:
        """A program is about to call a model: ask, unless the proxy has."""
        name = kwargs.get(_CALL_ID)
        if getattr(call_type, "value", call_type) not in _CALLS or name is None or name in self._open:
            return None
        try:
            step = await self._step(kwargs, None).aask()
        except GuardStopped as stop:
            if not (kwargs.get("num_retries") or litellm.num_retries):
                raise with_status(stop) from None
            # LiteLLM tries again without asking any callback: the call is answered in the model's stead, and not tried.
            return {**kwargs, "mock_response": with_status(stop), "num_retries": 0}
        self._remember(name, step, by_proxy=False)
        return None

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A model has answered, to the end of its stream."""
        await self._settle(kwargs.get(_CALL_ID), "ok", response_obj)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A try has failed. The proxy may try elsewhere, on the same reservation; it says when it gives up."""
        name = kwargs.get(_CALL_ID)
        step, by_proxy = self._open.get(name, (None, False))
        if step is not None and not by_proxy:
            await self._settle(name, "error", response_obj)

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, *_: Any, **__: Any
    ) -> None:
        """The proxy has given up."""
        await self._settle(request_data.get(_CALL_ID), "error", None)

    def _step(self, data: Mapping[str, Any], user: str | None) -> Step:
        told = data.get("metadata") or data.get("litellm_metadata") or {}
        whose = Whose(
            run=_text(told.get("run") or told.get("trace_id") or data.get("litellm_trace_id")),
            session=_text(told.get("session_id") or data.get("litellm_session_id")),
            user=_text(data.get("user") or told.get("user_id")) or user,
            feature=_text(told.get("feature")),
            agent=_text(told.get("agent")),
        )
        prompt = {name: data.get(name) for name in ("messages", "input", "prompt", "system", "instructions", "tools")}
        question = Question(
            kind="llm",
            whose=whose,
            model=_text(data.get("model")),
            input_tokens=estimated_input(prompt),
            max_output_tokens=max_output(data),
        )
        return Step(self.guard, question)

    def _remember(self, name: str, step: Step, *, by_proxy: bool) -> None:
        with self._lock:
            self._open[name] = (step, by_proxy)
            while len(self._open) > OPEN_CALLS:
                self._open.popitem(last=False)

    async def _settle(self, name: Any, outcome: Outcome, response: Any) -> None:
        with self._lock:
            step, _ = self._open.pop(name, (None, False))
        if step is not None:
            await step.asettle(
                _usage(response),
                outcome=outcome,
                model=_text(getattr(response, "model", None)),
                response_id=_text(getattr(response, "id", None)),
            )


def with_status(stop: GuardStopped) -> GuardStopped:
    """A stop with the attributes by which LiteLLM answers it: as OpenAI would."""
    status, body = spelled(stop, Dialect.CHAT)
    for name, value in (("status_code", status), ("type", body["error"]["type"]), ("param", None)):
        setattr(stop, name, value)
    return stop


def _usage(response: Any) -> Usage:
    told = getattr(response, "usage", None)
    if told is None:
        return Usage()
    return usage_of_openai(told if isinstance(told, dict) else told.model_dump())


def _user(key: Any) -> str | None:
    return _text(getattr(key, "end_user_id", None) or getattr(key, "user_id", None))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


#: What a proxy's configuration names.
hook = GuardHook()
