"""Requests of the plan of a sample: their number and time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ee
import pytest

import eechips
from eechips.client.http.response_cache import RESPONSE_CACHE, ResponseCache
from eechips.errors import ResponseTimeoutError, TooLargeError, UnknownDatasetError
from eechips.planning.planning_requests import fetch_features, request_each
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, initialize


def estimate(server: Server, out: Path, total: int) -> Any:
    return eechips.sample(
        "NAIP",
        total=total,
        roi="-105,39,-104.5,39.5",
        format="tif",
        endpoint=server.url,
        rate=None,
        out=out,
        dry_run=True,
    )


@pytest.mark.slow
def test_an_estimate_of_many_points_sends_as_many_requests_as_one_of_few(demo_server: Server, tmp_path: Path) -> None:
    counts = []
    for total in (3, 3000):
        before = sum(demo_server.requests().values())
        assert estimate(demo_server, tmp_path / "run", total).units == total
        counts.append(sum(demo_server.requests().values()) - before)
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_a_sample_says_once_what_is_asked_for_each_point(
    demo_server: Server, tmp_path: Path, caplog: CapturedLog
) -> None:
    """It was said once more for each part of the plan, such as the units of a trial and those of an estimate."""
    at = {"roi": "-105,39,-104.5,39.5", "endpoint": demo_server.url, "rate": None, "executor": "threads"}
    with caplog.at_level("INFO", logger="eechips"):
        run = eechips.sample("NAIP", total=3, size=16, **at, out=tmp_path, quiet=True, estimate=2)
    assert run.counts["done"] == 2
    assert caplog.messages.count("Finding the image under each point") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ({}, True),
        ({"mask": "auto"}, False),
        ({"where": "S2:CLOUDY_PIXEL_PERCENTAGE < 50"}, False),
        ({"frames": "1"}, False),
    ],
)
def test_clouds_that_nothing_leaves_out_are_told(
    options: dict[str, str], is_told: bool, demo_server: Server, tmp_path: Path, caplog: CapturedLog
) -> None:
    chosen = {"total": 1, "roi": "-105,39.5,-104.9,39.6", "start": "2020-06-01", "end": "2020-07-01", "size": 16}
    eechips.sample(["S2", "DEM"], **chosen, **options, endpoint=demo_server.url, out=tmp_path, dry_run=True)
    told = "chips show the clouds of COPERNICUS/S2_SR_HARMONIZED: `mask` masks them" in caplog.text
    assert told == is_told


def test_several_planning_requests_are_in_flight_at_once() -> None:
    both = threading.Barrier(2, timeout=60)

    def ask(items: Sequence[int]) -> list[int]:
        both.wait()  # raises BrokenBarrierError if no second request is sent meanwhile
        return [item * 10 for item in items]

    assert list(request_each(range(8), ask, size=2)) == [item * 10 for item in range(8)]


@pytest.mark.parametrize(
    "error",
    [
        ee.EEException("User memory limit exceeded."),
        ResponseTimeoutError("time-out: ReadTimeoutError"),
        TooLargeError("an answer of more than 128 MiB came back", status=200),
    ],
)
def test_a_planning_request_that_is_too_large_is_sent_again_in_halves(error: Exception) -> None:
    sizes = []

    def ask(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 3:
            raise error
        return list(items)

    assert list(request_each(range(10), ask, size=10)) == list(range(10))
    assert sorted(sizes) == [2, 2, 3, 3, 5, 5, 10]


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        (None, [4, 4, 2]),
        ([0.25] * 10, [4, 4, 2]),
        ([0.5] * 10, [2] * 5),
        ([3.0] + [0.1] * 9, [1, 4, 4, 1]),
        ([0.6, 0.3, 0.3, 0.6, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0], [2, 2, 4, 2]),
    ],
)
def test_a_planning_request_has_items_up_to_its_size_and_cost(costs: list[float] | None, expected: list[int]) -> None:
    batches: list[Sequence[int]] = []

    def ask(items: Sequence[int]) -> list[int]:
        batches.append(items)
        return list(items)

    assert list(request_each(range(10), ask, size=4, costs=costs)) == list(range(10))
    assert [len(batch) for batch in sorted(batches, key=min)] == expected


def test_a_planning_request_that_cannot_be_divided_says_what_helps() -> None:
    def ask(items: Sequence[int]) -> list[int]:
        raise ee.EEException("Computation timed out.")

    message = r"Computation timed out\. Even a request for one of the chips is too much\. What helps: smaller chips\."
    with pytest.raises(TooLargeError, match=message):
        list(request_each(range(4), ask, size=4, noun="chips", cure="smaller chips"))


def test_another_refusal_of_a_planning_request_is_raised() -> None:
    def ask(items: Sequence[int]) -> list[int]:
        raise ee.EEException("Image.load: Image asset 'a' not found.")

    with pytest.raises(ee.EEException, match="not found"):
        list(request_each(range(10), ask, size=2))


def test_a_long_plan_logs_how_far_it_is(caplog: CapturedLog) -> None:
    now = 0.0
    chips = request_each(range(4), lambda items: items, size=1, noun="chips", clock=lambda: now)
    with caplog.at_level("INFO", logger="eechips.planning.planning_requests"):
        next(chips)
        now = 60.0
        assert list(chips) == [1, 2, 3]
    assert caplog.messages == ["Planning: 2 of 4 chips, about 60 s left"]


def test_a_plan_whose_run_has_stopped_logs_nothing(tmp_path: Path, caplog: CapturedLog) -> None:
    """How much time was left came after the message that the run had stopped."""
    now, cache = 0.0, ResponseCache(tmp_path / "answers")
    token = RESPONSE_CACHE.set(cache)
    try:
        chips = request_each(range(4), lambda items: items, size=1, noun="chips", clock=lambda: now)
        with caplog.at_level("INFO", logger="eechips.planning.planning_requests"):
            next(chips)
            now = 60.0
            next(chips)
            cache.close()
            now = 120.0
            assert list(chips) == [2, 3]
    finally:
        RESPONSE_CACHE.reset(token)
    assert caplog.messages == ["Planning: 2 of 4 chips, about 60 s left"]


def test_a_long_list_logs_how_many_there_are_so_far(demo_ee: Any, caplog: CapturedLog) -> None:
    times = iter(range(0, 1000, 10))
    table = demo_ee.FeatureCollection([demo_ee.Feature(None, {"n": n}) for n in range(5)])
    with caplog.at_level("INFO", logger="eechips.planning.planning_requests"):
        found = list(fetch_features(table, page_size=2, noun="images", cure="", clock=lambda: float(next(times))))
    assert [feature["properties"]["n"] for feature in found] == list(range(5))
    assert caplog.messages == ["Planning: 2 images so far", "Planning: 4 images so far"]


@pytest.mark.slow
def test_a_page_that_is_too_large_is_listed_again_in_smaller_pages(
    demo_ee: Any, serve_briefly: Callable[..., Server]
) -> None:
    server = serve_briefly("--rate", "none", "--no-demo", "--response", "6000")
    initialize(server)
    texts = ee.FeatureCollection([ee.Feature(None, {"n": n, "text": "x" * 300}) for n in range(40)])
    found = list(fetch_features(texts, noun="images", cure="fewer images"))
    assert [feature["properties"]["n"] for feature in found] == list(range(40))
    assert server.requests()["table:computeFeatures"] == 2 + 3  # of 1000, 125, and 15 features: 15, 15 and 10
    large = ee.FeatureCollection([ee.Feature(None, {"text": "x" * 7000})])
    with pytest.raises(
        TooLargeError, match=r"Response size exceeds limit .* one of the images .* helps: fewer images\."
    ):
        list(fetch_features(large, noun="images", cure="fewer images"))


def test_a_run_that_fails_before_it_has_a_plan_leaves_no_folder(demo_server: Server, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UnknownDatasetError):
        eechips.sample("NO/SUCH/DATASET", total=3, roi="-105,39,-104.5,39.5", endpoint=demo_server.url, out=out)
    assert not out.exists()


def test_a_run_that_fails_before_it_has_a_plan_keeps_the_files_of_others(demo_server: Server, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UnknownDatasetError):
        eechips.sample("NO/SUCH/DATASET", total=3, roi="-105,39,-104.5,39.5", endpoint=demo_server.url, out=out)
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_the_extent_of_the_places_is_logged_and_how_many_are_equal(
    demo_server: Server, tmp_path: Path, caplog: CapturedLog
) -> None:
    table = tmp_path / "plots.csv"
    table.write_text("lon,lat\n-105.25,39.5\n-104,40.125\n-104,40.125\n")
    with caplog.at_level("INFO", logger="eechips"):
        eechips.sample("NAIP", points=table, endpoint=demo_server.url, out=tmp_path / "run", dry_run=True)
    assert "Extent: longitude -105.25 to -104, latitude 39.5 to 40.125" in caplog.messages
    assert "Places: 3, 2 of them different; equal ones have equal chips, in files of their own" in caplog.messages


@pytest.mark.slow
def test_pictures_name_the_latest_image_and_its_date_without_a_further_request(
    demo_server: Server, tmp_path: Path, demo_ee: Any
) -> None:
    counts = {}
    for grid in ("thumb", "native"):
        before = demo_server.requests()
        run = eechips.sample(
            "NAIP", total=3, roi="-105,39,-104.5,39.5", size=32, format="png", grid=grid, endpoint=demo_server.url,
            rate=None, out=tmp_path / grid, executor="threads", quiet=True,
        )  # fmt: skip
        counts[grid] = {kind: count - before.get(kind, 0) for kind, count in demo_server.requests().items()}
        units = run.units
        assert len(units) == 3
        for unit, sources, dates in zip(units["unit"], units["sources"], units["dates"], strict=True):
            latest = (
                demo_ee.ImageCollection("USDA/NAIP/DOQQ")
                .filterBounds(demo_ee.Geometry.Point(unit["coordinates"]))
                .sort("system:time_start", False)
                .first()
            )
            assert list(sources) == [latest.get("system:id").getInfo()]
            assert list(dates) == [demo_ee.Date(latest.get("system:time_start")).format().getInfo() + "Z"]
    assert counts["thumb"] == counts["native"]
