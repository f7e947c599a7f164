"""One guarded model call over HTTP: from its question to its settlement, whoever sends it.

It belongs to a step that is open around it, else it has a step of its own. A call that was broken off is billed by the
provider all the same: it is settled with what was seen of it, never with nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentops.client.calls import Dialect, ModelCall
from agentops.client.questions import Outcome, Usage
from agentops.client.replies import MAX_BYTES, Events, Reading
from agentops.client.steps import Step, current_step, outcome_of

log = logging.getLogger("agentops.client")

#: Failures after which the provider may have worked: the request was sent, and the answer was not had.
_MAYBE_BILLED = frozenset({"ReadTimeout", "ReadError"})


@dataclass(frozen=True, slots=True)
class Report:
    """What a call came to."""

    outcome: Outcome
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    response_id: str | None = None
    is_estimated: bool = False

    def settling(self) -> dict[str, Any]:
        """The arguments of ``Step.settle``."""
        return {
            "usage": self.usage,
            "outcome": self.outcome,
            "model": self.model,
            "response_id": self.response_id,
            "is_estimated": self.is_estimated,
        }


class Meter:
    """Reads a reply on its way to who asked for it, and says once what it came to.

    ``decode`` reads a body as it was encoded on its way; ``None`` for one that was not.
    """

    def __init__(self, call: ModelCall, content_type: str, decode: Callable[[bytes], bytes] | None) -> None:
        self._call = call
        self._reading = Reading(call.dialect)
        self._is_stream = "text/event-stream" in content_type
        self._is_json = "json" in content_type
        self._decode = decode
        self._events = Events()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._is_broken = False
        self._is_exhausted = False
        self._is_unreadable = not (self._is_stream or self._is_json)

    def feed(self, chunk: bytes) -> None:
        """Read a piece of the body as it was sent. It never raises: the call is more than its measure."""
        if self._is_unreadable:
            return
        try:
            if self._is_stream and self._decode is None:
                for event in self._events.feed(chunk):
                    self._reading.take(event)
            elif self._kept_bytes <= MAX_BYTES:
                self._kept.append(chunk)
                self._kept_bytes += len(chunk)
        except Exception as error:  # noqa: BLE001  (a reply that surprises us must reach who asked for it)
            self._give_up(error)

    def fail(self) -> None:
        """Note that the body broke off."""
        self._is_broken = True

    def exhaust(self) -> None:
        """Note that the body is there to its end."""
        self._is_exhausted = True

    def report(self) -> Report:
        """What the call came to, as far as it went."""
        if not self._is_unreadable:
            try:
                self._finish()
            except Exception as error:  # noqa: BLE001  (as above)
                self._give_up(error)
        reading = self._reading
        if self._is_unreadable or reading.is_deferred:
            # A reply went through that says nothing here: it is booked as it was estimated.
            return Report("ok", response_id=reading.response_id, model=reading.model)
        reading.is_complete |= self._is_exhausted or self._events.is_done
        is_ok = reading.is_complete and not (reading.is_failed or self._is_broken)
        needs_output = self._call.dialect is not Dialect.EMBEDDINGS
        usage, is_estimated = reading.usage(self._call.input_tokens, needs_output=needs_output)
        if is_estimated:
            log.info("A reply told no tokens; they are worked out of its texts.")
        return Report("ok" if is_ok else "error", usage, reading.model, reading.response_id, is_estimated)

    def _finish(self) -> None:
        """Read what had to wait for the end."""
        if self._kept:
            body, self._kept = b"".join(self._kept), []
            body = body if self._decode is None else self._decode(body)
            if self._is_stream:
                for event in self._events.feed(body):
                    self._reading.take(event)
            elif self._is_exhausted:
                self._reading.take(json.loads(body))
        if self._is_stream:
            for event in self._events.end():
                self._reading.take(event)

    def _give_up(self, error: Exception) -> None:
        self._is_unreadable = True
        log.warning("A model's reply could not be read: it is booked as it was estimated.", exc_info=error)


class Guarded:
    """A model call under its step: its own, or the one it was claimed from."""

    def __init__(self, call: ModelCall, step: Step, *, is_own: bool) -> None:
        self.call = call
        self.step = step
        self._is_own = is_own
        self._is_over = False

    def failed(self, error: BaseException) -> Report | None:
        """What to settle when nothing was answered; ``None``: the step is open for another try."""
        billed = not isinstance(error, Exception) or type(error).__name__ in _MAYBE_BILLED
        usage = Usage(input_tokens=self.call.input_tokens) if billed else Usage()
        return self._ended(Report(outcome_of(error), usage, is_estimated=bool(usage)))

    def refused(self) -> Report | None:
        """What to settle when the provider answers with an error, which it does not bill."""
        return self._ended(Report("error"))

    def over(self, meter: Meter) -> Report | None:
        """What to settle when the reply is over; once."""
        if self._is_over:
            return None
        self._is_over = True
        return meter.report()

    def _ended(self, report: Report) -> Report | None:
        if self._is_own or report.usage:
            return report
        self.step.release()
        return None


def claimed(guard: object, call: ModelCall) -> Guarded | None:
    """The call under the step around it, if there is one for a model call that no call has used yet."""
    around = current_step()
    if around is None or around.guard is not guard or not around.claim():
        return None
    return Guarded(call, around, is_own=False)
