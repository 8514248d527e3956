"""``eechips composites`` from end to end, on the demo planet. Composites of real data are in test_real_images.py."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import eechips
from eechips.builtin_recipes.rasters.composites import MOST_SOURCES, Composites
from eechips.errors import UnknownDatasetError, UsageError
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command

ROI = "-105.3,39.9,-105.29,39.91"
SUMMER: dict[str, Any] = {"roi": ROI, "start": "2020-06-01", "end": "2020-08-01", "bands": "B4,B8", "mask": "scl"}


def compose(server: Server, out: Path, dataset: str = "S2", **options: Any) -> eechips.Run:
    return eechips.composites(
        dataset, endpoint=server.url, rate=None, executor="threads", quiet=True, out=out, **options
    )


@pytest.mark.slow
def test_a_composite_equals_that_of_its_source_images(demo_server: Server, tmp_path: Path) -> None:
    """Medians of masked images equal numpy's over the files that ``eechips images`` makes of them."""
    months = compose(demo_server, tmp_path / "months", every="1 month", where="CLOUDY_PIXEL_PERCENTAGE < 70", **SUMMER)
    images = eechips.images(
        "S2", endpoint=demo_server.url, rate=None, executor="threads", quiet=True, out=tmp_path / "images",
        where="CLOUDY_PIXEL_PERCENTAGE < 70", **SUMMER,
    )  # fmt: skip
    files = {unit["sources"][0]: images.path / unit["file"] for unit in images.units.to_dict("records")}
    assert months.units["file"].tolist() == ["composites/2020-06-01.tif", "composites/2020-07-01.tif"]
    named = [source for sources in months.units["sources"] for source in sources]
    assert named == list(files)
    for unit in months.units.to_dict("records"):
        stack = []
        for source in unit["sources"]:
            with rasterio.open(files[source]) as file:
                stack.append(np.where(file.read_masks(1) != 0, file.read().astype(float), np.nan))
        valid = ~np.isnan(stack).any(axis=1).all(axis=0)
        with rasterio.open(months.path / unit["file"]) as file:
            assert file.dtypes == ("float32", "float32")
            assert np.array_equal(file.read_masks(1) != 0, valid)
            assert np.array_equal(
                file.read()[:, valid], np.nanmedian(np.array(stack)[:, :, valid], axis=0).astype("f4")
            )
        assert unit["valid_fraction"] == valid.mean()
    before = demo_server.requests()
    compose(demo_server, tmp_path / "months", every="month", where="CLOUDY_PIXEL_PERCENTAGE < 70", **SUMMER)
    assert demo_server.requests() == before


@pytest.mark.slow
@pytest.mark.usefixtures("demo_ee")
def test_without_dates_periods_are_those_of_the_calendar() -> None:
    recipe = Composites(
        dataset="ERA5_LAND_MONTHLY", roi="-106,39,-105,40", every="10 years", start=None, reducer="mean"
    )
    units = list(recipe.get_requests())
    assert units[0]["start"].endswith("-01-01")
    assert all(before["end"] == after["start"] for before, after in pairwise(units))
    assert sum(unit["images"] for unit in units) > 500
    assert max(unit["images"] for unit in units) == 120
    assert max(len(unit["sources"]) for unit in units) == MOST_SOURCES


@pytest.mark.usefixtures("demo_ee")
@pytest.mark.parametrize("end", [pytest.param(None, marks=pytest.mark.slow), "2015-01-01"])
def test_a_plan_without_dates_says_that_it_has_all(end: str | None, caplog: CapturedLog) -> None:
    """116 months were fetched without a word."""
    with caplog.at_level("INFO", logger="eechips"):
        units = list(Composites(dataset="NAIP", roi=ROI, every="1 year", end=end).get_requests())
    since = f", as no dates are given: all since {units[0]['start']}"
    text = f" of {len(units)} periods" + (since if end is None else "")
    assert caplog.messages[-1].endswith(text)


