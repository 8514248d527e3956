"""Requests that mean no good get a 4xx in Earth Engine's shape within seconds; the server neither dies nor grows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from local_tests.support import malformed_graphs
from local_tests.support.local_earth_engine import ServerProcess, start_server, stop_server

pytestmark = pytest.mark.slow

LIMIT = 1.0
"""Time of one computation on this server; one that does not look at its clock is ended two seconds later."""

GRID = {
    "crsCode": "EPSG:4326",
    "affineTransform": {"scaleX": 0.001, "scaleY": -0.001, "translateX": -105, "translateY": 40},
    "dimensions": {"width": 64, "height": 64},
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with started(LIMIT) as found:
        yield found


@pytest.fixture(scope="module")
def patient() -> Iterator[ServerProcess]:
    """Gives what is refused for other reasons the time to be, however busy the machine is."""
    with started(250.0) as found:
        yield found


@contextmanager
def started(seconds: float) -> Iterator[ServerProcess]:
    found = start_server("--rate", "none", "--concurrency", "none", "--workers", "2", "--seconds", f"{seconds:g}")
    # The first answer waits for the workers, which load what they share: that is not the time of a computation.
    requests.get(f"{found.url}/_store", timeout=60).raise_for_status()
    yield found
    stop_server(found)


def refused(server: ServerProcess, method: str, body: Any, **options: Any) -> str:
    """The message of a 4xx in Earth Engine's shape."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = requests.post(f"{server.url}/v1/projects/local/{method}", data=content, timeout=240, **options)
    assert 400 <= response.status_code < 500, response.text[:500]
    error = response.json()["error"]
    assert error.keys() - {"details"} == {"code", "message", "status"}
    assert error["code"] == response.status_code
    return str(error["message"])


@pytest.mark.parametrize("name", malformed_graphs.CIRCLES)
def test_circles(patient: ServerProcess, name: str) -> None:
    message = refused(patient, "value:compute", {"expression": malformed_graphs.CIRCLES[name]})
    assert message in ("Invalid expression: circular reference.", "Computation is too deeply nested.")


@pytest.mark.parametrize("name", malformed_graphs.ENORMOUS)
def test_requests_that_need_too_much_memory_are_refused(patient: ServerProcess, name: str) -> None:
    message = refused(patient, "value:compute", {"expression": malformed_graphs.ENORMOUS[name]})
    assert "timed out" not in message


@pytest.mark.parametrize("name", malformed_graphs.ENDLESS)
def test_endless_requests_time_out(server: ServerProcess, name: str) -> None:
    message = refused(server, "value:compute", {"expression": malformed_graphs.ENDLESS[name]})
    assert message in ("Computation timed out.", "User memory limit exceeded.")


@pytest.mark.parametrize("name", malformed_graphs.PIXELS)
def test_pixels_that_cannot_be_had(server: ServerProcess, name: str) -> None:
    body = {"expression": malformed_graphs.PIXELS[name], "fileFormat": "NPY", "grid": GRID}
    refused(server, "image:computePixels", body)


@pytest.mark.parametrize("name", malformed_graphs.BODIES)
def test_invalid_bodies_are_refused(server: ServerProcess, name: str) -> None:
    for method in ("value:compute", "thumbnails", "maps", "image:computePixels"):
        refused(server, method, malformed_graphs.BODIES[name])


@pytest.mark.parametrize("content_type", ["text/html", "application/x-www-form-urlencoded", "multipart/form-data", "x"])
def test_other_content_types_are_refused(server: ServerProcess, content_type: str) -> None:
    refused(server, "value:compute", b"a=1&b=2", headers={"content-type": content_type})


