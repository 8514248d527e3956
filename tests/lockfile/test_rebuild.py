"""Runs that are locked and rebuilt: the commands and functions, the real client, the local Earth Engine over HTTP."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine

import eechips
from eechips.commands.fetching import find_command
from eechips.errors import EechipsError, StorageError, UsageError
from eechips.lockfile.rebuild import Rebuild
from eechips.manifest.run import Run
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Host, Server
from local_tests.support.parameters import slow_except
from local_tests.support.stack_store import STACK
from tests.lockfile.test_lockfile_format import UNIT, write
from tests.support.coded_store import write_geotiff
from tests.support.commands import run_command
from tests.support.programs import run_program
from tests.support.scene_runs import catalogue
from tests.support.scene_runs import fetch as fetch_scenes
from tests.support.scene_runs import items as scene_items
from tests.support.scene_runs import write as write_scene
from tests.support.scene_servers import FileServer

COLLECTION = "users/someone/tiles"
CRS = "EPSG:32613"
WIDTH, EDGE = 8, 160  # images in a row; pixels of an edge


class Source:
    """A collection of images side by side, which change.

    Attributes:
        url: URL of the server.
        pixels: pixels of each image: (bands, rows, columns).
    """

    def __init__(self, folder: Path, count: int, serve: Callable[..., Server]) -> None:
        self._folder, self._serve = folder, serve
        random = np.random.default_rng(3)
        self.pixels = [random.integers(1, 200, (2, EDGE, EDGE)).astype(np.uint8) for _ in range(count)]
        for number in range(count):
            self.put(number)
        self.start()

    def start(self) -> None:
        """Serve the images, at another port than before."""
        store = str(self._folder / "store")
        self.server = self._serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")

    def put(self, number: int) -> None:
        """Ingest an image, or replace it."""
        row, column = divmod(number, WIDTH)
        place = Affine(10, 0, 500_000 + 10 * EDGE * column, 0, -10, 4_400_000 - 10 * EDGE * row)
        path = self._folder / f"image_{number}.tif"
        write_geotiff(path, CRS, place, self.pixels[number], dtype="uint8")
        ingest(path, self._folder / "store", f"{COLLECTION}/image_{number}", time_start="2020-06-01", bands=["a", "b"])

    def points(self, per_image: int, size: int, seed: int = 5) -> Path:
        """Write a table of places whose chips lie inside of one image each."""
        from pyproj import Transformer

        random = np.random.default_rng(seed)
        offsets = random.uniform(size / 2 + 1, EDGE - size / 2 - 1, (len(self.pixels), per_image, 2))
        rows = []
        for number, places in enumerate(offsets):
            row, column = divmod(number, WIDTH)
            x = 500_000 + 10 * (EDGE * column + places[:, 0])
            y = 4_400_000 - 10 * (EDGE * row + places[:, 1])
            lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
            rows += [{"lon": a, "lat": b, "image": number} for a, b in zip(lon, lat, strict=True)]
        path = self._folder / "places.csv"
        pd.DataFrame(rows).to_csv(path, index=False)
        return path

    def sample(self, per_image: int, size: int, out: Path, **further: Any) -> Run:
        """Fetch chips at so many places of each image."""
        points = self.points(per_image, size)
        return eechips.sample(COLLECTION, points=points, size=size, out=out, **options(self.server, **further))


@pytest.fixture
def make_source(tmp_path: Path, serve_briefly: Callable[..., Server]) -> Callable[[int], Source]:
    def make(count: int) -> Source:
        (tmp_path / "source").mkdir()
        return Source(tmp_path / "source", count, serve_briefly)

    return make


def files_of(run: Run) -> dict[str, bytes]:
    """The results of a run, with what was made of all, by path."""
    names = [*run.units["file"].dropna(), *(run.layers["file"] if len(run.layers) else ())]
    paths = {run.path / name for name in names} | set(run.assembled)
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in sorted(paths)}


def options(source: Server, **more: Any) -> dict[str, Any]:
    return {"endpoint": source.url, "project": "local", "quiet": True, "executor": "threads", **more}


def pixels_of(data: bytes) -> np.ndarray:
    with rasterio.MemoryFile(data) as memory, memory.open() as file:
        return np.asarray(file.read())


def check_changed(source: Source, before: Run, lockfile: Path, out: Path, changed: set[int]) -> Rebuild:
    """Change images at the source, rebuild, and compare what is reported with the files themselves."""
    for number in changed:
        source.pixels[number][0, : EDGE // 2, :] += 1
        source.put(number)
    found = eechips.rebuild(lockfile, out, **options(source.server))
    old, new = files_of(before), files_of(found.run)
    assert old.keys() == new.keys()
    different = {name for name in old if old[name] != new[name]}
    assert different
    assert {each.file for each in found.differences} == different
    assert (found.same, found.files) == (len(old) - len(different), len(old))
    images = dict(zip(before.units["file"], before.units["unit"], strict=True))
    assert {int(images[name]["properties"]["image"]) for name in different} <= changed
    for each in found.differences:
        assert each.difference == "values"
        change = each.change
        assert change is not None
        assert change.share is not None
        assert change.largest_share is not None
        exact = (pixels_of(old[each.file]) != pixels_of(new[each.file])).any(axis=0)
        assert abs(change.share - exact.mean()) < 0.1, each
        assert change.largest_share >= exact.mean() - 0.03
        left, top, width, height = change.window or (0, 0, 0, 0)
        outside = exact.copy()
        outside[top : top + height, left : left + width] = False
        assert outside.mean() < 0.03
        assert each.bands == ("a",)
        assert [name.rpartition("/")[2] for name in each.sources] == [
            f"image_{images[each.file]['properties']['image']}"
        ]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "per_image"),
    [(8, 2), pytest.param(40, 25, marks=[pytest.mark.slow, pytest.mark.exhaustive, pytest.mark.timeout(900)])],
)
def test_chips_are_the_same_to_the_byte_and_changed_images_are_found(
    images: int, per_image: int, make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(images)
    run = source.sample(per_image, 32, tmp_path / "run", format="tif")
    assert run.counts == {"done": images * per_image}
    lockfile = eechips.lock(run, tmp_path / "chips.lock")
    assert lockfile.stat().st_size < 20_000 + 700 * images * per_image
    Path(source._folder / "places.csv").unlink()  # the lockfile has it
    shutil.move(run.path, tmp_path / "moved")
    before = eechips.open_run(tmp_path / "moved")

    same = eechips.rebuild(lockfile, tmp_path / "same", **options(source.server))
    assert same.is_same
    assert (same.same, same.files, same.differences) == (images * per_image, images * per_image, ())
    assert files_of(same.run) == files_of(before)
    assert same.run.verify() == []

    found = check_changed(source, before, lockfile, tmp_path / "again", {1, 3, 6})
    assert not found.is_same
    with (tmp_path / "again" / "rebuild.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [each.file for each in found.differences]
    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server), status=1)
    count = len(found.differences)
    assert f"{found.same:,} of {found.files:,} files are the same to the byte" in done.stdout
    assert f"{count} files have other values:" in done.stdout
    run_command("rebuild", lockfile, tmp_path / "same", *at(source.server), status=0)


def at(server: Server) -> tuple[str, ...]:
    return ("--endpoint", server.url, "--project", "local", "-q")


def rebuilt(run: Run, folder: Path, server: Server, **more: Any) -> Rebuild:
    return eechips.rebuild(eechips.lock(run, folder / "a.lock"), folder / "again", **options(server, **more))


REGIONS = [-105.0, 39.745, -104.985, 39.75]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    slow_except(
        ["images", "composites", "mosaic", "mosaics", "timeseries", "points", "frames", "pictures"],
        "images", "mosaics", "timeseries", "pictures",
    ),
)  # fmt: skip
def test_results_of_every_command_are_the_same_to_the_byte(kind: str, stack_server: Server, tmp_path: Path) -> None:
    import geopandas
    import shapely

    given = options(stack_server, out=tmp_path / "run")
    box = "-105.0,39.735,-104.98,39.749"
    shape = shapely.box(-104.998, 39.74, -104.99, 39.745)
    geopandas.GeoDataFrame({"zone": ["z"]}, geometry=[shape], crs="EPSG:4326").to_file(tmp_path / "zones.gpkg")
    frame = pd.DataFrame({"plot": ["a", "b"], "lon": [-104.995, -104.992], "lat": [39.741, 39.742]})
    frame.to_csv(tmp_path / "plots.csv", index=False)
    if kind == "images":
        run = eechips.images(STACK, roi=box, where="cloud < 20", scale=40, **given)
    elif kind == "composites":
        run = eechips.composites(
            STACK, roi=box, start="2020-01-01", end="2020-05-01", every="2 months", reducer="median", scale=40, **given
        )
    elif kind == "mosaic":
        run = eechips.mosaic(STACK, roi=str(tmp_path / "zones.gpkg"), clip=True, window=64, **given)
    elif kind == "mosaics":
        zones = {"regions": str(tmp_path / "zones.gpkg"), "columns": "id=zone"}
        run = eechips.mosaic(STACK, clip=True, margin=50.0, window=64, **zones, **given)
    elif kind == "timeseries":
        run = eechips.timeseries(STACK, regions=str(tmp_path / "zones.gpkg"), columns="id=zone", **given)
    elif kind == "points":
        run = eechips.points(STACK, frame, each_image=True, **given)
    elif kind == "frames":
        run = eechips.sample(STACK, points=tmp_path / "plots.csv", size=16, start="2020-01-01", end="2020-05-01",
                             frames=2, **given)  # fmt: skip
    else:
        run = eechips.sample(STACK, points=tmp_path / "plots.csv", size=16, format="png", stretch=(0, 9000),
                             bands=["red"], name="{plot}/chip-{id}", **given)  # fmt: skip
    assert run.is_complete
    before = files_of(run)
    assert before
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    units, assets = members(lockfile, "units.jsonl"), members(lockfile, "assets.jsonl")
    assert len({each["expression"] for each in units}) == len(units)
    assert None not in {each["expression"] for each in units}
    named = {source for each in units for file in each["files"] for source in file.get("sources", ())}
    assert {each["id"] for each in assets} == (named or {STACK})
    assert all("version" in each for each in assets if each["id"] in named)
    for name in ("zones.gpkg", "plots.csv"):
        (tmp_path / name).unlink()
    shutil.move(run.path, tmp_path / "moved")
    found = eechips.rebuild(lockfile, tmp_path / "again", **options(stack_server))
    assert found.is_same, found.differences
    assert (found.replaced, found.other_expressions) == ((), 0)
    assert files_of(found.run) == before


@pytest.mark.slow
def test_units_with_several_files_and_a_changed_layer(
    make_source: Callable[[int], Source], tmp_path: Path, stack: Any
) -> None:
    source = make_source(2)
    places = source.points(2, 16)
    run = eechips.sample(
        [COLLECTION, f"{COLLECTION}/image_0"], points=places, size=16, out=tmp_path / "run", **options(source.server)
    )
    assert len(run.layers) == 8
    assert rebuilt(run, tmp_path, source.server).is_same
    source.pixels[0][:] = 7
    source.put(0)
    found = eechips.rebuild(tmp_path / "a.lock", tmp_path / "changed", **options(source.server))
    old, new = files_of(run), files_of(found.run)
    assert {each.file for each in found.differences} == {name for name in old if old[name] != new[name]}
    layers = set(run.layers.index.get_level_values("layer"))
    assert len(layers) == 2
    assert {each.layer for each in found.differences} <= layers
    assert {each.layer for each in found.differences}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_results_without_data_are_compared(make_source: Callable[[int], Source], tmp_path: Path) -> None:
    source = make_source(2)
    places = pd.read_csv(source.points(2, 16))
    far = pd.DataFrame({"lon": [-100.0], "lat": [30.0], "image": [-1]})
    pd.concat([places, far]).to_csv(tmp_path / "places.csv", index=False)
    for on_empty in ("keep", "skip"):
        out = tmp_path / on_empty
        run = eechips.sample(
            COLLECTION, points=tmp_path / "places.csv", size=16, crs=CRS, scale=10, out=out, on_empty=on_empty,
            **options(source.server),
        )  # fmt: skip
        assert run.counts == {"done": 4, "empty": 1}
        lockfile = eechips.lock(run, tmp_path / f"{on_empty}.lock")
        found = eechips.rebuild(lockfile, tmp_path / f"{on_empty}-again", **options(source.server))
        assert found.is_same
        assert (found.same, found.empty) == ((5, 0) if on_empty == "keep" else (4, 1))


@pytest.mark.slow
@pytest.mark.parametrize("on_empty", ["skip", "redraw"])
def test_places_without_all_frames_are_compared(on_empty: str, stack_server: Server, tmp_path: Path) -> None:
    places: dict[str, Any] = {"total": 3, "roi": "-105.0,39.735,-104.98,39.749"}
    if on_empty == "skip":
        pd.DataFrame({"lon": [-104.995, -100.0], "lat": [39.741, 30.0]}).to_csv(tmp_path / "places.csv", index=False)
        places = {"points": tmp_path / "places.csv", "crs": CRS, "scale": 10}
    run = eechips.sample(
        STACK, size=8, start="2020-01-01", end="2020-05-01", frames=2, on_empty=on_empty, out=tmp_path / "run",
        **places, **options(stack_server),
    )  # fmt: skip
    assert run.counts == ({"done": 1, "empty": 1} if on_empty == "skip" else {"done": 3})
    assert eechips.verify(run, refetch=1) == []
    found = eechips.rebuild(eechips.lock(run, tmp_path / "a.lock"), tmp_path / "again", **options(stack_server))
    assert found.is_same, found.differences
    assert files_of(found.run) == files_of(run)
    assert found.run.counts == run.counts


@pytest.mark.slow
def test_results_in_an_object_store_are_locked(stack_server: Server, tmp_path: Path) -> None:
    pd.DataFrame({"lon": [-104.995, -104.992], "lat": [39.741, 39.742]}).to_csv(tmp_path / "plots.csv", index=False)
    run = eechips.sample(
        STACK, points=tmp_path / "plots.csv", size=16, out=f"file://{tmp_path}/objects", ledger=tmp_path / "ledger",
        **options(stack_server),
    )  # fmt: skip
    assert run.address is not None
    found = rebuilt(run, tmp_path, stack_server)
    assert found.is_same
    assert found.files == 2
    for name, data in files_of(found.run).items():
        assert (tmp_path / "objects" / name).read_bytes() == data


def members(lockfile: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a member of a lockfile."""
    with zipfile.ZipFile(lockfile) as archive:
        return [json.loads(line) for line in archive.read(name).splitlines()]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_replaced_images_are_named_with_their_chips_and_the_exact_share_of_pixels(
    make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(8)
    run = source.sample(3, 32, tmp_path / "run", format="tif")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    before = {each["id"]: each["version"] for each in members(lockfile, "assets.jsonl")}
    assert before.keys() == {f"{COLLECTION}/image_{number}" for number in range(8)}
    assert len({each["expression"] for each in members(lockfile, "units.jsonl")}) == 24
    for number in (1, 4, 6):
        source.pixels[number][0, : EDGE // 3, :] += 1
        source.pixels[number][1, :, : EDGE // 4] += 1
    for number in (1, 4, 6, 7):  # the last one with the same pixels
        source.put(number)
    found = eechips.rebuild(lockfile, tmp_path / "again", compare_with=run, **options(source.server))

    old, new = files_of(run), files_of(found.run)
    exact = {name: float((pixels_of(old[name]) != pixels_of(new[name])).any(axis=0).mean()) for name in old}
    images = dict(zip(run.units["file"], run.units["unit"], strict=True))
    assert {each.file: each.change.share for each in found.differences if each.change} == {
        name: share for name, share in exact.items() if share
    }
    for each in found.differences:
        assert each.change is not None
        assert each.change.is_exact
        assert each.replaced == (f"{COLLECTION}/image_{images[each.file]['properties']['image']}",)
        left, top, width, height = each.change.window or (0, 0, 0, 0)
        changed = (pixels_of(old[each.file]) != pixels_of(new[each.file])).any(axis=0)
        rows, columns = np.nonzero(changed)
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())

    assert [each.id.rpartition("_")[2] for each in found.replaced] == ["1", "4", "6", "7"]
    for asset in found.replaced:
        shares = [exact[name] for name, unit in images.items() if asset.id.endswith(f"_{unit['properties']['image']}")]
        assert (asset.files, asset.changed) == (3, sum(share > 0 for share in shares))
        assert asset.share == pytest.approx(np.mean(shares))
        assert (asset.before, asset.is_exact) == (before[asset.id], True)
        assert asset.now is not None
        assert asset.now > asset.before
    assert found.other_expressions == 0
    with (tmp_path / "again" / "rebuild-assets.csv").open() as file:
        assert [row["asset"] for row in csv.DictReader(file)] == [each.id for each in found.replaced]

    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server),
                "--compare-with", run.path, status=1)  # fmt: skip
    assert "4 assets changed at the source:" in done.stdout
    assert "no pixel of 3 files has changed" in done.stdout
    estimated = eechips.rebuild(lockfile, tmp_path / "again", **options(source.server))
    assert {each.file for each in estimated.differences} == {each.file for each in found.differences}
    assert not any(each.change.is_exact for each in estimated.differences if each.change)


