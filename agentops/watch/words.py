"""What is decided about the watch, in words."""

from __future__ import annotations

from agentops.watch.numbers import BY_NAME, DEFAULTS, SWITCHES, ToolUse, words_of
from agentops.watch.rules import Decided

#: What is said where nothing is decided.
INHERITED, DEFAULT = "as for all services", "default"


def describe(decided: Decided) -> list[tuple[str, str]]:
    """What differs, (what, how) each."""
    return [(name, value) for name, value, _ in _lines(decided)]


def differences(
    before: Decided, after: Decided, service: str, *, everywhere: Decided | None = None
) -> list[tuple[str, str, str]]:
    """What changes: (what, how it was, how it is) each. With ``everywhere``, decided for all, it says what that is."""
    old = {name: value for name, value, _ in _lines(before)}
    new = {name: value for name, value, _ in _lines(after)}
    order = {name: at for lines in (_lines(before), _lines(after)) for name, _, at in lines}
    if not service:
        everywhere = Decided()
    holds = {} if everywhere is None else {name: value for name, value, _ in _lines(_all_of(everywhere))}
    usual = None if everywhere is None else ToolUse.NORMAL  # of a tool about which nothing is decided
    nothing = {name: _nothing(service, holds.get(name, usual)) for name in order}
    return [
        (name, old.get(name, nothing[name]), new.get(name, nothing[name]))
        for name in sorted(order, key=lambda name: (order[name], name))
        if old.get(name) != new.get(name)
    ]


def _nothing(service: str, holds: str | None) -> str:
    words = INHERITED if service else DEFAULT
    return f"{words}: {holds}" if holds else words


def _all_of(decided: Decided) -> Decided:
    """What is decided, and the defaults of everything else."""
    return Decided(
        {**DEFAULTS, **decided.numbers}, dict.fromkeys(SWITCHES, True) | dict(decided.switches), decided.tools
    )


def _lines(decided: Decided) -> list[tuple[str, str, int]]:
    lines = [
        (f"{setting.group}: {setting.words[:1].lower()}{setting.words[1:]}", number(decided.numbers[name]), at)
        for at, (name, setting) in enumerate(BY_NAME.items())
        if name in decided.numbers
    ]
    lines += [(words_of(kind), "on" if is_on else "off", 100) for kind, is_on in sorted(decided.switches.items())]
    uses = {use: words.partition(":")[0] for use, words in ToolUse.WORDS.items()}
    return lines + [(f"Tool {tool}", uses.get(use, use), 200) for tool, use in sorted(decided.tools.items())]


def number(value: float) -> str:
    """A number without a needless fraction."""
    return f"{value:,.10g}"
