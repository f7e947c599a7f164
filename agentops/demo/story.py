"""What goes wrong while somebody looks: two agents ask each other for clarification, and smaller things between."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from agentops.demo.fleet import BY_SLUG, Service
from agentops.demo.plan import NS

MINUTE_NS = 60 * NS
#: When the loop comes for the first time, and how long it takes until it comes again.
FIRST_LOOP_NS, LOOP_EVERY_NS = 3 * MINUTE_NS, 40 * MINUTE_NS
#: The same of smaller things, in minutes.
_FIRST_SMALL, _SMALL_EVERY = (6, 9), (9, 17)


class Story(StrEnum):
    """What live traffic tells."""

    #: The loop comes after some minutes, as if by itself.
    USUAL = "usual"
    #: The loop comes at once.
    LOOP = "loop"
    #: Nothing goes wrong on purpose.
    QUIET = "quiet"


@dataclass(frozen=True, slots=True, order=True)
class Trouble:
    """A session that misbehaves from a moment on, by a pattern of ``agentops.demo.scenario``."""

    at_ns: int
    slug: str
    pattern: str

    @property
    def service(self) -> Service:
        """Whose session it is: of one run, which is enough."""
        return replace(BY_SLUG[self.slug], turns=(1, 1))


_LOOP = ("research-assistant", "misread")
_SMALL = (("code-reviewer", "repeat"), ("sql-analyst", "poll"), ("incident-copilot", "hide_an_error"))


def troubles(story: Story, seed: str, start_ns: int) -> Iterator[Trouble]:
    """What goes wrong from a moment on, in order, without end unless the story is a quiet one."""
    if story is Story.QUIET:
        return iter(())
    first_ns = start_ns + (0 if story is Story.LOOP else FIRST_LOOP_NS)
    return heapq.merge(_loops(first_ns), _small(random.Random(f"story:{seed}"), start_ns))


def _loops(at_ns: int) -> Iterator[Trouble]:
    while True:
        yield Trouble(at_ns, *_LOOP)
        at_ns += LOOP_EVERY_NS


def _small(rng: random.Random, at_ns: int) -> Iterator[Trouble]:
    at_ns += int(rng.uniform(*_FIRST_SMALL) * MINUTE_NS)
    while True:
        for slug, pattern in rng.sample(_SMALL, len(_SMALL)):
            yield Trouble(at_ns, slug, pattern)
            at_ns += int(rng.uniform(*_SMALL_EVERY) * MINUTE_NS)
