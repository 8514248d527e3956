"""The transport, against a real server: whole bodies, one retry layer, no leaks."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import multiprocessing
import re
import socketserver
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ee
import pytest
from google.auth.credentials import AnonymousCredentials

from eechips.client.access.connection import skip_deprecated_assets
from eechips.client.http.http_messages import HttpRequest, Timeouts
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.engine.config import RunConfig
from eechips.engine.plans.planner import kept_answers
from eechips.errors import ConfigurationError, PermanentError, TooLargeError, TransientError, ValidationError
from eechips.manifest.folder_lock import lock_folder
from local_tests.support.captured_log import CapturedLog
from local_tests.support.function_server import Answer, serve_function
from local_tests.support.stopped_clock import StoppedClock
from tests.support.engine_service import ALGORITHMS, DISCOVERY, Service, encode, serving

PIXELS = encode("PNG", 1, 64, 64, None)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as service:
        service.names["projects/p/thumbnails/5ecre7"] = {
            "fileFormat": "PNG",
            "x": {"functionName": "Image.constant", "arguments": {"value": {"constantValue": 1}}},
        }
        yield service


def make(service: Service, **options: Any) -> tuple[Transport, Throttle]:
    context = multiprocessing.get_context("spawn")
    sleep, clock = options.pop("sleep", time.sleep), options.get("clock", time.monotonic)
    throttle = Throttle(context, QuotaLimits(in_flight=4, start=4), clients=1, clock=clock, sleep=sleep)
    policy = options.pop("policy", RetryPolicy(retries=3, delay=0.01, max_delay=0.02))
    timeouts = options.pop("timeouts", Timeouts(connect=2, read=2, total=3))
    return Transport(service.url, throttle.client(0), policy, timeouts, **options), throttle


def url_of(service: Service) -> str:
    return f"{service.url}/v1/projects/p/thumbnails/5ecre7:getPixels"


@pytest.mark.parametrize("fault", ["truncate", "reset", "503", "429", "gzip-short", "500", "408"])
def test_a_failed_get_is_sent_again_and_counted(service: Service, fault: str) -> None:
    service.plan(1, fault)
    transport, throttle = make(service)
    with transport.metered() as usage:
        assert transport.get(url_of(service), bytes) == PIXELS
    assert (usage.requests, usage.repeats) == (2, 1)
    assert (throttle.sent, throttle.in_flight) == (2, 0)
    assert service.count("pixels") == 2
    assert throttle.rejected == (fault == "429")


def test_gzip_is_decompressed(service: Service) -> None:
    service.plan(1, "gzip")
    transport, _ = make(service)
    assert transport.get(url_of(service), bytes) == PIXELS
    assert service.headers[-1]["accept-encoding"] == "gzip"


def test_the_client_accepts_no_encoding_that_is_not_read(service: Service) -> None:
    """As googleapiclient sends its requests."""
    transport, _ = make(service)
    url, headers = f"{service.url}/v1/projects/p/value:compute", {"accept-encoding": "gzip, deflate"}
    transport.request(url, "POST", "{}", headers)
    assert service.headers[-1]["accept-encoding"] == "gzip"


@pytest.mark.parametrize(("age", "requests"), [("3600", 2), ("0", 1)])
def test_a_cache_answers_no_post(service: Service, age: str, requests: int) -> None:
    """Its response is that to another request with the same URL."""
    asked: list[bytes] = []

    def answer(path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked.append(body)
        return 200, {"Age": age} if len(asked) == 1 else {}, b"pixels"

    with serve_function(answer) as url:
        transport, _ = make(service)
        assert transport.post(HttpRequest("POST", f"{url}/v1/image:computePixels", b"{}", {}), bytes) == b"pixels"
    assert len(asked) == requests


def test_rejected_bodies_are_requested_again(service: Service) -> None:
    service.plan(1, "html", "short")

    def accept(body: bytes) -> bytes:
        if body != PIXELS:
            raise ValidationError("not the pixels")
        return body

    transport, _ = make(service)
    with transport.metered() as usage:
        assert transport.get(url_of(service), accept) == PIXELS
    assert usage.requests == 3


def test_retry_after_is_obeyed(service: Service) -> None:
    service.plan(1, "retry-after")
    clock = StoppedClock()
    transport, _ = make(service, clock=clock.monotonic, sleep=clock.sleep)
    assert transport.get(url_of(service), bytes) == PIXELS
    assert clock.monotonic() == 1.0


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("400", PermanentError), ("404", PermanentError), ("memory", TooLargeError), ("403", ConfigurationError)],
)
def test_permanent_errors_are_not_retried(service: Service, fault: str, kind: type[Exception]) -> None:
    service.plan(1, fault)
    transport, _ = make(service)
    with pytest.raises(kind):
        transport.get(url_of(service), bytes)
    assert service.count("pixels") == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 90, b'{"error": {"code": 400, "mess'])
def test_an_error_that_was_damaged_on_its_way_is_requested_again(service: Service, content: bytes) -> None:
    """The unit's own error, in the second response, is the one that is raised."""
    whole = b'{"error": {"code": 400, "message": "Image.load: Image asset a/b not found.", "status": "NOT_FOUND"}}'
    bodies = iter((content, whole))
    json_type = {"Content-Type": "application/json; charset=UTF-8"}
    with serve_function(lambda *_: (400, json_type, next(bodies))) as url:
        transport, _ = make(service)
        with transport.metered() as usage, pytest.raises(PermanentError, match="not found"):
            transport.get(url, bytes)
    assert (usage.requests, usage.repeats) == (2, 1)


