"""What people fill in about the rules of the watch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django import forms
from django.http import QueryDict

from agentops.pages import MAX_ID
from agentops.runs.api import clean
from agentops.watch.decisions import MAX_REASON_CHARS, MAX_TOOLS
from agentops.watch.numbers import SETTINGS, SWITCHES, Setting, ToolUse, words_of
from agentops.watch.rules import Decided, Rulebook
from agentops.watch.words import number

#: Rows for tools that are typed in.
SPARE = 2
Choices = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A tool with how it counts; ``runs`` is how many of the newest used it, ``None`` for a name to be typed in."""

    name: str
    runs: int | None
    use: str
    choices: Choices


class RulesForm(forms.Form):
    """The rules of a service (empty: of all). Tools are read row by row: ``tool`` and ``use``."""

    reason = forms.CharField(required=False, max_length=MAX_REASON_CHARS, strip=True)
    seen = forms.IntegerField(min_value=0, max_value=MAX_ID)

    def __init__(
        self, data: QueryDict | None = None, *, service: str, book: Rulebook, decided: Decided, seen: Mapping[str, int]
    ) -> None:
        """``decided`` fills it in where no ``data`` does; ``seen`` are tools of runs."""
        super().__init__(data)
        self.service, self._seen = service, seen
        self._asked = decided if data is None else Decided(tools=_read_tools(data))
        self._inherited = book.decided_for("") if service else Decided()
        everywhere = book.numbers("")
        for setting in SETTINGS:
            holds = everywhere[setting.name] if service else setting.default
            self.fields[setting.name] = _number(setting, holds, decided.numbers.get(setting.name))
        for kind in SWITCHES:
            self.fields[f"kind-{kind}"] = self._switch(kind, decided)

    @property
    def groups(self) -> Iterator[tuple[str, list[tuple[forms.BoundField, Setting]]]]:
        """The numbers in their groups."""
        for group, settings in groupby(SETTINGS, key=lambda setting: setting.group):
            yield group, [(self[setting.name], setting) for setting in settings]

    @property
    def switches(self) -> list[tuple[forms.BoundField, str]]:
        """A field for each kind, and the kind."""
        return [(self[f"kind-{kind}"], kind) for kind in SWITCHES]

    @property
    def tools(self) -> list[ToolRow]:
        """A row for each tool that was seen or decided about, and some that are empty."""
        names = dict.fromkeys([*self._asked.tools, *self._inherited.tools, *self._seen])
        rows = [
            ToolRow(name, self._seen.get(name, 0), self._asked.tools.get(name, ""), self._uses(name)) for name in names
        ]
        return rows + [ToolRow("", None, "", self._uses(""))] * SPARE

    def decided(self) -> Decided:
        """What was filled in."""
        asked = self.cleaned_data
        values = {setting.name: asked[setting.name] for setting in SETTINGS if asked[setting.name] is not None}
        return Decided(
            {name: int(value) if value.is_integer() else value for name, value in values.items()},
            {kind: asked[f"kind-{kind}"] == "on" for kind in SWITCHES if asked[f"kind-{kind}"]},
            self._asked.tools,
        )

    def add_problems(self, problems: Mapping[str, str]) -> None:
        """Say beside the fields what is wrong with them."""
        for name, problem in problems.items():
            if name in self.fields:
                self.add_error(name, problem)
            elif f"kind-{name}" in self.fields:
                self.add_error(f"kind-{name}", problem)
            else:
                self.add_error(None, f"{name}: {problem}")

    def _switch(self, kind: str, decided: Decided) -> forms.ChoiceField:
        is_on = decided.switches.get(kind)
        choices: Choices = [("on", "on"), ("off", "off")]
        if self.service:
            holds = "off" if self._inherited.switches.get(kind) is False else "on"
            choices.insert(0, ("", f"as for all services: {holds}"))
        initial = "" if is_on is None else "on" if is_on else "off"
        return forms.ChoiceField(
            required=False, choices=choices, initial=initial or choices[0][0], label=words_of(kind)
        )

    def _uses(self, name: str) -> Choices:
        uses: Choices = [(use, words.partition(":")[0]) for use, words in ToolUse.WORDS.items()]
        if self.service:
            return [("", f"as for all services: {self._inherited.tools.get(name, ToolUse.NORMAL)}"), *uses]
        return [("", uses[0][1]), *uses[1:]]


def _number(setting: Setting, holds: float, value: float | None) -> forms.FloatField:
    # Bounds are checked where decisions are, for forms and programs alike; here they help who types.
    attributes = {"placeholder": number(holds), "step": "1" if setting.is_whole else "any", "inputmode": "decimal"}
    return forms.FloatField(
        required=False, label=setting.words, widget=forms.NumberInput(attributes), initial=value, help_text=setting.help
    )


def _read_tools(data: QueryDict) -> dict[str, str]:
    rows: Any = zip(data.getlist("tool")[: 2 * MAX_TOOLS], data.getlist("use"), strict=False)
    return {clean(tool).strip(): use for tool, use in rows if tool.strip() and use}
