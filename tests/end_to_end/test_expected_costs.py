"""What a dry run says that a run will cost, beside what the run then takes, as the server counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
from shapely.geometry import box

import eechips
from eechips.engine.config import RunConfig
from eechips.engine.costs.cost_descriptions import Estimate, Forecast
from eechips.engine.costs.estimate import estimate
from eechips.engine.run import run
from local_tests.support.local_earth_engine import Server
from tests.cli.test_commands import eechips as eechips_command
from tests.support.engine_recipes import script
from tests.support.terminal import answer_question

DESCRIPTIONS = 2
"""Requests for descriptions of the API when the client connects, which the server does not count."""
_BOXES = ("-105.3,39.9,-105.2,40.0", "-105.5,39.7,-105.4,39.8")
_SMALL = ("-105.25,39.95,-105.24,39.96", "-105.45,39.75,-105.44,39.76")
_SUMMER = {"start": "2020-06-01", "end": "2020-08-01"}
_CHIPS = {"size": 32, "format": "tif"}


def _points(folder: Path, k: int) -> str:
    path = folder / f"points{k}.csv"
    path.write_text(f"lon,lat\n{-105.25 - 0.2 * k},39.95\n{-105.21 - 0.2 * k},39.92\n")
    return str(path)


def _regions(folder: Path, k: int) -> str:
    west = -105.3 - 0.2 * k
    ring = [[west, 39.9], [west + 0.05, 39.9], [west + 0.05, 39.95], [west, 39.95], [west, 39.9]]
    feature = {"type": "Feature", "properties": {"name": "a"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    path = folder / f"regions{k}.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return str(path)


COMMANDS: dict[str, Callable[..., Any]] = {
    "ecoregions": lambda folder, k, **o: eechips.sample("NAIP", per_ecoregion=2, size=32, seed=k, **o),
    "pixels": lambda folder, k, **o: eechips.sample("NAIP", per_ecoregion=2, seed=k, **_CHIPS, **o),
    "scenes": lambda folder, k, **o: eechips.sample("S2", total=4, roi=_BOXES[k], **_CHIPS, **_SUMMER, **o),
    "frames": lambda folder, k, **o: eechips.sample(
        "MODIS_LST", total=3, roi=_BOXES[k], every="month:median", size=8, format="tif", **_SUMMER, **o
    ),
    "provenance": lambda folder, k, **o: eechips.sample(
        "S2", total=3, roi=_BOXES[k], provenance=True, **_CHIPS, **_SUMMER, **o
    ),
    "thumbnails": lambda folder, k, **o: eechips.sample("NAIP", total=4, roi=_BOXES[k], size=32, method="url", **o),
    "rows": lambda folder, k, **o: eechips.sample("DEM", cells="regular:4km", roi=_BOXES[k], **_CHIPS, **o),
    "images": lambda folder, k, **o: eechips.images("S2", roi=_SMALL[k], start="2020-06-01", end="2020-07-01", **o),
    "composites": lambda folder, k, **o: eechips.composites("S2", roi=_SMALL[k], every="month", **_SUMMER, **o),
    "mosaic": lambda folder, k, **o: eechips.mosaic("DEM", roi=_BOXES[k], scale=90, **o),
    "timeseries": lambda folder, k, **o: eechips.timeseries(
        "MODIS_LST", regions=_regions(folder, k), start="2020-06-01", end="2020-07-01", **o
    ),
    "points": lambda folder, k, **o: eechips.points("DEM", _points(folder, k), **o),
}
_QUICK = ("rows", "mosaic")
_TABLES = ("timeseries", "points")
_EXACT = ("ecoregions", "thumbnails", "mosaic", *_TABLES)
"""Commands whose chips cannot be masked, nor lie near each other: the number of requests is no range, but for tables,
which may be empty."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n in _QUICK else pytest.param(n, marks=pytest.mark.slow) for n in COMMANDS])
def test_a_run_takes_what_its_dry_run_says(
    name: str, demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    options = {"endpoint": demo_server.url, "quiet": True, "executor": "threads"}

    def call(out: str, k: int, **more: Any) -> tuple[Any, Counter[str]]:
        before = Counter(demo_server.requests())
        result = COMMANDS[name](tmp_path, k, out=tmp_path / out, **options, **more)
        return result, Counter(demo_server.requests()) - before

    call("elsewhere", 1, profile_every=1)  # measures what units of this kind compute
    foreseen, dry = call("run", 0, dry_run=True, profile_every=1)
    assert sum(dry.values()) == foreseen.planning.sent - DESCRIPTIONS + 1  # one for the profiles of the others
    run, sent = call("run", 0, profile_every=0)
    assert run.is_complete
    results = sum(sent.values()) - (foreseen.planning.requests - DESCRIPTIONS)
    assert foreseen.least_requests <= results <= foreseen.most_requests
    if name in _EXACT:
        assert foreseen.least_requests == foreseen.requests == foreseen.most_requests // (1 + (name in _TABLES))
    profiled, _ = call("profiled", 0, profile_every=1)
    used = profiled.info["compute"]["eecu_seconds"]
    assert foreseen.compute.low <= used <= foreseen.compute.high
    assert foreseen.compute.high <= 20 * foreseen.compute.low
    assert "took on" in foreseen.compute_source
    (told,) = [
        event
        for event in map(json.loads, (tmp_path / "run" / "run.log").read_text().splitlines())
        if event["event"] == "expected"
    ]
    assert told["planning"]["requests"] == foreseen.planning.requests
    assert (told["least_requests"], told["most_requests"]) == (foreseen.least_requests, foreseen.most_requests)


EMPTY = """
import ee
from eechips.recipe import Table


def get_requests():
    return [{"rows": 0}, {"rows": 1}]


def get_result(index, unit):
    rows = [ee.Feature(None, {"a": 1})] * unit["rows"]
    return Table(ee.FeatureCollection(rows), columns=("a",))
"""


@pytest.mark.slow
def test_an_empty_table_may_take_two_requests(stack_server: Server, tmp_path: Path) -> None:
    """Its size is requested as well."""
    config = RunConfig(out=tmp_path / "out", endpoint=stack_server.url, rate=None, executor="threads", quiet=True)
    recipe = script(tmp_path, EMPTY)
    foreseen = estimate(recipe, config)
    assert (foreseen.least_requests, foreseen.requests, foreseen.most_requests) == (2, 2, 4)
    assert run(recipe, config).units["requests"].tolist() == [2, 1]


@pytest.mark.slow
def test_no_more_units_than_slots_share_no_request(demo_server: Server, tmp_path: Path) -> None:
    """Six months of one place, each of which a slot takes at once, were announced as 1 to 6 requests."""
    at: dict[str, Any] = {"roi": _BOXES[0], "every": "month", "end": "2020-08-01", "endpoint": demo_server.url}
    call = partial(eechips.composites, "MODIS_LST", **at, dry_run=True, out=tmp_path / "run")
    foreseen = call(start="2020-02-01")
    assert (foreseen.units, foreseen.least_requests, foreseen.most_requests) == (6, 6, 6)  # six shares of 1/6 are 0.99…
    assert call(start="2020-06-01", in_flight=1).least_requests == 1


@pytest.mark.exhaustive
def test_an_estimate_multiplies_the_compute_of_a_plan_that_reads_the_pixels_of_each_place(
    demo_server: Server, tmp_path: Path
) -> None:
    """The clearest image of a month is chosen by the quality band at each place, many places a request."""
    forecasts: list[Forecast] = []

    def sample(out: str, **more: Any) -> eechips.Run:
        return eechips.sample(
            "S2", total=24, roi=_SMALL[0], every="month", start="2020-06-01", end="2020-07-01", **_CHIPS,
            endpoint=demo_server.url, executor="threads", quiet=True, profile_every=1, out=tmp_path / out, **more,
        )  # fmt: skip

    sample("part", estimate=6, confirm=lambda forecast: bool(forecasts.append(forecast)))
    took = sample("whole").info["compute"]["planning_eecu_seconds"]
    (forecast,) = forecasts
    assert forecast.planning is not None
    assert forecast.planning.compute is not None
    assert forecast.planning.compute.seconds == pytest.approx(took, rel=0.2)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_estimate_bounds_the_requests_of_places_near_each_other(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    forecasts: list[Forecast] = []
    server = serve("--latency", "1")  # as the service: what a request costs, not its pixels, decides

    def sample(**more: Any) -> Counter[str]:
        before = Counter(server.requests())
        eechips.sample(
            "S2", total=100, roi=_SMALL[0], every="month", start="2020-06-01", end="2020-07-01", **_CHIPS, in_flight=2,
            endpoint=server.url, executor="threads", quiet=True, profile_every=0, out=tmp_path / "run", **more,
        )  # fmt: skip
        return Counter(server.requests()) - before

    sample(estimate=2, confirm=lambda forecast: bool(forecasts.append(forecast)))
    sent = sample()["image:computePixels"]
    (forecast,) = forecasts
    assert forecast.least_requests is not None
    assert forecast.least_requests <= sent < forecast.requests


@pytest.mark.slow
def test_an_estimate_of_a_list_tries_rows_from_all_of_it(demo_server: Server, tmp_path: Path) -> None:
    """Twelve small regions, then twelve large ones: a quarter of the bytes was expected."""
    sizes = [0.01] * 12 + [0.03] * 12  # degrees
    outlines = [box(-105.5 + 0.04 * k, 39.9, -105.5 + 0.04 * k + size, 39.9 + size) for k, size in enumerate(sizes)]
    gpd.GeoDataFrame({"name": range(24)}, geometry=outlines, crs="EPSG:4326").to_file(tmp_path / "fields.geojson")
    forecasts: list[Forecast] = []

    def sample(**more: Any) -> eechips.Run:
        return eechips.sample(
            "DEM", regions=tmp_path / "fields.geojson", columns={"id": "name"}, endpoint=demo_server.url,
            executor="threads", quiet=True, out=tmp_path / "run", **more,
        )  # fmt: skip

    sample(estimate=8, confirm=lambda forecast: bool(forecasts.append(forecast)))
    (forecast,) = forecasts
    assert forecast.bytes is not None
    assert forecast.bytes * 24 / 16 == pytest.approx(int(sample().units["bytes"].sum()), rel=0.2)


@pytest.mark.slow
def test_a_run_that_is_not_confirmed_asks_for_no_result(demo_server: Server, tmp_path: Path) -> None:
    told: list[Estimate] = []

    def begin(*, answer: bool) -> tuple[eechips.Run, int]:
        def confirm(foreseen: Estimate) -> bool:
            told.append(foreseen)
            return answer

        before = Counter(demo_server.requests())
        run = eechips.mosaic(
            "DEM", roi=_BOXES[0], scale=90, out=tmp_path / "run", endpoint=demo_server.url, executor="threads",
            quiet=True, confirm_start=confirm,
        )  # fmt: skip
        return run, (Counter(demo_server.requests()) - before)["image:computePixels"]

    run, sent = begin(answer=False)
    assert (run.paused, run.interrupted, sent) == (True, False, 0)
    run, sent = begin(answer=True)
    assert (run.is_complete, sent) == (True, 1)
    assert len(told) == 2
    assert begin(answer=False)[0].is_complete  # nothing is left to confirm
    assert len(told) == 2


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_person_is_asked_before_a_run_that_takes_a_tenth_of_the_month(
    demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    options = {"endpoint": demo_server.url, "executor": "threads"}
    COMMANDS["mosaic"](tmp_path, 1, out=tmp_path / "elsewhere", quiet=True, profile_every=1, **options)
    (file,) = (tmp_path / "cache" / "costs").iterdir()
    recorded = json.loads(file.read_text())
    recorded["sample"]["seconds"] = 20 * 3600.0
    file.write_text(json.dumps(recorded))
    words = ["mosaic", "--dataset", "DEM", f"--roi={_BOXES[0]}", "--scale", "90", "--executor", "threads"]
    words += ["--endpoint", demo_server.url, "--out", "run"]
    question = "This may take more than a tenth of the month's compute. Begin?"
    shown = answer_question("n\n", *words, cwd=tmp_path, question=question)
    assert (
        "of a month of the community tier (150 EECU-hours; the default); half to twice what 1 like them took" in shown
    )
    assert "Stopped before the first unit. To resume: eechips mosaic" in shown
    assert not list((tmp_path / "run").glob("*.tif"))
    done = eechips_command(*words, cwd=tmp_path)  # nobody is there to be asked
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run").glob("*.tif"))
