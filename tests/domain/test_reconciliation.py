"""What is billed beside what is booked."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from agentops.domain.reconciliation import Billed, Booked, Tolerance, compare

DAY, NEXT = date(2026, 10, 1), date(2026, 10, 2)
EXACT = Tolerance(0, Decimal(0))


@pytest.mark.parametrize(
    ("absolute", "percent", "difference", "billed", "allowed"),
    [
        (0, "0", 0, 100, True),
        (0, "0", 1, 100, False),
        (5, "0", -5, 100, True),
        (5, "0", 6, 100, False),
        (0, "1", 1, 100, True),
        (0, "1", 2, 100, False),
        (0, "0.5", -1, 200, True),
        (3, "1", 2, 100, True),
        (0, "1", 1, 0, False),
        (0, "1", 1, -100, True),
    ],
)
def test_a_tolerance_is_so_much_or_so_many_percent(
    absolute: int, percent: str, difference: int, billed: int, allowed: bool
) -> None:
    assert Tolerance(absolute, Decimal(percent)).allows(difference, billed) is allowed


def test_names_of_one_model_are_compared_with_each_other_and_the_worst_comes_first() -> None:
    rows = compare(
        [
            Billed(DAY, "Claude Haiku 4.5", 70),
            Billed(DAY, "claude-haiku-4-5-20251001", 30),
            Billed(NEXT, "Claude Haiku 4.5", 50),
            Billed(NEXT, "Claude Opus 4.5", 9),
        ],
        [
            Booked(DAY, "claude-haiku-4-5-20251001", 60, 0),
            Booked(DAY, "claude-haiku-4-5", 40, 2),
            Booked(NEXT, "claude-haiku-4-5", 44, 0),
        ],
        EXACT,
        provider="anthropic",
    )
    assert [
        (r.start, r.model, r.billed_nano, r.booked_nano, r.difference_nano, r.is_within, r.verdict) for r in rows
    ] == [
        (NEXT, "Claude Opus 4.5", 9, None, 9, False, "billed, not booked"),
        (NEXT, "claude-haiku-4-5", 50, 44, 6, False, "differs"),
        (DAY, "claude-haiku-4-5-20251001", 100, 100, 0, True, "agrees"),
    ]
    assert rows[2].billed_as == ("Claude Haiku 4.5", "claude-haiku-4-5-20251001")
    assert rows[2].unpriced_calls == 2


def test_what_the_provider_sells_and_does_not_bill_is_shown_and_what_others_sell_is_not() -> None:
    rows = compare(
        [Billed(DAY, "gpt-4o", 5)],
        [
            Booked(DAY, "gpt-4o", 5, 0),
            Booked(NEXT, "gpt-4o", 7, 0),
            Booked(DAY, "gpt-5", 3, 0),
            Booked(DAY, "azure/gpt-4o", 100, 0),
            Booked(DAY, "claude-opus-4-5", 100, 0),
            Booked(DAY, "", 100, 0),
        ],
        EXACT,
        provider="openai",
    )
    assert [(r.start, r.model, r.billed_nano, r.booked_nano, r.verdict) for r in rows] == [
        (NEXT, "gpt-4o", None, 7, "booked, not billed"),
        (DAY, "gpt-5", None, 3, "booked, not billed"),
        (DAY, "gpt-4o", 5, 5, "agrees"),
    ]


def test_without_a_provider_the_books_count_as_far_as_the_bill_names_their_models() -> None:
    booked = [Booked(DAY, "in-house", 4, 0), Booked(DAY, "gpt-5", 3, 0)]
    assert [(r.model, r.booked_nano) for r in compare([Billed(NEXT, "In House", 4)], booked, EXACT)] == [
        ("in-house", 4),
        ("In House", None),
    ]


@pytest.mark.parametrize(("provider", "booked"), [("openai", 8), ("", 108)])
def test_a_bill_that_names_no_model_is_compared_by_day(provider: str, booked: int) -> None:
    (row,) = compare(
        [Billed(DAY, "", 8)],
        [Booked(DAY, "gpt-4o", 5, 0), Booked(DAY, "gpt-5", 3, 0), Booked(DAY, "claude-opus-4-5", 100, 0)],
        EXACT,
        provider=provider,
    )
    assert (row.model, row.billed_as, row.billed_nano, row.booked_nano) == ("", (), 8, booked)


def test_a_charge_that_names_no_model_among_others_matches_nothing() -> None:
    rows = compare(
        [Billed(DAY, "gpt-4o", 5), Billed(DAY, "", 2)],
        [Booked(DAY, "gpt-4o", 5, 0), Booked(DAY, "", 2, 0)],
        EXACT,
        provider="openai",
    )
    assert [(r.model, r.billed_as, r.billed_nano, r.booked_nano) for r in rows] == [
        ("", ("",), 2, None),
        ("gpt-4o", ("gpt-4o",), 5, 5),
    ]