@pytest.mark.slow
def test_a_version_that_changed_without_a_pixel_leaves_the_files_the_same(
    make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    source.put(1)
    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server), status=0)
    assert "4 of 4 files are the same to the byte" in done.stdout
    assert "1 asset changed at the source:" in done.stdout
    assert "no pixel of 2 files has changed" in done.stdout


@pytest.mark.slow
def test_an_image_that_was_replaced_before_the_run_was_locked_has_no_version(
    make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    source.put(0)
    done = run_command("lock", run.path, "-o", tmp_path / "a.lock", "-q", status=0)
    assert "1 asset changed at the source after the run had fetched them" in done.stderr
    assert f"{COLLECTION}/image_0" in done.stderr
    assert ["version" in each for each in members(tmp_path / "a.lock", "assets.jsonl")] == [False, True]


@pytest.mark.slow
def test_a_lockfile_without_versions_asks_no_service(make_source: Callable[[int], Source], tmp_path: Path) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    requests = source.server.requests()
    run_command("lock", run.path, "-o", tmp_path / "a.lock", "-q", "--no-versions", status=0)
    assert source.server.requests() == requests
    assert [each.keys() for each in members(tmp_path / "a.lock", "assets.jsonl")] == [{"id"}, {"id"}]
    assert eechips.rebuild(tmp_path / "a.lock", tmp_path / "again", **options(source.server)).is_same


@pytest.mark.slow
def test_units_that_this_version_requests_by_another_expression_are_counted(
    make_source: Callable[[int], Source], tmp_path: Path
) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    units = members(lockfile, "units.jsonl")
    units[2]["expression"] = "0" * 64
    with zipfile.ZipFile(lockfile) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["units.jsonl"] = "".join(f"{json.dumps(each)}\n" for each in units).encode()
    with zipfile.ZipFile(lockfile, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server), status=0)
    assert "1 unit: this version of eechips requests another expression" in done.stdout


