"""The files of the page over HTTP."""

from __future__ import annotations

import re

import pytest
import requests

from local_tests.page.conftest import COLLECTION
from local_tests.support.local_earth_engine import Server

PATHS = ["/", "/_page/dashboard.css", "/_page/dashboard.js", "/_page/basemap.json", "/_page/datasets.json"]


@pytest.mark.parametrize("path", PATHS)
def test_files_have_strict_headers(server: Server, path: str) -> None:
    found = requests.get(f"{server.url}{path}", timeout=60)
    assert found.status_code == 200
    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:", policy)
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in found.headers


def test_files_refer_to_no_other_machine(server: Server) -> None:
    for path in PATHS[:3]:
        text = requests.get(f"{server.url}{path}", timeout=60).text
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path
    page = requests.get(server.url, timeout=60).text
    assert "<script>" not in page
    assert not re.search(r"\s(on\w+|style)=", page)


@pytest.mark.parametrize("path", [*PATHS, "/_activity", "/_assets"])
def test_other_hosts_and_origins_are_refused(server: Server, path: str) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert requests.get(f"{server.url}{path}", headers=headers, timeout=60).status_code == 403
    assert requests.post(f"{server.url}{path}", timeout=60).status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/_activity", "/_assets"])
@pytest.mark.parametrize("source", ["cross-site", "same-site"])
def test_pages_of_others_do_not_cause_work(server: Server, path: str, source: str) -> None:
    refused = requests.get(f"{server.url}{path}", headers={"Sec-Fetch-Site": source}, timeout=60)
    assert refused.status_code == 403
    for own in ("same-origin", "none"):
        assert requests.get(f"{server.url}{path}", headers={"Sec-Fetch-Site": own}, timeout=60).status_code == 200


@pytest.mark.slow
def test_all_assets_outside_of_collections_are_listed(server: Server) -> None:
    found = requests.get(f"{server.url}/_assets", timeout=60).json()
    assert found["is_complete"] is True
    by_id = {each["id"]: each for each in found["assets"]}
    assert by_id[COLLECTION]["is_synthetic"] is False
    assert by_id[COLLECTION]["type"] == "IMAGE_COLLECTION"
    assert by_id["USGS/SRTMGL1_003"]["type"] == "IMAGE"
    assert by_id["COPERNICUS/S2_SR_HARMONIZED"]["type"] == "IMAGE_COLLECTION"
    assert by_id["COPERNICUS/S2_SR_HARMONIZED"]["is_synthetic"] is True
    assert by_id["RESOLVE/ECOREGIONS/2017"]["type"] == "TABLE"
    assert by_id["COPERNICUS/S2_SR_HARMONIZED"]["start"] < by_id["COPERNICUS/S2_SR_HARMONIZED"]["end"]


@pytest.mark.slow
def test_the_activity_has_what_was_asked(server: Server) -> None:
    asked = requests.get(f"{server.url}/v1/projects/earthengine-public/assets/USGS/SRTMGL1_003", timeout=60)
    assert asked.status_code == 200
    found = requests.get(f"{server.url}/_activity", timeout=60).json()
    newest = found["latest"][0]
    assert (newest["kind"], newest["status"], newest["is_in_flight"]) == ("assets:get", 200, False)
    assert newest["asset"] == "projects/earthengine-public/assets/USGS/SRTMGL1_003"
    assert 0 <= newest["seconds"] <= newest["age"]
    assert found["quota"]["concurrency"] == 20
