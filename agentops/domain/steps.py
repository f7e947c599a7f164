"""What the watch sees of a run: its steps, each made small from what its span carries.

A step is a message of an agent, a tool call, a model call that only asks for tools, or an agent that ended. It
remembers no text: digests and words as bits (``sketches``), and what the texts say about themselves as ``Trait``s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import orjson

from agentops.domain import sketches
from agentops.domain.spans import Kind, Span


class Act(IntEnum):
    """What a step is. The value is what stored states hold."""

    #: An agent says something.
    MESSAGE = 0
    TOOL = 1
    #: A model call that asks for tools, an embedding: it costs, and says nothing.
    CALL = 2
    #: An agent ended that may have spoken without a model.
    AGENT = 3


class Trait:
    """What a step's texts say about it, as bits. Plain integers: they are asked for at every step."""

    FAILED = 1
    #: The kind of failure that passes: one tries again.
    TRANSIENT = 2
    #: A result that says nothing was found, or is empty.
    EMPTY = 4
    #: A short result that only says that it was done.
    DONE = 8
    #: A result long enough to be information.
    LONG = 16
    UNKNOWN_TOOL = 32
    MALFORMED = 64
    #: A tool that waits for something.
    POLL = 128
    #: A message with code in it: work, not talk.
    CODE = 256
    #: A message that asks for something, or takes leave.
    ASKS = 512
    #: A person's words, or a stand-in for one.
    PERSON = 1024
    #: A tool that passes the conversation to another agent: no work in itself.
    HANDOFF = 2048
    #: A model call that was given a tool's answer last: it goes on with what was begun.
    CONTINUES = 4096
    #: A tool call of which nothing is recorded: it is known by the tokens of the model calls around it.
    UNTOLD = 8192


class Asked(NamedTuple):
    """A tool that a model asked for, with its arguments as digest and words."""

    tool: str
    what: int
    words: int


class Result(NamedTuple):
    """What a tool answered: a digest (0 when not recorded) and what the text says about itself."""

    digest: int
    traits: int


class Seen(NamedTuple):
    """What the watch needs of a booked span besides its content. ``cost_nano`` is ``None`` when unknown.

    ``given`` and ``made`` are tokens of input and output, 0 when unknown.
    """

    trace_id: bytes
    span_id: bytes
    kind: int
    is_error: bool
    agent: str | None
    tool: str | None
    start_ns: int
    end_ns: int
    cost_nano: int | None
    given: int = 0
    made: int = 0


class Step(NamedTuple):
    """One step of a run. Times are ns since the epoch, money is nano-dollars (0 when unknown).

    ``what`` and ``result`` are digests, 0 when not recorded; ``after`` that of the end of what a message answers.
    ``asked`` are the tools that a model call asked for, ``results`` what its input says that tools answered, ``heard``
    the words of the last message of its input: both only where ``step_of`` was asked for them. ``given`` and ``made``
    are the tokens of a model call, 0 when unknown. Steps sort by when they ended.
    """

    end_ns: int
    span_id: bytes
    start_ns: int
    trace_id: bytes
    act: Act
    agent: str = ""
    tool: str = ""
    what: int = 0
    words: int = 0
    result: int = 0
    traits: int = 0
    cost_nano: int = 0
    asked: tuple[Asked, ...] = ()
    results: tuple[Result, ...] = ()
    heard: int = 0
    after: int = 0
    given: int = 0
    made: int = 0