@pytest.mark.exhaustive
@pytest.mark.slow
def test_images_that_are_gone_are_named(make_source: Callable[[int], Source], host: Host, tmp_path: Path) -> None:
    source = make_source(2)
    run = source.sample(2, 16, tmp_path / "run")
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    host.stop(source.server)
    shutil.rmtree(source._folder / "store" / COLLECTION / "image_1")
    document = source._folder / "store" / COLLECTION / "collection.json"
    content = json.loads(document.read_text())
    content["links"] = [link for link in content["links"] if "image_1" not in link["href"]]
    document.write_text(json.dumps(content))
    source.start()
    done = run_command("rebuild", lockfile, tmp_path / "again", *at(source.server),
                "--retries", "1", status=1)  # fmt: skip
    assert "2 of 4 files are the same to the byte" in done.stdout
    assert "2 files could not be fetched" in done.stdout
    assert f"{COLLECTION}/image_1: it is gone; 2 of 2 files changed" in done.stdout


RECIPE = """
from pathlib import Path
from eechips import Table

NEEDS_SERVICE = False

def get_requests(count=3):
    return [{"n": n} for n in range(count)]

def get_result(index, unit, count=3):
    return Table([{"index": index, "n": unit["n"], "count": count}])
"""


def test_a_recipe_is_in_the_lockfile_and_is_executed_for_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    service = ("--executor", "threads", "-q")
    run_command("run", "recipe.py", "-p", "count=4", "--out", "run", *service, status=0)
    run_command("lock", "run", "-o", "r.lock", "-q", status=0)
    Path("recipe.py").unlink()
    done = run_command("rebuild", "r.lock", "again", "--executor", "threads", "-q", status=0)
    assert "4 of 4 files are the same to the byte, in again" in done.stdout
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "another user's"))
    run_command("rebuild", "r.lock", "third", "--executor", "threads", "-q", status=2)
    run_command("rebuild", "r.lock", "third", "--executor", "threads", "-q", "--trust", status=0)