@pytest.mark.parametrize("sized", [True, False])
def test_bodies_of_20_megabytes(server: ServerProcess, sized: bool) -> None:
    content = b'{"expression": "' + b"x" * 20_000_000 + b'"}'
    chunks = content if sized else (content[start : start + 65_536] for start in range(0, len(content), 65_536))
    response = requests.post(f"{server.url}/v1/projects/local/value:compute", data=chunks, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "Request payload size exceeds the limit: 10485760 bytes."


PLACES = [
    "projects/earthengine-public/assets/../../etc/passwd",
    "projects/earthengine-public/assets/%2e%2e/%2e%2e/etc/passwd",
    "projects/earthengine-public/assets/..%2f..%2f..%2fetc%2fpasswd",
    "projects/earthengine-public/assets//etc/passwd",
    "projects/earthengine-public/assets/%2Fetc%2Fpasswd",
    "projects/earthengine-public/assets/file:%2F%2F%2Fetc%2Fpasswd",
    "projects/earthengine-public/assets/%00",
    "projects/earthengine-public/assets/USDA%5C..%5C..",
    "projects/earthengine-public/assets/https:%2F%2Fexample.com%2Fx.tif",
    "projects/earthengine-public/assets/" + "a" * 10_000,
    "projects/earthengine-public/assets/" + "a/" * 5000,
    "projects/earthengine-public/assets/%ED%A0%80",
]


def raw(server: ServerProcess, request: bytes, *, ended: bool = False) -> bytes:
    """What the server answers to bytes as they are: clients would tidy up a path."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.sendall(request)
        if ended:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return answer


@pytest.mark.parametrize("place", PLACES)
def test_no_name_leads_out_of_the_store(server: ServerProcess, place: str) -> None:
    for method in ("", ":listAssets", ":listImages", ":listFeatures"):
        answer = raw(
            server, f"GET /v1/{place}{method} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
        )
        assert answer.split(b" ", 2)[1] in (b"400", b"404"), answer[:200]
        assert b'"error"' in answer
        assert b"root:" not in answer
    name = place.removeprefix("projects/earthengine-public/assets/")
    load = malformed_graphs.call("Image.load", id={"constantValue": name})
    refused(server, "value:compute", {"expression": {"result": "0", "values": {"0": load}}})


@pytest.mark.parametrize(
    "request_", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 200_000]
)
def test_invalid_http_is_refused(server: ServerProcess, request_: bytes) -> None:
    assert raw(server, request_, ended=True)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404", b"")


WRONG: list[Any] = [None, True, -1, 1e308, 2**70, "", "x", "\x00", "\ud800", [], [None], {}, {"a": {}}, [[1], [2, 3]]]


def wrong_requests() -> list[tuple[str, dict[str, Any]]]:
    image = {"result": "0", "values": {"0": malformed_graphs.ONE}}
    table = {"result": "0", "values": {"0": malformed_graphs.call("Collection", features={"constantValue": []})}}
    fields = {
        "image:computePixels": ({"expression": image, "fileFormat": "NPY", "grid": GRID}, ["bandIds", "grid",
            "visualizationOptions", "fileFormat", "workloadTag", "expression"]),
        "table:computeFeatures": ({"expression": table}, ["pageSize", "pageToken", "expression"]),
        "imageCollection:computeImages": ({"expression": image}, ["pageSize", "pageToken"]),
        "thumbnails": ({"expression": image}, ["fileFormat", "filenamePrefix", "grid", "bandIds"]),
        "tables": ({"expression": table}, ["selectors", "filename", "fileFormat"]),
        "filmstripThumbnails": ({"expression": image}, ["orientation", "fileFormat"]),
        "maps": ({"expression": image}, ["bandIds", "visualizationOptions"]),
    }  # fmt: skip
    return [
        (method, {**body, name: value}) for method, (body, names) in fields.items() for name in names for value in WRONG
    ]


def test_wrong_types_everywhere(server: ServerProcess) -> None:
    session = requests.Session()
    for method, body in wrong_requests():
        response = session.post(f"{server.url}/v1/projects/local/{method}", data=json.dumps(body).encode())
        assert response.status_code < 500, (method, body, response.text[:200])
        if response.status_code == 200 and "name" in response.headers.get("content-type", ""):
            continue
        if response.status_code == 200 and method in ("thumbnails", "tables", "filmstripThumbnails"):
            fetch = "getFeatures" if method == "tables" else "getPixels"
            name = response.json()["name"]
            assert session.get(f"{server.url}/v1/{name}:{fetch}").status_code < 500, (method, body)


def memory(server: ServerProcess) -> Mapping[int, int]:
    """Kilobytes that each process of a server holds."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in listed.splitlines()]
    family = {server.process.pid}
    for _ in range(4):
        family |= {pid for pid, parent, _ in rows if parent in family}
    return {pid: size for pid, _, size in rows if pid in family}


def workers(server: ServerProcess) -> set[int]:
    """Processes that evaluate: children of the process that forks them."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(tuple(map(int, line.split())) for line in listed.splitlines())
    return {pid for pid, parent in parents.items() if parents.get(parent) == server.process.pid}


def test_workers_that_are_killed_are_replaced(server: ServerProcess) -> None:
    good = {"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}
    before = workers(server)
    assert len(before) == 2
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    for _ in range(4):
        response = requests.post(f"{server.url}/v1/projects/local/value:compute", json=good)
        assert response.json() == {"result": 7}
    # A killed process is replaced when its turn comes; both turns have come once two requests overlap.
    slow = {"expression": malformed_graphs.ENDLESS["maps in maps"]}
    with ThreadPoolExecutor(2) as pool:
        messages = list(pool.map(lambda _: refused(server, "value:compute", slow), range(2)))
    assert messages == ["Computation timed out."] * 2
    assert len(workers(server)) == 2
    assert not workers(server) & before


def test_a_worker_that_cannot_be_started_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}
    with TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        with started(LIMIT) as server:
            url = f"{server.url}/v1/projects/local/value:compute"
            assert requests.post(url, json=good).json() == {"result": 7}
            for pid in workers(server):
                os.kill(pid, signal.SIGKILL)
            for place in Path(folder).glob("pymp-*"):  # the socket of the process that forks workers
                shutil.rmtree(place)
            response = requests.post(url, json=good)
    assert response.status_code == 503
    assert "cannot start a process" in response.json()["error"]["message"]


def test_the_server_neither_dies_nor_grows(server: ServerProcess) -> None:
    quick = [graph for name, graph in malformed_graphs.ENORMOUS.items() if not name.startswith("a million")]
    bodies = [{"expression": graph} for graph in quick]

    def round_() -> Mapping[int, int]:
        for body in bodies:
            refused(server, "value:compute", body)
        for body in bodies[:8]:
            name = requests.post(f"{server.url}/v1/projects/local/tables", json=body).json()["name"]
            assert requests.get(f"{server.url}/v1/{name}:getFeatures").status_code == 400
        return memory(server)

    round_()
    rounds = [round_() for _ in range(4)]
    assert server.process.poll() is None
    # A worker is replaced where a computation ends late, and a new one is small: only the server lives through all.
    first, last = (sizes[server.process.pid] for sizes in (rounds[0], rounds[-1]))
    assert last < min(1.3 * first, 400_000)
    assert all(size < 900_000 for sizes in rounds for size in sizes.values())
    good = {"expression": {"result": "0", "values": {"0": {"constantValue": 7}}}}
    assert requests.post(f"{server.url}/v1/projects/local/value:compute", json=good).json() == {"result": 7}