_PERSON = re.compile(
    r"(end[ _-]?)?(user|human|customer|client|person)([ _-]?(simulator|sim|agent|input))?", re.IGNORECASE
)
_POLL = re.compile(r"(?:^|[^a-z])(?:poll|wait|sleep|status|progress|check|ready|monitor|await|health)", re.IGNORECASE)
_HANDOFF = re.compile(
    r"(?:transfer|hand|switch|route)(?:_?(?:back|off|over))?[ _]?to(?:[ _]|$)|hand_?off", re.IGNORECASE
)
_CODE = ("```", "<code>", "\ndef ", "\nimport ", "\n#include ", "\nselect ")
#: Words of somebody who asks, or takes leave: neither says anything. Looked up one by one: an alternation is tried at
#: every character.
_ASKS = (
    "?", "clarif", "specif", "provide", "elaborat", "rephras", "unclear", "ambiguous", "confirm", "more information",
    "more detail", "more context", "not sure", "what do you mean", "could you", "can you", "please", "let me know",
    "tell me", "waiting", "missing", "need to know", "understand", "goodbye", "you're welcome", "you are welcome",
    "you too", "take care", "farewell", "have a great", "have a good", "have a nice", "have a wonderful",
    "best of luck",
)  # fmt: skip
_FAILED = re.compile(r"^\W{0,3}(?:error|exception|traceback|fatal|failed|failure)\b|(?:error|exception):")
_TRANSIENT = re.compile(
    r"time(?:d[ -]?)?[ -]?out|\b429\b|\b50[234]\b|rate.?limit|too many requests|temporar|unavailable|overloaded"
    r"|try again|connection (?:reset|refused|aborted|error|closed)|\beconn"
)
_NOTHING = frozenset({"[]", "n/a", "()", "-"})
#: What is answered where nothing is to be said: of a tool that looks something up it means that nothing was found.
_SILENT = frozenset({"", "{}", "null", "none", '""', "''"})
_LOOKS_UP = re.compile(r"search|find|grep|quer|look|list|get|read|fetch|retriev|scan|select", re.IGNORECASE)
_EMPTY = re.compile(
    r"\b(?:no|zero|0) (?:\w+ ){0,2}(?:result|match|record|row|data|entr|document|file|item|hit)"
    r"|not found|\bnothing\b|no such|does not exist|doesn't exist"
)
_UNKNOWN_TOOL = re.compile(
    r"unknown (?:tool|function)|no (?:such )?(?:tool|function)\b|invalid tool|not a valid (?:tool|function)"
    r"|tool_?not_?found|(?:tool|function) [^\s]{1,80} (?:is |was )?"
    r"(?:not found|does not exist|not available|unknown|not registered|not defined)"
    r"|(?:tool|function) (?:not found|does not exist|unknown)"
)
_MALFORMED = re.compile(
    r"malformed|invalid json|not valid json|json ?decode|(?:could not|cannot|can't|failed to|unable to) (?:be )?pars"
    r"|pars(?:e|ing) (?:error|fail)|invalid (?:argument|parameter|action|format|tool call)|validation ?error"
    r"|missing (?:\d+ )?required|required (?:argument|parameter|field|property)|unexpected (?:token|keyword)"
    r"|no (?:valid )?action|empty action|expecting (?:value|property)"
)
#: A result with at least so many words is information; one with at most so many says only that it was done.
_LONG_WORDS, _DONE_WORDS = 12, 6
#: Who asks for something does so at the end, in characters.
_END_CHARS = 240
#: Longer texts are taken as they are, JSON or not, in characters.
_PARSED_CHARS = 65_536
#: A longer result is not taken for a message about failure or emptiness, in characters.
_SHORT_CHARS = 400
MAX_ASKED = 32
_MAX_WRAPPED = 4


def step_of(span: Seen, content: Mapping[str, object], *, hears: bool = False, results: bool = False) -> Step | None:
    """A booked span as a step; ``None`` for one that is no step.

    ``content`` is what is kept of its texts (``Span.content``), or the ``sketch`` of them. ``hears`` and ``results``
    ask for what a model call's input says besides, which costs reading it.
    """
    kind = span.kind
    if kind in _TOOLS:
        return _tool(span, content)
    if kind == Kind.AGENT:
        return _agent(span, content)
    if kind not in _MODELS:
        return None
    step = _model(span, content)
    if hears or results:
        messages = messages_of(content.get("input"))
        if results:
            step = step._replace(results=_answers(messages))
        if hears and messages:
            if _tool_results(messages[-1]):
                step = step._replace(traits=step.traits | Trait.CONTINUES)
            else:
                step = step._replace(heard=sketches.words_of(text_of(messages[-1]), sample=False))
    return step


# A member of an enum is looked up through its metaclass, at a fifth of a microsecond.
_MESSAGE, _TOOL, _CALL, _AGENT = Act.MESSAGE, Act.TOOL, Act.CALL, Act.AGENT
_TOOLS = frozenset({int(Kind.TOOL), int(Kind.RETRIEVAL)})
_MODELS = frozenset({int(Kind.LLM), int(Kind.EMBEDDING)})


def withheld(span: Span) -> dict[str, object]:
    """What is kept of a span's content where texts are not to be: what ``step_of`` makes of them, and no word.

    Digests tell that two texts are the same; who knows a text can tell that it was this one.
    """
    seen = Seen(
        span.trace_id,
        span.span_id,
        span.kind,
        span.is_error,
        None,
        span.tool_name,
        span.start_ns,
        span.end_ns,
        None,
    )
    step = step_of(seen, span.content)
    if step is None:
        return {}
    asked = [[call.tool, call.what, f"{call.words:x}"] for call in step.asked]
    return {"sketch": [int(step.act), step.what, f"{step.words:x}", step.result, step.traits, asked, step.after]}


