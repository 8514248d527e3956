"""The compute of requests: the model, the profiles of the real client, the account and the quota of a month."""

from __future__ import annotations

import io
import json
from datetime import datetime, timezone
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import ee
import pytest

from eechips_local.protocol.request_errors import InvalidError
from eechips_local.quota.compute_cost import (
    CALL_SECONDS,
    PIXEL_SECONDS,
    REQUEST_SECONDS,
    ComputeCost,
    find_profile,
    profile_id,
    profile_text,
)
from eechips_local.quota.compute_quota import ComputeQuota, ComputeSpentError
from local_tests.support.local_earth_engine import Server

DEM = "USGS/SRTMGL1_003"


@pytest.fixture
def client(demo_ee: Any, demo_server: Server) -> Server:
    """The demo planet, to which the real client is connected."""
    return demo_server


def image_request(side: int = 64) -> dict[str, object]:
    """A request of a square of the demo planet's elevations."""
    grid = {
        "dimensions": {"width": side, "height": side},
        "affineTransform": {"scaleX": 0.001, "shearX": 0, "translateX": 8, "shearY": 0, "scaleY": -0.001}
        | {"translateY": 47},
        "crsCode": "EPSG:4326",
    }
    return {"expression": ee.Image(DEM), "fileFormat": "NPY", "grid": grid}


def account(server: Server, tag: str) -> dict[str, float]:
    """The server's account of a workload tag."""
    found: dict[str, float] = server.stats()["compute"]["workload_tags"][tag]
    return found


def change_quota(server: Server, hours: float | None) -> None:
    body = json.dumps({"eecu_hours": hours}).encode()
    with urlopen(Request(f"{server.url}/_quota", body, {"Content-Type": "application/json"})) as response:
        assert json.load(response)["eecu_hours"] == hours


def test_the_model_charges_calls_and_pixels() -> None:
    cost = ComputeCost(calls=3, pixels=1_000_000)
    assert cost.seconds == pytest.approx(REQUEST_SECONDS + 3 * CALL_SECONDS + 1_000_000 * PIXEL_SECONDS)
    assert ComputeCost().seconds == 0


def test_a_profile_id_stands_for_its_profile() -> None:
    cost = ComputeCost(calls=7, pixels=65_536)
    assert find_profile(profile_id(cost)) == cost
    assert profile_id(cost) != profile_id(cost), "of two requests"
    for wrong in ("", "local-", "local-AAAA", profile_id(cost)[:-2] + "AA", "projects/x"):
        with pytest.raises(InvalidError, match="not found"):
            find_profile(wrong)


def test_profiles_are_merged_to_the_wanted_number_of_rows() -> None:
    ids = [profile_id(ComputeCost(10, 100_000)), profile_id(ComputeCost(20, 50_000))]
    whole = 2 * REQUEST_SECONDS + 30 * CALL_SECONDS + 150_000 * PIXEL_SECONDS
    for most, rows in ((200, 3), (2, 2), (1, 1)):
        head, *lines = profile_text(ids, most).splitlines()
        assert head.split() == ["EECU·s", "PeakMem", "Count", "Description"]
        assert len(lines) == rows
        assert sum(float(line.split()[0]) for line in lines) == pytest.approx(whole, abs=0.0005 * rows)


@pytest.mark.slow
def test_the_real_client_prints_profiles_that_the_account_agrees_with(client: Server) -> None:
    printed = io.StringIO()
    with ee.data.workloadTagContext("printed"), ee.profilePrinting(printed):
        ee.data.computePixels(image_request(256))
        ee.Number(1).add(1).getInfo()
    rows = [line.split(maxsplit=3) for line in printed.getvalue().splitlines()[1:]]
    assert {row[3] for row in rows} >= {"Computing pixels", "(plumbing)"}
    found = account(client, "printed")
    assert found["requests"] == 2, "profiles are free"
    assert sum(float(row[0]) for row in rows if row[0] != "-") == pytest.approx(found["eecu_seconds"], abs=0.0015)


def test_the_same_request_costs_the_same_and_more_pixels_more(client: Server) -> None:
    ids: list[str] = []
    with ee.data.profiling(ids.append):
        for side in (64, 64, 128):
            ee.data.computePixels(image_request(side))
    first, again, larger = map(find_profile, ids)
    assert first == again
    assert larger.pixels == 4 * first.pixels
    assert larger.calls == first.calls


def test_a_failed_request_costs_what_it_computed(client: Server) -> None:
    ids: list[str] = []
    with ee.data.profiling(ids.append), pytest.raises(ee.EEException, match="did not match any bands"):
        ee.data.computePixels({**image_request(), "expression": ee.Image(DEM).add(1).select("none")})
    assert find_profile(ids[0]).calls >= 2


def test_without_the_header_there_is_no_profile(client: Server) -> None:
    body = json.dumps({"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}).encode()
    request = Request(f"{client.url}/v1/projects/p/value:compute", body, {"Content-Type": "application/json"})
    with urlopen(request) as response:
        assert "x-earth-engine-computation-profile" not in {name.lower() for name in response.headers}


def test_a_thumbnail_is_charged_to_the_tag_of_its_name(client: Server) -> None:
    with ee.data.workloadTagContext("thumbnail"):
        url = ee.Image(DEM).getThumbURL({"dimensions": "64x64", "region": ee.Geometry.Rectangle(8, 46, 9, 47)})
    with urlopen(url) as response:
        assert response.status == 200
    assert account(client, "thumbnail")["requests"] == 1


def test_past_the_quota_of_the_month_computations_fail(demo_server: Server) -> None:
    server = demo_server
    used = server.stats()["compute"]["month_eecu_seconds"]
    change_quota(server, (used + 0.007) / 3600)  # less than two requests
    statuses = []
    body = json.dumps(
        {
            "expression": {
                "result": "0",
                "values": {
                    "0": {
                        "functionInvocationValue": {
                            "functionName": "Number.add",
                            "arguments": {"left": {"constantValue": 1}, "right": {"constantValue": 1}},
                        }
                    }
                },
            }
        }
    )
    for _ in range(3):
        request = Request(
            f"{server.url}/v1/projects/p/value:compute", body.encode(), {"Content-Type": "application/json"}
        )
        try:
            with urlopen(request) as response:
                statuses.append((response.status, ""))
        except HTTPError as error:
            statuses.append((error.code, json.load(error)["error"]["message"]))
    change_quota(server, None)
    assert [status for status, _ in statuses] == [200, 200, 429]
    assert "monthly_eecu_usage_time" in statuses[-1][1]


def test_the_account_begins_anew_in_the_next_month() -> None:
    moments = [datetime(2026, 12, 1, 7, 59, tzinfo=timezone.utc)]
    account = ComputeQuota(lambda: moments[-1])
    account.charge("a", 7200.0)
    with pytest.raises(ComputeSpentError):
        account.check(2.0)
    account.check(2.1)
    account.check(None)
    moments.append(datetime(2026, 12, 1, 8, 0, tzinfo=timezone.utc))  # midnight Pacific time
    account.check(2.0)
    assert account.report()["month"] == "2026-12"
    assert account.report()["month_eecu_seconds"] == 0
    assert account.report()["eecu_seconds"] == 7200.0
