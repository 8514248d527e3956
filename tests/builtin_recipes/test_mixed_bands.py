"""Collections whose images differ in bands, pixels and types: every command uses the images that have what is asked."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pytest
import rasterio
import shapely

import eechips
from eechips.errors import UnknownDatasetError, UsageError
from eechips.geo.grid import Grid
from eechips.manifest.run import Run
from eechips.planning.asset_metadata import BandSurvey, survey_bands, tell_left_out
from eechips.planning.imagery import point_images
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server

# In Illinois: n_ of 2003, c_ of 2008, m_ from 2011 on.
ROI = "-88.31,40.01,-88.305,40.014"
MIXED, PLACE = "EECHIPS/DEMO/MIXED", "-104.602,40.4,-104.599,40.402"
HERE: dict[str, Any] = {"roi": PLACE, "start": None, "end": None}
EARLY: dict[str, Any] = {"start": "2003-01-01", "end": "2012-01-01"}


class Commands:
    """The commands with small requests, on mixed images of NAIP."""

    def __init__(self, server: Server, folder: Path, roi: str = ROI) -> None:
        self.roi = roi
        self.common = {"endpoint": server.url, "rate": None, "executor": "threads", "quiet": True}
        self.folder, self.runs = folder, 0
        box = shapely.box(*map(float, roi.split(",")))
        gpd.GeoDataFrame({"id": ["a"]}, geometry=[box.buffer(-0.0008)], crs=4326).to_file(folder / "plots.gpkg")
        x, y = box.centroid.x, box.centroid.y
        pd.DataFrame({"id": [1, 2], "lon": [x, x + 5e-4], "lat": [y, y]}).to_csv(folder / "points.csv", index=False)

    def run(self, command: str, dataset: str = "NAIP", **options: Any) -> Run:
        self.runs += 1
        out = self.folder / f"run-{self.runs}"
        chosen: dict[str, dict[str, Any]] = {
            "sample": {"roi": self.roi, "total": 2, "size": 16},
            "images": {"roi": self.roi},
            "composites": {"roi": self.roi, "every": "20 years"},
            "mosaic": {"roi": self.roi},
            "timeseries": {"regions": str(self.folder / "plots.gpkg"), "columns": "id=id"},
            "points": {"points": str(self.folder / "points.csv")},
        }
        function: Callable[..., Run] = getattr(eechips, command)
        return function(dataset, out=out, **{**self.common, **chosen[command], **EARLY, **options})


@pytest.fixture
def commands(demo_server: Server, tmp_path: Path) -> Commands:
    return Commands(demo_server, tmp_path)


def letters(run: Run) -> set[str]:
    """Return the first letters of the ids of the images that a run used."""
    return {source.rpartition("/")[2][0] for sources in run.units["sources"] for source in sources}


@pytest.mark.slow
def test_images_that_lack_a_band_are_left_out_and_counted(commands: Commands, caplog: CapturedLog) -> None:
    caplog.set_level(logging.WARNING)
    run = commands.run("images", bands="R,G,B")
    assert run.is_complete
    assert letters(run) == {"m", "n"}
    assert "USDA/NAIP/DOQQ: 2 images there lack B and are left out" in caplog.text
    assert letters(commands.run("images", index="NDVI")) == {"c", "m"}
    assert letters(commands.run("images", bands="R,N,G,B")) == {"m"}


@pytest.mark.slow
def test_the_message_tells_which_images_lack_what(commands: Commands) -> None:
    with pytest.raises(UsageError, match=r"that meets the region and has N: 2 have R, G, B$"):
        commands.run("sample", index="NDVI", end="2005-01-01")
    there = r"S1_GRD has no image .* and has HH: \d+ have VV, VH, angle; \d+ have VV, angle$"
    with pytest.raises(UsageError, match=there):
        commands.run("images", "S1", bands="HH", roi=PLACE, start="2015-12-01", end="2016-02-01")


@pytest.mark.slow
def test_the_polarisations_that_are_asked_decide_which_images_are_used(commands: Commands, caplog: CapturedLog) -> None:
    caplog.set_level(logging.WARNING)
    winter = {"roi": PLACE, "start": "2015-11-01", "end": "2016-03-01", "dry_run": True}
    every, pairs = (commands.run("images", "S1", bands=bands, **winter).units for bands in ("VV", "VV,VH"))
    assert 0 < pairs < every
    assert f"COPERNICUS/S1_GRD: {every - pairs} images there lack VV or VH and are left out" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "images", "composites", "mosaic", "timeseries", "points"])
@pytest.mark.parametrize(
    "asked", [{"index": "NDVI"}, pytest.param({"bands": "R,G,B"}, marks=pytest.mark.slow)], ids=["ndvi", "rgb"]
)
def test_every_command_copes_with_mixed_bands(commands: Commands, command: str, asked: dict[str, Any]) -> None:
    run = commands.run(command, **asked)
    assert run.is_complete
    assert len(run.units)


@pytest.mark.slow
def test_a_dataset_without_a_record_is_surveyed(commands: Commands, caplog: CapturedLog) -> None:
    caplog.set_level(logging.WARNING)
    run = commands.run("images", MIXED, bands="red,nir", **HERE)
    assert run.is_complete
    assert {source.rpartition("/")[2][0] for sources in run.units["sources"] for source in sources} == set("acdefghij")
    assert "EECHIPS/DEMO/MIXED: 1 image there lacks nir and is left out" in caplog.text
    with pytest.raises(UnknownDatasetError, match="has no band 'swir'"):
        commands.run("images", MIXED, bands="swir", **HERE)


@pytest.mark.slow
def test_bands_of_several_types_are_combined_in_the_type_that_holds_them(commands: Commands) -> None:
    run = commands.run("composites", MIXED, bands="red,nir", reducer="max", every="1 year", **HERE)
    with rasterio.open(run.path / run.units["file"].iloc[0]) as file:
        assert file.dtypes == ("float32", "float32")
        assert file.read().max() > 255


def test_the_distance_of_chips_is_that_of_the_largest_pixels(demo_ee: Any) -> None:
    """At the border of Nebraska and South Dakota: 2 m in 2006 and 2007, 1 m after it."""
    place = demo_ee.Geometry.Point(-100.53, 42.99)
    images = demo_ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(place)
    native = Grid("EPSG:26914", (0.6, 0.0, 400000.2, 0.0, -0.6, 4700000.4), 1, 1)
    recent = images.filterDate("2018-01-01", "2022-01-01")
    assert point_images.fetch_coarsest_grid(recent, "R", native) == native
    older = images.filterDate("2006-01-01", "2018-01-01").sort("system:time_start", False)
    coarsest = point_images.fetch_coarsest_grid(older, "R", replace(native, transform=(1, 0, 0, 0, -1, 0)))
    assert coarsest.transform[0] == pytest.approx(2.0)


COMMANDS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("sample", {"format": name}) for name in ("tif", "npy", "png")),
    ("sample", {"format": "tif", "method": "url"}),
    ("sample", {"every": "1 year"}),
    ("sample", {"frames": 2}),
    ("sample", {"crs": "utm", "scale": 10.0}),
    *(("images", {"format": name}) for name in ("tif", "npy", "png")),
    *(("composites", {"reducer": name}) for name in ("mosaic", "median", "max", "count")),
    *(("mosaic", {"reducer": name}) for name in ("mosaic", "first", "mean", "mode")),
    ("timeseries", {}),
    ("timeseries", {"every": "1 year", "composite": "median"}),
    *(("points", options) for options in ({}, {"each_image": True}, {"composite": "latest"})),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "command"),
    # All on the collection that differs in everything; of the others a third each.
    [
        *((MIXED, command) for command in COMMANDS),
        *((name, command) for first, name in enumerate(("NAIP", "S1", "S2")) for command in COMMANDS[first::3]),
    ],
    ids=str,
)
def test_no_unit_of_any_command_fails_on_mixed_images(
    demo_server: Server, tmp_path: Path, dataset: str, command: tuple[str, dict[str, Any]]
) -> None:
    name, options = command
    commands = Commands(demo_server, tmp_path, ROI if dataset == "NAIP" else PLACE)
    asked = {
        "NAIP": {"bands": "R", **EARLY},
        "S1": {"bands": "VV", "start": "2015-10-01", "end": "2016-03-01"},
        "S2": {"bands": "B4", "mask": "none", "start": "2018-03-01", "end": "2018-04-10"},
        MIXED: {"bands": "nir", "start": "2020-01-01", "end": "2021-01-01"},
    }[dataset]
    if dataset == "S2" and name != "sample":
        asked |= {"bands": "B4,MSK_CLDPRB"} if options.get("format") != "png" else {}
    if dataset == MIXED and options.get("format") == "png":  # its usual colours are not known
        asked |= {"stretch": (0, 3000)}
    # The image without an outline has no pixels of its own.
    if dataset == MIXED and (name == "timeseries" or options.get("each_image")):
        asked |= {"scale": 10.0}
    run = commands.run(name, dataset, **asked, **options)
    assert run.is_complete
    assert len(run.units)


def test_a_survey_counts_layouts(demo_ee: Any) -> None:
    images = demo_ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(demo_ee.Geometry.Point(-88.308, 40.012))
    first, survey = survey_bands(images.filterDate("2003-01-01", "2012-01-01"), with_types=True)
    assert first is not None
    assert dict(survey.layouts) == {("N", "R", "G"): 1, ("R", "G", "B", "N"): 1, ("R", "G", "B"): 1}
    assert survey.varying(["R", "B", "N", "X"]) == ("B", "N")
    assert set(survey.types["N"]) == {("int", 0, 255)}
    assert BandSurvey().varying(["R"]) == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end", "is_told"), [("2003-01-01", "2008-01-01", True), ("2018-01-01", "2022-01-01", False)]
)
def test_of_many_images_only_the_first_are_looked_at(
    demo_ee: Any, caplog: CapturedLog, start: str, end: str, is_told: bool
) -> None:
    """A count among all 80,000 images of Colorado took ten seconds, whose result was "more than 10,000"."""
    images = demo_ee.ImageCollection("USDA/NAIP/DOQQ").filterDate(start, end)
    many = images.filterBounds(demo_ee.Geometry.Rectangle([-105, 38, -103, 40], None, False))
    tell_left_out("NAIP", many, ("B", "N"), is_local=True)
    there = r"NAIP: images that lack B or N are left out \((all|[1-9]\d*) of the first 1,000 there; later ones may .*\)"
    told = [message for message in caplog.messages if message.startswith("NAIP")]
    assert [bool(re.fullmatch(there, message)) for message in told] == [True] * is_told