def _step(
    span: Seen, act: Act, *, what: int = 0, words: int = 0, result: int = 0, traits: int = 0,
    asked: tuple[Asked, ...] = (), after: int = 0,
) -> Step:  # fmt: skip
    return Step(
        span.end_ns, span.span_id, span.start_ns, span.trace_id, act, span.agent or "",
        (span.tool or "") if act is _TOOL else "", what, words, result, traits, span.cost_nano or 0, asked,
        (), 0, after, span.given, span.made,
    )  # fmt: skip


def _sketched(span: Seen, kept: object) -> Step | None:
    if not isinstance(kept, Sequence) or len(kept) != _SKETCH_PARTS:
        return None
    act, what, words, result, traits, asked, after = kept
    calls = tuple(Asked(tool, digest, int(bits, 16)) for tool, digest, bits in asked)
    traits |= _person(span.agent or "") if act != _TOOL else 0
    return _step(
        span, Act(act), what=what, words=int(words, 16), result=result, traits=traits, asked=calls, after=after
    )


_SKETCH_PARTS = 7


def _tool(span: Seen, content: Mapping[str, object]) -> Step:
    if "sketch" in content and (known := _sketched(span, content["sketch"])) is not None:
        return known
    tool = span.tool or ""
    what, words = sketches.of_arguments(content["arguments"] if "arguments" in content else content.get("input"))
    said = content.get("result", content.get("output"))
    if said is None and span.is_error:
        said = content.get("error_message")
    result = result_of(said if isinstance(said, str) else None, is_error=span.is_error, tool=tool)
    of_name = _traits_of(tool)
    if not what and of_name & Trait.HANDOFF:  # to whom is what it is about, and that its name says
        what = sketches.digest(tool)
    return _step(span, _TOOL, what=what, words=words, result=result.digest, traits=result.traits | of_name)


@lru_cache(maxsize=4_096)
def _traits_of(tool: str) -> int:
    traits = Trait.POLL if _POLL.search(tool) else 0
    return traits | Trait.HANDOFF if _HANDOFF.match(tool) else traits


def result_of(said: str | None, *, is_error: bool, tool: str = "") -> Result:
    """What a tool's answer comes to; nothing recorded is 0."""
    traits = Trait.FAILED if is_error else 0
    if said is None:
        return Result(0, traits)
    said = _unwrapped(said.strip())
    text = sketches.masked(sketches.shortened(said))
    if len(said) <= _SHORT_CHARS:
        traits |= _says(said, is_error=is_error, tool=tool)
    length = text.count(" ") + 1
    if length >= _LONG_WORDS:
        traits |= Trait.LONG
    elif length <= _DONE_WORDS and not traits & (Trait.FAILED | Trait.EMPTY):
        traits |= Trait.DONE
    return Result(sketches.digest(text), traits)


_WRAPPERS = ("output", "data", "kwargs", "update")


def _unwrapped(said: str) -> str:
    """The words of a tool's answer that a framework kept as a message of its own, ids and all."""
    if not said.startswith("{") or '"tool_call_id"' not in said or len(said) > _PARSED_CHARS:
        return said
    try:
        part = orjson.loads(said)
    except ValueError:
        return said
    for _ in range(_MAX_WRAPPED):
        if not isinstance(part, dict):
            break
        if "content" in part and "tool_call_id" in part:
            return text_of(part["content"])
        part = next((part[name] for name in _WRAPPERS if isinstance(part.get(name), dict)), None)
    return said


def _says(said: str, *, is_error: bool, tool: str) -> int:
    said = said.lower().strip()
    traits = 0
    if is_error or _FAILED.search(said):
        traits |= Trait.FAILED
        if _TRANSIENT.search(said):
            traits |= Trait.TRANSIENT
    if said in _NOTHING or (said in _SILENT and _LOOKS_UP.search(tool)) or _EMPTY.search(said):
        traits |= Trait.EMPTY
    if traits & (Trait.FAILED | Trait.EMPTY):
        if _UNKNOWN_TOOL.search(said):
            traits |= Trait.UNKNOWN_TOOL
        elif _MALFORMED.search(said):
            traits |= Trait.MALFORMED
    return traits


def _agent(span: Seen, content: Mapping[str, object]) -> Step:
    if "sketch" in content and (known := _sketched(span, content["sketch"])) is not None:
        return known
    return _said(span, _AGENT, content)