def test_a_rebuilt_run_is_retried_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = RECIPE.replace("    return Table", "    if Path('bad').exists(): raise ValueError('bad')\n    return Table")
    (tmp_path / "recipe.py").write_text(text)
    lockfile = eechips.lock(eechips.run("recipe.py", out="run"), "a.lock")
    Path("bad").touch()
    done = run_command("rebuild", lockfile, "again", "-q")
    assert (done.exit_code, eechips.open_run("again").counts) == (1, {"failed_permanent": 3}), done.output
    Path("bad").unlink()
    assert eechips.retry("again").counts == {"done": 3}


def test_a_run_whose_recipe_has_changed_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lockfile would have code that did not make the run, and could not be rebuilt."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    run_command("run", "recipe.py", "--out", "run", "--executor", "threads", "-q", status=0)
    Path("recipe.py").write_text(RECIPE + "\nopen('executed', 'w').close()\n")
    done = run_command("lock", "run", "-o", "r.lock", "-q", status=2)
    assert "recipe.py has changed since the run" in done.stderr
    assert not Path("r.lock").exists()
    assert not Path("executed").exists()
    Path("recipe.py").write_text(RECIPE + "\n# the same\n")
    run_command("lock", "run", "-o", "r.lock", "-q", status=0)


def test_a_rebuild_takes_no_file_of_another_run_for_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    words = ("--executor", "threads", "-q", "--name", "{n}")
    run_command("run", "recipe.py", "--out", "run", *words, status=0)
    run_command("run", "recipe.py", "-p", "count=4", "--out", "other", *words, status=0)
    run_command("lock", "run", "-o", "r.lock", "-q", status=0)
    run_command("rebuild", "r.lock", "again", "--executor", "threads", "-q", status=0)
    shutil.copy2("other/1.csv", "again/1.csv")  # of the same name and size
    done = run_command("rebuild", "r.lock", "again", "--executor", "threads", "-q", status=0)
    assert "1.csv is not what this run wrote for unit" in done.stderr
    assert "3 of 3 files are the same to the byte" in done.stdout
    assert Path("again/1.csv").read_bytes() == Path("run/1.csv").read_bytes()


