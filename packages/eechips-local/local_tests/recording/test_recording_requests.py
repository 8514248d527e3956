"""Requests that are hard to record: compressed, in part, redirected, with secrets, of clients or recorders that end."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from local_tests.support.function_server import Answer, serve_function
from local_tests.support.local_earth_engine import Host, wait_until
from local_tests.support.recorders import HEADERS, KEY, TOKEN, Start, list_files, post, recording_of, sum_of

JSON = {"Content-Type": "application/json"}
COMPUTE = "projects/p/value:compute"


@pytest.fixture(scope="module")
def start(host: Host) -> Start:
    return host.start


def result(value: Any) -> Answer:
    return 200, JSON, json.dumps({"result": value}).encode()


def counts(url: str) -> dict[str, int]:
    found: dict[str, int] = requests.get(f"{url}/_recording", timeout=60).json()
    return found


@pytest.mark.slow
def test_a_compressed_body_is_the_same_request(start: Start, tmp_path: Path) -> None:
    received = []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        received.append(json.loads(body))
        return result(3)

    def send(url: str, content: bytes) -> requests.Response:
        headers = {**HEADERS, "Content-Encoding": "gzip"}
        return requests.post(f"{url}/v1/{COMPUTE}", data=content, headers=headers, timeout=60)

    packed = gzip.compress(json.dumps(sum_of(1, 2)).encode())
    with recording_of(start, answer, tmp_path / "out") as server:
        assert send(server.url, packed).json() == {"result": 3}
        assert send(server.url, packed[:-9]).status_code == 400
        assert send(server.url, b"not compressed").status_code == 400
        assert send(server.url, gzip.compress(bytes(33 << 20))).status_code == 400
    assert received == [sum_of(1, 2)]
    replay = start(replay=str(tmp_path / "out"))
    assert post(replay.url, COMPUTE, sum_of(1, 2)).json() == {"result": 3}
    assert send(replay.url, packed).json() == {"result": 3}


@pytest.mark.slow
def test_a_part_of_a_response_is_not_recorded_as_the_whole(start: Start, tmp_path: Path) -> None:
    """RFC 9110, section 14.2: a server may ignore a range, and sends the whole then."""
    waiting: list[Answer] = [(206, {**JSON, "Content-Range": "bytes 0-1/20"}, b"{}"), (304, {}, b""), result(3)]
    conditions = []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        conditions.append({"Range", "If-None-Match"} & headers.keys())
        return waiting.pop(0)

    with recording_of(start, answer, tmp_path / "out") as server:
        headers = {**HEADERS, "Range": "bytes=0-1", "If-None-Match": '"abc"'}
        found = [post(server.url, COMPUTE, sum_of(1, 2), headers=headers).status_code for _ in range(3)]
        assert found == [206, 304, 200]
        assert counts(server.url)["not_final"] == 2
    assert conditions == [set(), set(), set()]
    (path,) = (tmp_path / "out" / "value-compute").iterdir()
    assert json.loads(path.read_text(encoding="utf-8"))["response"]["json"] == {"result": 3}


@pytest.mark.slow
def test_redirects_lead_to_the_recorder_and_are_not_kept(start: Start, tmp_path: Path) -> None:
    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        target = f"http://{headers['Host']}/v1/projects/p/assets/new"
        return result(path) if path.endswith("new") else (307, {"Location": target}, b"")

    with recording_of(start, answer, tmp_path / "out") as server:
        response = requests.get(f"{server.url}/v1/projects/p/assets/old", timeout=60)
        assert [each.status_code for each in response.history] == [307]
        assert response.url == f"{server.url}/v1/projects/p/assets/new"
        assert counts(server.url) == {"kept": 1, "known": 0, "not_final": 1, "not_recorded": 0}


@pytest.mark.parametrize("encoding", ["deflate", "br"])
def test_a_coding_that_was_not_asked_for_is_not_recorded(encoding: str, start: Start, tmp_path: Path) -> None:
    answer: Answer = (200, {**JSON, "Content-Encoding": encoding}, zlib.compress(b'{"result": 3}'))
    with recording_of(start, lambda *_: answer, tmp_path / "out") as server:
        assert post(server.url, COMPUTE, sum_of(1, 2)).status_code == 503
    assert list_files(tmp_path / "out") == ["recording.json"]


def test_an_error_of_the_api_key_is_not_recorded(start: Start, tmp_path: Path) -> None:
    """It has HTTP 400; https://cloud.google.com/docs/authentication/api-keys-use."""
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [reason]}
    answer: Answer = (400, JSON, json.dumps({"error": error}).encode())
    with recording_of(start, lambda *_: answer, tmp_path / "out") as server:
        assert post(server.url, COMPUTE, sum_of(1, 2)).json() == {"error": error}
    assert list_files(tmp_path / "out") == ["recording.json"]


