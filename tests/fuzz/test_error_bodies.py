"""Any error body becomes one error of eechips: bounded, printable, storable, without secrets."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import pytest

from eechips.client.error_classification import classify_response, parse_error
from eechips.client.service_errors import SERVICE_ERRORS
from eechips.errors import EechipsError
from eechips.web.retry_after import parse_retry_after
from tests.fuzz.budget import Budget
from tests.support.service_examples import EXAMPLES

STATUSES = [
    100,
    204,
    301,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    413,
    418,
    425,
    429,
    451,
    499,
    500,
    502,
    503,
    504,
    599,
    999,
]
SECRET = "ya29.a0AfH6SMBsecretsecretsecret"
MOST = 4000  # characters of an error
ODD = [
    None, True, False, 0, -1, 1e308, 10**30, "", " ", "\0", "\x1b[2J\x1b]0;owned\x07", "\ud800", "\u202egpj.exe",
    "é" * 50,
    "Too Many Requests", f"Bearer {SECRET}", "projects/p/thumbnails/0123abcd:getPixels", "a" * 100_000, "(" * 50_000,
    "quota " * 20_000, "limit exceeded " * 5_000, "<html>" * 20_000, [], {}, [[]], [{}], {"message": {}}, float("nan"),
]  # fmt: skip
KEYS = ["error", "message", "status", "code", "errors", "details", "reason", "metadata", "quota_limit", "@type", "x"]


def value(draw: random.Random, depth: int = 0) -> Any:
    """JSON of any shape, most of it near to that of Google's errors."""
    kind = draw.random()
    if depth > 4 or kind < 0.35:
        return draw.choice(
            [
                *ODD,
                *(example.message for example in EXAMPLES.values()),
                *(r for row in SERVICE_ERRORS for r in row.reasons),
            ]
        )
    if kind < 0.55:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(KEYS): value(draw, depth + 1) for _ in range(draw.randrange(6))}


def google(draw: random.Random) -> Any:
    """The shape of Google's errors with a wrong field or two."""
    example = draw.choice(list(EXAMPLES.values()))
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": example.reason}
    detail |= {"metadata": {"quota_limit": example.quota_limit}, "domain": "googleapis.com"}
    error = {"code": example.code, "message": example.message, "status": example.status, "details": [detail]}
    for place in draw.sample([error, detail, error], draw.randrange(3)):
        place[draw.choice(list(place))] = value(draw)
    return draw.choice([{"error": error}, [{"error": error}], error, {"error": [error]}])


def body(draw: random.Random) -> tuple[bytes, bool]:
    """An error body, and whether bytes in its midst were changed."""
    kind = draw.randrange(8)
    if kind == 0:
        return draw.randbytes(draw.randrange(3000)), False
    if kind == 1:
        return b"[" * draw.choice([10, 2000, 200_000]), False
    if kind == 2:
        return b'{"error":' * draw.choice([10, 2000, 100_000]), False
    if kind == 3:
        text = draw.choice(["502 Bad Gateway", "Sorry...", "<script>", "\x1b[31m", "é" * 3000, f"token={SECRET}"])
        return f"<!DOCTYPE html><html><title>{text}</title><p>{text * draw.choice([1, 500])}".encode(), False
    found = google(draw) if draw.random() < 0.6 else value(draw)
    encoding = draw.choice(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"])
    content = json.dumps(found, ensure_ascii=draw.random() < 0.5).encode(encoding, "replace")
    if kind == 4:
        return content[: draw.randrange(len(content) + 1)], False
    if kind == 5:
        return zlib.compress(content, 1), False
    if kind == 6:
        damaged = bytearray(content)
        for _ in range(3):
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        return bytes(damaged), True
    return content, False


def assert_presentable(text: str) -> None:
    """It can be printed, and kept in SQLite and JSON."""
    text.encode()  # no lone surrogates
    assert len(text) <= MOST
    assert not [c for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0], ascii(text[:300])


@pytest.mark.slow
def test_any_error_body_becomes_one_error_that_can_be_shown_and_kept(budget: Budget) -> None:
    for draw in budget.draws():
        status, (content, is_changed) = draw.choice(STATUSES), body(draw)
        parsed = parse_error(content)
        found = classify_response(status, parsed, draw.choice([None, 0.0, 3.5, 1e9]))
        assert isinstance(found, EechipsError)
        assert_presentable(str(found))
        assert is_changed or not (SECRET in str(found) or "0123abcd" in str(found)), content[:2000]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["a", " ", "(", "quota ", "token="])
def test_long_bodies_are_classified_in_linear_time(part: str) -> None:
    """In quadratic time, as by a search for a word before another from each of its letters, they would take hours."""
    text = part * (500_000 // len(part))
    content = json.dumps({"error": {"message": text, "status": text, "details": [{"reason": text}]}}).encode()
    assert_presentable(str(classify_response(400, parse_error(content))))


@pytest.mark.slow
def test_damaged_copies_of_a_documented_error_are_still_that_error_as_far_as_they_say_it(budget: Budget) -> None:
    for draw in budget.draws():
        row = draw.choice(SERVICE_ERRORS)
        example = EXAMPLES[row.name]
        error = {"message": example.message, "code": example.code, "status": example.status, "x": draw.choice(ODD)}
        if example.reason:
            info = {"reason": example.reason, "metadata": {"quota_limit": example.quota_limit}}
            error["details"] = draw.sample([draw.choice(ODD), info, {"metadata": "no object"}], 3)
        whole = parse_error(json.dumps({"error": error}).encode())
        clean = classify_response(example.code, plain(example))
        found = classify_response(example.code, whole)
        assert type(found) is type(clean), (row.name, error)


def plain(example: Any) -> Any:
    """The documented body of an error."""
    info = {"reason": example.reason, "metadata": {"quota_limit": example.quota_limit}}
    error = {"message": example.message, "code": example.code, "details": [info] if example.reason else []}
    return parse_error(json.dumps({"error": error}).encode())


@pytest.mark.slow
def test_any_retry_after_is_a_time_that_can_be_waited_for_or_none(budget: Budget) -> None:
    words = [
        "",
        "0",
        "1",
        "-1",
        "1.5",
        "1e3",
        "nan",
        "inf",
        "9" * 400,
        "٣",
        "²",
        "0x10",
        " 7 ",
        "7, 8",
        "soon",
        "1;q=1",
    ]
    dates = [
        "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994",
        "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 +2359",
        "Thu, 32 Foo 2026 25:61:61 GMT", "Sun, 06 Nov 1994 08:49:37 +9999", "Sun, 06 Nov 1994 08:49:37 -0000",
        "Sat, 01 Jan 00000002026 00:00:00 GMT", "2026-01-01T00:00:00Z", "0 Jan 0 0:0:0 +99999999",
    ]  # fmt: skip
    for draw in budget.draws():
        text = [draw.choice(words + dates) for _ in range(2)]
        if draw.random() < 0.4:
            place = draw.randrange(len(text[0]) + 1)
            text[0] = text[0][:place] + draw.choice("0123456789 ,:+-.GMT\0é\u0665") + text[0][place:]
        seconds = parse_retry_after({"retry-after": text[0], "date": text[1]})
        assert seconds is None or 0.0 <= seconds < float("inf"), text
        assert_presentable(str(classify_response(429, "Too Many Requests", seconds)))
