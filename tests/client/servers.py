"""A guard and a provider of models that play by a script, each an HTTP server of its own on the loopback interface."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

#: What the scripted guard takes for a token of any model.
PRICE = Decimal("0.00001")
#: What the scripted provider says that each call took: a cent and a half.
INPUT, OUTPUT = 1_000, 500
CALL = (INPUT + OUTPUT) * PRICE


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body go in two writes, and the second one would wait for the first to be acknowledged.
    disable_nagle_algorithm = True
    owner: ClassVar[Any]

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.owner.answer(self, self.path, json.loads(content) if content else None)

    do_GET = do_POST  # noqa: N815  (http.server calls it so)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def reply(self, status: int, body: Any, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Whoever asks may hang up."""


class Server:
    """Runs while it is entered."""

    def __init__(self) -> None:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, to: _Handler, path: str, body: Any) -> None:
        raise NotImplementedError


class ScriptedGuard(Server):
    """Keeps a ledger in memory, and one ceiling of dollars. ``mode`` says how it fails, ``failing`` how often."""

    def __init__(self, limit: Decimal | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.spent = Decimal(0)
        self.kept_for_the_end = Decimal(0)
        self.reserved: dict[str, Decimal] = {}
        self.checks: list[dict[str, Any]] = []
        self.settled: list[dict[str, Any]] = []
        self.tried: list[tuple[str, dict[str, Any]]] = []
        self.stop_with: dict[str, Any] | None = None
        self.warn_with: dict[str, Any] | None = None
        self.mode = "ok"
        self.failing = 0
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[str, dict[str, Any]] = {}
        self._settlements: dict[str, dict[str, Any]] = {}

    def fail(self, mode: str, times: int = 1_000_000) -> None:
        self.mode, self.failing = mode, times

    def answer(self, to: _Handler, path: str, body: Any) -> None:
        call = path.rsplit("/", 1)[-1]
        with self._lock:
            self.tried.append((call, body))
            is_failing, self.failing = self.failing > 0, self.failing - 1
        if is_failing:
            self._fail(to)
        elif to.headers["authorization"] != "Bearer agk_test":
            to.reply(401, {"title": "Unauthorized", "status": 401, "detail": "No such key."})
        else:
            with self._lock:
                status, told = self._check(body) if call == "check" else self._settle(body)
            to.reply(status, told)

    def _fail(self, to: _Handler) -> None:
        if self.mode == "hang":
            self.over.wait(5)
            to.close_connection = True
        elif self.mode.isdigit():
            to.reply(int(self.mode), {"title": "No", "status": int(self.mode), "detail": f"scripted {self.mode}"})
        elif self.mode == "page":
            to.reply(200, b"<html>Sign in</html>", content_type="text/html")
        else:
            to.close_connection = True

    def _check(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        key = body["idempotency_key"]
        if key in self._answers:
            return 200, self._answers[key]
        self.checks.append(body)
        told = self._decide(body)
        if told["decision"] != "stop":
            self._answers[key] = told
        return 200, told

    def _decide(self, body: dict[str, Any]) -> dict[str, Any]:
        cost = self._estimated(body.get("estimate") or {})
        room = None
        if self.limit is not None:
            kept = Decimal(0) if body.get("final_answer") else self.kept_for_the_end
            room = self.limit - kept - self.spent - sum(self.reserved.values())
        reason = self.stop_with
        if room is not None and cost > room:
            reason = self.budget_reason()
        told = {"reservation": None, "expires_at": None, "hard": self.limit is not None, "final_answer": False}
        told["estimate"] = {"cost_usd": str(cost), "tokens": None, "source": "given"}
        if reason is not None:
            may_end = bool(self.kept_for_the_end) and not body.get("final_answer")
            return {**told, "decision": "stop", "reasons": [reason], "final_answer": may_end}
        told["reservation"] = f"res-{next(self._ids)}"
        self.reserved[told["reservation"]] = cost
        warnings = [self.warn_with] if self.warn_with else []
        return {**told, "decision": "warn" if warnings else "allow", "reasons": warnings}

    def budget_reason(self) -> dict[str, Any]:
        return {
            "mode": "budget",
            "budget": 7,
            "name": "agents a day",
            "action": "stop",
            "limit": str(self.limit),
            "spent": str(self.spent),
            "reserved": str(sum(self.reserved.values())),
            "remaining": "0",
            "unit": "usd",
            "resets_at": "2026-03-02T00:00:00Z",
            "observed": None,
            "message": "The budget agents a day has no room for this step.",
        }

    def _estimated(self, estimate: dict[str, Any]) -> Decimal:
        if estimate.get("cost_usd") is not None:
            return Decimal(estimate["cost_usd"])
        return ((estimate.get("input_tokens") or 0) + (estimate.get("max_output_tokens") or OUTPUT)) * PRICE

    def _settle(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = body["reservation"]
        if name in self._settlements:
            return 200, self._settlements[name]
        if name not in self.reserved:
            return 404, {"title": "Not found", "status": 404, "detail": "No such reservation."}
        self.settled.append(body)
        estimate, usage = self.reserved.pop(name), body.get("usage")
        if body.get("cost_usd") is not None:
            cost = Decimal(body["cost_usd"])
        elif usage:
            cost = ((usage.get("input_tokens") or 0) + (usage.get("output_tokens") or 0)) * PRICE
        else:
            cost = estimate if body["outcome"] == "ok" else Decimal(0)
        self.spent += cost
        told = {"reservation": name, "state": "settled", "late": False, "cost_usd": str(cost), "positions": []}
        told |= {"budget": 7, "limit": str(self.limit), "spent": str(self.spent), "remaining": None, "resets_at": None}
        told["unit"] = "usd"
        self._settlements[name] = told
        return 200, told


class ScriptedProvider(Server):
    """Answers as OpenAI and Anthropic do. It wants a tool called whenever it is given tools: its agents never end."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any, dict[str, str]]] = []
        self.failures: deque[int] = deque()
        self.is_zipped = False
        self.words = ["Well, ", "here ", "is ", "the ", "answer."]
        #: What chat completions are called.
        self.ids: Iterator[str] = itertools.repeat("chatcmpl-1")
        #: After how many events a stream breaks off; it waits there for whoever reads it to hang up if it ``stalls``.
        self.breaks_after: int | None = None
        self.stalls = False

    def answer(self, to: _Handler, path: str, body: Any) -> None:
        self.calls.append((path, body, {name.lower(): value for name, value in to.headers.items()}))
        if self.failures and (status := self.failures.popleft()):
            to.reply(status, {"error": {"message": "scripted", "type": "scripted"}}, retry_after_ms="1")
        elif path.endswith("/models"):
            to.reply(200, {"object": "list", "data": []})
        elif body.get("stream"):
            self._stream(to, list(self._events(path, body)))
        else:
            self._plain(to, self._whole(path, body))

    def _plain(self, to: _Handler, body: Any) -> None:
        content, headers = json.dumps(body).encode(), {}
        if self.is_zipped:
            content, headers = gzip.compress(content), {"content_encoding": "gzip"}
        to.reply(200, content, **headers)

    def _stream(self, to: _Handler, events: list[bytes]) -> None:
        to.send_response(200)
        to.send_header("content-type", "text/event-stream; charset=utf-8")
        to.send_header("transfer-encoding", "chunked")
        if self.is_zipped:
            to.send_header("content-encoding", "gzip")
            events = [gzip.compress(b"".join(events))]
        to.end_headers()
        for event in events[: self.breaks_after]:
            to.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            to.wfile.flush()
        if self.breaks_after is None:
            to.wfile.write(b"0\r\n\r\n")
            return
        if self.stalls:
            self.over.wait(5)
        to.close_connection = True

    def _whole(self, path: str, body: Any) -> Any:
        if path.endswith("/messages"):
            return _message(
                self._anthropic_content(body), body["model"], "tool_use" if body.get("tools") else "end_turn"
            )
        if path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            return {
                "object": "list",
                "data": data,
                "model": body["model"],
                "usage": {"prompt_tokens": INPUT, "total_tokens": INPUT},
            }
        if path.endswith("/responses"):
            return self._response(body, "completed")
        usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
        usage |= {
            "prompt_tokens_details": {"cached_tokens": 100},
            "completion_tokens_details": {"reasoning_tokens": 50},
        }
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.words)}
        if body.get("tools"):
            message = {"role": "assistant", "content": None, "tool_calls": [self._tool_call(body)]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if body.get("tools") else "stop"}
        return {**_chat("chat.completion", body, next(self.ids)), "choices": [choice], "usage": usage}

    def _tool_call(self, body: Any) -> dict[str, Any]:
        name = body["tools"][0]["function"]["name"]
        return {
            "id": f"call_{len(self.calls)}",
            "type": "function",
            "function": {"name": name, "arguments": '{"word": "x"}'},
        }

    def _anthropic_content(self, body: Any) -> list[dict[str, Any]]:
        if not body.get("tools"):
            return [{"type": "text", "text": "".join(self.words)}]
        call = {"id": f"toolu_{len(self.calls)}", "name": body["tools"][0]["name"], "input": {"word": "x"}}
        return [{"type": "tool_use", **call}]

    def _response(self, body: Any, status: str) -> dict[str, Any]:
        usage = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
        usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 20}}
        content = [{"type": "output_text", "text": "".join(self.words), "annotations": []}]
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
        known = {"id": "resp_1", "object": "response", "created_at": 1, "model": body["model"], "status": status}
        known |= {"parallel_tool_calls": False, "tool_choice": "auto", "tools": []}
        is_done = status == "completed"
        return {**known, "output": [message] if is_done else [], "usage": usage if is_done else None}

    def _events(self, path: str, body: Any) -> Iterator[bytes]:
        if path.endswith("/messages"):
            yield from self._message_events(body)
        elif path.endswith("/responses"):
            yield _event(
                {"type": "response.created", "response": self._response(body, "in_progress"), "sequence_number": 0}
            )
            for number, word in enumerate(self.words):
                delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": word, "logprobs": []}
                yield _event({"type": "response.output_text.delta", "sequence_number": number + 1, **delta})
            yield _event(
                {"type": "response.completed", "response": self._response(body, "completed"), "sequence_number": 9}
            )
        else:
            yield from self._chat_events(body)

    def _chat_events(self, body: Any) -> Iterator[bytes]:
        known = _chat("chat.completion.chunk", body, next(self.ids))
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": word} for word in self.words]
        if body.get("tools"):
            deltas = [{"role": "assistant", "tool_calls": [{"index": 0, **self._tool_call(body)}]}]
        for delta in deltas:
            yield _event({**known, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, name=False)
        reason = "tool_calls" if body.get("tools") else "stop"
        yield _event({**known, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}, name=False)
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
            yield _event({**known, "choices": [], "usage": usage}, name=False)
        yield b"data: [DONE]\n\n"

    def _message_events(self, body: Any) -> Iterator[bytes]:
        start = _message([], body["model"], None)
        start["usage"]["output_tokens"] = 1
        yield _event({"type": "message_start", "message": start})
        yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        for word in self.words:
            delta = {"type": "text_delta", "text": word}
            yield _event({"type": "content_block_delta", "index": 0, "delta": delta})
        yield _event({"type": "content_block_stop", "index": 0})
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        yield _event({"type": "message_delta", "delta": end, "usage": {"output_tokens": OUTPUT}})
        yield _event({"type": "message_stop"})


def _chat(kind: str, body: Any, name: str) -> dict[str, Any]:
    return {"id": name, "object": kind, "created": 1, "model": body["model"]}


def _message(content: list[Any], model: str, reason: str | None) -> dict[str, Any]:
    usage = {
        "input_tokens": INPUT,
        "output_tokens": OUTPUT,
        "cache_read_input_tokens": 300,
        "cache_creation_input_tokens": 200,
    }
    known = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content}
    return {**known, "stop_reason": reason, "stop_sequence": None, "usage": usage}


def _event(body: dict[str, Any], *, name: bool = True) -> bytes:
    head = f"event: {body['type']}\n" if name else ""
    return f"{head}data: {json.dumps(body)}\n\n".encode()
