"""Uploads to S3 in parts, its errors, and where credentials and regions come from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random

import pytest

from eechips.errors import StorageError, TransientError
from eechips.storage import ObjectStore
from local_tests.support.loopback import LoopbackServer
from local_tests.support.object_server import ACCOUNT, ObjectServer, missing_packages, serving_objects

PART = 5 << 20  # the least that S3 takes
MEGABYTES = Random(0).randbytes(12_800_000)  # three parts

pytestmark = pytest.mark.skipif(missing_packages("s3") is not None, reason="obstore or moto is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with serving_objects("bucket-parts") as found:
        yield found


@contextmanager
def answering(status: int, body: bytes, size: int | None = None) -> Iterator[str]:
    """A server that answers every upload so, and that objects have a size or, with None, are missing."""
    tags = {"ETag": '"5f3e-41a"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send(status, len(body))
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self._send(404 if size is None else 200, size or 0)

        def _send(self, status: int, length: int) -> None:
            self.send_response(status)
            for name, value in {**tags, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with LoopbackServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("size", [None, 3, 7])
def test_an_upload_that_a_page_with_a_tag_answers_is_not_done(
    monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    """The tag of an object that is encrypted is not its MD5 either."""
    with answering(200, b"<html>Please log in</html>", size) as url:
        for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "1"}.items():
            monkeypatch.setenv(name, value)
        store = ObjectStore("s3://bucket/run")
        if size == len(b"content"):
            store.stage("a.png", b"content", "token")
            return
        with pytest.raises(TransientError, match=r"arrived incomplete"):
            store.stage("a.png", b"content", "token")


@pytest.mark.parametrize(
    ("status", "code", "is_final"),
    [
        (403, "AccessDenied", True),
        (400, "ExpiredToken", True),
        (400, "EntityTooLarge", True),
        (301, "PermanentRedirect", True),
        (400, "BadDigest", False),
        (400, "RequestTimeout", False),
        (409, "OperationAborted", False),
        (429, "TooManyRequests", False),
        (500, "InternalError", False),
        (503, "SlowDown", False),
    ],
)
def test_errors_are_classified_and_reported_in_the_words_of_the_store(
    status: int, code: str, is_final: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"<Error><Code>{code}</Code><Message>so it is &amp; stays</Message></Error>"
    with answering(status, body.encode()) as url:
        for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "1"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StorageError if is_final else TransientError) as raised:
            ObjectStore("s3://bucket/run").stage("a.png", b"content", "token")
    said = "region" if status == 301 else "so it is & stays"
    assert str(raised.value).startswith("could not upload s3://bucket/run/a.png: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_away_may_return(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TransientError, match=r"^could not upload s3://bucket/run/a\.png: HTTP error"):
        ObjectStore("s3://bucket/run").stage("a.png", b"content", "token")


@pytest.mark.slow
def test_large_objects_are_uploaded_in_parts_that_are_checked(server: ObjectServer, tmp_path: Path) -> None:
    from eechips.storage.s3_backend import S3Backend

    backend = S3Backend("bucket-parts", server.environment, PART)
    path = tmp_path / "mosaic.tif"
    path.write_bytes(MEGABYTES)
    told: list[int] = []
    backend.upload(path, "bucket-parts/run/mosaic.tif", told.append)
    assert server.content("run/mosaic.tif") == MEGABYTES
    assert told[-1] == len(MEGABYTES)
    assert server.asked["PUT"] == 3, server.asked
    backend.put("bucket-parts/run/again.tif", MEGABYTES)
    assert server.asked["PUT"] == 6
    server.spoiled = 1
    with pytest.raises(Exception, match="BadDigest"):
        backend.put("bucket-parts/run/other.tif", MEGABYTES)
    assert server.content("run/other.tif") is None
    assert b"".join(backend.blocks("bucket-parts/run/again.tif")) == MEGABYTES


@pytest.mark.slow
def test_credentials_and_endpoint_of_a_profile_are_used(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*ACCOUNT, "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = one\naws_secret_access_key = two\n")
    (tmp_path / "config").write_text(f"[profile lab]\nregion = eu-west-1\nendpoint_url = {server.url}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    store = ObjectStore("s3://bucket-parts/profile")
    store.stage("a.png", b"content", "token")
    assert server.content("profile/a.png") == b"content"
    assert store.size("a.png") == 7


def test_missing_credentials_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ACCOUNT, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StorageError, match="Unable to locate credentials"):
        ObjectStore("s3://bucket/run").stage("a.png", b"content", "token")


@pytest.mark.slow
def test_the_region_of_a_bucket_is_requested(server: ObjectServer) -> None:
    from eechips.storage.s3_backend import region_of

    assert region_of("bucket-parts", server.url) == "us-east-1"
    assert region_of("bucket-none", server.url) is None
