"""Rules of attribution: which spans they speak of, and how good what they say is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agentops.domain.attribution import (
    MAX_CONDITIONS,
    Condition,
    Facts,
    Rule,
    Rules,
    UnsoundRule,
    attribute,
    check_rule,
    collect,
    of_content,
    rank_of,
    said,
)
from agentops.domain.spans import RANK_EXPLICIT, RANK_FALLBACK, RANK_RULE, Kind, Span

HOUR_NS = 3_600 * 10**9


def rule(*conditions: Condition, **more: Any) -> Rule:
    """A rule that says that spans of ``svc`` are feature ``checkout``."""
    given = {"number": 1, "version": 1, "service": "svc", "dimension": "feature", "value": "checkout", "from_ns": 0}
    return Rule(conditions=conditions, **{**given, **more})


FACTS = Facts(
    name="chat",
    is_root=True,
    agent="planner",
    tool="search",
    models=("gpt-5", "gpt-5-2025-08-07"),
    environment="staging",
    tags=("beta", "team:blue"),
    attributes={"tier": "gold", "seats": 12, "paid": True, "ratio": 0.5, "list": ["a"], "none": None},
)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition("tag", "beta"), True),
        (Condition("tag", "team:*"), True),
        (Condition("tag", "bet"), False),
        (Condition("attribute", "gold", "tier"), True),
        (Condition("attribute", "12", "seats"), True),
        (Condition("attribute", "true", "paid"), True),
        (Condition("attribute", "True", "paid"), False),
        (Condition("attribute", "0.5", "ratio"), True),
        (Condition("attribute", "*", "tier"), True),
        (Condition("attribute", "*", "list"), False),
        (Condition("attribute", "*", "none"), False),
        (Condition("attribute", "*", "nowhere"), False),
        (Condition("agent", "planner"), True),
        (Condition("agent", "plan"), False),
        (Condition("tool", "sea*"), True),
        (Condition("model", "gpt-5"), True),
        (Condition("model", "gpt-5-2025-08-07"), True),
        (Condition("model", "gpt-4o"), False),
        (Condition("span", "chat"), True),
        (Condition("run", "chat"), True),
        (Condition("environment", "staging"), True),
        (Condition("environment", "production"), False),
    ],
    ids=str,
)
def test_a_condition_holds_of_what_it_names(condition: Condition, *, holds: bool) -> None:
    assert rule(condition).says(FACTS) == holds


def test_all_conditions_hold_of_one_and_the_same_span() -> None:
    both = rule(Condition("tag", "beta"), Condition("tool", "search"))
    assert both.says(FACTS)
    assert not both.says(Facts("chat", is_root=True, tags=("beta",)))
    assert rule().says(Facts("anything", is_root=False))


def test_a_run_is_named_by_its_root_alone() -> None:
    named = rule(Condition("run", "chat"))
    assert not named.says(Facts("chat", is_root=False))


def test_the_first_rule_that_says_anything_counts_and_none_before_its_date() -> None:
    rules = Rules(
        [
            rule(number=3, value="third"),
            rule(number=2, value="second", from_ns=HOUR_NS),
            rule(number=4, dimension="user", value="robot", service=""),
        ]
    ).of("svc")
    assert said(rules, FACTS, HOUR_NS) == {"feature": "second", "user": "robot"}
    assert said(rules, FACTS, HOUR_NS - 1) == {"feature": "third", "user": "robot"}


def test_a_service_without_rules_of_its_own_has_those_of_all() -> None:
    everywhere, mine = rule(number=1, service=""), rule(number=2)
    rules = Rules([mine, everywhere])
    assert rules.of("svc") == (everywhere, mine)
    assert rules.of("other") == (everywhere,)
    assert Rules([mine]).of("other") == ()


@pytest.mark.parametrize(
    ("has", "ends"),
    [
        (None, ("checkout", RANK_RULE)),
        (("search", RANK_FALLBACK), ("checkout", RANK_RULE)),
        (("search", RANK_EXPLICIT), ("search", RANK_EXPLICIT)),
    ],
)
def test_a_rule_stands_between_what_telemetry_says_and_what_stands_in_for_it(
    has: tuple[str, int] | None, ends: tuple[str, int]
) -> None:
    span = Span(b"t" * 16, b"s" * 8, b"", "svc", Kind.LLM, "chat", "scope", 0, 1)
    if has:
        span.attribution["feature"] = has
    attribute(span, (rule(),))
    assert span.attribution == {"feature": ends}


def test_better_ranks_come_first_then_the_root_then_the_earliest() -> None:
    candidates = [
        ("a", RANK_EXPLICIT, 9_000, True),
        ("b", RANK_EXPLICIT, 8_000, True),
        ("c", RANK_EXPLICIT, 9_000, False),
        ("d", RANK_RULE, 0, False),
        ("e", RANK_FALLBACK, 0, False),
    ]
    best: dict[str, tuple[int, str]] = {}
    for value, rank, start_ns, below_root in reversed(candidates):
        collect(best, {"feature": (value, rank)}, start_ns, below_root=below_root)
        assert rank_of(best["feature"][0]) == rank
    assert best["feature"][1] == "c"


def test_what_rules_see_of_a_content_is_the_same_when_it_was_stored() -> None:
    content: dict[str, object] = {
        "tags": ["a", "b"],
        "attributes": {"n": 1, "x": 1.25, "yes": True, "text": 'größe "q"', "nan": float("nan")},
    }
    stored = orjson.loads(orjson.dumps(content))
    for condition in (
        Condition("tag", "b"),
        Condition("attribute", "1", "n"),
        Condition("attribute", "1.25", "x"),
        Condition("attribute", "true", "yes"),
        Condition("attribute", 'größe "q"', "text"),
        Condition("attribute", "*", "nan"),
    ):
        facts = [Facts("", False, None, None, (), "production", *of_content(c)) for c in (content, stored)]
        first, second = (rule(condition).says(f) for f in facts)
        assert first == second == (condition.key != "nan")


@pytest.mark.parametrize(
    "wrong",
    [
        rule(value=" "),
        rule(dimension="release"),
        rule(service=""),
        rule(Condition("tag", "*")),
        rule(Condition("tag", "")),
        rule(Condition("tag", "x", "key")),
        rule(Condition("attribute", "x")),
        rule(Condition("colour", "x")),
        rule(Condition("tag", "x" * 300)),
        rule(*[Condition("tag", str(n)) for n in range(MAX_CONDITIONS + 1)]),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(wrong: Rule) -> None:
    with pytest.raises(UnsoundRule, match=r"\.$"):
        check_rule(wrong)


def test_a_sound_rule_can_be_said_in_a_sentence() -> None:
    sound = rule(Condition("tag", "beta"), Condition("attribute", "gold", "tier"))
    check_rule(sound)
    assert sound.words == "Spans of svc with tag beta and attribute tier = gold are feature checkout"


def test_only_texts_that_a_rule_may_look_for_have_to_be_read() -> None:
    assert Rules([rule(Condition("agent", "x"))]).needles is None
    asked = Rules([rule(Condition("tag", "team:*")), rule(Condition("attribute", "gold", "tier"), number=2)])
    assert sorted(asked.needles or []) == ["team:", "tier"]
