"""Responses that are kept while a plan is made."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from eechips.client.http.response_cache import LONGEST_AGE, ResponseCache
from eechips.errors import StorageError


class Clock:
    """Seconds since 1970, which a test sets."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def test_a_response_has_an_age(tmp_path: Path) -> None:
    clock = Clock()
    with contextlib.closing(ResponseCache(tmp_path / "planning.sqlite", clock)) as cache:
        cache.keep("a request", b"its response")
        clock.now += LONGEST_AGE
        assert cache.find("a request") == b"its response"
        assert not cache.is_empty
        clock.now += 1
        assert cache.find("a request") is None
        assert cache.is_empty
        cache.keep("a request", b"another")
        assert cache.find("a request") == b"another"
        clock.now -= LONGEST_AGE + 1  # it was kept with a clock that was ahead
        assert cache.find("a request") is None
        clock.now += 1
        assert not cache.is_empty
    with contextlib.closing(ResponseCache(tmp_path / "planning.sqlite", clock, "another source")) as cache:
        assert cache.find("a request") is None
        assert cache.is_empty


def test_a_response_that_is_damaged_is_unknown(tmp_path: Path) -> None:
    end = 8192  # of the second page; the first one is needed to open the file
    path = tmp_path / "planning.sqlite"
    with contextlib.closing(ResponseCache(path)) as cache:
        for number in range(50):
            cache.keep(f"request {number}", b"response" * number)
    data = path.read_bytes()
    assert len(data) >= end
    path.write_bytes(data[: end - 3000] + b"\xff" * 3000 + data[end:])
    with contextlib.closing(ResponseCache(path)) as cache:
        assert any(cache.find(f"request {number}") is None for number in range(50))
        cache.keep("request 0", b"new")


def test_a_file_of_something_else_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "planning.sqlite"
    path.write_bytes(b"no database " * 500)
    with pytest.raises(StorageError, match=r"planning\.sqlite: file is not a database; remove it"):
        ResponseCache(path)


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "planning.sqlite"
    with contextlib.closing(ResponseCache(path)) as cache:
        cache._db.execute("PRAGMA max_page_count = 3")  # the error of SQLite is that of a full disk
        with pytest.raises(StorageError, match=r"^the disk is full: could not write .*planning.sqlite. Make room"):
            cache.keep("a request", random.Random(0).randbytes(50_000))
