"""Lazy cubes of a local Earth Engine, against the arrays in its assets."""

from __future__ import annotations

import gc
import json
import pickle
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
import rasterio
import xarray

import eechips
from eechips.cubes.box_cache import CUBES_FOLDER
from eechips.cubes.cube_backend import CubeBackend
from eechips.cubes.cube_service import close_services
from eechips.errors import PermanentError, TransientError, UsageError, ValidationError
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.parameters import slow_except
from local_tests.support.stack_store import CRS, DATES, SHAPE, STACK, TRANSFORM, Stack
from tests.support.altering_front import altering_front
from tests.support.framing_front import Answer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GRID: dict[str, Any] = {"crs": CRS, "crs_transform": tuple(TRANSFORM)[:6], "shape_2d": (SHAPE[1], SHAPE[0])}


def expected(stack: Stack) -> np.ndarray:
    """What rasterio reads from the files of the assets: (image, band, row, column), NaN where it is masked."""
    found = []
    for path in stack.files:
        with rasterio.open(path) as file:
            found.append(file.read(masked=True).astype(np.float32).filled(np.nan))
    return np.stack(found)


def count(server: Server) -> dict[str, int]:
    found = server.requests()
    return {kind: found.get(kind, 0) for kind in ("value:compute", "image:computePixels")}


def counted(server: Server, before: dict[str, int]) -> tuple[int, int]:
    """Requests for values and for pixels since then."""
    after = count(server)
    return (
        after["value:compute"] - before["value:compute"],
        after["image:computePixels"] - before["image:computePixels"],
    )


def plan_faults(server: Server, *faults: dict[str, Any]) -> None:
    body = json.dumps({"seed": 0, "faults": faults}).encode()
    with urlopen(Request(f"{server.url}/_faults", body, {"Content-Type": "application/json"})):
        pass


@pytest.mark.slow
def test_a_collection_is_opened_by_one_request_without_pixels(stack: Stack, stack_server: Server) -> None:
    before = count(stack_server)
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url)
    assert counted(stack_server, before) == (1, 0)
    assert dict(cube.sizes) == {"time": len(DATES), "y": SHAPE[0], "x": SHAPE[1]}
    assert {name: (band.dims, band.dtype) for name, band in cube.items()} == dict.fromkeys(
        ("red", "nir"), (("time", "y", "x"), np.dtype(np.float32))
    )
    assert [str(time)[:10] for time in cube.time.values] == list(DATES)
    with rasterio.open(stack.files[0]) as file:
        np.testing.assert_array_equal(cube.x, [file.xy(0, column)[0] for column in range(SHAPE[1])])
        np.testing.assert_array_equal(cube.y, [file.xy(row, 0)[1] for row in range(SHAPE[0])])
    assert cube.x.attrs["standard_name"] == "projection_x_coordinate"
    assert cube.red.attrs["crs"] == CRS
    assert counted(stack_server, before) == (1, 0)


def test_pixels_are_those_of_the_assets(stack: Stack, stack_server: Server) -> None:
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url)
    before, values = count(stack_server), expected(stack)
    np.testing.assert_array_equal(cube.red.values, values[:, 0])
    assert counted(stack_server, before) == (0, 1)
    np.testing.assert_array_equal(cube.nir[1:3, 10:90, ::-1].values, values[1:3, 1, 10:90, ::-1])
    np.testing.assert_array_equal(cube.nir[::2, 7, -20:].values, values[::2, 1, 7, -20:])
    np.testing.assert_array_equal(
        cube.nir[:, [3, 1, 150], [0, 2, 4]].values, values[:, 1][:, [3, 1, 150]][..., [0, 2, 4]]
    )
    assert float(cube.nir[2, 100, 100]) == values[2, 1, 100, 100]
    assert cube.nir[:, 0:0].values.shape == (len(DATES), 0, SHAPE[1])


def test_without_a_grid_pixels_are_those_of_the_first_image(stack: Stack, stack_server: Server) -> None:
    cube = eechips.open_cube(f"ee://{STACK}", endpoint=stack_server.url)
    np.testing.assert_array_equal(cube.red[0].values, expected(stack)[0, 0])