def test_the_last_error_is_raised_after_the_last_retry(service: Service) -> None:
    service.plan(1, *["503"] * 9)
    transport, _ = make(service)
    with pytest.raises(TransientError) as caught:
        transport.get(url_of(service), bytes)
    assert caught.value.status == 503
    assert service.count("pixels") == 4


def test_a_silent_server_times_out(service: Service) -> None:
    service.latency = 5.0
    timeouts = Timeouts(connect=1, read=0.3, total=1)
    transport, throttle = make(service, timeouts=timeouts, policy=RetryPolicy(retries=0))
    with pytest.raises(TransientError, match="time-out"):
        transport.get(url_of(service), bytes)
    assert throttle.in_flight == 0


def test_an_unreachable_server_is_transient_and_its_url_is_hidden(service: Service, caplog: CapturedLog) -> None:
    caplog.set_level(logging.INFO, logger="eechips")
    transport, _ = make(service, policy=RetryPolicy(retries=1, delay=0.01))
    url = "http://127.0.0.1:9/v1/projects/p/thumbnails/5ecre7:getPixels"
    with pytest.raises(TransientError) as caught:
        transport.get(url, bytes)
    shown = "".join(map(str, (caught.value, caught.value.__cause__, caplog.text)))
    assert "5ecre7" not in shown
    assert re.fullmatch(r"connection failed: \w+: .*Connection refused", str(caught.value))
    assert caught.value.__suppress_context__


def test_errors_of_the_client_are_unchanged(service: Service) -> None:
    service.plan(None, "503", "400")
    transport, _ = make(service)
    response, body = transport.request(f"{service.url}/v1/projects/p/value:compute", "POST", "{}", {})
    assert response.status == 400
    assert b"not found" in body
    assert service.count("value") == 2


def test_blocks_that_change_how_a_thread_sends_nest(service: Service) -> None:
    """The end of an inner block ended the outer one as well: its requests were sent, and not checked."""
    transport, _ = make(service)
    checks: list[str] = []

    def send() -> None:
        transport.request(f"{service.url}/v1/projects/p/value:compute", "POST", "{}", {})

    with transport.checking(lambda _: checks.append("outer")):
        with transport.checking(lambda _: checks.append("inner")):
            send()
        send()
    send()
    assert checks == ["inner", "outer"]
    assert service.count("value") == 3

    def send_after_capturing() -> None:
        transport.capture(send)
        send()

    assert transport.capture(send_after_capturing).method == "POST"
    assert service.count("value") == 3

    service.plan(None, *["503"] * 9)
    with transport.limited_retries(1, 60.0):
        with transport.limited_retries(3, 60.0), pytest.raises(TransientError):  # no more than the outer block allows
            send()
        with pytest.raises(TransientError):
            send()
    assert service.count("value") == 7


def test_a_web_page_is_refused(service: Service) -> None:
    service.plan(None, "html")
    transport, _ = make(service)
    response, body = transport.request(f"{service.url}/v1/projects/p/value:compute", "POST", "{}", {})
    assert (response.status, body) == (200, b'{"result": 42}')
    assert service.count("value") == 2
    service.plan(1, "html")
    assert transport.get(url_of(service), bytes) == PIXELS
    assert service.count("pixels") == 2