SOURCES = f"""
import ee
from eechips import Chip, Grid

def get_requests():
    return [0, 1]

def get_result(index, number):
    grid = Grid("{CRS}", (10.0, 0.0, 500000.0 + {10 * EDGE} * number, 0.0, -10.0, 4400000.0), 16, 16)
    asset = f"{COLLECTION}/image_{{number}}"
    return Chip(ee.Image(asset), grid=grid, format="tif", sources=(asset,))
"""


@pytest.mark.slow
def test_replaced_images_of_a_recipe_are_named(
    make_source: Callable[[int], Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = make_source(2)
    Path("recipe.py").write_text(SOURCES)
    service = ("--endpoint", source.server.url, "--project", "local", "--executor", "threads", "-q")
    run_command("run", "recipe.py", "--out", "run", *service, status=0)
    run_command("lock", "run", "-o", "r.lock", "-q", status=0)
    assert ["version" in each for each in members(Path("r.lock"), "assets.jsonl")] == [True, True]
    assert [each["expression"] for each in members(Path("r.lock"), "units.jsonl")] == [None, None]
    source.pixels[1][:] += 1
    source.put(1)
    done = run_command("rebuild", "r.lock", "again", *service, status=1)
    assert "1 of 2 files are the same to the byte" in done.stdout
    assert f"{COLLECTION}/image_1: version" in done.stdout
    assert "1 of 1 file changed, about 100.0% of their pixels" in done.stdout


@pytest.mark.slow
def test_a_run_is_locked_with_another_endpoint_than_its_own(
    make_source: Callable[[int], Source], host: Host, tmp_path: Path
) -> None:
    source = make_source(1)
    run = source.sample(1, 16, tmp_path / "run")
    host.stop(source.server)
    source.start()
    with pytest.raises(EechipsError):
        eechips.lock(run, tmp_path / "a.lock")
    lockfile = eechips.lock(run, tmp_path / "a.lock", endpoint=source.server.url, project="local")
    assert len(members(lockfile, "assets.jsonl")) == 1


@pytest.mark.slow
def test_runs_that_cannot_be_locked_say_why(tmp_path: Path, stack_server: Server, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(
        "from multiprocessing import Pool\ndef work(n):\n    with open(f'{n}.txt', 'w') as file:\n"
        "        file.write('x')\n"
        "if __name__ == '__main__':\n    with Pool(2) as pool:\n        pool.map(work, [1, 2])\n"
    )
    service = ("--endpoint", stack_server.url, "--executor", "threads", "-q")
    run_command("run", "script.py", "--out", "script", *service, status=0)
    refusal = run_command("lock", "script").stderr
    assert "a script made it" in refusal
    assert "Write a recipe of two functions" in refusal
    assert "eechips verify script" in refusal
    pd.DataFrame({"lon": [-104.995], "lat": [39.741]}).to_csv("plots.csv", index=False)
    run = eechips.sample(STACK, points="plots.csv", size=16, out="chips", **options(stack_server))
    (file,) = (run.path / name for name in run.units["file"])
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    assert "has changed since it was recorded" in run_command("lock", "chips").stderr
    file.unlink()
    assert "No such file" in run_command("lock", "chips").stderr
    file.write_bytes(whole)
    info = json.loads(Path("chips/run.json").read_text())
    Path("chips/run.json").write_text(json.dumps({**info, "call": None}))
    refusal = run_command("lock", "chips").stderr
    assert "has no command that makes it again" in refusal
    assert "Put the functions into a file" in refusal
    Path("chips/run.json").write_text(json.dumps({**info, "call": {**info["call"], "x": 1}}))
    assert "eechips trust chips" in run_command("lock", "chips").stderr  # it names a file, and was changed
    assert not list(tmp_path.glob("*.lock"))


def test_scenes_cannot_be_locked(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    write_scene(folder / "a.tif", 1)
    with FileServer(folder) as files:
        run = fetch_scenes(catalogue(tmp_path, scene_items(files)), tmp_path / "run")
        with pytest.raises(UsageError, match=r"do not come from Earth Engine.*items\.parquet.*eechips verify"):
            eechips.lock(run, tmp_path / "a.lock")
    assert (tmp_path / "run" / "items.parquet").exists()


def test_a_lockfile_holds_no_project_credentials_or_folders(tmp_path: Path, stack_server: Server) -> None:
    pd.DataFrame({"lon": [-104.995], "lat": [39.741]}).to_csv(tmp_path / "plots.csv", index=False)
    run = eechips.sample(
        STACK, points=tmp_path / "plots.csv", size=16, out=tmp_path / "run", **options(stack_server, project="mine-1")
    )
    with zipfile.ZipFile(eechips.lock(run, tmp_path / "a.lock")) as archive:
        text = archive.read("lock.json").decode() + archive.read("units.jsonl").decode()
    assert "mine-1" not in text
    header = json.loads(zipfile.ZipFile(tmp_path / "a.lock").read("lock.json"))
    assert header["datasets"] == [{"id": STACK}]
    assert header["versions"]["eechips"] == eechips.__version__
    assert header["options"] == {"dataset": STACK, "points": str(tmp_path / "plots.csv"), "size": 16}


@pytest.mark.slow
def test_a_lockfile_replaces_only_an_earlier_one_of_the_same_run(tmp_path: Path, stack_server: Server) -> None:
    pd.DataFrame({"lon": [-104.995], "lat": [39.741]}).to_csv(tmp_path / "point.csv", index=False)
    place = {"points": tmp_path / "point.csv", **options(stack_server)}
    runs = [eechips.sample(STACK, size=size, out=tmp_path / str(size), **place) for size in (16, 24)]
    lockfile = eechips.lock(runs[0], tmp_path / "a.lock")
    before = lockfile.read_bytes()
    assert eechips.lock(runs[0], lockfile).read_bytes() == before
    with pytest.raises(UsageError, match=r"a\.lock is the lockfile of another run \(sample, of \d{4}-\d\d-\d\d\)"):
        eechips.lock(runs[1], lockfile)
    assert lockfile.read_bytes() == before
    table = tmp_path / "plots.csv"
    table.write_text("id,lon,lat\n")
    done = run_command("lock", runs[1].path, "-o", table, status=2)
    assert "plots.csv is not a lockfile and is not replaced: choose another --out" in done.output
    assert table.read_text() == "id,lon,lat\n"


@pytest.mark.slow
def test_a_run_that_somebody_has_changed_is_locked_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(
        "from eechips import Table\nNEEDS_SERVICE = False\ndef get_requests():\n    return [1]\n"
        "def get_result(index, unit):\n    return Table([{'value': unit}])\n"
    )
    run_command("run", "recipe.py", "--out", "run", "--executor", "threads", "-q", status=0)
    info = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**info, "call": {"command": "run"}}))
    assert "has no command that makes it again" in run_command("lock", "run").stderr
    long = {"command": "sample", "options": {"dataset": "NAIP", "total": 1, "roi": "x" * 5000}}
    Path("run/run.json").write_text(json.dumps({**info, "call": long}))
    run_command("lock", "run", "-o", "long.lock", status=0)
    Path("run/run.json").write_text(json.dumps(info))
    with sqlite3.connect("run/manifest.sqlite") as ledger:
        ledger.execute("INSERT OR REPLACE INTO meta VALUES ('assembled', '5')")
    assert "manifest.sqlite is damaged: assembled is 5" in run_command("lock", "run").stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [{}, {"kind": "point", "coordinates": [0, 0], "grid": {"crs": "EPSG:4326", "width": 0}}, {"kind": 5}]
)
def test_units_that_the_command_does_not_plan_are_refused(
    unit: dict[str, Any], stack_server: Server, tmp_path: Path
) -> None:
    chosen = {"dataset": STACK, "total": 1, "size": 16}
    recipe, _ = find_command("sample").make(chosen)
    header = {"options": chosen, "identity": recipe.identity, "source": stack_server.url}
    path = write(tmp_path / "a.lock", header, [{**UNIT, "unit": unit}])
    with pytest.raises(UsageError, match="its command does not plan its units"):
        eechips.rebuild(path, tmp_path / "out", **options(stack_server))


