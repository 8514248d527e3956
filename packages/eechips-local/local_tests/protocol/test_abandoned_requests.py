"""A client that leaves frees the worker that evaluates its request, and its place; light requests pass heavy ones."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ee
import pytest
import requests

from eechips_local.evaluation.light_requests import is_light
from eechips_local.protocol.messages import WorkerRequest
from eechips_local.server import count_workers
from eechips_local.stores import StoreConfig
from local_tests.support.local_earth_engine import Server, initialize, wait_until


@pytest.fixture
def server(serve_briefly: Callable[..., Server]) -> Server:
    return serve_briefly("--no-demo", "--rate", "none", "--workers", "1")


def heavy_body() -> bytes:
    """Return the body of a request that a worker evaluates for longer than a test may take."""

    def row(number: Any) -> Any:
        return ee.List.sequence(1, 3000).map(lambda m: ee.Number(m).multiply(number).sin())

    heavy = ee.Array(ee.List.sequence(1, 30_000).map(row)).reduce(ee.Reducer.sum(), [0, 1])
    return json.dumps({"expression": ee.serializer.encode(heavy, for_cloud_api=True)}).encode()


def send(server: Server, body: bytes, path: str = "value:compute") -> socket.socket:
    """Send a request, and return its connection without waiting for the response."""
    parts = urlsplit(server.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=240)
    head = f"POST /v1/projects/p/{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def compute_one(server: Server) -> None:
    """Compute 1 + 1; a heavy request before it would outlast the test."""
    values: dict[str, Any] = {
        "0": {
            "functionInvocationValue": {
                "functionName": "Number.add",
                "arguments": {"left": {"constantValue": 1}, "right": {"constantValue": 1}},
            }
        }
    }
    body = {"expression": {"result": "0", "values": values}}
    answer = requests.post(f"{server.url}/v1/projects/p/value:compute", json=body, timeout=240)
    assert (answer.status_code, answer.json()) == (200, {"result": 2})


@pytest.mark.slow
def test_abandoned_requests_free_the_worker_and_their_places(server: Server) -> None:
    initialize(server)
    body = heavy_body()
    compute_one(server)
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(send(server, body))
        wait_until(lambda: server.stats()["in_flight"]["now"] == 6)
    compute_one(server)
    wait_until(lambda: server.stats()["in_flight"]["now"] == 0)
    assert server.stats()["answers"]["value:compute"]["499"] == 6


@pytest.mark.slow
def test_light_requests_do_not_wait_for_heavy_ones(server: Server) -> None:
    initialize(server)
    body = heavy_body()
    compute_one(server)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(send(server, body))
        wait_until(lambda: server.stats()["in_flight"]["now"] == 3)
        compute_one(server)
        assert server.stats()["in_flight"]["now"] == 3
    wait_until(lambda: server.stats()["in_flight"]["now"] == 0)


def test_a_machine_with_one_core_has_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((None, 2), (1, 2), (3, 3)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert count_workers(StoreConfig(demo=False)) == expected


def test_requests_with_pixels_tables_or_loops_are_not_light() -> None:
    for name in ("Image.reduceRegion", "Collection.size", "List.map", "List.sequence", "Array", "Geometry.buffer"):
        content = json.dumps({"functionName": name}).encode()
        assert not is_light(WorkerRequest("value:compute", content)), name
    for name in ("Number.add", "Image.load", "Image.bandNames"):
        assert is_light(WorkerRequest("value:compute", json.dumps({"functionName": name}).encode())), name
    assert is_light(WorkerRequest("assets:get"))
    assert not is_light(WorkerRequest("image:computePixels"))


@pytest.mark.slow
def test_a_client_that_stays_gets_its_answer_while_others_leave(server: Server) -> None:
    initialize(server)
    body = heavy_body()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(send(server, body))
        wait_until(lambda: server.stats()["in_flight"]["now"] == 3)
        waiting = send(server, b'{"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}')
        wait_until(lambda: server.stats()["in_flight"]["now"] == 4)
    with waiting:
        found = b""
        while part := waiting.recv(1 << 16):
            found += part
    assert found.startswith(b"HTTP/1.1 200")
    assert json.loads(found.partition(b"\r\n\r\n")[2]) == {"result": 7}


@pytest.mark.slow
def test_a_change_of_assets_is_made_although_the_client_leaves(
    serve_briefly: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve_briefly("--no-demo", "--rate", "none", "--export-assets", str(tmp_path / "assets"))
    for number in range(5):
        parts = urlsplit(server.url)
        body = b'{"type": "FOLDER"}'
        head = (
            f"POST /v1/projects/my-project/assets?assetId=f{number} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((parts.hostname, parts.port), timeout=240) as connection:
            connection.sendall(head.encode() + body)
            wait_until(lambda number=number: server.requests().get("assets:create", 0) == number + 1)  # type: ignore[misc]

    def names() -> list[str]:
        found = requests.get(f"{server.url}/v1/projects/my-project/assets:listAssets", timeout=60).json()
        return sorted(each["id"].rpartition("/")[2] for each in found.get("assets", []))

    wait_until(lambda: names() == [f"f{number}" for number in range(5)])