def test_a_collection_that_is_requested_without_a_mark_is_checked_and_requested_again(tmp_path: Path) -> None:
    """An error, or a web page, was taken for the collection: planning failed, or kept it."""
    collection = {"type": "ImageCollection", "features": []}
    unavailable = {"error": {"code": 503, "message": "The service is currently unavailable.", "status": "UNAVAILABLE"}}
    faults = [(503, json.dumps(unavailable).encode()), (200, b"<html>")]
    counts = {"marked": 0, "unmarked": 0}

    def answer(_: str, __: Mapping[str, str], body: bytes) -> Answer:
        expression = json.loads(body)["expression"]
        values = expression["values"][expression["result"]].get("arrayValue", {}).get("values")
        counts["marked" if values else "unmarked"] += 1
        if not values and faults:
            status, content = faults.pop()
            return status, {"Content-Type": "application/json"}, content
        result = [values[0]["constantValue"], {"type": "ImageCollection"}] if values else collection
        return 200, {"Content-Type": "application/json"}, json.dumps({"result": result}).encode()

    asked = json.dumps({"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}})
    throttle = Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=4, start=4), clients=1)
    with serve_function(answer) as url, lock_folder(tmp_path), kept_answers(RunConfig(out=tmp_path)):
        policy = RetryPolicy(retries=3, delay=0.01, max_delay=0.02)
        transport = Transport(url, throttle.client(0), policy, Timeouts(connect=2, read=2, total=3))
        for _ in range(2):  # the second one is answered from the folder
            response, body = transport.request(f"{url}/v1/projects/p/value:compute", "POST", asked, {})
            assert (response.status, json.loads(body)) == (200, {"result": collection})
    assert counts == {"marked": 3, "unmarked": 3}


def test_documents_are_requested_once_and_cached(service: Service) -> None:
    first, _ = make(service)
    for _ in range(2):
        first.request(f"{service.url}/$discovery/rest?version=v1")
    first.request(f"{service.url}/v1/projects/p/algorithms")
    assert service.count("discovery") == 2
    discovery = first.discovery
    assert discovery is not None
    service.forget()
    second, throttle = make(service, discovery=discovery)
    assert second.request(f"{service.url}/$discovery/rest?version=v1")[1] == discovery.discovery
    assert second.request(f"{service.url}/v1/projects/p/algorithms")[1] == discovery.algorithms
    assert service.requests == []
    assert throttle.sent == 0


def test_credentials_go_to_the_endpoint_and_not_along_with_thumbnail_urls(service: Service) -> None:
    from google.oauth2.credentials import Credentials

    with serving() as other:
        transport, _ = make(service, credentials=Credentials("5ecre7"))
        transport.request(f"{service.url}/v1/projects/p/value:compute", "POST", "{}", {})
        transport.request(f"{other.url}/v1/projects/p/value:compute", "POST", "{}", {})
        transport.get(url_of(service), bytes)
        assert service.headers[0]["authorization"] == "Bearer 5ecre7"
        assert "authorization" not in service.headers[1]
        assert "authorization" not in other.headers[0]


def test_headers_and_paths_are_those_that_the_client_itself_sends() -> None:
    """Its ``X-Goog-Api-Client`` replaces that of googleapiclient, and no path ends with a question mark."""
    received: list[tuple[str, tuple[str, ...]]] = []

    def answer(path: str, headers: Mapping[str, str], _: bytes) -> Answer:
        received.append((path, tuple(f"{name.lower()}: {value}" for name, value in headers.items())))
        if "$discovery" in path or "/algorithms" in path:
            return 200, {"Content-Type": "application/json"}, DISCOVERY if "$discovery" in path else ALGORITHMS
        return 200, {"Content-Type": "application/json"}, b'{"result": 1}'

    def requested(own: Transport | None, url: str) -> list[tuple[str, tuple[str, ...]]]:
        received.clear()
        ee.Reset()
        skip_deprecated_assets()
        ee.Initialize(AnonymousCredentials() if own is None else None, url=url, project="p", http_transport=own)
        ee.Number(1).add(1).getInfo()
        ee.data.computePixels({"expression": ee.Image(1), "fileFormat": "PNG"})
        return list(received)

    throttle = Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=4, start=4), clients=1)
    with serve_function(answer) as url:
        client = requested(None, url)
        ours = requested(Transport(url, throttle.client(0), RetryPolicy(), Timeouts()), url)
    ee.Reset()
    assert [path for path, _ in ours] == [path for path, _ in client]
    assert not any(path.endswith("?") for path, _ in ours)
    of_google = [[[h for h in headers if h.startswith("x-goog-")] for _, headers in each] for each in (ours, client)]
    assert of_google[0] == of_google[1]
    assert of_google[0][-1][0].startswith("x-goog-api-client: ee-py/")
    assert of_google[0][-1][1:] == ["x-goog-user-project: p"]


def test_connections_are_reused(service: Service) -> None:
    transport, _ = make(service)
    for _ in range(5):
        transport.get(url_of(service), bytes)
    assert len(service.connections) == 1
    transport.close()


