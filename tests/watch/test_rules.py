"""What is decided about the watch, and what holds: layers, checks, history."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from agentops.accounts.models import User
from agentops.domain.habits import Habits
from agentops.domain.loops import Watch
from agentops.domain.spans import Kind
from agentops.domain.steps import Seen, Step, step_of
from agentops.domain.watchrules import Rules
from agentops.watch import decisions, rules
from agentops.watch.decisions import ChangedMeanwhile, UnsoundRules
from agentops.watch.models import RuleChange
from agentops.watch.numbers import BY_NAME, DEFAULTS, PAIRS, SETTINGS, SWITCHES, ToolUse
from agentops.watch.rules import Decided, Rulebook
from agentops.watch.words import describe, differences

NUMBERS = st.fixed_dictionaries(
    {},
    optional={
        s.name: st.integers(int(max(1, s.least)), int(s.most)) if s.is_whole else st.floats(s.least, s.most)
        for s in SETTINGS
    },
)
DECIDED = st.builds(
    Decided,
    NUMBERS,
    st.dictionaries(st.sampled_from(SWITCHES), st.booleans()),
    st.dictionaries(st.sampled_from(["grep", "poll", "mail"]), st.sampled_from(list(ToolUse.WORDS))),
)


def save(service: str, decided: Decided, *, seen: int | None = None, by: User | None = None) -> int | None:
    return decisions.save(service=service, decided=decided, seen=seen, reason="why", by=by, now=timezone.now())


def in_force() -> Rulebook:
    return rules.load(rules.latest_revision())


def test_without_decisions_the_rules_of_the_domain_hold() -> None:
    effective = Rulebook().of("shop")
    assert effective.rules == Rules()
    assert effective.numbers == DEFAULTS
    assert all(setting.least <= setting.default <= setting.most for setting in SETTINGS)
    assert all(map(effective.is_on, SWITCHES))
    decisions.check("shop", Decided(), Rulebook())


@given(everywhere=DECIDED, own=DECIDED)
def test_what_a_service_says_itself_comes_before_what_is_said_of_all(everywhere: Decided, own: Decided) -> None:
    book = Rulebook().with_decided("", everywhere).with_decided("shop", own)
    assert (book.decided_for("shop"), book.decided_for("")) == (own, everywhere)
    found, numbers = book.of("shop"), book.numbers("shop")
    for name, default in DEFAULTS.items():
        assert numbers[name] == own.numbers.get(name, everywhere.numbers.get(name, default))
    for kind in SWITCHES:
        assert found.is_on(kind) == own.switches.get(kind, everywhere.switches.get(kind, True))
    for tool in ("grep", "poll", "mail"):
        use = own.tools.get(tool, everywhere.tools.get(tool, ToolUse.NORMAL))
        assert (tool in found.rules.ignored_tools) == (use == ToolUse.IGNORED)
        assert (tool in found.rules.patient_tools) == (use == ToolUse.PATIENT)
    for warn, page in PAIRS:
        assert found.numbers[page] >= found.numbers[warn]
    assert book.of("else") == Rulebook().with_decided("", everywhere).of("else")


@given(decided=DECIDED)
def test_decisions_survive_json_and_differ_in_nothing_from_themselves(decided: Decided) -> None:
    assert Decided.load(decided.dump()) == decided
    assert differences(decided, decided, "shop") == []
    assert len(describe(decided)) == len(decided.numbers) + len(decided.switches) + len(decided.tools)
    assert len(differences(Decided(), decided, "shop")) == len(describe(decided))


def test_the_budget_follows_the_habits_and_never_falls_below_the_least() -> None:
    habits = Habits()
    for _ in range(20):
        habits.learn(100, tokens=0, seconds=0)
    effective = Rulebook().with_decided("", Decided({"least_budget": 7, "budget_times": 2})).of("shop")
    budget = effective.budgeted(habits).step_budget
    assert budget is not None
    assert 200 <= budget <= 240
    assert effective.budgeted(None).step_budget == 7


def test_a_tail_taken_up_again_is_judged_by_the_rules_that_hold() -> None:
    generous = replace(Rules(), step_budget=500)
    watch = Watch(generous)
    watch.see(_steps(60))
    watch = Watch.load(watch.dump())
    watch.use(generous)
    assert watch.findings == []
    watch.use(Rules())
    assert [finding.kind for finding in watch.findings] == ["steps.budget"]


def _steps(number: int) -> list[Step]:
    made = (
        step_of(
            Seen(b"t" * 16, at.to_bytes(8, "big"), Kind.TOOL, False, "a", f"tool {at}", at * 10**9, at * 10**9 + 1, 0),
            {"arguments": {"at": "x" * at}, "result": f"{at} is {'y' * at}"},
        )
        for at in range(1, number + 1)
    )
    return [step for step in made if step is not None]


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_number_has_bounds_for_services_and_for_all(name: str) -> None:
    setting = BY_NAME[name]
    for service in ("", "shop"):
        for value in (setting.least - 1, setting.most + 1, float("inf"), float("nan")):
            with pytest.raises(UnsoundRules) as refused:
                decisions.check(service, Decided({name: value}), Rulebook())
            assert list(refused.value.problems) == [name]


@pytest.mark.django_db
def test_a_save_writes_a_row_for_the_service_and_for_each_tool_that_changes() -> None:
    ada = User.objects.create_user("ada")
    wanted = Decided({"warn": 1.2}, {"loop.cycle": False}, {"grep": "normal", "poll": "patient"})
    assert save("shop", wanted, seen=0, by=ada) == decisions.latest_change("shop")
    assert RuleChange.objects.count() == 3
    assert in_force().decided_for("shop") == wanted
    assert save("shop", wanted) is None
    assert save("shop", replace(wanted, tools={"grep": "normal"})) is not None
    assert RuleChange.objects.count() == 4
    assert [change.after.tools for change in decisions.history("shop")] == [{"grep": "normal"}, wanted.tools]
    assert decisions.history("shop")[1].by == ada
    assert decisions.history("else") == []


@pytest.mark.django_db
def test_defaults_of_all_services_are_not_kept() -> None:
    usual = Decided({"warn": 1.0, "page": 2}, {"loop.cycle": True, "loop.repeat": False}, {"grep": "normal"})
    save("", usual)
    assert in_force().decided_for("") == Decided({"page": 2}, {"loop.repeat": False})


@pytest.mark.django_db
def test_rules_as_of_a_change_are_what_they_were_and_come_back() -> None:
    first = save("shop", Decided({"talk_page": 20}, tools={"poll": "patient"}))
    save("", Decided({"warn": 1.1}))
    second = save("shop", Decided({"talk_page": 30}))
    assert first
    assert second
    assert rules.load(first).of("shop").rules.talk_page == 20
    with pytest.raises(ChangedMeanwhile):
        decisions.restore(service="shop", change=first, seen=first, by=None, now=timezone.now())
    decisions.restore(service="shop", change=first, seen=second, by=None, now=timezone.now())
    assert in_force().decided_for("shop") == Decided({"talk_page": 20}, {}, {"poll": "patient"})
    assert in_force().numbers("shop")["warn"] == 1.1
    with pytest.raises(RuleChange.DoesNotExist):
        decisions.restore(service="else", change=first, seen=0, by=None, now=timezone.now())


@pytest.mark.django_db
def test_a_single_tool_is_decided_by_itself_and_holds_within_seconds() -> None:
    seconds = iter(range(0, 100, 3))
    known = rules.current()
    known._clock = lambda: next(seconds)
    assert not known.get().of("shop").rules.patient_tools
    rules.decide(
        service="shop", tool="poll", settings={"use": "patient"}, reason="", by=None,
        now=timezone.now() - timedelta(days=1),
    )  # fmt: skip
    assert known.get().of("shop").rules.patient_tools == {"poll"}
    rules.decide(service="shop", tool="poll", settings={"use": None}, reason="", by=None, now=timezone.now())
    assert not known.get().of("shop").rules.patient_tools