def _model(span: Seen, content: Mapping[str, object]) -> Step:
    if "sketch" in content and (known := _sketched(span, content["sketch"])) is not None:
        return known
    requested = content.get("requested_tools")
    if span.is_error:
        return _step(span, _CALL, traits=Trait.FAILED)
    if span.kind == Kind.EMBEDDING or requested or content.get("asks_for_tools"):
        calls = requested if isinstance(requested, list) else []
        asked = tuple(
            Asked(str(call.get("tool") or ""), *sketches.of_arguments(call.get("arguments")))
            for call in calls[:MAX_ASKED]
            if isinstance(call, dict)
        )
        return _step(span, _CALL, asked=asked)
    return _said(span, _MESSAGE, content)


def _said(span: Seen, act: Act, content: Mapping[str, object]) -> Step:
    said, given = content.get("output"), content.get("input")
    traits = _person(span.agent or "")
    if not isinstance(said, str):
        return _step(span, act, traits=traits)
    text = sketches.shortened(_words_said(said).strip())
    if not text:
        traits |= Trait.MALFORMED
    lower = text.lower()
    if any(mark in lower for mark in _CODE):
        traits |= Trait.CODE
    end = lower[-_END_CHARS:]
    if any(word in end for word in _ASKS):
        traits |= Trait.ASKS
    after = sketches.digest(given[-_END_CHARS:]) if given and isinstance(given, str) else 0
    return _step(span, act, what=sketches.digest(text), words=sketches.words_of(text), traits=traits, after=after)


@lru_cache(maxsize=4_096)
def _person(agent: str) -> int:
    return Trait.PERSON if _PERSON.fullmatch(agent) else 0


def _words_said(said: str) -> str:
    """What was said without the JSON that it came in: names of members, ids and the like are no words of anybody."""
    if said.startswith(("[{", "{")) and len(said) <= _PARSED_CHARS:
        try:
            parsed = orjson.loads(said)
        except ValueError:
            return said
        if _is_message(parsed[-1] if isinstance(parsed, list) else parsed):
            return text_of(parsed, names=_ANSWERED) or said
    return said


def _is_message(part: object) -> bool:
    """Whether this is a provider's or a framework's message or answer, and not what an agent says in JSON."""
    return isinstance(part, dict) and (not _MESSAGES.isdisjoint(part) or ("content" in part and "id" in part))


_MESSAGES = frozenset({"role", "parts", "choices", "generations", "candidates", "replies", "message"})


def messages_of(given: object) -> list[dict[str, object]]:
    """The messages of a model's input, where it is JSON that was not cut; text alone is one message."""
    if not isinstance(given, str) or not given.startswith(("[", "{")):
        return [{"role": "user", "content": given}] if isinstance(given, str) and given else []
    try:
        parsed = orjson.loads(given)
    except ValueError:
        return []
    found = parsed.get("messages") if isinstance(parsed, dict) else parsed
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    return [message for message in found if isinstance(message, dict)] if isinstance(found, list) else []


_TOOL_ROLES = frozenset({"tool", "function", "tool_result"})


def _answers(messages: Sequence[Mapping[str, object]]) -> tuple[Result, ...]:
    """What tools answered, by the last messages of an input, in order."""
    found: list[Result] = []
    for message in reversed(messages[-MAX_ASKED:]):
        parts = _tool_results(message)
        if not parts:
            break
        found.extend(result_of(part, is_error=False) for part in reversed(parts))
    return tuple(reversed(found))


def _tool_results(message: Mapping[str, object]) -> list[str]:
    if str(message.get("role") or message.get("type")) in _TOOL_ROLES:
        return [text_of(message)]
    parts = message.get("parts", message.get("content"))
    if not isinstance(parts, list):
        return []
    return [text_of(part) for part in parts if isinstance(part, dict) and part.get("type") in _RESULT_PARTS]


_RESULT_PARTS = frozenset({"tool_result", "tool_call_response", "tool-result", "function_call_output", "tool-return"})
_TEXTS = ("content", "text", "parts", "result", "response", "output", "value")
_ANSWERED = ("content", "text", "parts", "message", "choices", "generations", "candidates", "replies", "output")


def text_of(part: object, depth: int = 6, names: Sequence[str] = _TEXTS) -> str:
    """The words of a message, whatever shape they come in: those of members with some names."""
    if isinstance(part, str):
        return part
    if isinstance(part, list) and depth:
        return " ".join(text_of(inner, depth - 1, names) for inner in part)
    if isinstance(part, dict) and depth:
        return " ".join(text_of(part[name], depth - 1, names) for name in names if name in part)
    return "" if part is None else str(part)
