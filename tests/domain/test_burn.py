"""How fast windows are used up, when that is worth an alert, and what they will have spent at their end."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentops.domain import burn, periods
from agentops.domain.budgets import NANO, Period, window
from agentops.domain.burn import Burn, Burning, Forecast, Sample

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LIMIT = 100 * NANO
START = datetime(2026, 6, 1, tzinfo=UTC)  # a Monday
LENGTHS = {"hour": HOUR, "day": DAY, "week": 7 * DAY, "month": 30 * DAY}


def steady(rate: float, passed: timedelta, *, length: timedelta, step: timedelta = MINUTE) -> list[Sample]:
    """Samples of a window that is used up at this burn rate since its start."""
    return [Sample(START + n * step, round(LIMIT * rate * n * (step / length))) for n in range(1, passed // step + 1)]


def then(samples: list[Sample], rate: float, passed: timedelta, *, length: timedelta) -> list[Sample]:
    """The same, and after the last of them another rate."""
    last = samples[-1]
    more = steady(rate, passed, length=length)
    return [*samples, *(Sample(last.at + (at - START), last.spent + spent) for at, spent in more)]


def burning(samples: list[Sample], length: timedelta, now: datetime | None = None, limit: int = LIMIT) -> list[Burning]:
    return burn.burning(samples, limit=limit, start=START, end=START + length, now=now or samples[-1].at)


def forecast(
    samples: list[Sample], length: timedelta = DAY, now: datetime | None = None, *, limit: int = LIMIT,
    before: tuple[int, ...] = (),
) -> Forecast:  # fmt: skip
    found = burn.forecast(
        samples, limit=limit, start=START, end=START + length, now=now or samples[-1].at, before=before
    )
    assert found is not None
    return found


# The burn rate


def test_what_is_spent_is_what_the_last_sample_says() -> None:
    samples = [Sample(START + MINUTE, 5), Sample(START + 9 * MINUTE, 7)]
    told = [burn.spent_at(samples, START + minutes * MINUTE) for minutes in (0, 0.9, 1, 8.9, 9, 999)]
    assert told == [0, 0, 5, 5, 7, 7]
    assert burn.spent_at([], START) == 0


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("rate", [0.3, 1.0, 7.5])
def test_a_steady_pace_burns_at_its_rate_whatever_the_look_back(length: timedelta, rate: float) -> None:
    samples = steady(rate, length / 3, length=length, step=length / 600)
    for parts in (20, 90, 200):
        found = burn.burn_rate(
            samples, limit=LIMIT, start=START, end=START + length, now=samples[-1].at, over=length / 600 * parts
        )
        assert found == pytest.approx(rate, rel=1e-6)


def test_nothing_is_spent_between_two_samples() -> None:
    samples = [Sample(START + HOUR, LIMIT // 4)]

    def rate(now: datetime) -> float | None:
        return burn.burn_rate(samples, limit=LIMIT, start=START, end=START + DAY, now=now, over=HOUR)

    assert rate(START + HOUR - MINUTE) == 0.0
    assert rate(START + HOUR) == 6.0
    assert rate(START + 2 * HOUR - MINUTE) == 6.0
    assert rate(START + 2 * HOUR) == 0.0


def test_what_came_before_the_start_counts_as_nothing() -> None:
    samples = [Sample(START + MINUTE, LIMIT // 24)]
    found = burn.burn_rate(samples, limit=LIMIT, start=START, end=START + DAY, now=START + 2 * MINUTE, over=HOUR)
    assert found == pytest.approx(1.0)


def test_what_is_taken_back_does_not_burn() -> None:
    samples = [Sample(START + MINUTE, 900), Sample(START + HOUR, 500)]
    assert burn.burn_rate(samples, limit=1_000, start=START, end=START + DAY, now=START + HOUR, over=HOUR / 2) == 0.0


@pytest.mark.parametrize(("limit", "end"), [(LIMIT, None), (0, START + DAY)])
def test_without_an_end_or_a_limit_there_is_no_rate(limit: int, end: datetime | None) -> None:
    samples = [Sample(START + MINUTE, NANO)]
    assert burn.burn_rate(samples, limit=limit, start=START, end=end, now=START + HOUR, over=HOUR) is None
    assert burn.burning(samples, limit=limit, start=START, end=end, now=START + HOUR) == []


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29T12:00+00:00", 23), ("2026-10-25T12:00+00:00", 25)])
def test_a_day_of_another_length_has_other_rates_and_is_forecast_as_exactly(day: str, hours: int) -> None:
    start, end = window(Period.DAY, "Europe/Berlin", datetime.fromisoformat(day))
    now = start + 6 * HOUR
    samples = [Sample(start + n * MINUTE, n * NANO) for n in range(1, 361)]
    limit = hours * 60 * NANO
    assert burn.burn_rate(samples, limit=limit, start=start, end=end, now=now, over=HOUR) == pytest.approx(1.0)
    found = burn.forecast(samples, limit=limit, start=start, end=end, now=now)
    assert found is not None
    assert (found.low, found.expected, found.high) == (pytest.approx(limit, abs=2),) * 3


# Rules


def test_a_month_has_the_rules_of_error_budgets() -> None:
    fast, slow = burn.rules_of(30 * DAY)
    assert (fast.rate(30 * DAY), fast.over, fast.short) == (pytest.approx(14.4), HOUR, 5 * MINUTE)
    assert (slow.rate(30 * DAY), slow.over, slow.short) == (pytest.approx(6), 6 * HOUR, 30 * MINUTE)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"])
@pytest.mark.parametrize("period", ["hour", "day", "week", "month"])
def test_windows_of_a_period_have_the_same_rules_whatever_the_clock_does(zone: str, period: str) -> None:
    usual = burn.rules_of(LENGTHS[period])
    start, until = datetime(2011, 11, 1, tzinfo=UTC), datetime(2012, 11, 1, tzinfo=UTC)
    while start < until:
        start, end = window(Period(period), zone, start)
        assert end is not None
        assert burn.rules_of(end - start) == usual
        start = end if period != "hour" else start + 40 * DAY


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_there_is_time_to_act_and_look_backs_hold_samples(length: timedelta) -> None:
    fast, slow = burn.rules_of(length)
    assert fast.rate(length) > slow.rate(length) > 1.5
    for rule in (fast, slow):
        assert rule.over >= 5 * MINUTE
        assert 2 * MINUTE <= rule.short <= rule.over / 2
        all_gone = length / rule.rate(length)
        assert all_gone - rule.over >= 1.4 * rule.over, "what is left lasts longer than it took to notice"
        assert all_gone <= 0.7 * length


@pytest.mark.parametrize(("length", "open_hours"), [(DAY, 8), (7 * DAY, 40), (30 * DAY, 176)])
def test_office_hours_alone_do_not_burn(length: timedelta, open_hours: int) -> None:
    assert burn.rules_of(length)[1].rate(length) > length / HOUR / open_hours


# Burning


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(
    ("of_fast", "of_slow", "found"), [(1.05, 0, [Burn.FAST]), (0, 1.05, [Burn.SLOW]), (0, 0.95, [])]
)
def test_a_window_burns_by_the_rule_whose_rate_is_reached(
    length: timedelta, of_fast: float, of_slow: float, found: list[Burn]
) -> None:
    fast, slow = burn.rules_of(length)
    rate = of_fast * fast.rate(length) + of_slow * slow.rate(length)
    samples = steady(rate, fast.over if of_fast else slow.over, length=length)
    assert [one.rule for one in burning(samples, length)] == found


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_it_burns_as_soon_as_the_share_is_gone_and_until_soon_after_the_cause_has_ended(length: timedelta) -> None:
    fast, _ = burn.rules_of(length)
    quiet = steady(0.5, length / 5, length=length)
    began = quiet[-1].at
    runaway = then(quiet, 2 * fast.rate(length), fast.over, length=length)
    ended = runaway[-1].at
    after = then(runaway, 0.5, fast.over, length=length)
    minutes = range((after[-1].at - began) // MINUTE)
    alarmed = [
        began + n * MINUTE
        for n in minutes
        if any(one.rule is Burn.FAST for one in burning(after, length, began + n * MINUTE))
    ]
    assert fast.over / 2 - MINUTE <= alarmed[0] - began <= fast.over / 2 + MINUTE
    assert ended <= alarmed[-1] <= ended + fast.short
    assert len(alarmed) == (alarmed[-1] - alarmed[0]) // MINUTE + 1, "without a break"


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_the_limit_is_exhausted_when_it_says_if_the_rate_stays(length: timedelta) -> None:
    fast, _ = burn.rules_of(length)
    rate = fast.rate(length) * 1.2
    found = burning(steady(rate, fast.over, length=length), length)
    assert abs(found[0].exhausted_at - (START + length / rate)) < MINUTE
    assert (found[0].rate, found[0].over) == (pytest.approx(rate), fast.over)
    assert found[0].spent == pytest.approx(LIMIT * fast.share * 1.2)


def test_the_first_cents_do_not_burn() -> None:
    samples = steady(40, 3 * HOUR, length=365 * DAY)
    assert samples[-1].spent < 0.02 * LIMIT
    assert burn.rules_of(365 * DAY)[0].share <= 0.02
    assert burning(samples, 365 * DAY) == []


def test_one_step_is_no_pace_and_two_alike_are() -> None:
    step = LIMIT // 8
    one, two = Sample(START + HOUR, step), Sample(START + HOUR + MINUTE, 2 * step)
    before = Sample(START + HOUR / 2, step // 100)
    assert burning([one], DAY) == []
    assert burning([before, one], DAY) == []
    assert [found.rule for found in burning([before, one, two], DAY)] == [Burn.FAST, Burn.SLOW]


def test_what_doubles_every_minute_burns() -> None:
    doubling = [Sample(START + n * MINUTE, LIMIT * 2**n // 2**9) for n in range(1, 9)]
    assert Burn.FAST in [found.rule for found in burning(doubling, DAY)]


def test_what_lasts_until_the_reset_does_not_burn() -> None:
    slow = burn.rules_of(DAY)[1]
    quiet = steady(0.1, 19 * HOUR, length=DAY)
    late = then(quiet, slow.rate(DAY) * 1.1, 2 * HOUR, length=DAY)
    assert late[-1].spent < LIMIT / 2
    assert burning(late, DAY) == []
    early = then(quiet[: 6 * 60], slow.rate(DAY) * 1.1, 2 * HOUR, length=DAY)
    assert [found.rule for found in burning(early, DAY)] == [Burn.SLOW]


def test_what_is_used_up_does_not_burn_any_more() -> None:
    samples = steady(24, HOUR, length=DAY)
    assert burning(samples[:-1], DAY)
    assert burning(samples, DAY) == []


def test_a_window_burns_neither_before_nor_after_its_time() -> None:
    samples = steady(12, HOUR, length=DAY)
    assert burning(samples, DAY)
    assert burning(samples, HOUR) == []
    assert burning(samples, DAY, START - MINUTE) == []


AMOUNTS = st.lists(st.integers(0, LIMIT // 20), max_size=90)


def sampled(amounts: list[int]) -> list[Sample]:
    """Each amount is spent in a minute; where nothing is, there is no sample."""
    totals = accumulate(amounts)
    return [Sample(START + (n + 1) * MINUTE, total) for n, total in enumerate(totals) if amounts[n]]


@given(amounts=AMOUNTS, length=st.sampled_from([2 * HOUR, DAY, 7 * DAY]), seconds=st.integers(0, 2 * 3_600 - 1))
def test_whatever_burns_has_spent_too_much_and_is_exhausted_before_its_end(
    amounts: list[int], length: timedelta, seconds: int
) -> None:
    samples, now = sampled(amounts), START + timedelta(seconds=seconds)
    found = burning(samples, length, now)
    assert [one.rule for one in found] == sorted(one.rule for one in found)
    for one in found:
        rule = next(rule for rule in burn.rules_of(length) if rule.burn is one.rule)
        assert one.rate >= rule.rate(length) * (1 - 1e-6)
        assert one.spent >= rule.share * LIMIT * (1 - 1e-6)
        assert now < one.exhausted_at < START + length
    assert burning([*samples, Sample(START + 3 * HOUR, 10**20)], length, now) == found, "the future is not looked at"


# The forecast


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("passed", [0.2, 0.5, 0.97])
@pytest.mark.parametrize("rate", [0.4, 1.7])
def test_a_constant_pace_is_forecast_exactly(length: timedelta, passed: float, rate: float) -> None:
    samples = steady(rate, length * passed, length=length, step=length / 1_440)
    found = forecast(samples, length)
    assert found.expected == pytest.approx(rate * LIMIT, rel=1e-6)
    assert (found.high - found.low) / LIMIT < 0.15
    again = forecast(samples, length, before=(found.expected,) * 5)
    assert again.expected == pytest.approx(rate * LIMIT, rel=1e-6)


def test_without_a_pace_or_anything_before_nothing_is_said() -> None:
    def told(samples: list[Sample], minutes: int = 60, before: tuple[int, ...] = ()) -> Forecast | None:
        now = START + minutes * MINUTE
        return burn.forecast(samples, limit=LIMIT, start=START, end=START + DAY, now=now, before=before)

    assert told([]) is None
    assert told([Sample(START + MINUTE, 5), Sample(START + HOUR, 9)]) is None, "two steps are no pace"
    assert told(steady(1, 5 * MINUTE, length=DAY), 5) is None, "neither are five minutes"
    assert told([], before=(0, 0)) is None
    assert told([], before=(0, 7)) is not None
    assert told(steady(1, HOUR, length=DAY)) is not None
    assert burn.forecast(steady(1, HOUR, length=DAY), limit=LIMIT, start=START, end=None, now=START + HOUR) is None


def test_a_window_that_has_just_begun_is_told_from_those_before() -> None:
    found = forecast([Sample(START + MINUTE, NANO)], before=(90 * NANO, 110 * NANO, 100 * NANO))
    assert found.expected == 100 * NANO
    assert NANO < found.low < 90 * NANO
    assert 110 * NANO < found.high < 180 * NANO
    assert found.exhausted_at == START + DAY
    assert forecast([Sample(START + MINUTE, 120 * NANO)], before=(100 * NANO,)).expected == 120 * NANO


def test_many_windows_before_that_were_alike_are_surer_than_one_and_the_latest_count() -> None:
    widths = [
        found.high - found.low for count in (1, 3, 8) if (found := forecast([], now=START, before=(LIMIT,) * count))
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[2] < widths[0] / 2
    assert forecast([], now=START, before=(*[NANO] * 50, *[LIMIT] * 8)).expected == LIMIT


def test_the_own_pace_takes_over_from_the_windows_before() -> None:
    shares = []
    for hours in (1, 6, 12, 18, 23):
        found = forecast(steady(2, hours * HOUR, length=DAY), before=(LIMIT // 2,) * 6)
        shares.append(found.expected / (2 * LIMIT))
        assert found.high >= 2 * LIMIT or hours < 12
    assert shares == sorted(shares)
    assert shares[0] < 0.4
    assert shares[-1] == pytest.approx(1, abs=0.02)


def test_a_runaway_that_is_over_does_not_become_the_forecast() -> None:
    runaway = then(steady(0.5, 6 * HOUR, length=DAY), 120, 10 * MINUTE, length=DAY)
    samples = then(runaway, 0.5, 6 * HOUR, length=DAY)
    burst = 119.5 * LIMIT / 144
    found = forecast(samples)
    assert found.expected == pytest.approx(LIMIT / 2 + burst, rel=0.1)
    assert found.high > LIMIT / 2 + 1.8 * burst, "it may come again"


def test_it_says_when_the_limit_is_reached_or_was_or_that_it_lasts() -> None:
    samples = steady(2, 8 * HOUR, length=DAY)
    found = forecast(samples)
    assert found.exhausted_at is not None
    assert abs(found.exhausted_at - (START + 12 * HOUR)) < MINUTE
    assert forecast(samples, limit=LIMIT // 2).exhausted_at == START + 6 * HOUR
    assert forecast(samples, limit=2 * LIMIT + NANO).exhausted_at is None


def test_when_a_window_is_over_what_was_spent_is_certain() -> None:
    samples = steady(0.5, 8 * HOUR, length=DAY)
    spent = samples[-1].spent
    for now in (START + DAY, START + 2 * DAY):
        assert forecast(samples, now=now, before=(LIMIT,)) == Forecast(spent, spent, spent, None)


def simulate(
    rng: random.Random, *, runs: float, spread: float = 0.8, drift: float = 0.0, shape: tuple[float, ...] = (1.0,)
) -> list[Sample]:
    """A day of so many runs, of which the costs spread and whose number drifts (standard deviation over the day)."""
    slots, level, total, samples = 288, 0.0, 0, []
    mean_shape = sum(shape) / len(shape)
    for n in range(slots):
        level += rng.gauss(0, drift / math.sqrt(slots))
        expected = runs / slots * math.exp(level) * shape[n * len(shape) // slots] / mean_shape
        arrived, left = 0, rng.expovariate(1)
        while left < expected:
            arrived, left = arrived + 1, left + rng.expovariate(1)
        if arrived:
            total += sum(int(NANO * rng.lognormvariate(0, spread)) for _ in range(arrived))
            samples.append(Sample(START + (n + 1) * 5 * MINUTE, total))
    return samples


KINDS: dict[str, dict[str, float]] = {
    "many runs": {"runs": 1_000},
    "runs": {"runs": 200},
    "few runs": {"runs": 40},
    "costs that differ much": {"runs": 150, "spread": 1.2},
    "a pace that drifts": {"runs": 400, "drift": 0.25},
    "a pace that drifts much": {"runs": 400, "drift": 0.5},
}


def test_about_four_of_five_windows_end_inside_the_band() -> None:
    shares = {}
    for kind, how in KINDS.items():
        inside = []
        for seed in range(50):
            samples = simulate(random.Random(f"{kind} {seed}"), **how)
            for passed in (0.15, 0.3, 0.5, 0.7, 0.85):
                now = START + passed * DAY
                found = burn.forecast(samples, limit=LIMIT, start=START, end=START + DAY, now=now)
                if found is not None:
                    inside.append(found.low <= samples[-1].spent <= found.high)
        shares[kind] = sum(inside) / len(inside)
    assert min(shares.values()) >= 0.6, shares
    assert 0.75 <= sum(shares.values()) / len(shares) <= 0.9, shares


def test_days_with_hours_of_their_own_end_inside_the_band_when_days_before_are_known() -> None:
    office = (0.05,) * 8 + (1.0,) * 10 + (0.1,) * 6
    inside, wide = [], []
    for seed in range(25):
        rng = random.Random(f"office {seed}")
        days = [simulate(rng, runs=300, shape=office) for _ in range(5)]
        before = tuple(day[-1].spent for day in days[:-1])
        for passed in (0.02, 0.25, 0.4, 0.6, 0.8):
            now = START + passed * DAY
            found = burn.forecast(days[-1], limit=LIMIT, start=START, end=START + DAY, now=now, before=before)
            assert found is not None
            inside.append(found.low <= days[-1][-1].spent <= found.high)
            wide.append((found.high - found.low) / days[-1][-1].spent)
    assert sum(inside) / len(inside) >= 0.8
    assert sum(wide) / len(wide) < 1.2


@settings(deadline=None)
@given(
    amounts=AMOUNTS,
    before=st.lists(st.integers(0, LIMIT), max_size=10),
    minutes=st.integers(0, 1_440),
    factor=st.integers(2, 1_000),
)
def test_whatever_was_spent_the_forecast_is_in_order_and_the_unit_makes_no_difference(
    amounts: list[int], before: list[int], minutes: int, factor: int
) -> None:
    samples, now = sampled(amounts), START + minutes * MINUTE

    def told(samples: list[Sample], limit: int, before: list[int]) -> Forecast | None:
        return burn.forecast(samples, limit=limit, start=START, end=START + DAY, now=now, before=before)

    found = told(samples, LIMIT, before)
    larger = told([Sample(at, spent * factor) for at, spent in samples], LIMIT * factor, [b * factor for b in before])
    assert (found is None) == (larger is None)
    if found is None or larger is None:
        return
    spent = burn.spent_at(samples, now)
    assert spent <= found.low <= found.expected <= found.high
    assert (found.exhausted_at is not None) == (found.expected >= LIMIT or spent >= LIMIT)
    assert found.exhausted_at is None or START <= found.exhausted_at <= START + DAY
    assert larger.expected == pytest.approx(found.expected * factor, rel=1e-6, abs=factor)
    assert larger.high == pytest.approx(found.high * factor, rel=1e-6, abs=2 * factor)


@given(
    amounts=st.lists(st.integers(1, LIMIT // 20), min_size=8, max_size=90),
    place=st.integers(0, 7),
    more=st.integers(0, LIMIT),
)
def test_who_has_spent_more_is_not_expected_to_spend_less(amounts: list[int], place: int, more: int) -> None:
    now = START + len(amounts) * MINUTE
    less = forecast(sampled(amounts), now=now)
    amounts[place] += more
    assert forecast(sampled(amounts), now=now).expected >= less.expected + more - 1


def test_a_month_with_a_sample_every_minute_is_told_like_any_other() -> None:
    start = periods.truncate(START, "month")
    samples = [Sample(start + n * MINUTE, n * NANO) for n in range(1, 40_000)]
    window = {"limit": 43_200 * NANO, "start": start, "end": start + 30 * DAY, "now": samples[-1].at}
    found = burn.forecast(samples, **window)
    assert found is not None
    assert found.expected == pytest.approx(43_200 * NANO, rel=1e-6)
    assert burn.burning(samples, **window) == []
