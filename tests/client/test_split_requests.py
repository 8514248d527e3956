"""Requests that are too large are split, and their results equal those of one request."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ee
import geopandas as gpd
import numpy as np
import pytest
import shapely

import eechips
from eechips.client.chip_parameters import Method
from eechips.client.fetcher import Fetcher
from eechips.engine.config import RunConfig
from eechips.engine.fetch_result import fetch_result
from eechips.engine.run import run
from eechips.engine.service.session import connect
from eechips.errors import TooLargeError
from eechips.formats import EncodedFile
from eechips.formats.raster import decoding
from eechips.geo.grid import Grid
from eechips.recipe import Chip, load_recipe
from eechips.recipe.results import Series
from local_tests.support.local_earth_engine import Server
from local_tests.support.stack_store import CRS, DATES, STACK, TRANSFORM, Stack

BANDS = ("red", "nir")
PICTURE = {"bands": ["red", "nir", "red"], "min": 0, "max": 10_000}
# Over the masked corner, and 20 pixels beyond two edges of the images.
NATIVE = Grid(CRS, (10.0, 0.0, 499_800.0, 0.0, -10.0, 4_400_200.0), 150, 110)
PLACES: dict[str, dict[str, Any]] = {
    "native": {"grid": NATIVE},
    "twice the pixels": {"grid": Grid(CRS, (20.0, 0.0, 500_010.0, 0.0, -20.0, 4_399_990.0), 131, 97)},
    "degrees": {"grid": Grid("EPSG:4326", (1.7e-4, 0.0, -105.001, 0.0, -1.3e-4, 39.7505), 131, 97)},
    "turned": {"grid": Grid(CRS, (7.0, 3.0, 500_300.0, 3.0, -7.0, 4_399_400.0), 140, 90)},
    "dimensions": {"dimensions": (121, 113)},
    "dimensions in a projection": {"dimensions": (121, 113), "crs": "EPSG:3857"},
    "scale": {"scale": 13.0},
    "scale in a projection": {"scale": 13.0, "crs": "EPSG:3857"},
}
# Between projections, positions are exact to 1e-4 of a pixel: a centre that is closer than that to the edge of a
# source pixel may fall to either side, depending on the window.
RESAMPLED = {"degrees", "dimensions in a projection", "scale in a projection"}


@pytest.fixture(scope="module")
def small_server(stack: Stack, serve: Callable[..., Server]) -> Server:
    """The small store, where 30,000 bytes of pixels, or 2,000 of rows, are the most."""
    return serve(
        "--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none", "--workers", "2",
        "--thumbnail", "30000", "--pixels", "30000", "--response", "2000",
    )  # fmt: skip


@contextmanager
def fetching(server: Server, method: Method = "pixels") -> Iterator[Fetcher]:
    with connect(RunConfig(out=Path("unused"), endpoint=server.url, rate=None, retries=0)) as session:
        yield Fetcher(session.connection, method)


@contextmanager
def counting(server: Server) -> Iterator[Counter[str]]:
    """Requests for pixels and rows inside the block, by kind; what getInfo asks counts as ``value:compute``."""
    before, found = Counter(server.requests()), Counter[str]()
    yield found
    found.update(Counter(server.requests()) - before)


def make_chip(file_format: str, **place: Any) -> Chip:
    image = ee.Image(f"{STACK}/image_0")
    if "grid" not in place:
        place["region"] = ee.Geometry.Point([-104.995, 39.7425]).buffer(600).bounds()
    if file_format in ("png", "jpg"):
        return Chip(image, format=file_format, visualization=PICTURE, **place)
    return Chip(image, format=file_format, bands=BANDS, **place)


def arrays(written: EncodedFile) -> Any:
    """Everything that can be read of a chip: its bands, and its mask as the last one."""
    if written.suffix == "npy":
        array = np.load(io.BytesIO(written.data))
        return np.stack([array[name].astype("float64") for name in array.dtype.names])
    driver = {"png": "PNG", "tif": "GTiff", "jpg": "JPEG"}[written.suffix]
    with decoding(written.data, driver) as source:
        return np.concatenate([source.read(), source.dataset_mask()[None].astype(source.dtypes[0])])


REQUESTS = [("png", "url"), ("tif", "pixels"), ("tif", "url"), ("jpg", "pixels"), ("npy", "url")]


@pytest.mark.slow
@pytest.mark.parametrize(("file_format", "method"), REQUESTS)
def test_split_chips_equal_whole_chips(
    stack_server: Server, small_server: Server, file_format: str, method: Method
) -> None:
    places = tuple(PLACES) if (file_format, method) in REQUESTS[:2] else ("native", "scale")
    with fetching(stack_server, method) as fetcher, counting(stack_server) as requests:
        whole = {place: fetch_result(fetcher, make_chip(file_format, **PLACES[place])) for place in places}
    kind = "image:computePixels" if method == "pixels" else "thumbnails:getPixels"
    assert requests[kind] == len(places)
    with fetching(small_server, method) as fetcher:
        for place in places:
            with counting(small_server) as requests:
                found = fetch_result(fetcher, make_chip(file_format, **PLACES[place]))
            assert requests[kind] >= 4, place
            assert requests["value:compute"] == (0 if "grid" in PLACES[place] else 1)
            assert found.suffix == whole[place].suffix
            if place in RESAMPLED:
                ours, theirs = arrays(found), arrays(whole[place])
                assert ours.shape == theirs.shape
                assert (ours != theirs).any(axis=0).mean() < 1e-3
            else:
                assert found.metadata == whole[place].metadata, place
                assert np.array_equal(arrays(found), arrays(whole[place])), place
                assert found.data == whole[place].data or file_format == "png", place


@pytest.mark.slow
def test_pixels_of_parts_equal_the_source(stack: Stack, small_server: Server) -> None:
    with fetching(small_server) as fetcher:
        found = fetch_result(fetcher, make_chip("tif", grid=NATIVE))
    with decoding(found.data, "GTiff") as source:
        pixels, mask = source.read(), source.dataset_mask() != 0
        assert (source.descriptions, source.crs.to_string()) == (BANDS, CRS)
        assert source.transform == NATIVE.affine
    expected = np.zeros((2, 110, 150), "uint16")
    expected[:, 20:, 20:] = stack.pixels[0, :, :90, :130]
    assert np.array_equal(pixels, expected)
    assert np.array_equal(mask, expected.any(axis=0))


def computed() -> dict[str, ee.Image]:
    """Images whose pixels depend on their neighbours, or on outlines that cross the edges of parts."""
    image, images = ee.Image(f"{STACK}/image_0"), ee.ImageCollection(STACK)
    circle = ee.Geometry.Point([-104.995, 39.7455]).buffer(400)
    return {
        "smoothed": image.convolve(ee.Kernel.gaussian(30, 15, "meters")),
        "focal": image.focalMax(2, "square", "pixels"),
        "bicubic": image.resample("bicubic").reproject(CRS, [7, 0, 500_003, 0, -7, 4_399_998]),
        "aggregated": image.reduceResolution(ee.Reducer.mean()).reproject(CRS, [20, 0, 500_000, 0, -20, 4_400_000]),
        "clipped": images.median().clip(circle),
        "slope": image.addBands(ee.Terrain.slope(image.select("red")).rename("red"), None, True),
        "random": image.multiply(ee.Image.random(3)),
        "places": image.add(ee.Image.pixelLonLat().select("longitude")),
    }


COMPUTED = ("smoothed", "focal", "bicubic", "aggregated", "clipped", "slope", "random", "places")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPUTED)
def test_parts_have_no_seams(stack_server: Server, small_server: Server, name: str) -> None:
    written = []
    for server in (stack_server, small_server):
        with fetching(server) as fetcher:
            written.append(fetch_result(fetcher, Chip(computed()[name], grid=NATIVE, format="npy", bands=BANDS)))
    ours, theirs = (arrays(found) for found in written)
    # Distances to the neighbours, which bicubic weights are made of, are rounded in each window's own numbers.
    np.testing.assert_allclose(ours, theirs, rtol=1e-6 if name == "bicubic" else 0.0, atol=0.0)
    assert ours[-1].any()


@pytest.mark.slow
def test_chips_above_the_memory_limit_are_split(
    stack: Stack, stack_server: Server, serve: Callable[..., Server]
) -> None:
    short = serve(
        "--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none", "--workers", "1",
        "--memory", "8000000",
    )  # fmt: skip
    written = []
    for server in (stack_server, short):
        with fetching(server) as fetcher, counting(server) as requests:
            doubles = ee.Image(f"{STACK}/image_0").toDouble().divide(3)
            written.append(fetch_result(fetcher, Chip(doubles, grid=NATIVE.window(0, 0, 900, 900), format="npy")))
    assert requests["image:computePixels"] >= 5  # 13 MB of values alone do not fit
    assert written[0] == written[1]


@pytest.mark.slow
def test_the_size_that_worked_is_remembered(small_server: Server) -> None:
    for file_format, parts in (("tif", 16), ("png", 4)):
        with fetching(small_server) as fetcher:
            requests = []
            for row in range(3):
                with counting(small_server) as counted:
                    fetch_result(fetcher, make_chip(file_format, grid=NATIVE.window(3, row, 150, 110)))
                requests.append(counted["image:computePixels"])
            assert requests[0] > parts
            assert requests[1:] == [parts, parts]


def test_chips_known_to_be_too_large_are_not_requested(stack_server: Server) -> None:
    wide = NATIVE.window(0, 0, 10_001, 20)
    with fetching(stack_server, "url") as fetcher, counting(stack_server) as requests:
        found = fetch_result(fetcher, make_chip("png", grid=wide))
    assert requests["thumbnails:create"] == requests["thumbnails:getPixels"] == 2
    assert arrays(found)[:3, :, 700:].max() == 0
    assert (found.metadata.width, found.metadata.height) == (10_001, 20)
    many = tuple(f"b{i}" for i in range(1024))
    with fetching(stack_server) as fetcher, counting(stack_server) as requests:
        chip = Chip(ee.Image.constant(list(range(1024))).rename(list(many)), grid=NATIVE, bands=many, format="tif")
        with pytest.raises(TooLargeError, match="1025 bands"):
            fetch_result(fetcher, chip)
    assert requests == {}


def test_a_chip_too_large_at_any_size_reports_the_smallest_size(small_server: Server) -> None:
    with fetching(small_server) as fetcher:
        bands = ee.Image.constant([1.5] * 60)
        with counting(small_server) as requests, pytest.raises(TooLargeError) as refused:
            fetch_result(fetcher, Chip(bands, grid=NATIVE.window(0, 0, 256, 256), format="npy"))
        assert "must be less than or equal to 30000 bytes" in str(refused.value)
        assert "Even 16x16 pixels are too much" in str(refused.value)
        assert requests["image:computePixels"] == 5
        with pytest.raises(TooLargeError, match="Even 20x20 pixels"):
            fetch_result(fetcher, Chip(bands, grid=NATIVE.window(0, 0, 20, 20), format="npy"))
        # What failed altogether taught nothing about other sizes.
        with counting(small_server) as requests:
            fetch_result(fetcher, Chip(bands.select([0]), grid=NATIVE.window(0, 0, 32, 32), format="npy"))
        assert requests["image:computePixels"] == 1


def test_errors_that_splitting_cannot_help_are_raised(small_server: Server) -> None:
    with fetching(small_server) as fetcher, counting(small_server) as requests:
        image = ee.Image(f"{STACK}/image_0")
        corner = ee.Geometry.Rectangle([500_000, 4_399_000, 501_000, 4_400_000], CRS, False)
        most = image.reduceRegion("max", corner, scale=10, maxPixels=5)
        chip = Chip(image.divide(ee.Image.constant(most.getNumber("red"))), grid=NATIVE, format="tif")
        with pytest.raises(TooLargeError, match="Too many pixels in the region"):
            fetch_result(fetcher, chip)
    assert requests["image:computePixels"] == 1


def numbers(count: int, length: int = 20) -> ee.FeatureCollection:
    """So many features, each with its number and a text."""
    made = ee.List.sequence(0, count - 1).map(lambda n: ee.Feature(None, {"n": n, "text": "x" * length}))
    return ee.FeatureCollection(made)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "pages"), [(1, 1), (3, 1), (40, 1), (157, 11)])
def test_tables_in_shorter_pages_have_each_row_once(
    stack_server: Server, small_server: Server, count: int, pages: int
) -> None:
    with fetching(stack_server) as fetcher:
        whole = fetcher.rows(numbers(count))
    assert [row["n"] for row in whole] == list(range(count))
    with fetching(small_server) as fetcher:
        assert fetcher.rows(numbers(count)) == whole
        with counting(small_server) as requests:
            assert fetcher.rows(numbers(count)) == whole
    # The second time no page was too large: 15 rows each, a quarter of a quarter of a quarter of 1,000.
    assert requests["table:computeFeatures"] == pages


def test_a_row_that_is_too_large_is_an_error(small_server: Server) -> None:
    with fetching(small_server) as fetcher, counting(small_server) as requests:
        rows = numbers(3, length=4000)
        with pytest.raises(TooLargeError, match="Even a page of one row is too much"):
            fetcher.rows(rows)
    assert requests["table:computeFeatures"] == 6


def series(length: int) -> Series:
    """The images' largest red value and a text of so many characters, over the images' corner."""
    corner = ee.Geometry.Rectangle([500_000, 4_399_000, 501_000, 4_400_000], CRS, False)

    def row(image: Any) -> Any:
        found = image.reduceRegion("max", corner, scale=10)
        return ee.Feature(
            None, {"date": image.date().format("YYYY-MM-dd"), "red": found.get("red"), "text": "x" * length}
        )

    return Series(ee.ImageCollection(STACK).map(lambda image: ee.Image(image).select("red")), row)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "most"), [(10, 1), (700, 12), (1500, 14)])
def test_series_split_by_dates_equal_whole_series(
    stack: Stack, stack_server: Server, small_server: Server, length: int, most: int
) -> None:
    with fetching(stack_server) as fetcher:
        whole = fetcher.rows(series(length))
    assert [row["date"] for row in whole] == list(DATES)
    assert [row["red"] for row in whole] == stack.pixels[:, 0, :100, :100].max(axis=(1, 2)).tolist()
    with fetching(small_server) as fetcher:
        for _ in range(2):
            with counting(small_server) as requests:
                assert fetcher.rows(series(length)) == whole
            assert requests["table:computeFeatures"] <= most


@pytest.mark.slow
def test_a_series_whose_rows_are_too_large_is_an_error(small_server: Server) -> None:
    with fetching(small_server) as fetcher, counting(small_server) as requests:
        rows = series(4000)
        with pytest.raises(TooLargeError, match="Even a page of one row is too much"):
            fetcher.rows(rows)
    assert requests["table:computeFeatures"] <= 15


RECIPE = f'''
import ee
from eechips import Chip
from eechips.geo.grid import Grid


def get_requests():
    return list(range(3))


def get_result(index, number):
    grid = Grid("{CRS}", (10.0, 0.0, 500_000.0 + 10 * number, 0.0, -10.0, 4_400_000.0), 150, 110)
    return Chip(ee.Image("{STACK}/image_0"), grid=grid, format="tif", bands=("red", "nir"), dtype="uint16")
'''


@pytest.mark.slow
def test_a_unit_in_parts_is_one_unit_with_one_file(stack: Stack, small_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "recipe.py"
    script.write_text(RECIPE)
    config = RunConfig(out=tmp_path / "out", endpoint=small_server.url, rate=None, executor="processes:1", quiet=True)
    finished = run(load_recipe(script), config)
    assert finished.counts == {"done": 3}
    assert finished.verify() == []
    assert finished.units["requests"].between(16, 2 * 21).all()
    for number, file in enumerate(finished.units["file"]):
        with decoding((finished.path / file).read_bytes(), "GTiff") as source:
            assert np.array_equal(source.read(), stack.pixels[0, :, :110, number : number + 150])
            assert source.transform == TRANSFORM * TRANSFORM.translation(number, 0)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_time_series_split_by_dates_make_the_same_files(
    demo_server: Server, serve: Callable[..., Server], tmp_path: Path
) -> None:
    boxes = [shapely.box(-105.1, 39.9, -105.0, 40.0), shapely.box(-105.2, 39.9, -105.1, 40.0)]
    gpd.GeoDataFrame({"code": [1, 2]}, geometry=boxes, crs="EPSG:4326").to_file(tmp_path / "regions.gpkg")
    small = serve("--rate", "none", "--concurrency", "none", "--response", "6000")
    files = []
    for server in (demo_server, small):
        finished = eechips.timeseries(
            "MODIS_LST", regions=str(tmp_path / "regions.gpkg"), columns="id=code", reducer="max", start="2018-01-01",
            end="2022-01-01", executor="processes:1", quiet=True,
            endpoint=server.url, rate=None, out=tmp_path / str(len(files)),
        )  # fmt: skip
        assert finished.counts == {"done": 2}
        files.append({file: (finished.path / file).read_bytes() for file in finished.units["file"]})
        requests = finished.units["requests"].tolist()
        assert min(requests) > 4 if server is small else requests == [1, 1]
    assert files[0] == files[1]