def test_collections_and_images_of_the_client_are_opened(stack: Stack, stack_ee: Any) -> None:
    images = stack_ee.ImageCollection(STACK)
    values = expected(stack)
    chosen = eechips.open_cube(images.filter(stack_ee.Filter.gt("cloud", 5)).limit(2), **GRID)
    np.testing.assert_array_equal(chosen.red.values, values[1:3, 0])
    sums = images.map(lambda image: image.expression("b(0) + b(1)").rename("sum").copyProperties(image, ["cloud"]))
    cube = eechips.open_cube(sums, **GRID, primary_dim_name="cloud", primary_dim_property="cloud")
    np.testing.assert_array_equal(cube["sum"].values, values.sum(1, dtype=np.float32))
    np.testing.assert_array_equal(cube.cloud, [0, 10.5, 21, 31.5])
    one = eechips.open_cube(stack_ee.Image(f"{STACK}/image_3"), **GRID)
    np.testing.assert_array_equal(one.nir.values, values[3:, 1])


def test_fast_time_slicing_reads_images_as_they_are_stored(stack: Stack, stack_ee: Any) -> None:
    changed = stack_ee.ImageCollection(STACK).map(
        lambda image: image.multiply(0).copyProperties(image, ["system:time_start", "system:id"])
    )
    assert (eechips.open_cube(changed, **GRID).red[0, 50].values == 0).all()
    stored = eechips.open_cube(changed, **GRID, fast_time_slicing=True).red
    np.testing.assert_array_equal(stored.values, expected(stack)[:, 0])


def test_images_without_times_are_numbered(stack_ee: Any) -> None:
    images = stack_ee.ImageCollection([stack_ee.Image(1), stack_ee.Image(2)])
    with pytest.warns(UserWarning, match="2 of 2 images have no 'system:time_start'"):
        cube = eechips.open_cube(images, **GRID)
    np.testing.assert_array_equal(cube.time, [0, 1])
    np.testing.assert_array_equal(cube.constant[:, 0, 0], [1, 2])


def test_the_backend_opens_cubes_and_runs(stack: Stack, stack_server: Server) -> None:
    project = tomllib.loads((Path(eechips.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["xarray.backends"]["eechips"] == (
        f"{CubeBackend.__module__}:{CubeBackend.__name__}"
    )
    cube = xarray.open_dataset(STACK, engine=CubeBackend, **GRID, endpoint=stack_server.url, drop_variables="red")
    assert list(cube) == ["nir"]
    np.testing.assert_array_equal(cube.nir.values, expected(stack)[:, 1])


def test_the_mask_value_becomes_nan(stack: Stack, stack_server: Server) -> None:
    values = expected(stack)[:, 0]
    wanted = values[0, 100, 100]
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, ee_mask_value=wanted)
    np.testing.assert_array_equal(cube.red.values, np.where(values == wanted, np.nan, values))


@pytest.mark.parametrize(
    "io_chunks", slow_except([{"width": 7}, {"index": 3, "x": 128, "y": 100}, {"time": 1}], {"time": 1})
)
def test_requests_have_the_chunks_that_are_asked_for(
    stack: Stack, stack_server: Server, io_chunks: dict[str, int]
) -> None:
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, io_chunks=io_chunks)
    before = count(stack_server)
    np.testing.assert_array_equal(cube.red.values, expected(stack)[:, 0])
    lengths = {"time": len(DATES), "y": SHAPE[0], "x": SHAPE[1]}
    names = {"index": "time", "width": "x", "height": "y"}
    requests = 1
    for name, length in io_chunks.items():
        requests *= -(-lengths[names.get(name, name)] // length)
    assert counted(stack_server, before) == (0, requests)


@pytest.mark.slow
def test_a_large_load_takes_several_requests_at_a_time(stack: Stack, stack_server: Server) -> None:
    a, _, c, _, e, f = GRID["crs_transform"]
    fine = {"crs": CRS, "crs_transform": (a / 5, 0, c, 0, e / 5, f), "shape_2d": (SHAPE[1] * 5, SHAPE[0] * 5)}
    cube = eechips.open_cube(STACK, **fine, endpoint=stack_server.url, n_images=2)
    before = count(stack_server)
    np.testing.assert_array_equal(cube.red.values, expected(stack)[:2, 0].repeat(5, 1).repeat(5, 2))
    assert counted(stack_server, before) == (0, 2)  # 15 MB, of which one request could have 48
    whole = cube.red.isel(time=1).values  # one file of the cache has both images
    np.testing.assert_array_equal(whole, expected(stack)[1, 0].repeat(5, 0).repeat(5, 1))
    assert counted(stack_server, before) == (0, 2)


@pytest.mark.slow
def test_small_requests_are_sent_where_the_limit_is_small(stack: Stack, stack_server: Server) -> None:
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, request_byte_limit=700_000, chunks={})
    before = count(stack_server)
    np.testing.assert_array_equal(cube.red.compute().values, expected(stack)[:, 0])
    assert counted(stack_server, before) == (0, 2)  # 1,200,000 + 120,000 bytes
    assert cube.red.data.npartitions == 2


def test_pixels_are_read_again_from_the_cache(stack: Stack, stack_server: Server, user_cache: Path) -> None:
    values = expected(stack)[:, 0]
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, cache=user_cache)
    assert cube.red.values.shape == values.shape
    before = count(stack_server)
    again = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, cache=user_cache)
    np.testing.assert_array_equal(again.red[1:, 20:30].values, values[1:, 20:30])
    assert counted(stack_server, before) == (1, 0)
    without = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, cache=False)
    np.testing.assert_array_equal(without.red.values, values)
    assert counted(stack_server, before) == (2, 1)


