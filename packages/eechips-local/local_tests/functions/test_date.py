"""Dates: the reference's examples, and Python's own calendar."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol.request_errors import InvalidError, TypeMismatchError
from eechips_local.values.calendar import parse_date, parse_zone
from eechips_local.values.date_patterns import format_date, parse_with_pattern
from eechips_local.values.values import Date, DateRange
from local_tests.support.graphs import call, invoke

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SAMPLE = "2021-4-30T07:15:31.24"
moments = st.integers(-30_000_000_000_000, 150_000_000_000_000)


def at(text, zone=None):
    return int(parse_date(text, zone).milliseconds)


def span(start, end):
    return DateRange(at(start), at(end))


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        (0, None, "1970-01-01"),
        (60 * 1000, None, "1970-01-01T00:01"),
        ("2020", None, "2020-01-01"),
        ("2017-6-24T00:14:46", None, "2017-06-24T00:14:46"),
        ("2020", "US/Mountain", "2020-01-01T07:00:00"),
        ("1996-001", None, "1996-01-01"),
        (1498262400000.9, None, "2017-06-24"),
    ],
)
def test_constructor(value, zone, expected):
    arguments = {} if zone is None else {"timeZone": zone}
    assert call("Date", value=value, **arguments) == Date(at(expected))


@pytest.mark.parametrize("value", [[1], {"a": 1}, True, "tomorrow"])
def test_invalid_dates_are_refused(value):
    with pytest.raises(InvalidError, match=r"^Date: "):
        call("Date", value=value)


# developers.google.com/earth-engine/apidocs/ee-date-format
@pytest.mark.parametrize(
    ("zone", "expected"),
    [("GMT", "2020-08-18T00:00:00"), ("Etc/GMT", "2020-08-18T00:00:00"), ("Etc/GMT+0", "2020-08-18T00:00:00"),
     ("Zulu", "2020-08-18T00:00:00"), ("UTC", "2020-08-18T00:00:00"), ("America/Los_Angeles", "2020-08-17T17:00:00"),
     ("US/Pacific", "2020-08-17T17:00:00"), ("Etc/GMT+8", "2020-08-17T16:00:00"), ("PST8PDT", "2020-08-17T17:00:00"),
     ("Australia/Tasmania", "2020-08-18T10:00:00"), ("Etc/GMT-10", "2020-08-18T10:00:00")],
)  # fmt: skip
def test_zones_of_the_default_format(zone, expected):
    """As in the reference, but for Etc/GMT+8, which is eight hours west of UTC all the year."""
    assert call("Date.format", date="2020-08-18", timeZone=zone) == expected


@pytest.mark.parametrize(
    ("pattern", "zone", "expected"),
    [
        ("YYYY GG", None, "1975 AD"),
        ("CC YY", None, "19 75"),
        ("xxxx ww", None, "1975 30"),
        ("yy DDD", None, "75 204"),
        ("MM dd", None, "07 23"),
        ("e E", None, "3 Wed"),
        ("e EEEEEEEE", None, "3 Wednesday"),
        ("a K h", None, "PM 9 9"),
        ("a KK hh", None, "PM 09 09"),
        ("H k m s S", None, "21 21 13 59 0"),
        ("HH kk mm ss SS", None, "21 21 13 59 00"),
        ("z", None, "UTC"),
        ("zzzz", None, "Coordinated Universal Time"),
        ("z", "PST8PDT", "PDT"),
        ("zzzz", "PST8PDT", "Pacific Daylight Time"),
        ("Z", None, "+0000"),
        ("ZZ", None, "+00:00"),
        ("ZZZ", None, "UTC"),
        ("Z", "PST8PDT", "-0700"),
        ("ZZ", "PST8PDT", "-07:00"),
        ("YY 'yada' MM", None, "75 yada 07"),
        ("YY ''MM'' dd", None, "75 '07' 23"),
        # Further ones, by the documentation of Joda-Time.
        ("yyyy-MM-dd'T'HH:mm:ss.SSS", None, "1975-07-23T21:13:59.000"),
        ("MMM MMMM", None, "Jul July"),
        ("yyyyMMdd", None, "19750723"),
        ("y M d", None, "1975 7 23"),
        ("D", None, "204"),
        ("'o''clock'", None, "o'clock"),
    ],
)
def test_patterns(pattern, zone, expected):
    arguments = {} if zone is None else {"timeZone": zone}
    assert call("Date.format", date="1975-07-23T21:13:59", format=pattern, **arguments) == expected


def test_weekyears_are_not_years():
    assert call("Date.format", date="2021-01-02", format="xxxx-ww yyyy-DDD") == "2020-53 2021-002"


@pytest.mark.parametrize("pattern", ["Q", "yyyy-bb", "L"])
def test_unknown_letters(pattern):
    with pytest.raises(InvalidError, match="Illegal pattern component"):
        call("Date.format", date=0, format=pattern)


def test_zones_without_a_known_name_are_refused():
    with pytest.raises(InvalidError, match="does not know the name"):
        call("Date.format", date=0, format="zzzz", timeZone="Asia/Kathmandu")


@given(moments)
def test_formats_are_python_s(moment):
    expected = (EPOCH + timedelta(milliseconds=moment)).strftime("%m/%d/%y %H:%M:%S %j %a %A %b %B %I %p")
    assert format_date(moment, "MM/dd/yy HH:mm:ss DDD E EEEE MMM MMMM hh a") == expected


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("YYYY MM dd", "2021 4 30"), ("YYYY-MM-dd", "2021-4-30"), ("YYYY/MM/dd", "2021/4/30"), ("MM/dd/YY", "4/30/21"),
     ("MMM. dd, YYYY", "Apr. 30, 2021"), ("YYYY-MM-dd HH:mm:ss", "2021-4-30 00:00:00"), ("yyyyMMdd", "20210430"),
     ("MMMM d y", "april 30 2021"), ("yyyy DDD", "2021 120"), ("xxxx ww e", "2021 17 5"),
     ("E dd MM yyyy", "Fri 30 04 2021"),
     ("yyyy-MM-dd hh:mm a", "2021-04-30 12:00 AM"), ("yyyy-MM-dd kk", "2021-04-30 24"),
     ("yyyy-MM-dd'T'HHZ", "2021-04-30T02+0200"), ("yyyy-MM-dd HH z", "2021-04-29 17 PDT"),
     ("yyyy-MM-dd HH ZZZ", "2021-04-30 05 Asia/Karachi")],
)  # fmt: skip
def test_parse(pattern, text):
    assert call("Date.parse", format=pattern, date=text) == Date(at("2021-04-30"))


def test_parse_in_a_zone():
    found = call("Date.parse", format="yyyy", date="2020", timeZone="US/Mountain")
    assert found == Date(at("2020-01-01T07:00"))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("yyyy-MM-dd", "2021-02-30"), ("yyyy-MM-dd", "20210230"), ("yyyy", "2021 x"), ("MMM", "Foo"), ("yyyy-MM", "2021-"),
     ("hh a", "13 PM"), ("yyyy DDD", "2021 366")],
)  # fmt: skip
def test_texts_that_do_not_fit(pattern, text):
    with pytest.raises(InvalidError) as error:
        call("Date.parse", format=pattern, date=text)
    assert str(error.value) == f"Date.parse: Date/time '{text}' cannot be parsed with format '{pattern}'."


def test_an_empty_pattern_is_refused():
    with pytest.raises(InvalidError, match="Invalid pattern specification"):
        call("Date.parse", format="", date="x")


@given(st.integers(0, 150_000_000_000_000), st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]))
def test_formatted_dates_are_parsed_back(moment, zone_name):
    pattern = "yyyy-MM-dd HH:mm:ss.SSS ZZ"
    zone = parse_zone(zone_name)
    assert parse_with_pattern(format_date(moment, pattern, zone), pattern).milliseconds == moment


def test_get():
    found = {unit: call("Date.get", date="2021-4-30T07:15:31", unit=unit) for unit in ("year", "month", "week", "day")}
    assert found == {"year": 2021, "month": 4, "week": 17, "day": 30}
    assert [call("Date.get", date=SAMPLE, unit=u) for u in ("hours", "minute", "second")] == [7, 15, 31]
    assert call("Date.get", date="2020-01-01", unit="day", timeZone="US/Pacific") == 31


@pytest.mark.parametrize(
    ("unit", "in_unit", "expected"),
    [("month", "year", 3), ("week", "year", 17), ("day", "year", 119), ("day", "month", 29), ("minute", "day", 435),
     ("second", "minute", 31), ("year", "month", 0), ("hour", "day", 7)],
)  # fmt: skip
def test_get_relative(unit, in_unit, expected):
    assert call("Date.getRelative", date=SAMPLE, unit=unit, inUnit=in_unit) == expected


@given(moments)
def test_the_day_of_the_year(moment):
    expected = (EPOCH + timedelta(milliseconds=moment)).timetuple().tm_yday - 1
    assert call("Date.getRelative", date=moment, unit="day", inUnit="year") == expected


@pytest.mark.parametrize(
    ("unit", "start", "end"),
    [("year", "2021", "2022"), ("month", "2021-04", "2021-05"), ("week", "2021-04-26", "2021-05-03"),
     ("day", "2021-04-30", "2021-05-01"), ("hour", "2021-04-30T07", "2021-04-30T08"),
     ("minute", "2021-04-30T07:15", "2021-04-30T07:16"), ("second", "2021-04-30T07:15:31", "2021-04-30T07:15:32")],
)  # fmt: skip
def test_get_range_and_fraction(unit, start, end):
    assert call("Date.getRange", date=SAMPLE, unit=unit) == span(start, end)
    fraction = (at(SAMPLE) - at(start)) / (at(end) - at(start))
    assert call("Date.getFraction", date=SAMPLE, unit=unit) == pytest.approx(fraction)


@pytest.mark.parametrize(
    ("delta", "unit", "expected"),
    [(1, "week", "2020-07-08T13:00"), (2, "years", "2022-07-01T13:00"), (-1, "second", "2020-07-01T12:59:59")],
)
def test_advance(delta, unit, expected):
    assert call("Date.advance", date="2020-7-1T13:00", delta=delta, unit=unit) == Date(at(expected))


def test_advance_in_a_zone_keeps_local_time():
    start = invoke("Date", value="2020-03-07T12:00", timeZone="America/Los_Angeles")
    found = call("Date.advance", date=start, delta=1, unit="day", timeZone="America/Los_Angeles")
    assert found == Date(at("2020-03-08T12:00", "America/Los_Angeles"))


def test_difference():
    assert call("Date.difference", date="2020-01-15", start="2020-01-01", unit="days") == 14
    assert call("Date.difference", date="2020-01-01", start="2020-01-15", unit="weeks") == -2
    assert call("Date.difference", date="2021-01-01", start="2020-01-01", unit="year") == pytest.approx(366 / 365.2425)
    assert call("Date.difference", date="2020-02-01", start="2020-01-01", unit="month") == pytest.approx(
        31 / (365.2425 / 12)
    )


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [("day", "minute", 1440), ("year", "second", 31556952), ("month", "year", 1 / 12), ("week", "hour", 168)],
)
def test_unit_ratio(numerator, denominator, expected):
    assert call("Date.unitRatio", numerator=numerator, denominator=denominator) == pytest.approx(expected)


def test_update():
    assert call("Date.update", date=SAMPLE, year=2010, minute=59) == Date(at("2010-04-30T07:59:31.240"))
    assert call("Date.update", date="2020-02-29", year=2021) == Date(at("2021-02-28"))
    assert call("Date.update", date="2020-02-29", second=1.5) == Date(at("2020-02-29T00:00:01.5"))
    assert call("Date.update", date="2020-01-01", hour=0, timeZone="US/Mountain") == Date(at("2019-12-31T07:00"))
    infinite = invoke("Number.log", input=0)
    for arguments in ({"month": 13}, {"day": 31, "month": 2}, {"hour": 24}, {"second": 60}, {"second": infinite}):
        with pytest.raises(InvalidError, match="must be in the range"):
            call("Date.update", date=SAMPLE, **arguments)


def test_from_ymd():
    assert call("Date.fromYMD", year=2013, month=3, day=15) == Date(at("2013-03-15"))
    assert call("Date.fromYMD", year=2013, month=3, day=15, timeZone="+01:00") == Date(at("2013-03-14T23:00"))
    with pytest.raises(InvalidError) as error:
        call("Date.fromYMD", year=2013, month=13, day=1)
    assert str(error.value) == "Date.fromYMD: Value 13 for monthOfYear must be in the range [1,12]"


def test_millis():
    assert call("Date.millis", date="2017-06-24") == 1498262400000
    assert type(call("Date.millis", date=1.5)) is int


def test_ranges():
    assert call("DateRange", start="2017-06-24", end="2017-07-24") == span("2017-06-24", "2017-07-24")
    assert call("DateRange", start="2017-06-24") == DateRange(1498262400000, 1498262400001)
    assert call("DateRange", start=span("2017-06-24", "2017-07-24")) == span("2017-06-24", "2017-07-24")
    assert call("DateRange", start=1498262400000, end=1500854400000) == span("2017-06-24", "2017-07-24")
    zoned = call("DateRange", start="2017-06-24", end="2017-07-24", timeZone="America/Los_Angeles")
    assert zoned == span("2017-06-24T07:00", "2017-07-24T07:00")


def ranged(start, end):
    return invoke("DateRange", start=start, end=end)


FIRST = ("2017-06-24", "2017-07-24")


def test_relations_of_ranges():
    first = ranged(*FIRST)
    assert call("DateRange.contains", dateRange=first, other=ranged("2017-06-30", "2017-07-10")) is True
    assert call("DateRange.contains", dateRange=first, other=ranged("2010-06-24", "2020-07-24")) is False
    assert call("DateRange.contains", dateRange=first, other="2017-06-24") is True
    assert call("DateRange.contains", dateRange=first, other="2017-07-24") is False
    assert call("DateRange.intersects", dateRange=first, other=ranged("2017-07-24", "2018-01-01")) is False
    assert call("DateRange.intersects", dateRange=first, other=ranged("2017-07-23", "2018-01-01")) is True
    second = ranged("2017-07-01", "2018-08-24")
    assert call("DateRange.intersection", dateRange=first, other=second) == span("2017-07-01", "2017-07-24")
    assert call("DateRange.union", dateRange=first, other=second) == span("2017-06-24", "2018-08-24")
    assert call("DateRange.start", dateRange=first) == Date(at("2017-06-24"))
    assert call("DateRange.end", dateRange=first) == Date(at("2017-07-24"))


@pytest.mark.parametrize(
    ("start", "end", "empty"), [(*FIRST, False), (*FIRST[::-1], True), ("2017-07-24", "2017-07-24", True)]
)
def test_empty_ranges(start, end, empty):
    assert call("DateRange.isEmpty", dateRange=ranged(start, end)) is empty


def test_unbounded_ranges():
    unbounded = invoke("DateRange.unbounded")
    assert call("DateRange.isUnbounded", dateRange=unbounded) is True
    assert call("DateRange.isUnbounded", dateRange=ranged(*FIRST)) is False
    assert call("DateRange.contains", dateRange=unbounded, other="2020") is True
    with pytest.raises(InvalidError):
        call("DateRange.start", dateRange=unbounded)


@pytest.mark.parametrize("value", [1e300, -1e19, 2**63])
def test_moments_beyond_64_bits(value):
    with pytest.raises(InvalidError):
        call("Date", value=value)


def test_an_argument_that_is_no_date():
    with pytest.raises(TypeMismatchError):
        call("Date.millis", date=[1])
    with pytest.raises(InvalidError, match=r"^Date.millis: Bad date/time 'soon'\.$"):
        call("Date.millis", date="soon")
