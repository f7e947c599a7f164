"""Amounts and scopes as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentops.domain.budgets import NANO, Scope, Unit, amount_words, scope_words, usd_words


@pytest.mark.parametrize(
    ("nano", "words"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (12, "$0.000000012"),
        (1_234_567, "$0.0012"),
        (50_000_000, "$0.050"),
        (120_000_000, "$0.12"),
        (999_999_999, "$1.00"),
        (12_500_000_000, "$12.50"),
        (1_234_567 * NANO, "$1,234,567.00"),
        (-12_500_000_000, "-$12.50"),
        (-5, "-$0.000000005"),
    ],
)
def test_dollars_in_words(nano: int, words: str) -> None:
    assert usd_words(nano) == words


@given(nano=st.integers(1, 10**18) | st.integers(1, NANO))
def test_what_is_not_zero_is_never_shown_as_zero_and_is_near_what_is_shown(nano: int) -> None:
    shown = float(usd_words(nano).lstrip("$").replace(",", ""))
    assert shown > 0
    assert shown == pytest.approx(nano / NANO, rel=0.05)
    assert usd_words(-nano) == f"-{usd_words(nano)}"


@pytest.mark.parametrize(
    ("unit", "amount", "words"),
    [
        (Unit.USD, 12_500_000_000, "$12.50"),
        (Unit.TOKENS, 61_900, "61,900 tokens"),
        (Unit.TOKENS, 1, "1 token"),
        (Unit.STEPS, 40, "40 steps"),
        (Unit.STEPS, 1, "1 step"),
        (Unit.STEPS, 0, "0 steps"),
    ],
)
def test_amounts_in_words(unit: Unit, amount: int, words: str) -> None:
    assert amount_words(unit, amount) == words


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (Scope(), "all services"),
        (Scope(frozenset({"search", "chat"})), "chat and search"),
        (Scope(frozenset({"search"}), user="alice", environment="staging"), "search, user alice, in staging"),
        (Scope(team="core", feature="ask"), "team core, feature ask"),
        (Scope(environment="shadow"), "in shadow"),
    ],
)
def test_a_scope_in_words(scope: Scope, words: str) -> None:
    assert scope_words(scope) == words
