"""Times as people and files write them, against pandas."""

from __future__ import annotations

import datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.assets import IngestError
from eechips_local.assets.date_parsing import from_netcdf, names_of_dates, to_milliseconds

MOMENTS = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1))


@given(MOMENTS)
def test_datetimes_are_utc(moment: datetime.datetime) -> None:
    expected = int(pd.Timestamp(moment, tz="UTC").value // 1_000_000)
    assert to_milliseconds(moment) == expected
    assert to_milliseconds(moment.isoformat()) == expected
    assert to_milliseconds(moment.isoformat() + "Z") == expected
    assert to_milliseconds(moment.replace(tzinfo=datetime.timezone.utc).isoformat()) == expected


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_utc_offsets_are_applied(moment: datetime.datetime, minutes: int) -> None:
    there = moment.replace(tzinfo=datetime.timezone(datetime.timedelta(minutes=minutes)))
    expected = int(pd.Timestamp(there).value // 1_000_000)
    assert to_milliseconds(there) == expected
    assert to_milliseconds(there.isoformat()) == expected


@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1)))
def test_dates_begin_their_day(day: datetime.date) -> None:
    expected = int(pd.Timestamp(day, tz="UTC").value // 1_000_000)
    for text in (day.isoformat(), day.strftime("%Y%m%d"), day.strftime("%Y_%m_%d"), day.strftime("%Y/%m/%d")):
        assert to_milliseconds(text) == expected
    assert to_milliseconds(day) == expected
    assert names_of_dates([expected]) == [day.strftime("%Y_%m_%d")]


@pytest.mark.parametrize(
    "text", ["", "2020", "2020-13-01", "2020-02-30", "01/02/2020", "2020-1-1", "yesterday", "2020-0101"]
)
def test_other_strings_are_no_dates(text: str) -> None:
    with pytest.raises(IngestError, match="is not a date"):
        to_milliseconds(text)


def test_milliseconds_are_kept() -> None:
    assert to_milliseconds(1313366400000) == 1313366400000
    assert to_milliseconds("2011-08-15t00:00:00.123456789z") == 1313366400123
    with pytest.raises(IngestError):
        to_milliseconds(True)


@given(st.integers(0, 40_000), st.sampled_from(["days", "hours", "minutes", "seconds"]))
def test_time_axes_of_netcdf_are_read(value: int, unit: str) -> None:
    expected = pd.Timestamp("2000-01-01", tz="UTC") + pd.Timedelta(value, unit=unit)  # type: ignore[call-overload]
    got = from_netcdf(str(value), f"{unit} since 2000-01-01 00:00:00", "standard")
    assert got == int(expected.as_unit("ns").value // 1_000_000)


@pytest.mark.parametrize(
    ("value", "units", "calendar", "expected"),
    [
        (876576, "hours since 1900-01-01 00:00:0.0", "gregorian", 946684800000),
        (1829004.5, "hours since 1800-1-1 00:00:0.0", "standard", 1219753800000),
        (730486, "days since 1-1-1 00:00:0.0", "standard", 978220800000),
        (730486, "days since 0001-01-01", "proleptic_gregorian", 978393600000),
        (150000, "days since 1500-02-28", "standard", -1865980800000),
        (150000, "days since 1500-03-01", "gregorian", -1865808000000),
        (150000, "days since 1582-10-04", "gregorian", 740620800000),
        (150000, "days since 1582-10-15", "gregorian", 740707200000),
        (0, "seconds since 1970-01-01T00:00:00Z", "standard", 0),
        (59, "days since 2000-01-01", "noleap", 951868800000),
        (1314006, "hours since 1850-01-01 00:00:00", "noleap", 946706400000),
        (-1, "days since 2004-03-01", "365_day", 1077926400000),
        (735840.5, "days since 0001-01-01", "noleap", 1483272000000),
        (1521.25, "days since 1999-12-31 06:00:00", "noleap", 1078228800000),
        (75615.5, "days since 1850-01-01", "360_day", 2841480000000),
        (1296000, "hours since 1850-01-01 00:00:00", "360_day", 946684800000),
        (-2, "days since 2004-03-01", "360_day", 1078012800000),
        (54375, "days since 1859-12-01", "360_day", 1292457600000),
        (360.25, "days since 1999-12-30 06:00:00", "360_day", 978177600000),
    ],
)
def test_reference_times_are_those_of_cftime(value: float, units: str, calendar: str, expected: int) -> None:
    """Time axes of weather services; cftime's ``num2date`` (1.6) is the oracle of milliseconds."""
    assert from_netcdf(str(value), units, calendar) == expected


@pytest.mark.parametrize("offset", ["-6:00", "+05:30", "-0330", "+1"])
def test_reference_times_may_have_an_offset(offset: str) -> None:
    """``days since 1992-10-8 15:15:42.5 -6:00`` is an example of the CF conventions, section 4.4."""
    hours, minutes = {"-6:00": (-6, 0), "+05:30": (5, 30), "-0330": (-3, -30), "+1": (1, 0)}[offset]
    local = pd.Timestamp("1992-10-08T15:15:42.5Z") - pd.Timedelta(hours=hours, minutes=minutes)
    found = from_netcdf("1", f"days since 1992-10-8 15:15:42.5 {offset}", "standard")
    assert found == (local + pd.Timedelta(days=1)).timestamp() * 1000


def test_unknown_time_axes_are_refused() -> None:
    assert from_netcdf("0.5", "Days since 1970-1-1", "Gregorian") == 43_200_000
    with pytest.raises(IngestError, match="'0000-01-01' is not a date"):
        from_netcdf("1", "days since 0000-01-01", "standard")
    with pytest.raises(IngestError, match="calendar '366_day'"):
        from_netcdf("1", "days since 2000-01-01", "366_day")
    for value, since in (("59", "2000-01-01"), ("1", "1999-12-31")):  # 30 February; a month has no day 31
        with pytest.raises(IngestError, match="360 days has a date that is none"):
            from_netcdf(value, f"days since {since}", "360_day")
    with pytest.raises(IngestError, match="has a date that is none"):
        from_netcdf("1", "days since 2000-02-29", "noleap")
    with pytest.raises(IngestError, match="units 'months since"):
        from_netcdf("1", "months since 2000-01-01", "standard")


def test_names_have_a_time_of_day_if_one_of_them_does() -> None:
    assert names_of_dates([0, 86_400_000]) == ["1970_01_01", "1970_01_02"]
    assert names_of_dates([0, 3_600_000]) == ["19700101T000000", "19700101T010000"]
