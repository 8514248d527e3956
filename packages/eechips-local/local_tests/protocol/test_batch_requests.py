"""Several requests as the parts of one, as Google's own library sends them and its JavaScript client reads them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import requests

from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.stack_store import STACK


@pytest.fixture(scope="module")
def server(stack_server: Server) -> Server:
    """Return a server of the small store."""
    return stack_server


@pytest.fixture
def ee(server: Server) -> Any:
    """Return the real client, connected to the server."""
    return initialize(server)


def test_google_s_library_sends_several_requests_at_once(ee: Any) -> None:
    answers: dict[str, Any] = {}

    def note(name: str, response: Any, error: Any) -> None:
        answers[name] = response if error is None else (error.status_code, error.reason)

    batch = ee.data._get_state().cloud_api_resource.new_batch_http_request(callback=note)
    projects = ee.data._get_cloud_projects()
    batch.add(projects.assets().get(name=f"projects/earthengine-legacy/assets/{STACK}/image_0"), request_id="asset")
    batch.add(projects.operations().get(name="projects/p/operations/ABC"), request_id="operation")
    expression = ee.serializer.encode(ee.String("größer").cat("?"), for_cloud_api=True)
    batch.add(projects.value().compute(project="projects/p", body={"expression": expression}), request_id="value")
    batch.execute()
    assert answers["asset"]["id"] == f"{STACK}/image_0"
    assert answers["operation"] == (404, "Operation not found: ABC.")
    assert answers["value"] == {"result": "größer?"}


# As the client of npm writes and reads it (@google/earthengine 1.7.45, ``BatchCall.send`` and ``parseBatchReply``).


def send(server: Server, *lines: str, type: str = "application/http", **headers: str) -> requests.Response:
    parts = "".join(
        f"--batch_EARTHENGINE_batch\r\nContent-Type: {type}\r\nContent-Transfer-Encoding: binary\r\n"
        f"MIME-Version: 1.0\r\nContent-ID: <{number}>\r\n\r\n{line} HTTP/1.1\r\n"
        "Content-Type: application/json; charset=utf-8\r\n\r\n\r\n"
        for number, line in enumerate(lines)
    )
    content_type = {"Content-Type": "multipart/mixed; boundary=batch_EARTHENGINE_batch"}
    body = f"{parts}--batch_EARTHENGINE_batch--\r\n"
    return requests.post(f"{server.url}/batch", body.encode(), headers={**content_type, **headers}, timeout=60)


def read(response: requests.Response) -> dict[str, tuple[int, Any]]:
    boundary = response.headers["content-type"].split("; boundary=")[1]
    found = {}
    for part in response.text.split(f"--{boundary}"):
        groups = part.split("\r\n\r\n")
        if len(groups) >= 3:
            name = re.search(r"\r\nContent-ID: <response-([^>]*)>", groups[0])
            status = re.match(r"HTTP\S*\s(\d+)\s", groups[1])
            assert name is not None
            assert status is not None
            found[name[1]] = int(status[1]), json.loads("\r\n\r\n".join(groups[2:]))
    return found


def test_the_client_of_npm_reads_the_responses(server: Server) -> None:
    asset = f"v1/projects/earthengine-legacy/assets/{STACK}/image_0"
    found = read(send(server, f"GET {asset}?fields=id", "GET v1/projects/p/operations/ABC", "GET /v1/nothing"))
    assert found["0"] == (200, {"id": f"{STACK}/image_0"})
    assert [found[name][0] for name in "12"] == [404, 404]


def test_malformed_batches_are_refused(server: Server) -> None:
    assert send(server, "GET v1/projects/p/operations/A", **{"Content-Type": "application/json"}).status_code == 400
    assert send(server, "GET v1/projects/p/operations/A", type="text/plain").status_code == 400
    assert send(server, "GET").status_code == 200  # to the path HTTP/1.1
    assert "no batches" in send(server, "POST /batch").text
    assert "no batches" in send(server, "POST /%62atch").text
    assert "at most 1000 calls" in send(server, *["GET v1/x"] * 1001).text
