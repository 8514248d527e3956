"""Scenes from unusual servers: each file arrives unchanged or not at all."""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from local_tests.support.function_server import Answer, serve_function
from tests.support.raw_server import RawAnswer, RawServer, chunked, message, raw_server
from tests.support.scene_runs import TIFF, catalogue, fetch, write
from tests.support.scene_servers import item

CUT = 100_000
ETAG = '"one"'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A GeoTIFF of 131 kB."""
    return write(tmp_path_factory.mktemp("file") / "a.tif", 1).read_bytes()


def offset(headers: Mapping[str, str]) -> int | None:
    """First byte that a request asks for."""
    return int(headers["range"].removeprefix("bytes=").rstrip("-")) if "range" in headers else None


def part(data: bytes, begin: int, end: int, total: int | str) -> bytes:
    content = data[begin:end]
    return message(206, content, ETag=ETAG, Content_Range=f"bytes {begin}-{begin + len(content) - 1}/{total}")


def cut(data: bytes) -> bytes:
    """The beginning of a file, in chunks: nobody says how long it is."""
    return message(
        200, chunked(data[:CUT], is_whole=False), ETag=ETAG, Content_Length=None, Transfer_Encoding="chunked"
    )


def of_unknown_length(total: int | str) -> Callable[[bytes], RawAnswer]:
    """Parts that are shorter than what was asked for, as RFC 9110, 15.3.7, allows."""

    def made(data: bytes) -> RawAnswer:
        def answer(number: int, headers: Mapping[str, str]) -> bytes:
            begin = offset(headers)
            if begin is None:
                return cut(data)
            if begin >= len(data):
                return message(416, ETag=ETAG, Content_Range=f"bytes */{len(data)}")
            return part(data, begin, begin + 20_000, len(data) if total == "told" else total)

        return answer

    return made


def whole_but_for_the_last_chunk(data: bytes) -> RawAnswer:
    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        if offset(headers) == len(data):
            return message(416, ETag=ETAG, Content_Range=f"bytes */{len(data)}")
        body = chunked(data, is_whole=False)
        return message(200, body, ETag=ETAG, Content_Length=None, Transfer_Encoding="chunked")

    return answer


def compressed_and_cut(data: bytes) -> RawAnswer:
    """Without a length, so that only what is compressed tells that it has not ended."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        body = gzip.compress(data, 1)
        return message(
            200, body if number > 2 else body[: len(body) // 2], Content_Length=None, Content_Encoding="gzip"
        )

    return answer


def coded(coding: str, encode: Callable[[bytes], bytes]) -> Callable[[bytes], RawAnswer]:
    return lambda data: lambda number, headers: message(200, encode(data), Content_Encoding=coding, ETag=ETAG)


def rest_compressed(data: bytes) -> RawAnswer:
    """Its parts are those of another form of the file, and its ETag does not tell."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        begin = offset(headers)
        if begin is None:
            return message(200, data if number > 1 else data[:CUT], ETag=ETAG, Content_Length=len(data))
        told = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        return message(206, gzip.compress(data[begin:]), ETag=ETAG, Content_Encoding="gzip", Content_Range=told)

    return answer


def always_206(data: bytes) -> RawAnswer:
    return lambda number, headers: part(data, offset(headers) or 0, len(data), len(data))


def without_ranges(status: int) -> Callable[[bytes], RawAnswer]:
    """Refuses to answer what it does not know."""

    def made(data: bytes) -> RawAnswer:
        def answer(number: int, headers: Mapping[str, str]) -> bytes:
            if "range" in headers:
                return message(status)
            return message(200, data if number > 1 else data[:CUT], ETag=ETAG, Content_Length=len(data))

        return answer

    return made


def little_by_little(data: bytes) -> RawAnswer:
    """Cuts each answer: more often than a request is repeated, but each brings something."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        begin = offset(headers) or 0
        told = f"bytes {begin}-{len(data) - 1}/{len(data)}" if begin else None
        body = data[begin : begin + 12_000]
        return message(206 if begin else 200, body, ETag=ETAG, Content_Length=len(data) - begin, Content_Range=told)

    return answer


def parts_with_status_200(data: bytes) -> RawAnswer:
    """As ``rclone serve s3``; nobody has told how long the file is, so that a rest could pass for the whole."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        begin = offset(headers)
        if begin is None:
            return cut(data)
        told = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        return message(200, data[begin:], ETag=ETAG, Content_Range=told)

    return answer


def less_than_all(data: bytes) -> RawAnswer:
    """The beginning only, and says so, to who asks for all."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        begin = offset(headers) or 0
        body = data[begin : begin + CUT]
        told = f"bytes {begin}-{begin + len(body) - 1}/{len(data)}"
        return message(206 if begin else 200, body, ETag=ETAG, Content_Range=told)

    return answer


def several_parts(data: bytes) -> RawAnswer:
    """Return the requested range as the only part of a multipart message (RFC 9110, 14.6)."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        begin = offset(headers)
        if begin is None:
            return message(200, data if number > 1 else data[:CUT], ETag=ETAG, Content_Length=len(data))
        told = f"Content-Type: image/tiff\r\nContent-Range: bytes {begin}-{len(data) - 1}/{len(data)}".encode()
        body = b"--x\r\n" + told + b"\r\n\r\n" + data[begin:] + b"\r\n--x--\r\n"
        return message(206, body, ETag=ETAG, Content_Type="multipart/byteranges; boundary=x")

    return answer


def another_part(data: bytes) -> RawAnswer:
    """Another part than was asked for."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        if "range" in headers:
            return part(data, 16, len(data), len(data))
        return message(200, data if number > 1 else data[:CUT], ETag=ETAG, Content_Length=len(data))

    return answer


def rest_without_etag(data: bytes) -> RawAnswer:
    """That of another version: nothing but the missing ETag tells."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        begin = offset(headers)
        if begin is None:
            return message(200, data if number > 1 else data[:CUT], ETag=ETAG, Content_Length=len(data))
        return message(206, data[begin:][::-1], Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}")

    return answer


def more_than_the_rest(data: bytes) -> RawAnswer:
    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        begin = offset(headers)
        if begin is None:
            return message(200, data if number > 1 else data[:CUT], ETag=ETAG, Content_Length=len(data))
        told = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        return message(206, data[begin:] + b"more", ETag=ETAG, Content_Range=told)

    return answer


def busy_with_another_clock(data: bytes) -> RawAnswer:
    """Its clock is an hour ahead, and its date is meant by that."""

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        if number > 1:
            return message(200, data)
        now = time.time() + 3600.0
        until = email.utils.formatdate(now + 1, usegmt=True)
        return message(429, Date=email.utils.formatdate(now, usegmt=True), Retry_After=until)

    return answer


def brought_from_tape(data: bytes) -> RawAnswer:
    return lambda number, headers: message(200, data) if number > 2 else message(202, b"ordered", Retry_After=0)


def without_a_file_at_first(data: bytes) -> RawAnswer:
    return lambda number, headers: message(200, data) if number > 1 else message(204, Content_Length=None)


CASES: dict[str, tuple[Callable[[bytes], RawAnswer], int]] = {
    "parts of a length that is told late": (of_unknown_length("told"), 3),
    "parts of a length that nobody tells": (of_unknown_length("*"), 4),
    "whole but for the last chunk": (whole_but_for_the_last_chunk, 2),
    "no content at first": (without_a_file_at_first, 2),
    "compressed and cut": (compressed_and_cut, 3),
    "compressed": (coded("gzip", gzip.compress), 1),
    "compressed in two members": (coded("x-gzip", lambda d: gzip.compress(d[:CUT]) + gzip.compress(d[CUT:])), 1),
    "deflated": (coded("deflate", zlib.compress), 1),
    "compressed twice": (coded("deflate, gzip", lambda d: gzip.compress(zlib.compress(d))), 1),
    "coded in name only": (coded("aws-chunked", bytes), 1),
    "rest compressed": (rest_compressed, 3),
    "206 to who asks for all": (always_206, 1),
    "400 to a range": (without_ranges(400), 3),
    "412 to a range": (without_ranges(412), 3),
    "501 to a range": (without_ranges(501), 3),
    "parts with status 200": (parts_with_status_200, 2),
    "less than all": (less_than_all, 2),
    "several parts": (several_parts, 3),
    "another range": (another_part, 3),
    "rest without an ETag": (rest_without_etag, 3),
    "more than the rest": (more_than_the_rest, 3),
    "little by little": (little_by_little, 11),
    "a clock that is ahead": (busy_with_another_clock, 2),
    "not there yet": (brought_from_tape, 3),
}
"""Responses, and the number of requests that a file takes."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_files_are_stored_unchanged(data: bytes, tmp_path: Path, name: str) -> None:
    made, requests = CASES[name]
    with raw_server() as server:
        run = fetch(*served(server, tmp_path, {"/a.tif": made(data)}), retry_delay=0.05)
        assert (run.counts, len(server.asked["/a.tif"])) == ({"done": 1}, requests)
    assert (run.path / run.units["file"][0]).read_bytes() == data


def test_a_partial_body_with_status_200_is_refused(tmp_path: Path) -> None:
    """Of a file of which nothing else could tell: neither the catalogue nor its first bytes."""
    text = b"a,b\n" + b"1,2\n" * 40_000
    with raw_server() as server:
        run = fetch(*served(server, tmp_path, {"/a.csv": parts_with_status_200(text)}), retry_delay=0.01)
    assert run.counts == {"done": 1}
    assert (run.path / run.units["file"][0]).read_bytes() == text


def served(server: RawServer, folder: Path, answers: Mapping[str, RawAnswer], **more: Any) -> tuple[Path, Path]:
    """A catalogue of what a server answers, and a folder for what comes."""
    server.answers |= answers
    found = []
    for path in answers:
        kind = {"type": TIFF} if path.endswith("tif") else {}
        found.append(item(path.strip("/"), {"data": {"href": server.url + path, "roles": ["data"], **kind, **more}}))
    return catalogue(folder, found), folder / "out"


def test_a_host_that_asks_to_wait_for_days_fails_its_files_alone(data: bytes, tmp_path: Path) -> None:
    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return (200, {}, data) if path == "/s0.tif" else (503, {"Retry-After": "172800"}, b"")

    with serve_function(answer) as url:
        found = [item(f"s{n}", {"B04": {"href": f"{url}/s{n}.tif", "type": TIFF}}) for n in range(2)]
        run = fetch(catalogue(tmp_path, found), tmp_path / "out")
    assert run.counts == {"done": 1, "failed_transient": 1}
    assert "the host asks to wait 48.0 h" in run.failures.iloc[0]["error"]


def test_a_gzip_file_is_not_uncompressed(tmp_path: Path) -> None:
    """Servers tell of a file that is one as of a file that is coded so for its way."""
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    body = written.getvalue()
    with raw_server() as server:
        answer = message(200, body, Content_Encoding="gzip", Content_Type="application/x-tar", ETag=ETAG)
        run = fetch(*served(server, tmp_path, {"/a.tar.gz": lambda number, headers: answer}))
    assert (run.path / run.units["file"][0]).read_bytes() == body


def test_undecodable_content_is_refused(tmp_path: Path) -> None:
    answers: dict[str, RawAnswer] = {
        "/brotli": lambda number, headers: message(200, b"\x0b\x02\x80", Content_Encoding="br"),
        "/damaged": lambda number, headers: message(200, b"no gzip", Content_Encoding="gzip"),
        "/nowhere": lambda number, headers: message(302, Location="http://[::1"),
    }
    with raw_server() as server:
        run = fetch(*served(server, tmp_path, answers), retries=1, retry_delay=0.01)
    reasons = dict(zip((unit["item"] for unit in run.units["unit"]), run.units["error"], strict=True))
    assert "unsupported content encoding 'br'" in reasons["brotli"]
    assert "damaged" in reasons["damaged"]
    assert "malformed URL" in reasons["nowhere"]
    assert run.counts == {"failed_permanent": 2, "failed_transient": 1}


def test_an_answer_to_a_condition_that_was_not_sent_is_requested_again(data: bytes, tmp_path: Path) -> None:
    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        assert not {"if-none-match", "if-modified-since"} & headers.keys()
        return message(304, Content_Length=None, ETag=ETAG) if number == 0 else message(200, data, ETag=ETAG)

    with raw_server() as server:
        run = fetch(*served(server, tmp_path, {"/a.tif": answer}), retry_delay=0.01)
    assert run.counts == {"done": 1}
    assert (run.path / run.units["file"][0]).read_bytes() == data


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_workers_that_fetch_the_same_scene_at_once_do_not_share_a_file(data: bytes, tmp_path: Path) -> None:
    """The second begins when the first has half of it, and ends after the first."""
    has_half, has_second, is_first_done = threading.Event(), threading.Event(), threading.Event()

    def answer(number: int, headers: Mapping[str, str]) -> bytes:
        if number == 1:
            return message(200, data, ETag=ETAG)[: -len(data) // 2]
        if number == 2:
            has_half.set()
            assert has_second.wait(60)
        else:
            has_second.set()
            assert is_first_done.wait(60)
        begin = offset(headers)
        return message(200, data, ETag=ETAG) if begin is None else part(data, begin, len(data), len(data))

    command = [sys.executable, "-m", "eechips"]
    results, units = tmp_path / "results", tmp_path / "units.jsonl"

    def work() -> dict[str, Any]:
        words = [*command, "work", "--units", str(units), "--out", str(results), "-q"]
        told: dict[str, Any] = json.loads(subprocess.run(words, stdout=subprocess.PIPE, timeout=120).stdout)
        return told

    with raw_server() as server, ThreadPoolExecutor(2) as pool:
        stac, _ = served(server, tmp_path, {"/a.tif": answer})
        subprocess.run([*command, "plan", "scenes", "--stac", str(stac), "--to", str(units)], check=True)
        first = pool.submit(work)
        assert has_half.wait(60)
        second = pool.submit(work)
        told = [first.result()]
        is_first_done.set()
        told.append(second.result())
    assert [each["state"] for each in told] == ["done", "done"]
    assert {each["sha256"] for each in told} == {hashlib.sha256(data).hexdigest()}
    assert (results / told[0]["file"]).read_bytes() == data


def test_redirects_to_non_ascii_urls_are_followed(data: bytes, tmp_path: Path) -> None:
    answers: dict[str, RawAnswer] = {
        "/a.tif": lambda number, headers: "HTTP/1.1 302 X\r\nLocation: /ü.tif\r\n\r\n".encode()
    }
    with raw_server() as server:
        server.answers["/%C3%BC.tif"] = lambda number, headers: message(200, data)
        run = fetch(*served(server, tmp_path, answers))
    assert run.counts == {"done": 1}