def test_a_cube_of_a_server_of_this_machine_has_a_temporary_cache(
    stack: Stack, stack_server: Server, user_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later server on the same port may have other pixels. The user's cache is for pixels of the service."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    values = expected(stack)[:, 0]
    before = count(stack_server)
    for number in (1, 2):
        cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url)
        np.testing.assert_array_equal(cube.red.values, values)
        np.testing.assert_array_equal(cube.red[1:, 20:30].values, values[1:, 20:30])
        assert counted(stack_server, before) == (number, number)
        (kept,) = tmp_path.rglob("*.box")
        assert not kept.is_relative_to(user_cache)
        del cube
        gc.collect()
        assert not list(tmp_path.rglob("*.box"))


def test_a_damaged_entry_is_fetched_again(stack: Stack, stack_server: Server, user_cache: Path) -> None:
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, cache=user_cache)
    cube.red.values  # noqa: B018 - xarray would keep values of `cube.red.load()`
    (path,) = (user_cache / CUBES_FOLDER).rglob("*.box")
    data = bytearray(path.read_bytes())
    data[-50_000] ^= 255
    path.write_bytes(data)
    before = count(stack_server)
    again = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, cache=user_cache)
    np.testing.assert_array_equal(again.red.values, expected(stack)[:, 0])
    assert counted(stack_server, before) == (1, 1)


@pytest.mark.slow
def test_computed_images_with_a_new_version_are_read_again(serve: Callable[..., Server], tmp_path: Path) -> None:
    def write(value: int) -> None:
        options = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8", "crs": CRS}
        with rasterio.open(tmp_path / "a.tif", "w", transform=TRANSFORM, **options) as file:
            file.write(np.full((1, 8, 8), value, np.uint8))
        ingest(tmp_path / "a.tif", tmp_path / "assets", "users/someone/images/a", time_start="2020-01-01", bands=["b"])

    write(1)
    server = serve("--assets", str(tmp_path / "assets"), "--no-demo")
    ee = initialize(server)
    doubled = ee.ImageCollection("users/someone/images").map(
        lambda image: image.multiply(2).copyProperties(image, ["system:time_start", "system:version"])
    )
    for value in (1, 3):
        write(value)
        cube = eechips.open_cube(doubled, **{**GRID, "shape_2d": (8, 8)}, endpoint=server.url)
        np.testing.assert_array_equal(cube.b.values, np.full((1, 8, 8), 2 * value))


def test_threads_share_requests(stack: Stack, stack_server: Server) -> None:
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url)
    before, values = count(stack_server), expected(stack)
    windows = [slice(row, row + 10) for row in (0, 50, 100, 150)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: (number % 4, cube.nir[:, windows[number % 4]].values), range(16)))
    for number, pixels in found:
        np.testing.assert_array_equal(pixels, values[:, 1, windows[number]])
    assert counted(stack_server, before) == (0, 4)


def test_neighbouring_chunks_share_requests(stack: Stack, stack_server: Server) -> None:
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url)
    before, values = count(stack_server), expected(stack)
    for column in range(0, SHAPE[1], 10):
        chunk = cube.red[..., column : column + 10].values
        np.testing.assert_array_equal(chunk, values[:, 0, :, column : column + 10])
    assert counted(stack_server, before) == (0, 5)  # of 1, 2, 4, 8 and 15 chunks


