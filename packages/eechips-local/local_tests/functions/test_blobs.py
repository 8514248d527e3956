"""Files in Cloud Storage, read as text from a server of objects on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from local_tests.support.local_earth_engine import Server, initialize, start_server, stop_server
from local_tests.support.object_server import ObjectServer, missing_packages, serving_objects

FILES = {
    "point.json": b'{"type": "Feature", "a_field": "a demo field"}',
    "wide.txt": "Zürich".encode("utf-16"),
    "latin.txt": "Zürich".encode("latin-1"),
}

pytestmark = pytest.mark.skipif(missing_packages("gs") is not None, reason=str(missing_packages("gs")))


@pytest.fixture(scope="module")
def bucket() -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch, serving_objects("docs", "gs") as objects:
        for name, value in objects.environment.items():
            patch.setenv(name, value)
        for key, content in FILES.items():
            with fsspec.open(f"gs://docs/{key}", "wb", token="anon") as file:
                file.write(content)
        yield objects


@pytest.fixture(scope="module")
def server(bucket: ObjectServer) -> Iterator[Server]:
    running = start_server("--no-demo", "--allow-remote")
    yield running
    stop_server(running)


@pytest.fixture
def ee(server: Server) -> Any:
    return initialize(server)


@pytest.mark.slow
def test_a_file_is_read_as_the_example_of_the_reference_does(ee: Any) -> None:
    """developers.google.com/earth-engine/apidocs/ee-blob-string."""
    blob = ee.Blob("gs://docs/point.json")
    assert blob.url().getInfo() == "gs://docs/point.json"
    assert ee.Dictionary(blob.string().decodeJSON()).get("a_field").getInfo() == "a demo field"


@pytest.mark.slow
def test_the_encoding_can_be_given(ee: Any) -> None:
    assert ee.Blob("gs://docs/wide.txt").string("UTF-16").getInfo() == "Zürich"
    assert ee.Blob("gs://docs/latin.txt").string("ISO-8859-1").getInfo() == "Zürich"
    assert ee.Blob("gs://docs/latin.txt").string().getInfo() == "Z\ufffdrich"
    for encoding in ("no such encoding", "zip", "\x00"):
        with pytest.raises(ee.EEException, match=r"Blob\.string: Unknown encoding"):
            ee.Blob("gs://docs/latin.txt").string(encoding).getInfo()


@pytest.mark.slow
def test_missing_files_are_named(ee: Any) -> None:
    with pytest.raises(
        ee.EEException, match=r"Blob\.string: Cloud Storage object not found: 'gs://docs/nothing\.txt'\."
    ):
        ee.Blob("gs://docs/nothing.txt").string().getInfo()
    with pytest.raises(ee.EEException, match=r"Blob: Invalid Cloud Storage URI: 'gs://docs'"):
        ee.Blob("gs://docs").string().getInfo()


@pytest.mark.slow
def test_addresses_of_other_kinds_are_refused(ee: Any) -> None:
    """A computed address passes the client's own check."""
    for url in ("/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/", "gs://docs/a::file:///etc/passwd"):
        with pytest.raises(ee.EEException, match="Invalid Cloud Storage URI"):
            ee.Blob(ee.String(url)).string().getInfo()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_server_that_reads_no_remote_files_says_what_allows_it(bucket: ObjectServer) -> None:
    running = start_server("--no-demo")
    try:
        ee = initialize(running)
        asked = dict(bucket.asked)
        with pytest.raises(ee.EEException, match="--allow-remote"):
            ee.Blob("gs://docs/point.json").string().getInfo()
        assert dict(bucket.asked) == asked
    finally:
        stop_server(running)