def test_a_folder_with_another_run_is_refused(tmp_path: Path, stack_server: Server) -> None:
    pd.DataFrame({"lon": [-104.995], "lat": [39.741]}).to_csv(tmp_path / "plots.csv", index=False)
    run = eechips.sample(STACK, points=tmp_path / "plots.csv", size=16, out=tmp_path / "run", **options(stack_server))
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and ".eechips" not in path.name}
    with pytest.raises(UsageError, match="holds another run"):
        eechips.rebuild(lockfile, run.path, **options(stack_server))
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(UsageError, match="decided by the lockfile"):
        eechips.rebuild(lockfile, tmp_path / "x", **options(stack_server), name="{id}")
    lockfile.write_bytes(lockfile.read_bytes().replace(b"units.jsonl", b"units.json_"))
    with pytest.raises(StorageError, match="is not a lockfile"):
        eechips.rebuild(lockfile, tmp_path / "x", **options(stack_server))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_of_the_demo_planet_is_rebuilt_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["sample", "--dataset", "NAIP", "--total", "3", "--roi=-105.1,40.0,-104.9,40.2", "--size", "32"]
    run_command(*words, "--local", "--out", "run", "-q", status=0)
    run_command("lock", "run", "-q", status=0)
    run_command("rebuild", "chips.lock", "again", "-q", status=0)
    assert files_of(eechips.open_run("again")) == files_of(eechips.open_run("run"))


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_rebuild_resumes(make_source: Callable[[int], Source], tmp_path: Path) -> None:
    source = make_source(8)
    run = source.sample(15, 16, tmp_path / "run", share_requests=False)
    lockfile = eechips.lock(run, tmp_path / "a.lock")
    words = [sys.executable, "-m", "eechips", "rebuild", str(lockfile), str(tmp_path / "again"), "--endpoint",
             source.server.url, "--project", "local", "--executor", "processes:2", "--method", "pixels"]  # fmt: skip
    kills = 0
    for most in (0, 20, 60):
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None:
            if len(list((tmp_path / "again" / "chips").glob("*.tif"))) > most:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
        process.wait()
    assert kills >= 1
    done = run_program(*words, status=0)
    assert "120 of 120 files are the same to the byte" in done.stdout
    assert files_of(eechips.open_run(tmp_path / "again")) == files_of(run)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_faults_of_the_service_change_nothing(make_source: Callable[[int], Source], tmp_path: Path) -> None:
    from urllib.request import Request, urlopen

    source = make_source(2)
    run = source.sample(5, 16, tmp_path / "run")
    faults = {
        "seed": 1,
        "faults": [
            {"type": "status", "status": 503, "times": 3},
            {"type": "truncate-silently", "times": 3, "on": "*Pixels"},
        ],
    }
    body = json.dumps(faults).encode()
    with urlopen(Request(f"{source.server.url}/_faults", body, {"Content-Type": "application/json"})):
        pass
    found = rebuilt(run, tmp_path, source.server, share_requests=False)
    assert found.is_same
    assert found.run.units["attempts"].max() >= 1