@pytest.mark.slow
@pytest.mark.usefixtures("demo_ee")
def test_planning_takes_few_requests_whatever_the_number_of_periods(demo_server: Server) -> None:
    before = demo_server.requests()
    units = list(
        Composites(
            dataset="MODIS_LST", roi=ROI, every="month", reducer="max", start="2005-01-01", end="2015-01-01"
        ).get_requests()
    )
    asked = {kind: count - before.get(kind, 0) for kind, count in demo_server.requests().items()}
    assert len(units) == 120
    assert asked["value:compute"] + asked["table:computeFeatures"] == 3
    assert len({str(unit["grid"]) for unit in units}) == 1


@pytest.mark.slow
def test_seasons_and_the_command_line(demo_server: Server, tmp_path: Path) -> None:
    arguments = ["composites", "--dataset", "MODIS_LST", f"--roi={ROI}", "--start", "2019-12-01", "--end", "2020-12-01"]
    arguments += ["--every", "season", "--reducer", "p90", "--clip", "--crs", "utm", "--scale", "500", "-q"]
    arguments += [
        "--endpoint",
        demo_server.url,
        "--rate",
        "none",
        "--executor",
        "processes:1",
        "--out",
        str(tmp_path / "out"),
    ]
    run_command(*arguments, status=0)
    run = eechips.open_run(tmp_path / "out")
    assert [unit["start"] for unit in run.units["unit"]] == ["2019-12-01", "2020-03-01", "2020-06-01", "2020-09-01"]
    assert set(run.units["dtype"]) == {"float32"}
    assert run.info["parameters"]["every"] == "1 season"
    assert run.info["parameters"]["reducer"] == "p90"


@pytest.mark.slow
def test_composites_are_written_as_pictures(demo_server: Server, tmp_path: Path) -> None:
    run = compose(demo_server, tmp_path, every="2 months", format="png", **SUMMER | {"bands": None, "mask": "auto"})
    (unit,) = run.units.to_dict("records")
    assert unit["file"] == "composites/2020-06-01.png"
    assert unit["dtype"] == "uint8"
    assert unit["crs"] == "EPSG:32613"


def test_a_dry_run_is_an_estimate(demo_server: Server, tmp_path: Path) -> None:
    foreseen = eechips.composites("S2", endpoint=demo_server.url, out=tmp_path, dry_run=True, every="week", **SUMMER)
    assert foreseen.units == foreseen.requests == 9
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_dry_run_counts_months_without_an_image(demo_server: Server, tmp_path: Path) -> None:
    """The first three units were those that counted: without an image, the run was to take no request."""
    options = SUMMER | {"start": "2016-06-01", "end": "2017-12-01", "every": "month", "bands": ["B4"]}
    foreseen = eechips.composites("S2", endpoint=demo_server.url, out=tmp_path, dry_run=True, **options)
    assert foreseen.units == 18
    assert foreseen.requests == 8  # from April 2017 on; Sentinel-2A does not pass from 28 to 31 March
    assert foreseen.least_requests == 8
    assert foreseen.bytes > 0
    there = options | {"start": "2017-04-01"}
    assert (
        foreseen.bytes == eechips.composites("S2", endpoint=demo_server.url, out=tmp_path, dry_run=True, **there).bytes
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": "fortnight"}, UsageError, "'fortnight' is not a step of time"),
        ({"every": "0 days"}, UsageError, "at least 1 day"),
        ({"reducer": "medain"}, UsageError, "unknown reducer 'medain'.*did you mean 'median'"),
        ({"reducer": "p101"}, UsageError, "a percentile is at most 100"),
        ({"reducer": "qualityMosaic:"}, UsageError, "unknown reducer"),
        ({"reducer": "qualityMosaic:NDVI"}, UnknownDatasetError, "has no band 'NDVI'"),
        ({"start": "2020-06-01T12:00"}, UsageError, "is not a day"),
        ({"dataset": "SRTM"}, UsageError, "is a single image"),
        ({"where": "CLOUDY_PIXEL_PERCENTAGE < -1"}, UsageError, "has no image with"),
    ],
)
def test_invalid_options_are_refused(
    demo_server: Server, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {**SUMMER, **options}
    if given.get("dataset") == "SRTM":
        given |= {"bands": None, "mask": "none"}
    with pytest.raises(error, match=message):
        compose(demo_server, tmp_path, **given)
