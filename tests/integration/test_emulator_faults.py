"""Faults on purpose, seen from the other side of the wire."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest
import requests

from tests.conftest import Server, initialize

PLAN = {"result": "0", "values": {"0": {"constantValue": 7}}}


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("--no-demo", "--rate", "none", "--workers", "1")


def plan(server: Server, *faults: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    body = json.dumps({"seed": seed, "faults": list(faults)}).encode()
    with urlopen(Request(f"{server.url}/_faults", data=body, method="POST")) as response:
        found: dict[str, Any] = json.load(response)
    return found


def faults(server: Server) -> dict[str, Any]:
    with urlopen(f"{server.url}/_faults") as response:
        found: dict[str, Any] = json.load(response)
    return found


def compute(server: Server, **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/v1/projects/local/value:compute", json={"expression": PLAN}, **options)


def test_rejection_says_when_to_come_again(server: Server) -> None:
    plan(server, {"type": "reject", "times": 1, "retry_after": 2})
    first, second = compute(server), compute(server)
    assert (first.status_code, first.headers["retry-after"]) == (429, "2")
    assert first.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert (second.status_code, second.json()) == (200, {"result": 7})
    assert faults(server)["consumed"]


def test_status(server: Server) -> None:
    plan(server, {"type": "status", "status": 503, "times": 1})
    response = compute(server)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == 503


@pytest.mark.parametrize("fault", ["reset", "reset-body", "truncate"])
def test_broken_connections(server: Server, fault: str) -> None:
    plan(server, {"type": fault, "times": 1})
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        compute(server)
    assert compute(server).json() == {"result": 7}


def test_truncated_in_due_form(server: Server) -> None:
    plan(server, {"type": "truncate-silently", "times": 1})
    response = compute(server)
    assert response.status_code == 200
    assert response.content == b'{"result":7}'[:6]


def test_gzip_is_announced(server: Server) -> None:
    plan(server, {"type": "gzip", "times": 1})
    response = compute(server, stream=True)
    assert response.headers["content-encoding"] == "gzip"
    assert gzip.decompress(response.raw.read(decode_content=False)) == b'{"result":7}'


@pytest.mark.parametrize(("fault", "start"), [("html", b"<!DOCTYPE"), ("wrong-content", b"\x00")])
def test_wrong_content_under_200(server: Server, fault: str, start: bytes) -> None:
    plan(server, {"type": fault, "times": 1})
    response = compute(server)
    assert response.status_code == 200
    assert response.content.startswith(start)


def test_stalls_end_in_the_client_s_time_out(server: Server) -> None:
    plan(server, {"type": "stall", "times": 1, "seconds": 60}, {"type": "stall-body", "times": 1, "seconds": 60})
    for _ in range(2):
        with pytest.raises(requests.exceptions.RequestException, match="timed out"):
            compute(server, timeout=0.3)
    assert compute(server).json() == {"result": 7}


def test_restricted_mode_is_announced(server: Server) -> None:
    plan(server, {"type": "restricted", "times": 1})
    assert compute(server).headers["x-earth-engine-quota-status"] == "parallelism_restricted=true"


def test_expired_name(server: Server) -> None:
    plan(server, {"type": "expired", "on": "thumbnails:getPixels", "times": 1})
    ee = initialize(server)
    region = ee.Geometry.Rectangle([0, 0, 1, 1], None, False)
    url = ee.Image([1, 2, 3]).byte().getThumbURL({"region": region, "dimensions": "4x4", "format": "png"})
    assert [requests.get(url).status_code for _ in range(2)] == [404, 200]


def test_a_seed_strikes_the_same_requests(server: Server) -> None:
    def outcomes() -> list[int]:
        plan(server, {"type": "status", "status": 500, "probability": 0.3}, seed=5)
        return [compute(server).status_code for _ in range(30)]

    first = outcomes()
    assert first == outcomes()
    assert set(first) == {200, 500}
    plan(server)


@pytest.mark.parametrize("wrong", [{"type": "fire"}, {"type": "reject", "probability": 2}, {"type": "reset", "to": 1}])
def test_malformed_plans_are_refused(server: Server, wrong: dict[str, Any]) -> None:
    response = requests.post(f"{server.url}/_faults", json={"faults": [wrong]})
    assert response.status_code == 400


def test_statistics_count_requests_by_kind(server: Server) -> None:
    before = server.requests().get("value:compute", 0)
    compute(server)
    stats = server.stats()
    assert stats["requests"]["value:compute"] == before + 1
    assert stats["in_flight"]["peak"] >= 1
