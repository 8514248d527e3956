"""Calendar arithmetic against Python's own calendar and zones."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.calendar import (
    DAY,
    Fields,
    Unit,
    advance,
    date_of,
    days_of,
    elapsed,
    parse_date,
    parse_timestamp,
    parse_zone,
    start_of,
)

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
ZONES = ("UTC", "America/Los_Angeles", "Asia/Kathmandu", "Australia/Lord_Howe", "PST8PDT", "Etc/GMT+8")
moments = st.integers(-50_000_000_000_000, 200_000_000_000_000)
zones = st.sampled_from(ZONES)
units = st.sampled_from(list(Unit))


def python_datetime(moment: int, zone: str = "UTC") -> datetime:
    return (EPOCH + timedelta(milliseconds=moment)).astimezone(ZoneInfo(zone))


def milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


@given(st.integers(-200_000_000, 200_000_000))
def test_days_and_dates_are_inverse(days):
    year, month, day = date_of(days)
    assert days_of(year, month, day) == days
    assert 1 <= month <= 12
    assert 1 <= day <= 31


@given(moments, zones)
def test_fields_are_python_s(moment, zone):
    fields, expected = Fields.at(moment, parse_zone(zone)), python_datetime(moment, zone)
    assert (fields.year, fields.month, fields.day) == (expected.year, expected.month, expected.day)
    assert (fields.hour, fields.minute, fields.second) == (expected.hour, expected.minute, expected.second)
    assert fields.millisecond == expected.microsecond // 1000
    assert (fields.weekyear, fields.week, fields.weekday) == expected.isocalendar()
    assert fields.day_of_year == expected.timetuple().tm_yday


@given(st.datetimes(datetime(1902, 1, 1), datetime(2200, 1, 1)), zones)
def test_local_times_become_moments_as_in_python(local, zone):
    fields = Fields(local.year, local.month, local.day, local.hour, local.minute, local.second)
    expected = local.replace(microsecond=0, tzinfo=ZoneInfo(zone))
    assert fields.moment(parse_zone(zone)) == milliseconds(expected.astimezone(timezone.utc))


@given(moments)
def test_iso_dates_round_trip(moment):
    text = python_datetime(moment).isoformat(timespec="milliseconds")
    assert parse_date(text).milliseconds == moment
    assert parse_date(text.removesuffix("+00:00")).milliseconds == moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020", "2020-01-01T00:00"),
        ("2017-6-24", "2017-06-24T00:00"),
        ("2017-06", "2017-06-01T00:00"),
        ("2017-6-24T00:14:46", "2017-06-24T00:14:46"),
        ("2020-7-1T13:00", "2020-07-01T13:00"),
        ("2020-07-01T13", "2020-07-01T13:00"),
        ("2021-4-30T07:15:31.24", "2021-04-30T07:15:31.240"),
        ("2021-04-30T07:15:31.123456", "2021-04-30T07:15:31.123"),
        ("2021-04-30T07:30:00+02:00", "2021-04-30T05:30"),
        ("2021-04-30T07:30Z", "2021-04-30T07:30"),
        ("2021-04-30T", "2021-04-30T00:00"),
        ("2020-366", "2020-12-31T00:00"),
        ("2020-W53-5", "2021-01-01T00:00"),
        ("0001-01-01", "0001-01-01T00:00"),
    ],
)
def test_documented_forms_of_dates(text, expected):
    assert parse_date(text).milliseconds == milliseconds(datetime.fromisoformat(expected).replace(tzinfo=timezone.utc))


def test_time_zone_counts_where_the_text_names_none():
    assert parse_date("2020", "US/Mountain") == parse_date("2020-01-01T07:00:00")
    assert parse_date("2020-01-01T00:00Z", "US/Mountain") == parse_date("2020")
    assert parse_date("2020", "+05:30") == parse_date("2019-12-31T18:30")


@pytest.mark.parametrize(
    "text", ["yesterday", "2020-01-01 10:00", "", "2015-02-29", "2015-13-01", "2015-01-01T25", "2015-366", "2021-W53"]
)
def test_invalid_dates_are_refused(text):
    with pytest.raises(InvalidError) as error:
        parse_date(text)
    assert str(error.value) == f"Bad date/time '{text}'."


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "America", "../../etc/passwd", "/etc/passwd", "+25:00", "a\0b"])
def test_unknown_zones_are_refused(name):
    with pytest.raises(InvalidError, match="datetime zone id"):
        parse_zone(name)


@given(moments, zones, units)
def test_a_moment_lies_in_its_unit(moment, zone_name, unit):
    zone = parse_zone(zone_name)
    start = start_of(moment, unit, zone)
    end = advance(start, 1, unit, zone)
    assert start <= moment
    assert start_of(start, unit, zone) == start
    assert elapsed(start, moment, unit, zone) == 0
    # In the hour that is lived twice a day's end may be ambiguous, but never before the moment.
    assert moment < end


@given(moments, zones)
def test_weeks_begin_on_mondays(moment, zone):
    assert Fields.at(start_of(moment, Unit.WEEK, parse_zone(zone)), parse_zone(zone)).weekday == 1


@given(st.integers(-1200, 1200), moments)
def test_months_keep_the_day_or_take_the_last(months, moment):
    before, after = Fields.at(moment), Fields.at(advance(moment, months, Unit.MONTH))
    assert (after.year * 12 + after.month) - (before.year * 12 + before.month) == months
    assert after.day == before.day or Fields.at(advance(moment, months, Unit.MONTH) + DAY).day == 1
    assert (after.hour, after.minute, after.millisecond) == (before.hour, before.minute, before.millisecond)


@given(st.integers(0, 3000), units, zones, moments)
def test_elapsed_counts_steps(count, unit, zone_name, moment):
    zone = parse_zone(zone_name)
    start = start_of(moment, Unit.YEAR, zone)
    assert elapsed(start, advance(start, count, unit, zone), unit, zone) == count


@pytest.mark.parametrize(
    ("start", "delta", "unit", "expected"),
    [
        ("2020-07-01T13:00", 1, Unit.WEEK, "2020-07-08T13:00"),
        ("2020-07-01T13:00", 2, Unit.YEAR, "2022-07-01T13:00"),
        ("2020-07-01T13:00", -1, Unit.SECOND, "2020-07-01T12:59:59"),
        ("2020-01-31", 1, Unit.MONTH, "2020-02-29"),
        ("2020-02-29", 1, Unit.YEAR, "2021-02-28"),
        ("2020-02-29", -4, Unit.YEAR, "2016-02-29"),
        ("2020-03-31", -1, Unit.MONTH, "2020-02-29"),
        ("2020-01-01", 1.5, Unit.DAY, "2020-01-02T12:00"),
        ("2020-01-01", -0.5, Unit.DAY, "2019-12-31T12:00"),
        ("2020-01-01", 0.5, Unit.SECOND, "2020-01-01T00:00:00.5"),
    ],
)
def test_dates_advance_by_units(start, delta, unit, expected):
    assert advance(int(parse_date(start).milliseconds), delta, unit) == parse_date(expected).milliseconds


def test_days_keep_local_time_over_a_change_of_clocks_and_hours_do_not():
    zone = parse_zone("America/Los_Angeles")
    start = int(parse_date("2020-03-07T12:00", zone.id).milliseconds)
    assert advance(start, 1, Unit.DAY, zone) - start == 23 * 3_600_000
    assert advance(start, 24, Unit.HOUR, zone) - start == 24 * 3_600_000


@pytest.mark.parametrize("delta", [1e18, -1e300, float("inf"), float("nan")])
def test_steps_beyond_all_calendars_are_refused(delta):
    with pytest.raises(InvalidError, match="out of range"):
        advance(0, delta, Unit.YEAR)


@pytest.mark.parametrize(("name", "unit"), [("year", Unit.YEAR), ("days", Unit.DAY), ("seconds", Unit.SECOND)])
def test_units_are_singular_or_plural(name, unit):
    assert Unit.named(name) is unit


@pytest.mark.parametrize("name", ["", "s", "fortnight", "DAY", "dayss"])
def test_unknown_units_are_refused(name):
    with pytest.raises(InvalidError, match="unit"):
        Unit.named(name)


@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    st.text("0123456789", max_size=9),
    st.sampled_from(["Z", "z", "", "+00:00", "-09:30", "+14:00"]),
)
def test_timestamps_are_those_of_pandas(moment: datetime, fraction: str, offset: str) -> None:
    text = f"{moment.isoformat()}{'.' if fraction else ''}{fraction}{offset}"
    wanted = pd.Timestamp(text.upper())
    wanted = wanted if wanted.tzinfo else wanted.tz_localize("UTC")
    assert parse_timestamp(text) == wanted.floor("us").to_pydatetime()


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2020-02-30T00:00:00Z", "2020-01-01T00:00:00ZZ", "2020-01-01T25:00Z"]
)
def test_other_texts_are_no_timestamps(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|range|hour"):
        parse_timestamp(text)