def test_images_that_lack_a_band_do_not_fail_with_their_neighbours(stack: Stack, stack_ee: Any) -> None:
    first, last = (stack_ee.Image(f"{STACK}/image_{number}") for number in (0, 3))
    cube = eechips.open_cube(stack_ee.ImageCollection([first, last.select("red")]), **GRID)
    values = expected(stack)[0]
    np.testing.assert_array_equal(cube.red[0].values, values[0])
    np.testing.assert_array_equal(cube.nir[0].values, values[1])  # beside it: the next image is asked for as well
    with pytest.raises(PermanentError, match="nir"):
        cube.nir[1].values  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("cache", [True, False])
def test_chunks_of_dask_are_read_in_threads(stack: Stack, stack_server: Server, cache: bool) -> None:
    pytest.importorskip("dask")
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url, cache=cache, chunks={"time": 1, "x": 30})
    assert cube.red.chunks == ((1,) * 4, (SHAPE[0],), (30,) * 10)
    before, values = count(stack_server), expected(stack)
    np.testing.assert_array_equal(cube.red.compute(scheduler="threads", num_workers=8).values, values[:, 0])
    _, pixels = counted(stack_server, before)
    assert pixels <= 40 if cache else pixels == 40
    np.testing.assert_array_equal(
        cube.nir.mean("time").compute(scheduler="threads").values, values[:, 1].mean(0, dtype=np.float32)
    )


def test_failures_are_repeated(stack: Stack, serve_briefly: Callable[..., Server]) -> None:
    server = serve_briefly("--assets", str(stack.path), "--no-demo", "--rate", "none", "--concurrency", "none")
    options: dict[str, Any] = {**GRID, "endpoint": server.url, "getitem_kwargs": {"max_retries": 3, "initial_delay": 1}}
    cube = eechips.open_cube(STACK, **options)
    kinds = [{"status": 429, "times": 1}, {"status": 503, "times": 1}]
    plan_faults(server, *({"type": "status", "on": "image:computePixels", **kind} for kind in kinds))
    np.testing.assert_array_equal(cube.red.values, expected(stack)[:, 0])
    plan_faults(server, {"type": "status", "status": 500, "on": "image:computePixels", "times": 4})
    with pytest.raises(TransientError):
        cube.nir.values  # noqa: B018