def test_credentials_are_in_no_file_wherever_they_are_repeated(start: Start, tmp_path: Path) -> None:
    secrets = {"header": TOKEN, "key": KEY, "query": "ya29.of-the-query", "header-key": "AIza-of-a-header"}
    text = f"sent {' and '.join(secrets.values())}"
    parameters = f"key={KEY}&access_token={secrets['query']}"

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if "missing" in path:
            error = {"code": 404, "message": f"{text} to https://example.com{path}", "details": [{text: text}]}
            return 404, JSON, json.dumps({"error": error}).encode()
        return result({text: [text], "me@example.com": 1, "you@example.com": 2})

    headers = {**HEADERS, "X-Goog-Api-Key": secrets["header-key"], "Cookie": f"session={TOKEN}", "Referer": TOKEN}
    listing = {**headers, "X-HTTP-Method-Override": "GET", "Content-Type": "application/x-www-form-urlencoded"}
    asset = "projects/p/assets/missing"
    with recording_of(start, answer, tmp_path / "out") as server:
        body = sum_of(text, {text: text})
        found = post(server.url, f"{COMPUTE}?{parameters}", body, headers=headers).json()
        requests.get(f"{server.url}/v1/{asset}?{parameters}&filter={text}", headers=headers, timeout=60)
        folded = f"{parameters}&filter={text}".encode()
        requests.post(f"{server.url}/v1/{asset}:listAssets", data=folded, headers=listing, timeout=60)
        assert counts(server.url)["kept"] == 3
    assert sorted(found["result"].values(), key=str) == [1, 2, ["sent *** and *** and *** and ***"]]
    kept = [path.read_bytes() + str(path).encode() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    for secret in (*secrets.values(), "me@example.com", "you@example.com"):
        assert not any(secret.encode() in content for content in kept), secret
    # Another user's credentials make the same request.
    other = text
    for name, value in secrets.items():
        other = other.replace(value, f"another-{name}-secret")
    headers |= {"Authorization": "Bearer another-header-secret", "X-Goog-Api-Key": "another-header-key-secret"}
    path = f"{COMPUTE}?key=another-key-secret&access_token=another-query-secret"
    replayed = post(start(replay=str(tmp_path / "out")).url, path, sum_of(other, {other: other}), headers=headers)
    assert replayed.json() == found


@pytest.mark.parametrize("text", ["{project}", "{server}/{project}", "{literal:project}", "{{server}}", "projects/{x}"])
def test_texts_that_look_like_placeholders_stay_as_they_are(text: str, start: Start, tmp_path: Path) -> None:
    with recording_of(start, lambda *_: result({text: text}), tmp_path / "out") as server:
        assert post(server.url, COMPUTE, sum_of(text, 1)).json() == {"result": {text: text}}
    replay = start(replay=str(tmp_path / "out"))
    assert post(replay.url, COMPUTE, sum_of(text, 1)).json() == {"result": {text: text}}


def test_ids_with_any_character_are_different_requests(start: Start, tmp_path: Path) -> None:
    ids = [
        "%C3%A9t%C3%A9",
        "%E5%A4%8F",
        "a%3Fb",
        "a%3Fc",
        "a%23b",
        "a%23c",
        "a%25b",
        "a%0Ab",
        "a+b",
        "a%20b",
        "%F0%9F%8C%8D",
    ]

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return result(path.rpartition("/")[2])

    with recording_of(start, answer, tmp_path / "out") as server:
        for url in (server.url, start(replay=str(tmp_path / "out")).url):
            for each in ids:
                found = requests.get(f"{url}/v1/projects/p/assets/{each}", timeout=60).json()
                assert found == {"result": each}


@pytest.mark.parametrize("path", ["a/../b", "a/./b", "../b", "%2E%2E/b", "a%2Fb", "a//b", "%7Ea", "a;b", "a:x/../b"])
def test_paths_reach_the_service_as_the_client_sends_them(path: str, start: Start, tmp_path: Path) -> None:
    """``requests`` would resolve dots: the service would respond to the request for another asset."""
    target = f"/v1/projects/p/assets/{path}?filter=a%2Fb%7E"
    with (
        recording_of(start, lambda path, *_: result(path), tmp_path / "out") as server,
        closing(HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection,
    ):
        connection.request("GET", target)
        assert json.load(connection.getresponse()) == {"result": target}


def test_other_numbers_and_orders_of_arguments(start: Start, tmp_path: Path) -> None:
    """Numbers of the same value are the same request, and the order of arguments is none of it."""
    with recording_of(start, lambda _, __, body: result(body.decode()), tmp_path / "out") as server:
        first = post(server.url, COMPUTE, sum_of(1, 2.5)).json()
        replay = start(replay=str(tmp_path / "out"))
        arguments = '"right": {"constantValue": 25e-1}, "left": {"constantValue": 1.0}'
        call = f'{{"functionInvocationValue": {{"arguments": {{{arguments}}}, "functionName": "Number.add"}}}}'
        body = f'{{"expression": {{"values": {{"x": {call}}}, "result": "x"}}}}'
        same = requests.post(f"{replay.url}/v1/{COMPUTE}", data=body, headers=HEADERS, timeout=60)
        assert same.json() == first
        for left, right in ((2.5, 1), (1, 2.5000000000000004), ("1", 2.5), (True, 2.5), (1, [2.5])):
            assert post(replay.url, COMPUTE, sum_of(left, right)).status_code == 400


def test_a_tag_that_the_service_refuses_is_part_of_the_request(start: Start, tmp_path: Path) -> None:
    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return (400, JSON, b'{"error": {"code": 400}}') if b"Wrong" in body or "Wrong" in path else result(3)

    with recording_of(start, answer, tmp_path / "out") as server:
        for url in (server.url, start(replay=str(tmp_path / "out")).url):
            statuses = [
                post(url, f"{COMPUTE}{query}", {**sum_of(1, 2), **tag}).status_code
                for query, tag in (
                    ("", {}), ("", {"workloadTag": "mine"}), ("", {"workloadTag": "Wrong"}), ("?workloadTag=Wrong", {}),
                )
            ]  # fmt: skip
            assert statuses == [200, 200, 400, 400]


def test_fields_of_what_a_request_creates(start: Start, tmp_path: Path) -> None:
    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        found = {"name": "projects/p/thumbnails/secret-name"}
        found |= {} if path.endswith("fields=name") else {"fileFormat": "PNG"}
        return 200, JSON, json.dumps(found).encode()

    with recording_of(start, answer, tmp_path / "out") as server:
        for url in (server.url, start(replay=str(tmp_path / "out")).url):
            found = [
                post(url, f"projects/p/thumbnails{query}", {**sum_of(1, 2), "fileFormat": "PNG"}).json()
                for query in ("?fields=name", "")
            ]
            assert [each.keys() for each in found] == [{"name"}, {"name", "fileFormat"}]
            assert "secret-name" not in json.dumps(found)


def test_a_payload_that_is_lost_or_damaged_is_recorded_again(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    answer: Answer = (200, {"Content-Type": "image/png"}, b"\x89PNG of a request")
    body = {**sum_of(1, 2), "fileFormat": "PNG"}
    with recording_of(start, lambda *_: answer, folder) as server:
        for damage in (None, b"another", b""):
            for payload in (folder / "payloads").glob("*") if damage is not None else ():
                payload.write_bytes(damage) if damage else payload.unlink()
            post(server.url, "projects/p/image:computePixels", body)
            replayed = post(start(replay=str(folder)).url, "projects/p/image:computePixels", body)
            assert replayed.content == answer[2]
        assert counts(server.url)["kept"] == 3
        post(server.url, "projects/p/image:computePixels", body)
        assert counts(server.url)["known"] == 1


def test_the_nearest_request_is_found_among_those_that_were_recorded_meanwhile(start: Start, tmp_path: Path) -> None:
    with recording_of(start, lambda *_: result(3), tmp_path / "out") as server:
        post(server.url, COMPUTE, sum_of("far", "away"))
        replay = start(replay=str(tmp_path / "out"))
        messages = []
        for _ in range(2):
            messages.append(post(replay.url, COMPUTE, sum_of("near", 2)).json()["error"]["message"])
            post(server.url, COMPUTE, sum_of("near", 1))
    assert 'it has left "far", right "away"; this request has left "near", right 2' in messages[0]
    assert "it has right 1; this request has right 2" in messages[1]


@pytest.mark.parametrize("levels", [150, 250, 400, 900, 2000])
def test_what_is_nested_too_deeply_is_forwarded_only(levels: int, start: Start, tmp_path: Path) -> None:
    nested = "[" * levels + "]" * levels

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return 200, JSON, b'{"result": ' + (nested.encode() if b"[" not in body else b"3") + b"}"

    with recording_of(start, answer, tmp_path / "out") as server:
        response = post(server.url, COMPUTE, sum_of(1, 2))
        assert response.text.replace(" ", "") == f'{{"result":{nested}}}'
        body = json.dumps(sum_of(1, "here")).replace('"here"', nested)
        sent = requests.post(f"{server.url}/v1/{COMPUTE}", data=body, headers=HEADERS, timeout=60)
        assert sent.json() == {"result": 3}
        is_kept = counts(server.url)["kept"] == 2
        assert is_kept == (levels == 150)
    replayed = post(start(replay=str(tmp_path / "out")).url, COMPUTE, sum_of(1, 2))
    assert (replayed.content == response.content) == is_kept


@pytest.mark.slow
def test_clients_that_leave_do_not_stop_the_recorder(start: Start, tmp_path: Path) -> None:
    is_asked, may_respond = threading.Event(), threading.Event()

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        is_asked.set()
        assert may_respond.wait(60)
        return result(3)

    with recording_of(start, answer, tmp_path / "out") as server:
        parts = urlsplit(server.url)
        content = json.dumps(sum_of(1, 2)).encode()
        head = f"POST /v1/{COMPUTE} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        for sent in (head + content[:20], head + content):
            with socket.create_connection((parts.hostname, parts.port), timeout=60) as client:
                client.sendall(sent)
                if sent.endswith(content):
                    assert is_asked.wait(60)
                else:
                    assert not is_asked.is_set()
        may_respond.set()
        # What the service has responded is kept, for nobody has to ask for it again.
        wait_until(lambda: counts(server.url)["kept"] == 1)
        assert counts(server.url) == {"kept": 1, "known": 0, "not_final": 0, "not_recorded": 0}
        assert post(server.url, COMPUTE, sum_of(1, 2)).json() == {"result": 3}
    replay = start(replay=str(tmp_path / "out"))
    assert post(replay.url, COMPUTE, sum_of(1, 2)).json() == {"result": 3}


@pytest.mark.slow
def test_paths_with_raw_bytes_are_refused(start: Start, tmp_path: Path) -> None:
    with recording_of(start, lambda *_: result(3), tmp_path / "out") as server:
        for url in (server.url, start(replay=str(tmp_path / "out")).url):
            parts = urlsplit(url)
            with socket.create_connection((parts.hostname, parts.port), timeout=60) as client:
                request = f"GET /v1/projects/p/assets/été HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
                client.sendall(request.encode())
                assert client.makefile("rb").readline().split()[1] == b"400"


@pytest.mark.slow
def test_a_recorder_that_is_killed_leaves_whole_files(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return 200, {"Content-Type": "application/octet-stream"}, body * 20_000  # some MB

    def send(url: str, number: int) -> bytes:
        return post(url, "projects/p/image:computePixels", {**sum_of(number, 1), "fileFormat": "NPY"}).content

    with serve_function(answer) as upstream:
        command = [sys.executable, "-m", "eechips_local", "record", folder, "--port", "0", "--upstream", upstream]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = "http" + process.stdout.readline().partition("http")[2].split()[0]

            def send_all() -> None:
                with suppress(requests.RequestException):
                    for number in range(100_000):
                        send(url, number)

            threads = [threading.Thread(target=send_all) for _ in range(4)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(list((folder / "image-computePixels").glob("*"))) >= 5)
            process.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
        kept = len(list((folder / "image-computePixels").iterdir()))
        recorder = start(record=str(folder), upstream=upstream)
        for number in range(kept + 5):
            send(recorder.url, number)
    assert [name for name in list_files(folder) if "tmp" in name] == []
    replay = start(replay=str(folder))
    for number in range(kept + 5):
        expected = json.dumps({**sum_of(number, 1), "fileFormat": "NPY"}).encode() * 20_000
        assert send(replay.url, number) == expected
