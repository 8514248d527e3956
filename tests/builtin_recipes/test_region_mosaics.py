"""A mosaic of each polygon of a file, against rasterio's mask and windows of the source rasters."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.windows
import shapely
from PIL import Image
from rio_cogeo import cog_validate

import eechips
from eechips.builtin_recipes.rasters.mosaic import MosaicRecipe
from eechips.errors import RegionError, UsageError
from eechips.reports.contact_sheet import layout
from eechips_local.assets import ingest
from local_tests.support.captured_log import CapturedLog
from local_tests.support.local_earth_engine import Server, wait_until
from tests.support.field_scenes import (
    DATES,
    SCENES,
    check_clipped,
    field_shapes,
    in_metres,
    masked,
    write_fields,
    write_scenes,
)  # fmt: skip
from tests.support.programs import run_program

ZONE_31 = {"start": "2020-05-02"}  # without the image of the next zone
REGIONS = sorted(field_shapes())
LARGE, HEIGHTS = "users/someone/large", "users/someone/heights"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regions")
    write_scenes(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, serve: Callable[..., Server]) -> Server:
    return serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")


def _make(server: Server, folder: Path, out: Path, dataset: str = SCENES, **options: Any) -> eechips.Run:
    given = {"regions": str(folder / "fields.gpkg"), "columns": "id=field", "executor": "threads", "quiet": True}
    run = eechips.mosaic(dataset, out=out, endpoint=server.url, rate=None, **given | options)
    assert isinstance(run, eechips.Run)
    return run


def _zone_31(folder: Path) -> Any:
    return gpd.read_file(folder / "fields.gpkg").to_crs("EPSG:32631").set_index("field").geometry


@pytest.fixture(scope="module")
def clipped(server: Server, folder: Path) -> eechips.Run:
    """Mosaics of one image, in several windows each, clipped."""
    return _make(server, folder, folder / "clipped", f"{SCENES}/a", clip=True, window=16)


@pytest.mark.slow
def test_each_mosaic_is_the_image_that_rasterio_clips(clipped: eechips.Run, folder: Path) -> None:
    assert clipped.verify() == []
    files = [path.relative_to(clipped.path).as_posix() for path in clipped.assembled]
    assert files[-1] == "mosaics.windows.parquet"
    assert sorted(files[:-1]) == [f"mosaics/{name}.tif" for name in REGIONS]
    for name, shape in _zone_31(folder).items():
        path = clipped.path / "mosaics" / f"{name}.tif"
        assert cog_validate(path, strict=True) == (True, [], [])
        check_clipped(path, folder / "a.tif", shape)


@pytest.mark.slow
def test_a_table_lists_the_windows_of_all_mosaics(clipped: eechips.Run) -> None:
    listed = pq.read_table(clipped.path / "mosaics.windows.parquet").to_pandas()
    assert listed.groupby("region").size().to_dict() == {"concave": 9, "parts": 3, "ring": 9, "speck": 1}
    assert set(listed["mosaic"]) == {f"mosaics/{name}.tif" for name in REGIONS}
    units = clipped.units.set_index("file")
    for row in listed.to_dict("records"):
        unit = units.loc[row["file"]]
        assert row["sha256"] == unit["sha256"]
        assert row["region"] == unit["unit"]["region"]
        assert row["file"].startswith(f"windows/{row['region']}/{row['row']}-{row['column']}")
    assert clipped.info["parameters"]["id_field"] == "field"


@pytest.mark.slow
def test_windows_have_the_columns_of_the_file(server: Server, folder: Path, tmp_path: Path) -> None:
    fields = gpd.read_file(folder / "fields.gpkg").assign(crop=["wheat", None, "maize", "oats"], row=7)
    fields.to_file(tmp_path / "fields.gpkg")
    run = _make(server, tmp_path, tmp_path / "run", f"{SCENES}/a", window=16)
    manifest = gpd.read_parquet(run.path / "manifest.parquet")
    crops = fields.set_index("field")["crop"].reindex(manifest["region"]).tolist()
    assert [crop or None for crop in manifest["crop"]] == [crop or None for crop in crops]
    assert set(manifest["unit_row"]) == {7}  # that of the window names the files
    assert manifest["row"].tolist() == [unit["row"] for unit in run.units["unit"]]
    assert len(set(manifest["region"])) == len(REGIONS) < len(manifest)


@pytest.mark.slow
def test_a_margin_shows_the_window_of_the_source_around_the_region(
    server: Server, folder: Path, tmp_path: Path
) -> None:
    run = _make(server, folder, tmp_path / "run", f"{SCENES}/a", margin=95.0)
    shapes = _zone_31(folder)
    for name in shapes.index:
        *_, transform = masked(folder / "a.tif", shapes[name])
        with rasterio.open(folder / "a.tif") as source, rasterio.open(run.path / "mosaics" / f"{name}.tif") as file:
            assert (file.transform.c, file.transform.f) == (transform.c - 100, transform.f + 100)
            window = rasterio.windows.from_bounds(*file.bounds, transform=source.transform)
            assert np.array_equal(file.read(), source.read(window=window, boundless=True))


@pytest.mark.slow
def test_composites_of_several_images_are_those_of_numpy(server: Server, folder: Path, tmp_path: Path) -> None:
    run = _make(server, folder, tmp_path / "run", reducer="mean", clip=True, **ZONE_31)
    for name, shape in _zone_31(folder).items():
        each = [masked(folder / f"{image}.tif", shape) for image in DATES]
        _, valid, transform = each[0]
        with rasterio.open(run.path / "mosaics" / f"{name}.tif") as file:
            assert file.transform == transform
            assert np.array_equal(file.read_masks(1) > 0, valid)
            expected = np.mean([values for values, _, _ in each], axis=0, dtype=np.float64)
            np.testing.assert_allclose(file.read()[:, valid], expected[:, valid], rtol=1e-7)


@pytest.mark.slow
def test_the_pixels_are_those_of_images_of_the_region(server: Server, folder: Path, tmp_path: Path) -> None:
    common = {"executor": "threads", "quiet": True, "rate": None, "endpoint": server.url}
    fields: dict[str, Any] = {"regions": str(folder / "fields.gpkg"), "columns": "id=field", "margin": 30.0}
    mosaic = _make(server, folder, tmp_path / "mosaic", margin=30.0)
    images = eechips.images(SCENES, out=tmp_path / "images", **fields, **common)
    for unit in images.units.to_dict("records"):
        with rasterio.open(mosaic.path / "mosaics" / f"{unit['unit']['region']}.tif") as file:
            assert file.crs == unit["crs"]
            assert list(file.transform)[:6] == list(unit["transform"])
            assert file.shape == (unit["height"], unit["width"])


@pytest.mark.slow
def test_ids_that_are_no_file_names_have_mosaics_of_their_own(
    server: Server, tmp_path: Path, caplog: CapturedLog
) -> None:
    caplog.set_level(logging.WARNING, "eechips")
    ids = ["../../up", "a/b", "A_B", "Wäldchen 你好", "", "x" * 300, "/etc/passwd", "mosaic", "twice", "twice", None]
    shapes = [in_metres(shapely.box(0, 0, 95, 95), 100 * number, 1000) for number in range(len(ids))]
    frame = gpd.GeoDataFrame({"field": ids}, geometry=shapes, crs="EPSG:32631").to_crs("EPSG:4326")
    frame.to_file(tmp_path / "fields.gpkg")
    run = _make(server, tmp_path, tmp_path / "run", f"{SCENES}/c")
    listed = pq.read_table(run.path / "mosaics.windows.parquet").to_pandas()
    assert sorted(listed["region"].unique()) == sorted({name for name in ids if name})
    pictures = run.assembled[:-1]
    assert len({path.name.casefold() for path in pictures}) == len(pictures) == 8
    assert all(path.is_file() and path.resolve().parent == run.path / "mosaics" for path in pictures)
    assert "'a/b' and 'A_B'" in caplog.text
    assert "2 features without field" in caplog.text
    places = frame.to_crs("EPSG:32631").dissolve("field").geometry
    for row in listed.to_dict("records"):  # each file is the one of its region
        with rasterio.open(run.path / row["mosaic"]) as file:
            assert np.abs(np.subtract(file.bounds, places[row["region"]].bounds)).max() < 10


@pytest.mark.slow
def test_names_of_mosaics_do_not_depend_on_regions_that_failed(server: Server, tmp_path: Path) -> None:
    write_fields(tmp_path / "fields.gpkg", {"a/b": field_shapes()["ring"], "A_B": field_shapes()["speck"]})
    whole = _make(server, tmp_path, tmp_path / "run", f"{SCENES}/c")
    first, second = (path.relative_to(whole.path).as_posix() for path in whole.assembled[:-1])
    (window,) = whole.units[[unit["region"] == "a/b" for unit in whole.units["unit"]]]["file"]
    (whole.path / window).unlink()  # it is fetched again, which fails
    fault = {"type": "status", "status": 400, "times": 1, "on": "image:computePixels", "message": "No such asset."}
    body = json.dumps({"seed": 1, "faults": [fault]}).encode()
    with urlopen(Request(f"{server.url}/_faults", body, {"Content-Type": "application/json"})):
        pass
    part = _make(server, tmp_path, tmp_path / "run", f"{SCENES}/c")
    assert [unit["region"] for unit in part.failures["unit"]] == ["a/b"]
    assert [path.relative_to(part.path).as_posix() for path in part.assembled[:-1]] == [second] != [first]


@pytest.mark.exhaustive
def test_regions_without_images_and_without_pixels_are_told(
    server: Server, folder: Path, tmp_path: Path, caplog: CapturedLog
) -> None:
    caplog.set_level(logging.WARNING, "eechips")
    far = in_metres(shapely.box(0, 0, 90, 90), 90_000, 0)
    write_fields(tmp_path / "fields.gpkg", {"speck": field_shapes()["speck"], "far": far})
    for dataset in (SCENES, f"{SCENES}/a"):
        run = _make(
            server, tmp_path, tmp_path / dataset[-1], dataset, clip=True, **ZONE_31 if dataset == SCENES else {}
        )
        assert [unit["region"] for unit in run.units["unit"]] == ["speck"]
        assert "1 region without an image: far" in caplog.text
        assert "1 region without the centre of a pixel inside" in caplog.text
        with rasterio.open(run.path / "mosaics" / "speck.tif") as file:
            assert (file.shape, file.dataset_mask().tolist()) == ((1, 1), [[0]])
        caplog.clear()
    write_fields(tmp_path / "fields.gpkg", {"far": far})
    for dataset, said in (
        (SCENES, "has no image that meets the region: check the region, the dates"),
        (f"{SCENES}/a", "meets no region: check `regions`"),
    ):
        with pytest.raises(UsageError, match=said):
            _make(server, tmp_path, tmp_path / "none", dataset)


def test_options_that_contradict_each_other_are_refused(folder: Path, tmp_path: Path) -> None:
    fields = str(folder / "fields.gpkg")
    for options, message in (
        ({"clip": True}, "give `roi` or `regions`"),
        ({"roi": "4,39,5,40", "regions": fields}, "leave one of them out"),
        ({"columns": "id=field"}, "`columns` describes the regions"),
        ({"margin": 3.0}, "`margin` describes the regions"),
        ({"regions": fields, "margin": -1.0}, "must be 0 metres or more"),
    ):
        with pytest.raises(UsageError, match=message):
            MosaicRecipe(dataset=SCENES, **options)
    with pytest.raises(RegionError, match="there is no file"):
        MosaicRecipe(dataset=SCENES, regions=str(tmp_path / "none.gpkg"))


@pytest.mark.slow
def test_previews_name_and_outline_the_regions(clipped: eechips.Run, tmp_path: Path) -> None:
    assert {row.name for row in layout(clipped)} == set(REGIONS)
    with Image.open(eechips.preview(clipped, out=tmp_path / "sheet.png")) as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    assert ((sheet[..., 0] > 200) & (sheet[..., 2] < 80)).any()  # yellow; the chips are of other colours
    text = Path(eechips.report(clipped, out=tmp_path / "report.html")).read_text(encoding="utf-8")
    for region in REGIONS:
        assert region in text


def _words(server: Server, folder: Path, out: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "eechips", "mosaic", "--dataset", f"{SCENES}/a", "--regions", str(folder / "fields.gpkg"),
        "--columns", "id=field", "--clip", "--window", "16", "--endpoint", server.url, "--executor", "threads",
        "--out", str(out), *more,
    ]  # fmt: skip


def _mosaics(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in folder.glob("mosaics/*.tif")}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_failed_window_leaves_out_its_region_only(
    folder: Path, serve: Callable[..., Server], clipped: eechips.Run, tmp_path: Path
) -> None:
    server = serve("--assets", str(folder / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")
    fault = {"type": "status", "status": 400, "times": 1, "on": "image:computePixels", "after": 2}
    fault["message"] = "Image.load: Image asset 'x' not found."  # neither repeated nor divided
    body = json.dumps({"seed": 1, "faults": [fault]}).encode()
    with urlopen(Request(f"{server.url}/_faults", body, {"Content-Type": "application/json"})):
        pass
    words = _words(server, folder, tmp_path / "run", "--in-flight", "1")
    done = run_program(*words, status=1, timeout=120)
    (failed,) = eechips.open_run(tmp_path / "run").failures["unit"]
    assert f"No mosaic of {failed['region']}: one of its windows failed" in done.stderr
    assert _mosaics(tmp_path / "run").keys() == set(REGIONS) - {failed["region"]}
    subprocess.run([*words[:3], "retry", str(tmp_path / "run")], check=True, capture_output=True, timeout=120)
    assert _mosaics(tmp_path / "run") == _mosaics(clipped.path)
    assert eechips.open_run(tmp_path / "run").verify() == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_run_continues(server: Server, clipped: eechips.Run, folder: Path, tmp_path: Path) -> None:
    words = _words(server, folder, tmp_path / "run", "--in-flight", "1", "--rate", "3", "-q")
    process = subprocess.Popen(words, start_new_session=True)
    wait_until(lambda: list((tmp_path / "run").glob("windows/*/*.tif")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert _mosaics(tmp_path / "run") == {}
    subprocess.run(words, check=True, timeout=120)
    assert _mosaics(tmp_path / "run") == _mosaics(clipped.path)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_mosaics_of_barns_and_of_a_park_are_those_of_rasterio(
    real_data: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """29 barns in a Sentinel-2 scene, and the concave outline of Zion National Park on a model of heights."""
    scene, heights = (real_data / name for name in ("optical/s2_l1c_va_eastern_shore_10m.tif", "dem/srtm_zion.tif"))
    ingest(scene, tmp_path / "store", f"{LARGE}/one", time_start="2023-06-01")
    ingest(heights, tmp_path / "store", HEIGHTS)
    server = serve("--assets", str(tmp_path / "store"), "--no-demo", "--rate", "none", "--concurrency", "none")
    for dataset, source, name in (
        (LARGE, scene, "delmarva_poultry_barns_in_s2_crop.geojson"),
        (HEIGHTS, heights, "zion.gpkg"),
    ):
        path = real_data / "vector" / name
        run = _make(server, tmp_path, tmp_path / name, dataset, regions=str(path), columns="", clip=True)
        assert run.verify() == []
        with rasterio.open(source) as file:
            shapes = gpd.read_file(path).to_crs(file.crs).geometry
        for number, shape in enumerate(shapes, 1):
            check_clipped(run.path / "mosaics" / f"{number}.tif", source, shape)