def test_what_does_not_exist_is_named(stack_server: Server) -> None:
    with pytest.raises(PermanentError, match="nothing/here"):
        eechips.open_cube("nothing/here", **GRID, endpoint=stack_server.url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 10}, "`scale` was an argument of Xee before 0.1"),
        ({"geometry": None}, "`geometry` was an argument of Xee"),
        ({"mask_valu": 3}, "no argument `mask_valu`; did you mean 'ee_mask_value'"),
        ({"start": "2020-01-01"}, r"no argument `start`: pass a collection, .*\.filterDate"),
        ({"bands": ["B4"]}, r"no argument `bands`: pass a collection, .*\.select"),
        ({"drop_variables": ["red", "nri"]}, "no band `nri`; did you mean 'nir'"),
        ({"shape_2d": None}, "shape_2d is missing"),
        ({"crs_transform": (10, 1, 0, 0, -10, 0)}, "rotated"),
        ({"crs_transform": (10, 0)}, "crs_transform is"),
        ({"io_chunks": {"z": 3}}, "'z': 3"),
        ({"io_chunks": 7}, "io_chunks"),
        ({"io_chunks": {"time": True}}, "'time': True"),
        ({"executor_kwargs": {"max_worker": 3}}, "executor_kwargs .* argument 'max_worker'"),
        ({"executor_kwargs": {"max_workers": 0}}, "executor_kwargs .* greater than 0"),
        ({"cache_bytes": -5}, "cache_bytes is a whole number from 0, not -5"),
        ({"cache_bytes": "4GB"}, "cache_bytes is a whole number from 0, not '4GB'"),
        ({"request_byte_limit": "1MB"}, "request_byte_limit"),
        ({"request_byte_limit": 1 << 30}, "request_byte_limit"),
        ({"ee_mask_value": float("nan")}, "ee_mask_value"),
        ({"getitem_kwargs": {"delay": 3}}, "`delay`"),
        ({"getitem_kwargs": {"max_retries": -1}}, "max_retries is a whole number from 0, not -1"),
        ({"n_images": 0}, "n_images is a whole number from 1, or -1 for all images, not 0"),
        ({"n_images": 2.5}, "n_images .* not 2.5"),
        ({"primary_dim_name": "x"}, "primary_dim_name='x': .*; choose another"),
        ({"shape_2d": (3.7, 3)}, r"\(3.7, 3\) are no whole numbers"),
        ({"ee_init_kwargs": {"http_transport": 3}}, "`http_transport`"),
        ({"ee_init_kwargs": {"credentials": 3, "credentials_function": print}}, "give one of them"),
    ],
)
def test_arguments_are_checked(stack_server: Server, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        eechips.open_cube(STACK, **{**GRID, "endpoint": stack_server.url, **options})


def test_the_grid_of_a_rotated_image_is_refused(serve: Callable[..., Server], tmp_path: Path) -> None:
    transform = rasterio.Affine(10, 2, 480000, 2, -10, 4420000)
    options = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8", "crs": CRS}
    with rasterio.open(tmp_path / "a.tif", "w", transform=transform, **options) as file:
        file.write(np.ones((1, 8, 8), np.uint8))
    ingest(tmp_path / "a.tif", tmp_path / "assets", "projects/p/assets/rotated")
    server = serve("--assets", str(tmp_path / "assets"), "--no-demo")
    image = initialize(server).Image("projects/p/assets/rotated").set("system:time_start", 0)
    with pytest.raises(UsageError, match="the grid of the first image is rotated"):
        eechips.open_cube(image, endpoint=server.url)


@pytest.mark.slow
def test_the_sinusoidal_grid_of_modis_has_coordinates(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Earth Engine names it SR-ORG:6974, which PROJ does not know."""
    sinusoidal = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
    transform = rasterio.Affine(926.5, 0, -9e6, 0, -926.5, 4e6)
    pixels = np.arange(24, dtype=np.int16).reshape(1, 4, 6)
    options = {"driver": "GTiff", "width": 6, "height": 4, "count": 1, "dtype": "int16", "crs": sinusoidal}
    with rasterio.open(tmp_path / "a.tif", "w", transform=transform, **options) as file:
        file.write(pixels)
    ingest(tmp_path / "a.tif", tmp_path / "assets", "projects/p/assets/lst/a", bands=["LST"], time_start="2020-01-01")
    server = serve("--assets", str(tmp_path / "assets"), "--no-demo")
    cube = eechips.open_cube("projects/p/assets/lst", endpoint=server.url, cache=False)
    assert cube.LST.attrs["crs"] == "SR-ORG:6974"
    np.testing.assert_array_equal(cube.LST.values, pixels)
    np.testing.assert_allclose(cube.x, -9e6 + 926.5 * (np.arange(6) + 0.5))
    assert cube.x.attrs["standard_name"] == "projection_x_coordinate"


def test_other_sources_are_refused(stack_server: Server) -> None:
    for source, message in ((7, "not int"), ("https://example.org/x", "an id, ee:ID"), (f"{STACK}/image_0", ".")):
        with pytest.raises((UsageError, PermanentError), match=message):
            eechips.open_cube(source, **GRID, endpoint=stack_server.url)


def test_a_cube_is_pickled_without_credentials(stack: Stack, stack_server: Server) -> None:
    cube = eechips.open_cube(STACK, **GRID, endpoint=stack_server.url)
    text = pickle.dumps(cube)
    close_services()
    np.testing.assert_array_equal(pickle.loads(text).red.values, expected(stack)[:, 0])


def test_the_pixels_of_another_request_are_an_error(stack_server: Server) -> None:
    """As of a cache that takes requests with the same URL for one: boxes of two times have the same shape."""
    kept: list[Answer] = []

    def send_first(path: str, _: bytes, answer: Answer) -> Answer:
        if not path.endswith("image:computePixels"):
            return answer
        kept.append(answer)
        return kept[0]

    with altering_front(stack_server.url, send_first) as url:
        cube = eechips.open_cube(STACK, **GRID, endpoint=url, cache=False, getitem_kwargs={"max_retries": 0})
        first = cube.red[0].values
        with pytest.raises(ValidationError, match="the pixels of another request came back: a cache or proxy"):
            _ = cube.red[1].values
    assert len(kept) == 2
    assert kept[0].body != kept[1].body
    np.testing.assert_array_equal(first, eechips.open_cube(STACK, **GRID, endpoint=stack_server.url).red[0].values)
