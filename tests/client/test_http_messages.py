"""Bodies of answers that are whole, and still no answer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.http_messages import HttpResponse
from eechips.errors import ValidationError

URL = "http://localhost/v1/projects/p/value:compute?alt=json"


def answer(body: str) -> HttpResponse:
    """An answer with a body of JSON."""
    return HttpResponse(200, {"content-type": "application/json"}, body.encode())


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".5"])
def test_numbers_beyond_the_range_of_doubles_are_refused(number: str) -> None:
    with pytest.raises(ValidationError, match=f"the number {number[:40]} came back"):
        answer(f'{{"result": [1.5, {number}]}}').refuse_fragment(URL)


@pytest.mark.parametrize("number", ["1e308", "-0.0", "1e-999"])
def test_other_numbers_pass(number: str) -> None:
    answer(f'{{"result": {number}}}').refuse_fragment(URL)


@given(
    whole=st.integers(1, 320).map(lambda digits: "9" * digits),
    fraction=st.sampled_from(["", ".25"]),
    exponent=st.sampled_from(["", "e", "E", "e+", "E+", "e-"]),
    digits=st.integers(0, 1200),
)
def test_numbers_are_refused_by_what_python_makes_of_them(
    whole: str, fraction: str, exponent: str, digits: int
) -> None:
    number = f"{whole}{fraction}{exponent}{digits}" if exponent else whole + fraction
    if math.isfinite(float(number)):
        answer(f'{{"result": {number}}}').refuse_fragment(URL)
    else:
        with pytest.raises(ValidationError, match="beyond the range of doubles"):
            answer(f'{{"result": {number}}}').refuse_fragment(URL)


def test_truncated_json_is_refused() -> None:
    with pytest.raises(ValidationError, match="truncated or damaged JSON"):
        answer('{"result": [1.5').refuse_fragment(URL)


@pytest.mark.parametrize("start", ["", "\ufeff", "\ufeff\r\n "])
def test_web_pages_are_refused_whatever_is_before_them(start: str) -> None:
    with pytest.raises(ValidationError, match="a web page came back"):
        HttpResponse(200, {}, f"{start}<!DOCTYPE html><html>".encode()).refuse_page()


def test_a_part_that_was_not_asked_for_is_an_error() -> None:
    """As a cache sends it that has kept the response to a request for a range."""
    error = HttpResponse(206, {"content-range": "bytes 0-9/10"}, b"0123456789").error
    assert isinstance(error, ValidationError)
