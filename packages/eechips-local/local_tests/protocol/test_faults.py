"""Faults on purpose, seen from the other side of the wire."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

import pytest
import requests

from local_tests.support.local_earth_engine import Server, computations_in_flight, initialize

PLAN = {"result": "0", "values": {"0": {"constantValue": 7}}}


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve("--no-demo", "--rate", "none")


def plan(server: Server, *faults: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    body = json.dumps({"seed": seed, "faults": list(faults)}).encode()
    with urlopen(Request(f"{server.url}/_faults", body, {"Content-Type": "application/json"})) as response:
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


def test_a_planned_status_is_returned_once(server: Server) -> None:
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


def test_truncated_bodies_are_well_formed_http(server: Server) -> None:
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


@pytest.mark.slow
def test_stalls_end_in_the_client_s_time_out(server: Server) -> None:
    plan(server, {"type": "stall", "times": 1, "seconds": 60}, {"type": "stall-body", "times": 1, "seconds": 60})
    for _ in range(2):
        with pytest.raises(requests.exceptions.RequestException, match="timed out"):
            compute(server, timeout=0.3)
    assert compute(server).json() == {"result": 7}


def test_restricted_mode_is_announced(server: Server) -> None:
    plan(server, {"type": "restricted", "times": 1})
    assert compute(server).headers["x-earth-engine-quota-status"] == "parallelism_restricted=true"


def test_an_expired_name_is_not_found(server: Server) -> None:
    plan(server, {"type": "expired", "on": "thumbnails:getPixels", "times": 1})
    ee = initialize(server)
    region = ee.Geometry.Rectangle([0, 0, 1, 1], None, False)
    url = ee.Image([1, 2, 3]).byte().getThumbURL({"region": region, "dimensions": "4x4", "format": "png"})
    assert [requests.get(url).status_code for _ in range(2)] == [404, 200]


def test_a_seed_fails_the_same_requests(server: Server) -> None:
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


def test_requests_are_in_flight_until_the_last_byte(server: Server) -> None:
    plan(server, {"type": "stall-body", "times": 1, "seconds": 0.4})
    before = server.stats()
    assert compute(server).json() == {"result": 7}
    after = server.stats()
    assert after["in_flight"]["now"] == 0
    assert after["in_flight"]["busy"] - before["in_flight"]["busy"] > 0.35
    answers = [stats["answers"].get("value:compute", {}).get("200", 0) for stats in (before, after)]
    assert answers[1] == answers[0] + 1


def test_a_disconnected_client_releases_its_slot(server: Server) -> None:
    plan(server, {"type": "stall", "times": 1}, {"type": "stall-body", "times": 1})
    for _ in range(2):
        with pytest.raises(requests.exceptions.RequestException, match="timed out"):
            compute(server, timeout=0.2)
    deadline = time.monotonic() + 60
    while server.stats()["in_flight"]["now"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def control(server: Server, resource: str, **values: Any) -> requests.Response:
    return requests.post(f"{server.url}/{resource}", json=values, timeout=60)


@pytest.mark.slow
def test_the_quota_changes_at_run_time(serve: Callable[..., Server]) -> None:
    server = serve("--no-demo", "--minute", "none")
    assert requests.get(f"{server.url}/_quota", timeout=60).json()["concurrency"] == 40
    assert control(server, "_quota", concurrency=1, restricted=True).json()["restricted"] is True
    assert control(server, "_latency", latency="value:compute=0.4;thumbnails:*=lognormal:9,0.5").status_code == 200
    with computations_in_flight(server, 1):
        answers = [compute(server) for _ in range(2)]
    answers.append(compute(server))
    assert [a.status_code for a in answers] == [429, 429, 200]
    assert {a.headers["x-earth-engine-quota-status"] for a in answers} == {"parallelism_restricted=true"}
    assert answers[2].elapsed.total_seconds() >= 0.4
    assert server.stats()["rejected"] == {"concurrency": 2, "rate": 0, "minute": 0}
    control(server, "_quota", concurrency=40, restricted=False)
    assert control(server, "_latency", latency=None).json() == {"latency": None}
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: compute(server), range(3)))
    assert [a.status_code for a in answers] == [200] * 3
    assert not any("x-earth-engine-quota-status" in a.headers for a in answers)


def test_the_latest_requests_are_kept_with_bodies_and_statuses(serve: Callable[..., Server]) -> None:
    server = serve("--no-demo")
    compute(server)
    assert requests.get(f"{server.url}/_requests", timeout=60).json() == {"requests": []}
    control(server, "_requests", keep=3)
    control(server, "_faults", faults=[{"type": "status", "status": 403, "message": "No.", "after": 2, "times": 1}])
    answers = [compute(server) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 403, 200]
    assert answers[2].json()["error"] == {"code": 403, "message": "No.", "status": "PERMISSION_DENIED"}
    kept = requests.get(f"{server.url}/_requests", timeout=60).json()["requests"]
    assert [(each["kind"], each["status"]) for each in kept] == [
        ("value:compute", 200),
        ("value:compute", 403),
        ("value:compute", 200),
    ]
    assert kept[0]["path"] == "/v1/projects/local/value:compute"
    assert "expression" in kept[0]["body"]
    assert kept[1]["body"] is None  # the server did not read it
    assert control(server, "_requests", keep=0).json() == {"requests": []}
    control(server, "_faults", faults=[])


@pytest.mark.parametrize(
    ("resource", "values"),
    [("_quota", {"concurrency": 0}), ("_quota", {"places": 3}), ("_latency", {}), ("_latency", {"latency": 1}),
     ("_latency", {"latency": "soon"}), ("_requests", {}), ("_requests", {"keep": -1}), ("_requests", {"keep": True})],
)  # fmt: skip
def test_malformed_changes_are_refused(server: Server, resource: str, values: dict[str, Any]) -> None:
    response = control(server, resource, **values)
    assert response.status_code == 400
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"