def test_netrc_files_are_ignored(service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login me password 5ecre7\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    transport, _ = make(service)
    transport.get(url_of(service), bytes)
    assert "authorization" not in service.headers[-1]


def test_a_slow_response_ends_at_its_deadline(service: Service) -> None:
    stop = threading.Event()

    class Trickle(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            with contextlib.suppress(OSError):
                while not stop.wait(0.01):
                    self.wfile.write(b"x")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Trickle) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            timeouts = Timeouts(connect=5, read=5, total=0.2)
            transport, _ = make(service, timeouts=timeouts, policy=RetryPolicy(retries=0))
            with pytest.raises(TransientError, match=r"took longer than 0\.2 s"):
                transport.get(f"http://127.0.0.1:{server.server_address[1]}/", bytes)
        finally:
            stop.set()
            server.shutdown()
            thread.join()


@pytest.mark.exhaustive
def test_a_small_answer_that_unpacks_into_a_huge_one_is_refused_before_it_does(service: Service) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(400)) + packer.flush()
    with serve_function(lambda *_: (200, {}, bomb)) as url:
        transport, _ = make(service, policy=RetryPolicy(retries=0))
        tracemalloc.start()
        try:
            with pytest.raises(ValidationError, match="gzip of more than 128 MiB"):
                transport.get(url, bytes)
            assert tracemalloc.get_traced_memory()[1] < 300 << 20
        finally:
            tracemalloc.stop()


@pytest.fixture
def bomb(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Zeros beyond the bound, which is lowered, compressed."""
    monkeypatch.setattr("eechips.client.http.http_messages.MAX_BYTES", 1 << 20)
    return gzip.compress(bytes((1 << 20) + 1))


def test_a_file_that_unpacks_into_a_huge_one_is_requested_again(service: Service, bomb: bytes) -> None:
    answers = [bomb, bomb, PIXELS]
    with serve_function(lambda *_: (200, {"Content-Type": "image/png"}, answers.pop(0))) as url:
        transport, _ = make(service)
        assert transport.get(url, bytes) == PIXELS


def test_too_many_values_are_requested_again_and_then_divided(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A front may have sent them, or the request asks for too many. A bomb of zeros is neither."""
    monkeypatch.setattr("eechips.client.http.http_messages.MAX_BYTES", 1 << 20)
    values = gzip.compress(json.dumps({"result": list(range(300_000))}).encode())
    asked = []

    def answer(*_: object) -> Answer:
        asked.append(1)
        return 200, {"Content-Type": "application/json"}, values

    with serve_function(answer) as url:
        transport, _ = make(service)
        with pytest.raises(TooLargeError, match="more than 1 MiB"):
            transport.request(f"{url}/v1/projects/p/value:compute", "POST", "{}")
    assert len(asked) == 2


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400", "9" * 400])
def test_json_with_what_is_no_number_is_requested_again(service: Service, number: str) -> None:
    """Python reads these, and a table would have an empty cell, or none that Parquet takes."""
    answers = [f'{{"result": [{number}, 1.5]}}'.encode(), b'{"result": [1e99, 1.5, 12]}']
    with serve_function(lambda *_: (200, {"Content-Type": "application/json"}, answers.pop(0))) as url:
        transport, _ = make(service)
        _, found = transport.request(f"{url}/v1/projects/p/value:compute", "POST", "{}")
    assert found == b'{"result": [1e99, 1.5, 12]}'


@pytest.mark.parametrize("body", ["{}", "null", "[]", "5", '{"error": {"code": 429}}', '{"type": "Feature"}', ""])
@pytest.mark.parametrize(
    ("method", "whole"),
    [("table:computeFeatures", b'{"type": "FeatureCollection"}'), ("value:compute", b'{"result":null}')],
)
def test_a_response_that_is_no_table_or_value_is_requested_again(
    service: Service, method: str, whole: bytes, body: str
) -> None:
    """The client would take it for a table without rows."""
    answers = [body.encode(), whole]
    with serve_function(lambda *_: (200, {"Content-Type": "text/plain"}, answers.pop(0))) as url:
        transport, _ = make(service)
        _, found = transport.request(f"{url}/v1/projects/p/{method}?alt=json", "POST", "{}")
    assert found == whole


def test_an_answer_in_several_gzip_members_is_whole(service: Service) -> None:
    with serve_function(lambda *_: (200, {}, gzip.compress(b"one, ") + gzip.compress(b"two") + bytes(5))) as url:
        transport, _ = make(service)
        assert transport.get(url, bytes) == b"one, two"
