"""Open archives behind the commands: real imagery as items in the shape of two archives, every pixel as rasterio's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import pytest
import rasterio
from affine import Affine
from rasterio.windows import from_bounds

import eechips
from local_tests.archives.archive_host import ArchiveHost, archive_host
from local_tests.archives.real_items import RAW_OFFSET, Archive, RealItems
from local_tests.support.command_server import serving_command
from local_tests.support.local_earth_engine import initialize, wait_until

pytestmark = pytest.mark.slow

S2, NAIP, L8 = "COPERNICUS/S2_SR_HARMONIZED", "USDA/NAIP/DOQQ", "LANDSAT/LC08/C02/T1_L2"
SHORE = "-75.70,37.60,-75.53,37.74"
BOUCONNE = (1.2155, 43.6395, 1.2420, 43.6590)
PRAIRIE = "-99.182,47.006,-99.127,47.034"
NAMES = {"B2": ("B02", "blue"), "B3": ("B03", "green"), "B4": ("B04", "red"), "B8": ("B08", "nir")}


@dataclass(frozen=True, slots=True)
class Served:
    """An archive that is served, its items, and the file that describes it."""

    host: ArchiveHost
    items: RealItems
    toml: Path

    def source(self, image: str, band: str) -> tuple[Path, int, int]:
        """Return the file, the number and the offset of a band of an image, as the items tell."""
        index = image.rpartition("/")[2]
        if image.startswith(NAIP):
            (found,) = (item for item in self.items.items if item["id"].endswith(index))
            return self.items.file(found["id"], "image"), "RGBN".index(band) + 1, 0
        if image.startswith(L8):
            return self.items.file(f"LC08_L2SP_{index[5:]}_02_T1", {"SR_B4": "red", "SR_B5": "nir08"}[band]), 1, 0
        is_planetary = self.items.archive == "planetary-computer"
        day, tile = index[:8], index[-5:]
        products = [item for item in self.items.items if "s2:product_uri" in item["properties"]]
        uris = [item["properties"]["s2:product_uri"] for item in products]
        (found,) = (item for item, uri in zip(products, uris, strict=True) if uri[11:19] == day and f"_T{tile}_" in uri)
        is_raw = is_planetary and found["properties"]["s2:processing_baseline"] >= "04.00"
        return self.items.file(found["id"], NAMES[band][0 if is_planetary else 1]), 1, RAW_OFFSET if is_raw else 0


@pytest.fixture(
    scope="module", params=["earth-search", pytest.param("planetary-computer", marks=pytest.mark.exhaustive)]
)
def served(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    archive: Archive = request.param
    folder = tmp_path_factory.mktemp(archive)
    environment = pytest.MonkeyPatch()
    environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    with archive_host(real_data, folder / "files", archive) as (host, items):
        yield Served(host, items, host.description(folder / "tests.toml", archive))
    environment.undo()


def window(served: Served, image: str, band: str, chip: rasterio.DatasetReader) -> npt.NDArray[Any]:
    """Return the pixels below a chip on the grid of the file, by rasterio."""
    path, number, offset = served.source(image, band)
    with rasterio.open(path) as file:
        assert file.crs == chip.crs
        found = file.read(number, window=from_bounds(*chip.bounds, file.transform), boundless=True, fill_value=0)
    return np.maximum(found.astype(int), offset) - offset


@pytest.mark.parametrize(("is_away", "state"), [(False, "ok"), (True, "failed")])
def test_the_doctor_asks_the_archive(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_away: bool, state: str
) -> None:
    """A run would work, it said, although the archive was not reached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(served.host, "is_away", is_away)
    found = {finding.name: finding for finding in eechips.doctor(out=tmp_path, archive=served.toml)}
    assert found["archive"].state == state, found
    assert bool(found["archive"].advice) == is_away


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("dataset", "roi", "start", "end", "bands"),
    [
        (S2, SHORE, "2022-07-01", "2022-08-01", "B4,B3,B2,B8"),
        (S2, SHORE, "2021-10-01", "2021-11-01", "B8,B4"),
        (NAIP, PRAIRIE, "2012-01-01", "2013-01-01", "R,N"),
        (L8, "-114.15,47.58,-113.91,47.74", "2015-01-01", "2016-01-01", "SR_B5,SR_B4"),
    ],
)
def test_every_pixel_of_a_native_chip_is_the_file_s(
    served: Served, tmp_path: Path, dataset: str, roi: str, start: str, end: str, bands: str
) -> None:
    run = eechips.sample(
        dataset, total=5, roi=roi, start=start, end=end, bands=bands.split(","), size=64, format="tif",
        archive=served.toml, executor="processes:1", out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert isinstance(run, eechips.Run)
    table = pd.read_parquet(run.path / "manifest.parquet")
    assert set(table["state"]) == {"done"}
    assert len(table) == 5
    for file, sources in zip(table["file"], table["sources"], strict=True):
        (image,) = sources
        with rasterio.open(run.path / file) as chip:
            values, masks = chip.read().astype(int), chip.read_masks() > 0
            for number, band in enumerate(bands.split(",")):
                expected = window(served, image, band, chip)
                assert masks[number].all() or (expected == 0)[~masks[number]].all()
                assert np.array_equal(values[number][masks[number]], expected[masks[number]])


@pytest.mark.exhaustive
def test_pixels_of_a_projected_chip_are_those_below_their_centres(served: Served, tmp_path: Path) -> None:
    run = eechips.sample(
        S2, total=4, roi=SHORE, start="2022-07-01", end="2022-08-01", bands=["B4"], size=50, format="tif",
        crs="EPSG:3857", scale=11, archive=served.toml, executor="processes:1", out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    table = pd.read_parquet(run.path / "manifest.parquet")
    path, number, offset = served.source(f"{S2}/20220713T154819_20220713T155741_T18SVG", "B4")
    with rasterio.open(path) as file:
        pixels, inverse = np.maximum(file.read(number).astype(int), offset) - offset, ~file.transform
        to_file = pyproj.Transformer.from_crs("EPSG:3857", file.crs, always_xy=True)
    compared = 0
    for name in table["file"]:
        with rasterio.open(run.path / name) as chip:
            values, transform = chip.read(1).astype(int), chip.transform
        rows, columns = np.indices(values.shape) + 0.5
        x, y = to_file.transform(*(transform @ (columns.ravel(), rows.ravel())))
        column, row = inverse @ (np.asarray(x), np.asarray(y))
        clear = (np.abs(column - np.round(column)) > 0.02) & (np.abs(row - np.round(row)) > 0.02)
        expected = pixels[row.astype(int)[clear], column.astype(int)[clear]]
        assert np.array_equal(values.ravel()[clear], expected)
        compared += int(clear.sum())
    assert compared > 8000


@pytest.mark.exhaustive
def test_a_mosaic_is_the_file(served: Served, tmp_path: Path) -> None:
    run = eechips.mosaic(
        S2, roi="-75.65,37.65,-75.60,37.70", start="2022-07-01", end="2022-08-01", bands=["B4"], scale=10,
        crs="EPSG:32618", window=256, archive=served.toml, executor="processes:1", out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    with rasterio.open(run.assembled[0]) as mosaic:
        values, valid = mosaic.read(1).astype(int), mosaic.read_masks(1) > 0
        expected = window(served, f"{S2}/20220713T154819_20220713T155741_T18SVG", "B4", mosaic)
    assert valid.mean() > 0.8
    assert np.array_equal(values[valid], expected[valid])


@pytest.mark.exhaustive
def test_a_composite_is_numpy_s_median_of_the_scenes(served: Served, tmp_path: Path) -> None:
    run = eechips.composites(
        S2, roi=",".join(map(str, BOUCONNE)), start="2018-04-01", end="2018-12-01", every="8 months", reducer="median",
        bands=["B4", "B8"], scale=10, crs="EPSG:32631", format="tif", archive=served.toml, executor="processes:1",
        out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    table = pd.read_parquet(run.path / "manifest.parquet")
    assert set(table["state"]) <= {"done", "empty"}
    compared = 0
    for file, sources in zip(table["file"], table["sources"], strict=True):
        if file is None:
            continue
        assert len(sources) == 7
        with rasterio.open(run.path / file) as chip:
            for number, band in enumerate(("B4", "B8"), start=1):
                valid = chip.read_masks(number) > 0
                stack = np.stack([window(served, image, band, chip) for image in sources])
                assert np.array_equal(chip.read(number)[valid], np.median(stack, axis=0)[valid])
                compared += int(valid.sum())
    assert compared > 40_000


@pytest.mark.exhaustive
def test_a_series_has_the_mean_of_all_pixels(served: Served, tmp_path: Path) -> None:
    whole = {"type": "Feature", "properties": {"name": "all"}, "geometry": {
        "type": "Polygon", "coordinates": [[[1.20, 43.63], [1.26, 43.63], [1.26, 43.67], [1.20, 43.67], [1.20, 43.63]]],
    }}  # fmt: skip
    regions = tmp_path / "regions.geojson"
    regions.write_text(json.dumps({"type": "FeatureCollection", "features": [whole]}))
    run = eechips.timeseries(
        S2, regions=str(regions), columns="id=name", bands=["B4"], start="2018-04-01", end="2018-12-01", reducer="mean",
        scale=10, crs="EPSG:32631", archive=served.toml, executor="processes:1", out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    table = eechips.load(run.path)
    assert len(table) == 7
    column = "B4" if "B4" in table else next(name for name in table.columns if name.endswith(("mean", "value")))
    for image, value in zip(sorted(_images(served)), table.sort_values(_date_of(table))[column], strict=True):
        path, number, _ = served.source(image, "B4")
        with rasterio.open(path) as file:
            assert value == pytest.approx(file.read(number).mean(), rel=1e-9)


def _images(served: Served) -> list[str]:
    uris = [item["properties"].get("s2:product_uri", "") for item in served.items.items]
    return [f"{S2}/{uri[11:26]}_x_T31TCJ" for uri in uris if "_T31TCJ_" in uri]


def _date_of(table: pd.DataFrame) -> str:
    return next(name for name in table.columns if name in ("date", "time", "start"))


def sample_naip(served: Served, out: Path, **options: Any) -> eechips.Run:
    run = eechips.sample(
        NAIP, total=12, roi=PRAIRIE, start="2009-01-01", end="2021-01-01", size=48, format="tif", seed=4,
        archive=served.toml, executor="processes:1", out=out, quiet=True, **options,
    )  # fmt: skip
    assert isinstance(run, eechips.Run)
    return run


def digests(run: eechips.Run) -> dict[str, str]:
    table = pd.read_parquet(run.path / "manifest.parquet")
    return dict(zip(table["id"], table["sha256"], strict=True))


@contextmanager
def inverted(path: Path) -> Iterator[None]:
    """Invert the values of a file, and empty the cache of archives, before and after."""
    before, cache = path.read_bytes(), Path(os.environ["XDG_CACHE_HOME"]) / "eechips-local"
    try:
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            file.write(255 - file.read())
        shutil.rmtree(cache)
        yield
    finally:
        path.write_bytes(before)
        shutil.rmtree(cache)


@pytest.mark.exhaustive
def test_an_estimate_announces_what_a_run_takes_from_an_archive(served: Served, tmp_path: Path) -> None:
    """Two workers take the bytes that the host has sent, in all."""
    host = served.host
    shutil.rmtree(Path(os.environ["XDG_CACHE_HOME"]) / "eechips-local", ignore_errors=True)

    def sample(**options: Any) -> dict[str, Any]:
        eechips.sample(
            S2, total=24, roi=SHORE, start="2022-07-01", end="2022-08-01", bands=["B4", "B8"], size=64, format="tif",
            method="pixels", archive=served.toml, executor="processes:2", out=tmp_path / "run", quiet=True, **options,
        )  # fmt: skip
        info: dict[str, Any] = json.loads((tmp_path / "run" / "run.json").read_text())
        return info

    before = host.bytes
    tried = sample(estimate=6)["archive_traffic"]
    assert tried["bytes"] == host.bytes - before > 0
    events = map(json.loads, (tmp_path / "run" / "run.log").read_text().splitlines())
    (foreseen,) = (event["archives"] for event in events if event["event"] == "estimated")
    info = sample(estimate=6, confirm=lambda _: True)
    taken = info["archive_traffic"]
    assert taken["bytes"] == host.bytes - before
    assert taken["requests"] > tried["requests"]
    assert foreseen["mean"]["bytes"] > 0
    eechips.report(tmp_path / "run")
    assert f"{taken['requests']} requests, " in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.exhaustive
def test_what_a_run_records_of_an_archive(served: Served, tmp_path: Path) -> None:
    run = sample_naip(served, tmp_path / "run")
    info = json.loads((run.path / "run.json").read_text())
    assert info["source"] == f"archive:{served.toml}"
    (dataset,) = (each for each in info["datasets"] if each["id"] == NAIP)
    assert (dataset["archive"], dataset["collection"]) == ("tests", "naip")
    assert dataset["differs"]
    assert dataset["licence"]
    assert any("open archive" in note for note in info["notes"])
    files = pd.read_parquet(run.path / "sources.parquet")
    shown = {image for images in pd.read_parquet(run.path / "manifest.parquet")["sources"] for image in images}
    assert set(files["source"]) == shown
    for row in files.itertuples():
        assert row.href.startswith(f"{served.host.url}/files/")
        assert row.item.endswith(row.source.rpartition("/")[2])
        assert row.etag
        assert "sig=" not in row.href
    eechips.report(run.path)
    assert "the open archive" in (run.path / "report.html").read_text()
    eechips.card(run.path)
    card = (run.path / "README.md").read_text()
    assert "from the open archive" in card
    assert "by Google Earth Engine" not in card


@pytest.mark.exhaustive
def test_a_run_records_the_archive_of_a_server_that_others_have_started(served: Served, tmp_path: Path) -> None:
    own = sample_naip(served, tmp_path / "own")
    with serving_command("serve", "--archive", served.toml, "--rate", "none", "--concurrency", "none") as server:
        run = eechips.sample(
            NAIP, total=12, roi=PRAIRIE, start="2009-01-01", end="2021-01-01", size=48, format="tif", seed=4,
            endpoint=server.url, project="p", executor="processes:1", out=tmp_path / "run", quiet=True,
        )  # fmt: skip
    assert isinstance(run, eechips.Run)
    assert digests(run) == digests(own)
    info = json.loads((run.path / "run.json").read_text())
    (dataset,) = (each for each in info["datasets"] if each["id"] == NAIP)
    assert dataset["archive"] == "tests"
    assert dataset["differs"]
    assert any("open archive tests" in note for note in info["notes"])
    columns = ["source", "item", "href", "etag"]
    files, same = (pd.read_parquet(each.path / "sources.parquet", columns=columns) for each in (run, own))
    assert files.equals(same)
    eechips.card(run.path)
    card = (run.path / "README.md").read_text()
    assert "from the open archive tests" in card
    assert "demo planet" not in card


@pytest.mark.exhaustive
@pytest.mark.parametrize("options", [{"index": "NDVI"}, {"bands": "red,nir"}], ids=["index", "names"])
def test_files_are_listed_where_results_have_other_bands(
    served: Served, tmp_path: Path, options: dict[str, Any]
) -> None:
    run = sample_naip(served, tmp_path / "run", **options)
    files = pd.read_parquet(run.path / "sources.parquet")
    shown = {image for images in pd.read_parquet(run.path / "manifest.parquet")["sources"] for image in images}
    assert set(files["source"]) == shown
    assert {"R", "N"} <= {band for bands in files["bands"] for band in bands}


@pytest.mark.exhaustive
def test_the_table_of_files_follows_what_is_fetched_again(served: Served, tmp_path: Path) -> None:
    run = sample_naip(served, tmp_path / "run")
    files = pd.read_parquet(run.path / "sources.parquet")
    image = files["source"][0]
    shown = pd.read_parquet(run.path / "manifest.parquet").set_index("file")["sources"]
    path, _, _ = served.source(image, "R")
    with inverted(path):
        for name, images in shown.items():
            if image in images:
                (run.path / name).unlink()
        eechips.verify(run.path, reopen=True)
        sample_naip(served, tmp_path / "run")
    later = pd.read_parquet(run.path / "sources.parquet")
    is_changed = files.set_index("href")["etag"] != later.set_index("href")["etag"]
    assert set(files.set_index("href")["source"][is_changed]) == {image}


@pytest.mark.exhaustive
def test_a_changed_file_is_told_by_rebuild(served: Served, tmp_path: Path) -> None:
    run = sample_naip(served, tmp_path / "run")
    lockfile = eechips.lock(run.path, tmp_path / "chips.lock", archive=served.toml)
    same = eechips.rebuild(lockfile, tmp_path / "same", archive=served.toml, quiet=True, executor="processes:1")
    assert same.is_same
    image = pd.read_parquet(run.path / "sources.parquet")["source"][0]
    path, _, _ = served.source(image, "R")
    with inverted(path):
        again = eechips.rebuild(lockfile, tmp_path / "again", archive=served.toml, quiet=True, executor="processes:1")
    assert [each.id for each in again.replaced] == [image]
    assert not again.is_same


@pytest.mark.exhaustive
def test_nothing_is_lost_where_five_ranges_of_a_hundred_fail(served: Served, tmp_path: Path) -> None:
    whole = digests(sample_naip(served, tmp_path / "whole"))
    cache = Path(os.environ["XDG_CACHE_HOME"])
    shutil.rmtree(cache / "eechips-local")
    served.host.faults = dict.fromkeys(("status", "reset", "short", "slow"), 0.0125)
    try:
        found = digests(sample_naip(served, tmp_path / "faulty"))
    finally:
        served.host.faults = {}
    assert found == whole


@pytest.mark.exhaustive
def test_a_killed_run_resumes(served: Served, tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "eechips", "sample", "--dataset", "NAIP", "--total", "60", f"--roi={PRAIRIE}", "--start",
        "2009-01-01", "--end", "2021-01-01", "--size", "48", "--format", "tif", "--seed", "4", "--executor",
        "processes:1", "--archive", str(served.toml), "-q",
    ]  # fmt: skip
    subprocess.run([*words, "--out", str(tmp_path / "whole")], check=True, timeout=120)
    process = subprocess.Popen([*words, "--out", str(tmp_path / "run")], start_new_session=True)
    wait_until(lambda: list((tmp_path / "run").glob("chips/*.tif")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "manifest.parquet").exists()
    subprocess.run([*words, "--out", str(tmp_path / "run")], check=True, timeout=120)
    assert digests(eechips.open_run(tmp_path / "run")) == digests(eechips.open_run(tmp_path / "whole"))


def test_xee_opens_a_collection(served: Served) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    pytest.importorskip("xee", reason="Xee is not installed")
    import ee

    with eechips.local_earth_engine(archive=served.toml, workers=1) as server:
        server.initialize()
        place = ee.Geometry.Rectangle(BOUCONNE)
        images = ee.ImageCollection(S2).filterBounds(place).filterDate("2018-04-01", "2018-12-01").select("B4")
        opened = xarray.open_dataset(
            images, engine="ee", crs="EPSG:32631", crs_transform=(10.0, 0.0, 356540.0, 0.0, -10.0, 4835180.0),
            shape_2d=(40, 30),
        )  # fmt: skip
        values = opened["B4"].transpose("time", "y", "x").to_numpy()
    assert values.shape == (7, 30, 40)
    for number, image in enumerate(sorted(_images(served))):
        path, band, _ = served.source(image, "B4")
        with rasterio.open(path) as file:
            assert np.array_equal(values[number], file.read(band, window=((50, 80), (50, 90))))


MEDIANS = """
import json, sys
import numpy as np
import odc.stac, pystac
from odc.geo.geobox import GeoBox
from affine import Affine

asked = json.load(sys.stdin)
items = [pystac.Item.from_dict(item) for item in asked["items"]]
for number, chip in enumerate(asked["chips"]):
    box = GeoBox(chip["shape"], Affine(*chip["transform"]), chip["crs"])
    cube = odc.stac.load(items, bands=asked["bands"], geobox=box, groupby="id", resampling="nearest", nodata=0)
    stack = [np.where(cube[band] > 0, cube[band].astype(float), np.nan) for band in asked["bands"]]
    np.save(f"{asked['folder']}/{number}.npy", np.nanmedian(np.stack(stack), axis=1))
"""


def test_composites_are_odc_stac_s_medians(served: Served, tmp_path: Path) -> None:
    """Of the same items over the same host, on the same grids, in an environment that has nothing of this project."""
    odc = os.environ.get("ODC_STAC_PYTHON", sys.executable)
    if subprocess.run([odc, "-c", "import odc.stac"], capture_output=True, check=False).returncode:
        pytest.skip("odc-stac is not installed: set ODC_STAC_PYTHON to a Python that has it")
    run = eechips.composites(
        S2, roi=",".join(map(str, BOUCONNE)), start="2018-04-01", end="2018-12-01", every="8 months", reducer="median",
        bands=["B4", "B8"], scale=10, crs="EPSG:32631", format="tif", archive=served.toml, executor="processes:1",
        out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    items = [item for item in served.items.items if "_T31TCJ_" in item["properties"].get("s2:product_uri", "")]
    bands = [NAMES[band][0 if served.items.archive == "planetary-computer" else 1] for band in ("B4", "B8")]
    chips, found = [], []
    for file in pd.read_parquet(run.path / "manifest.parquet")["file"].dropna():
        with rasterio.open(run.path / file) as chip:
            chips.append({"shape": chip.shape, "transform": list(chip.transform)[:6], "crs": chip.crs.to_string()})
            found.append((chip.read(), chip.read_masks() > 0))
    asked = {"items": items, "bands": bands, "chips": chips, "folder": str(tmp_path)}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([odc, "-c", MEDIANS], input=json.dumps(asked), text=True, check=True, timeout=120, env=environment)
    compared = 0
    for number, (values, valid) in enumerate(found):
        medians = np.load(tmp_path / f"{number}.npy")
        assert np.array_equal(valid, ~np.isnan(medians))
        assert np.array_equal(values[valid], medians[valid])
        compared += int(valid.sum())
    assert len(items) == 7
    assert compared > 40_000


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:Couldn't find STAC entry:RuntimeWarning")
def test_geedim_downloads_the_pixels_of_the_file(served: Served, tmp_path: Path) -> None:
    pytest.importorskip("geedim", reason="geedim is not installed")
    import ee

    options = ("--archive", served.toml, "--rate", "none", "--concurrency", "none")
    with serving_command("serve", *options) as server:
        initialize(server)
        image = ee.Image(f"{S2}/20220713T154819_20220713T155741_T18SVG").select(["B4", "B8"])
        grid = {"crs": "EPSG:32618", "crs_transform": window_grid(served), "shape": (300, 280)}
        array = image.gd.prepareForExport(**grid, dtype="uint16").gd.toNumPy()
        path = tmp_path / "scene.tif"
        computed = image.add(1)  # for files of stored images, geedim asks for Earth Engine's catalogue, on the internet
        computed.gd.prepareForExport(**grid, dtype="uint16").gd.toGeoTIFF(path)
    with rasterio.open(path) as made:
        assert made.shape == (300, 280)
        for number, band in enumerate(("B4", "B8"), start=1):
            expected = window(served, f"{S2}/20220713T154819_20220713T155741_T18SVG", band, made)
            assert expected.any()
            assert np.array_equal(array[..., number - 1], expected)
            assert np.array_equal(made.read(number), expected + 1)


def window_grid(served: Served) -> tuple[float, ...]:
    """Return the transform of a window of the shore, 20 columns and 30 rows from its corner."""
    path, _, _ = served.source(f"{S2}/20220713T154819_20220713T155741_T18SVG", "B4")
    with rasterio.open(path) as file:
        moved = file.transform @ Affine.translation(20, 30)
    return tuple(moved)[:6]
