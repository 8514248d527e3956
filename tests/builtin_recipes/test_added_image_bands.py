"""Images and composites that are extended by bands, over HTTP against the demo planet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import rasterio

import eechips
from eechips.builtin_recipes.rasters.composites import Composites
from eechips.builtin_recipes.rasters.images import Images
from eechips.engine.config import RunConfig
from eechips.engine.service.session import connect
from eechips.errors import RunMismatchError, UnknownDatasetError
from eechips.manifest.exclusions import exclude_units
from eechips.recipe import EarlierPlan, unit_id
from eechips.training.sample_reader import read_samples
from local_tests.support.local_earth_engine import Server
from tests.engine.test_extensions import FIELDS, FURTHER, MIDDLE, ROI, START, digests, fetch, sent, write_regions

COMPOSITES: dict[str, Any] = {"command": "composites", "every": "5 days", "reducer": "median", "roi": ROI}
Pixels = dict[tuple[str, ...], bytes]


def pixels(run: eechips.Run) -> Pixels:
    """The values of each band by region, the dates of its images or its period, and name."""
    found = {}
    for one in read_samples(run):
        place = str(one.unit.get("region")), str(one.unit.get("start")), *one.dates
        for file in one.files:
            with rasterio.open(run.path / file.name) as opened:
                for name, values in zip(file.bands or (), opened.read(), strict=True):
                    assert (*place, name) not in found
                    found[(*place, name)] = values.astype("float64").tobytes() + str(opened.transform).encode()
    return found


@pytest.mark.slow
def test_only_further_bands_are_fetched_of_images_that_are_there(demo_server: Server, tmp_path: Path) -> None:
    first = fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end="2020-06-10")
    files, before, count = digests(first.path), sent(demo_server), len(first.units)
    second = fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end="2020-06-10", bands="B4,B8", extend=True)
    assert sent(demo_server) - before == count
    assert sorted(set(digests(second.path)) - set(files)) == sorted(
        name.replace(".tif", ".S2-B8.tif") for name in files
    )
    assert digests(second.path).items() > files.items()
    assert second.verify() == []
    assert pd.read_parquet(second.path / "manifest.parquet")["completes"].dropna().tolist() == read_samples(first).ids
    one = fetch(demo_server, tmp_path / "one", roi=ROI, start=START, end="2020-06-10", bands="B4,B8")
    assert pixels(second) == pixels(one)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "options",
    [
        {"roi": ROI},
        {"roi": ROI, "mask": "auto", "bands": "B11", "index": "NDVI"},
        {"roi": ROI, "mosaic_by": "day"},
        {"regions": "fields", "columns": "id=field", "clip": True},
        COMPOSITES,
        COMPOSITES | {"reducer": "qualityMosaic:B8", "mask": "auto"},
        COMPOSITES | {"reducer": "mean", "where": "CLOUDY_PIXEL_PERCENTAGE < 60"},
    ],
    ids=["images", "finer", "passes", "regions", "medians", "best", "means"],
)
def test_bands_dates_and_regions_one_after_the_other(
    demo_server: Server, tmp_path: Path, options: dict[str, Any]
) -> None:
    fields = tmp_path / "fields.gpkg"
    options = options | ({"regions": write_regions(fields, FIELDS)} if "regions" in options else {})
    bands = options.pop("bands", "B4")
    fetch(demo_server, tmp_path / "run", **options, bands=bands, start=START, end="2020-06-11")
    for end, chosen in (("2020-06-11", f"{bands},B8"), ("2020-06-16", f"{bands},B8"), ("2020-06-21", f"{bands},B8,B2")):
        if "regions" in options:
            write_regions(fields, FIELDS | FURTHER if end == "2020-06-21" else FIELDS)
        files, before = digests(tmp_path / "run"), sent(demo_server)
        run = fetch(demo_server, tmp_path / "run", **options, bands=chosen, start=START, end=end, extend=True)
        assert digests(run.path).items() > files.items()
        assert sent(demo_server) - before == len(digests(run.path)) - len(files)
        assert run.verify() == []
    one = fetch(demo_server, tmp_path / "one", **options, bands=chosen, start=START, end=end)
    found = pixels(run)
    assert found.keys() == pixels(one).keys()
    assert found == pixels(one)
    before = sent(demo_server)
    for extend in (True, False):
        fetch(demo_server, tmp_path / "run", **options, bands=chosen, start=START, end=end, extend=extend)
    assert sent(demo_server) == before
    lockfile = eechips.lock(run, tmp_path / "run.lock", endpoint=demo_server.url)
    again = eechips.rebuild(lockfile, tmp_path / "again", endpoint=demo_server.url, executor="threads", quiet=True)
    assert (again.is_same, again.other_expressions) == (True, 0)
    assert digests(again.run.path) == digests(run.path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [Images, partial(Composites, every="5 days", reducer="max")], ids=["images", "maxima"]
)
def test_sizes_of_added_bands_are_those_of_their_type(demo_server: Server, tmp_path: Path, command: Any) -> None:
    """The check of the disk takes bands without a type for uint8."""
    options = {"dataset": "S2", "roi": ROI, "start": START, "end": "2020-06-10"}
    with connect(RunConfig(out=tmp_path, endpoint=demo_server.url)):
        first = command(bands="B4", **options)
        units = list(first.get_requests())
        earlier = EarlierPlan(first.parameters, units, [unit_id(unit, first.identity) for unit in units])
        recipe = command(bands="B4,B8", **options).continuing_from(first.parameters, first.parameters)
        added = recipe.extend_plan(earlier).units
        assert {chip.dtype for unit in added for chip in recipe.sized_result(0, unit).values()} == {"uint16"}


@pytest.mark.slow
def test_readers_join_the_files_of_an_image(demo_server: Server, tmp_path: Path) -> None:
    first = fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end=MIDDLE)
    run = fetch(demo_server, tmp_path / "run", roi=ROI, start=START, end=MIDDLE, bands="B4,B8", extend=True)
    ids = read_samples(first).ids
    assert {item.sample.id: {*item.pixels} for item in eechips.stream(run.path)} == {i: {"S2", "S2-B8"} for i in ids}
    assert {name: list(layer.bands) for name, layer in eechips.stats(run).layers.items()} == {
        "S2": ["B4"],
        "S2-B8": ["B8"],
    }
    eechips.pack(run, "webdataset", out=tmp_path / "pack")
    assert eechips.card(run).readme.read_text().count("Sentinel-2") == 4
    dropped = ids[0]
    exclude_units(run.path, {dropped: "dropped: black"})
    later = fetch(demo_server, run.path, roi=ROI, start=START, end=MIDDLE, bands="B4,B8,B2", extend=True)
    assert read_samples(later).ids == ids[1:]
    assert later.verify() == []


@pytest.mark.slow
def test_bands_that_cannot_be_added_are_refused(demo_server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"roi": ROI, "start": START, "end": "2020-06-06"}
    fetch(demo_server, tmp_path / "run", **options)
    with pytest.raises(UnknownDatasetError, match="has no band 'B99'"):
        fetch(demo_server, tmp_path / "run", **options, bands="B4,B99", extend=True)
    run = fetch(demo_server, tmp_path / "run", **options, bands="B4,B8", extend=True)
    files = digests(run.path)
    with pytest.raises(
        RunMismatchError, match=r'options than those that may grow \(bands: \["B4", "B8"\] there, \["B8"'
    ):
        fetch(demo_server, tmp_path / "run", **options, bands="B8", extend=True)
    with pytest.raises(RunMismatchError, match="computed"):
        fetch(demo_server, tmp_path / "run", **options, bands="B4,B8", index="NDVI", extend=True)
    assert digests(run.path) == files
    fetch(demo_server, tmp_path / "png", **options, format="png")
    with pytest.raises(RunMismatchError, match="bands"):
        fetch(demo_server, tmp_path / "png", **options, format="png", bands="B4,B3,B2", extend=True)
