"""Texts from outside reach no terminal, page or spreadsheet as they are."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.errors import UsageError
from eechips.text.formatting import (
    escape_html,
    format_json,
    format_spreadsheet,
    one_line,
    parse_bytes,
    parse_distance,
    rate_period,
)
from tests.support.hostile_texts import HOSTILE_TEXTS, UNSAFE

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def test_hostile_text_is_one_safe_line() -> None:
    for text in HOSTILE_TEXTS:
        line = one_line(text)
        assert not UNSAFE.search(line), text
        assert len(line.splitlines()) == 1, text
        assert len(line) < 10_050, text
        assert not UNSAFE.search(escape_html(text)), text


def test_json_keeps_the_value_and_shows_it_safely() -> None:
    for text in HOSTILE_TEXTS:
        shown = format_json({"text": text}, 1)
        assert json.loads(shown) == {"text": text}
        assert not UNSAFE.search(shown), text


def test_no_cell_is_a_formula() -> None:
    for text in HOSTILE_TEXTS:
        table = format_spreadsheet([("name", "value"), (text, -1.5)])
        ((cell, number),) = list(csv.reader(io.StringIO(table, newline="")))[1:]
        assert not cell.startswith(FORMULA), text
        assert number == "-1.5"


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-3", ".5", "1."])
def test_numbers_in_texts_stay_numbers(number: str) -> None:
    assert format_spreadsheet([(number, -7, None)]) == f"{number},-7,\n"


@pytest.mark.parametrize(
    "name", ["Zürich", "東京", "می\u200cخواهم", "क्\u200dष", "👩\u200d💻", "❤️", "e\u0301\u0323", "a — b"]
)
def test_names_of_all_languages_stay(name: str) -> None:
    assert one_line(name) == name
    assert escape_html(name) == name


@pytest.mark.slow
@given(st.text())
def test_any_text_is_one_line_that_can_be_encoded(text: str) -> None:
    line = one_line(text)
    line.encode()
    assert not UNSAFE.search(line)
    assert one_line(line) == line


def test_the_rest_of_a_long_line_is_counted() -> None:
    assert one_line("x" * 50, longest=10) == "xxxxxxxxxx… (40 more characters)"


@pytest.mark.parametrize("letter", [" ", "\n", "\t", "\u0301", "\u200d", "\x1b", " \n"])
def test_long_texts_take_linear_time(letter: str) -> None:
    text = letter * 1_000_000
    assert len(one_line(text)) < 20_000
    assert len(escape_html(text)) <= 2_000_000


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256MB", 256 * 10**6),
        ("1.5 GiB", 3 << 29),
        ("512kb", 512_000),
        ("2G", 2 * 10**9),
        ("512Mi", 1 << 29),
        ("1.5TB", 15 * 10**11),
        (4096, 4096),
    ],
)
def test_numbers_of_bytes_are_parsed(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["lots", "", "-1GB", "1e9", "2 XB"])
def test_other_texts_are_no_number_of_bytes(text: str) -> None:
    with pytest.raises(UsageError, match=f"'{text}' is not a number of bytes"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "metres"), [("500m", 500), ("10km", 10_000), (" 1.5 KM ", 1500), (".5km", 500)])
def test_distances_are_parsed(text: str, metres: float) -> None:
    assert parse_distance("--min-distance", text) == metres


@pytest.mark.parametrize("text", ["10", "km", "-5m", "0m", "10 miles", "1e3m", ""])
def test_invalid_distances_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a distance such as 500m or 10km"):
        parse_distance("--min-distance", text)


@pytest.mark.parametrize(
    ("per_second", "period"),
    [(0.0, ("second", 1)), (0.1, ("second", 1)), (1 / 40, ("minute", 60)), (1 / 900, ("hour", 3600))],
)
def test_slow_rates_are_told_per_minute_or_hour(per_second: float, period: tuple[str, int]) -> None:
    assert rate_period(per_second) == period
