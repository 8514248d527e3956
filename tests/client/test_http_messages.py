"""Bodies of answers that are whole, and still no answer."""

from __future__ import annotations

import gzip
import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.http.http_messages import HttpRequest, HttpResponse, requested_asset
from eechips.errors import TooLargeError, ValidationError

URL = "http://localhost/v1/projects/p/value:compute?alt=json"


def answer(body: str) -> HttpResponse:
    """An answer with a body of JSON."""
    return HttpResponse(200, {"content-type": "application/json"}, body.encode())


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".5", "9" * 210 + "e99"])
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


@pytest.mark.parametrize(
    "body",
    [
        b'{"result": [1.5',
        b'{"result": {"a": 1, "a": 1}}',
        b'\xef\xbb\xbf{"result": 1}',
        '{"result": 1}'.encode("utf-16"),
    ],
)
def test_json_that_the_client_does_not_read_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationError, match="truncated or damaged JSON"):
        HttpResponse(200, {"content-type": "application/json"}, body).refuse_fragment(URL)


@pytest.mark.parametrize("start", ["", "\ufeff", "\ufeff\r\n "])
def test_web_pages_are_refused_whatever_is_before_them(start: str) -> None:
    with pytest.raises(ValidationError, match="a web page came back"):
        HttpResponse(200, {}, f"{start}<!DOCTYPE html><html>".encode()).refuse_page()


def test_gzip_of_many_members_is_refused_before_all_are_copied() -> None:
    body = gzip.compress(b"a") * 100
    assert HttpResponse(200, {}, body).decoded().body == b"a" * 100
    with pytest.raises(ValidationError, match="gzip of more than 100 members"):
        HttpResponse(200, {}, gzip.compress(b"") * 100_000).decoded()


def test_a_part_that_was_not_asked_for_is_an_error() -> None:
    """As a cache sends it that has kept the response to a request for a range."""
    error = HttpResponse(206, {"content-range": "bytes 0-9/10"}, b"0123456789").error
    assert isinstance(error, ValidationError)


ASSET = "http://localhost/v1/projects/earthengine-public/assets/USDA/NAIP%2FDOQQ?alt=json"
NAMED = '{"type": "IMAGE_COLLECTION", "name": "projects/earthengine-public/assets/USDA/NAIP/DOQQ"}'


@pytest.mark.parametrize("body", ["null", "[]", "{}", NAMED.replace("DOQQ", "DOQ"), NAMED.replace("type", "kind")])
def test_the_description_of_an_asset_has_its_name(body: str) -> None:
    asset = requested_asset(HttpRequest("GET", ASSET, None, {}))
    assert asset == "USDA/NAIP/DOQQ"
    answer(NAMED).refuse_fragment(ASSET, asset)
    with pytest.raises(ValidationError, match="does not describe the asset USDA/NAIP/DOQQ"):
        answer(body).refuse_fragment(ASSET, asset)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("USDA//NAIP/DOQQ/", NAMED),
        ("USDA/NAIP/DOQQ", '{"type": "IMAGE_COLLECTION", "name": "projects/other/assets/X", "id": "USDA/NAIP/DOQQ"}'),
    ],
)
def test_a_description_may_spell_the_name_otherwise(name: str, body: str) -> None:
    answer(body).refuse_fragment(ASSET, name.strip("/"))


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("DELETE", ASSET),
        ("GET", ASSET.replace("?", ":listAssets?")),
        ("POST", "http://localhost/v1/projects/p/assets?assetId=a"),
        ("GET", URL),
    ],
)
def test_other_requests_are_for_no_description(method: str, url: str) -> None:
    assert requested_asset(HttpRequest(method, url, None, {})) is None


@pytest.mark.parametrize("method", ["algorithms", "$discovery/rest", "projects/p/thumbnails", "projects/p/tables"])
@pytest.mark.parametrize("body", ["null", "{}", '{"result": 1}'])
def test_a_response_has_what_the_client_reads(method: str, body: str) -> None:
    with pytest.raises(ValidationError, match=r"a response to .* without .* came back"):
        answer(body).refuse_fragment(f"http://localhost/v1/{method}?version=v1")


@pytest.mark.parametrize("depth", [0, 1, 900])
@pytest.mark.parametrize("method", ["thumbnails", "tables"])
def test_a_name_is_a_text(method: str, depth: int) -> None:
    url = f"http://localhost/v1/projects/p/{method}?alt=json"
    name = "[" * depth + "1" + "]" * depth
    with pytest.raises(ValidationError, match="whose name is no text"):
        answer(f'{{"name": {name}}}').refuse_fragment(url)


def test_the_name_of_an_asset_is_a_text() -> None:
    deep = "[" * 900 + "]" * 900
    with pytest.raises(ValidationError, match="does not describe the asset"):
        answer(f'{{"type": "IMAGE", "name": {deep}, "id": {deep}}}').refuse_fragment(URL, asset="a/b")


def test_an_error_with_a_status_of_success_is_no_empty_list() -> None:
    url = ASSET.replace("?", ":listImages?")
    answer("{}").refuse_fragment(url)
    with pytest.raises(ValidationError, match="an error with a status of success came back"):
        answer('{"error": {"code": 503, "message": "Unavailable"}}').refuse_fragment(url)


@pytest.mark.slow
def test_values_are_too_large_only_if_they_are_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb of gzip is no response of the service: a smaller request would not help."""
    monkeypatch.setattr("eechips.client.http.http_messages.MAX_BYTES", 1 << 20)
    draw = random.Random(1).random
    digits = json.dumps({"result": [draw() for _ in range(100_000)]}).encode()
    equal = b'{"result": [' + b'{"a":0,"b":0,"c":0},' * 60_000 + b"0]}"
    bombs = bytes(2 << 20), bytes(9 << 20)
    for body, error in ((digits, TooLargeError), (equal, TooLargeError), *((bomb, ValidationError) for bomb in bombs)):
        response = HttpResponse(200, {"content-type": "application/json"}, gzip.compress(body))
        with pytest.raises(error, match="of more than 1 MiB came back"):
            response.decoded()
