"""Periods of the calendar, with pandas as the oracle."""

from __future__ import annotations

import datetime as dt
import re
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import UsageError
from eechips.planning.imagery.periods import SPANS, Period, Step, parse_day, parse_step, warn_of_cut_period
from local_tests.support.captured_log import CapturedLog

days = st.dates(dt.date(1970, 1, 1), dt.date(2100, 12, 31))
steps = st.builds(Step, st.integers(1, 40), st.sampled_from(SPANS))


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("1 month", Step(1, "month")),
        ("month", Step(1, "month")),
        ("16 days", Step(16, "day")),
        ("16d", Step(16, "day")),
        ("2w", Step(2, "week")),
        (" 10 Years ", Step(10, "year")),
        ("1 season", Step(1, "season")),
        ("2seasons", Step(2, "season")),
    ],
)
def test_a_step_is_a_number_and_a_span(text: str, step: Step) -> None:
    assert parse_step(text) == step
    assert parse_step(str(step)) == step


@pytest.mark.parametrize("text", ["", "1", "1 m", "1.5 months", "-1 month", "1 fortnight", "1 month 2 days", "dayss"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a step of time: .* day, week, month, season, year, as in '16 days'"):
        parse_step(text)


def test_an_empty_step_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 month, not 0"):
        parse_step("0 months")


@pytest.mark.parametrize("text", ["2020-13-01", "2020-02-30", "yesterday", "2020-01-01T12:00"])
def test_a_step_of_a_day_makes_daily_periods(text: str) -> None:
    assert parse_day("2020-02-29") == dt.date(2020, 2, 29)
    with pytest.raises(UsageError, match=r"is not a day \(YYYY-MM-DD\)"):
        parse_day(text)


def starts(step: str, start: str, end: str) -> list[str]:
    return [str(period.start) for period in parse_step(step).periods(parse_day(start), parse_day(end))]


def test_months_are_counted_from_the_first_day() -> None:
    assert starts("1 month", "2023-01-31", "2023-06-01") == [
        "2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30", "2023-05-31",
    ]  # fmt: skip
    assert starts("year", "2020-02-29", "2024-03-01") == [
        "2020-02-29", "2021-02-28", "2022-02-28", "2023-02-28", "2024-02-29",
    ]  # fmt: skip


def test_the_last_period_is_cut() -> None:
    (first, last) = parse_step("1 month").periods(parse_day("2023-01-01"), parse_day("2023-02-10"))
    assert first == Period(dt.date(2023, 1, 1), dt.date(2023, 2, 1))
    assert last == Period(dt.date(2023, 2, 1), dt.date(2023, 2, 10))
    assert (first.days, last.days) == (31, 9)


@pytest.mark.parametrize(
    ("step", "start", "end", "message"),
    [
        (Step(1, "month"), "2014-01-01", "2014-02-15", "14 of its 28 days, from 2014-02-01, .* `end` 2014-03-01"),
        (Step(1, "month"), "2014-01-20", "2014-02-01", "12 of its 31 days, from 2014-01-20, .* `end` 2014-02-20"),
        (Step(1, "season"), "2014-03-01", "2015-01-01", "31 of its 90 days, from 2014-12-01, .* `end` 2015-03-01"),
        (Step(16, "day"), "2014-01-01", "2014-02-02", ""),
        (Step(1, "year"), "2014-01-01", "2016-01-01", ""),
    ],
)
def test_an_end_that_cuts_the_last_period_is_told(
    step: Step, start: str, end: str, message: str, caplog: CapturedLog
) -> None:
    warn_of_cut_period(step, start, end)
    assert len(caplog.messages) == bool(message)
    assert re.search(message, caplog.text)


def test_seasons_are_those_of_meteorology() -> None:
    assert starts("season", "2023-01-15", "2024-01-01") == [
        "2023-01-15", "2023-03-01", "2023-06-01", "2023-09-01", "2023-12-01",
    ]  # fmt: skip


def test_a_range_without_days_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the start \(2020-01-01\) must be before the end"):
        parse_step("day").periods(dt.date(2020, 1, 1), dt.date(2020, 1, 1))


@given(steps, days, st.integers(1, 4000))
def test_periods_leave_no_gap_and_end_where_they_should(step: Step, start: dt.date, length: int) -> None:
    end = start + dt.timedelta(length)
    periods = list(step.periods(start, end))
    assert periods[0].start == start
    assert periods[-1].end == end
    assert all(period.days >= 1 for period in periods)
    assert all(one.end == other.start for one, other in pairwise(periods))


@given(steps, days, st.integers(1, 4000))
def test_periods_start_where_pandas_has_them(step: Step, start: dt.date, length: int) -> None:
    end = start + dt.timedelta(length)
    found = [pd.Timestamp(period.start) for period in step.periods(start, end)]
    origin, bound = pd.Timestamp(start), pd.Timestamp(end)
    if step.span == "season":
        firsts = pd.date_range(origin - pd.DateOffset(years=1), bound, freq="QS-DEC")
        begun = max(first for first in firsts if first <= origin)
        following = [begun + pd.DateOffset(months=3 * step.count * number) for number in range(1, len(found) + 1)]
        expected = [origin, *(day for day in following if day < bound)]
    else:
        offsets = [pd.DateOffset(**{f"{step.span}s": step.count * number}) for number in range(len(found) + 1)]
        expected = [day for day in (origin + offset for offset in offsets) if day < bound]
    assert found == expected


@given(steps, days)
def test_a_floor_is_the_first_day_of_its_span(step: Step, day: dt.date) -> None:
    frequency = {"day": "D", "week": "D", "month": "MS", "season": "QS-DEC", "year": "YS"}[step.span]
    there = pd.date_range(pd.Timestamp(day) - pd.DateOffset(years=2), day, freq=frequency)
    assert pd.Timestamp(step.floor(day)) == there[-1]


def test_the_calendar_ends() -> None:
    late = dt.date(9999, 12, 1)
    for text in ("month", "season", "year", "999999999 days", "999999999 years"):
        (period,) = parse_step(text).periods(late, dt.date.max)
        assert period == Period(late, dt.date.max)
    assert parse_step("season").floor(dt.date.min) == dt.date.min
