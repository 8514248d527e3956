"""Pixels lie where the transform says, whatever the place, the projection, the size, the scale and the dataset."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer

import eechips
from eechips.builtin_recipes.samples.chips import ChipSample
from eechips.errors import RegionError, UsageError
from eechips.geo.grid import Grid
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.server_fixtures import SHARED_DATA
from tests.support import coded_store
from tests.support.coded_store import EDGES, PLACES, ROOT, Raster

# Real rasters in five coordinate systems, of one to seventy bands.
REAL = (
    "optical/landsat_pucallpa_1985.tif",
    "optical/lc08_041027_montana_2015-06-04.tif",
    "optical/s2_l1c_va_eastern_shore_20m.tif",
    "optical/2018_3A_Theia_Bouconne.tif",
    "naip/m_4709963_se_14_1_20200831.tif",
)
CRSS = ("native", "utm", "EPSG:4326", "EPSG:3857", "EPSG:6933")
# So near to an edge between two source pixels, in pixels, that either may be the nearest.
_TIE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("grids")
    coded_store.fill(made)
    if (SHARED_DATA / "MANIFEST.csv").exists():
        for name in REAL:
            ingest(SHARED_DATA / name, made / "store", real_id(name), bands=real_bands(name))
    return made


@pytest.fixture(scope="module")
def server(folder: Path, serve: Callable[..., Server]) -> Server:
    store = str(folder / "store")
    return serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")


def real_id(name: str) -> str:
    return f"users/someone/real/{Path(name).stem.replace('-', '_')}"


def real_bands(name: str) -> list[str]:
    with rasterio.open(SHARED_DATA / name) as file:
        return [f"b{number}" for number in range(1, file.count + 1)]


@pytest.fixture(scope="module")
def rasters(folder: Path) -> dict[str, Raster]:
    found = {name: coded_store.source(folder, name) for name in PLACES}
    if (SHARED_DATA / "MANIFEST.csv").exists():
        for name in REAL:
            found[name] = coded_store.read(SHARED_DATA / name, real_id(name), tuple(real_bands(name)))
    return found


def point_in(raster: Raster, column: float, row: float) -> tuple[float, float]:
    """Longitude and latitude of a place of a raster, given in shares of its width and height."""
    height, width = raster.valid.shape
    x, y = raster.transform * (column * width, row * height)
    lon, lat = Transformer.from_crs(raster.crs, "EPSG:4326", always_xy=True).transform(x, y)
    return (lon + 180.0) % 360.0 - 180.0, lat


def chips(raster: Raster, folder: Path, points: list[tuple[float, float]], **options: Any) -> list[tuple[Grid, Any]]:
    """Return grids and masked arrays of points, requested as a run requests them."""
    import ee

    path = folder / "points.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("lon", "lat"), *((repr(lon), repr(lat)) for lon, lat in points)])
    bands = raster.bands[:3]
    recipe = ChipSample(dataset=raster.id, points=str(path), format="npy", bands=bands, **options)
    found = []
    for number, unit in enumerate(recipe.get_requests()):
        chip = recipe.get_result(number, unit)
        assert isinstance(chip, eechips.Chip)
        assert chip.grid is not None
        image = chip.image.image().select(list(bands))
        # The mask is asked for in a band of its own, as the client does for data.
        both = image.unmask(0).addBands(image.mask().reduce(ee.Reducer.min()).gt(0).rename("valid"))
        request = {"expression": both, "fileFormat": "NUMPY_NDARRAY", "grid": chip.grid.to_pixel_grid()}
        found.append((chip.grid, ee.data.computePixels(request)))
    return found


def assert_is_source(raster: Raster, grid: Grid, array: Any) -> int:
    """Every pixel is that of the source in which its centre lies; returns how many were compared."""
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    x, y = grid.affine * (columns.ravel(), rows.ravel())
    if grid.crs != raster.crs:
        lon, lat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
        x, y = Transformer.from_crs("EPSG:4326", raster.crs, always_xy=True).transform(lon, lat)
    if raster.crs == "EPSG:4326":  # longitudes may be a turn further on either side
        middle = raster.transform.c + raster.transform.a * raster.valid.shape[1] / 2
        x = np.asarray(x) + 360.0 * np.round((middle - np.asarray(x)) / 360.0)
    places = np.array(~raster.transform * (np.asarray(x), np.asarray(y)))
    clear = (np.abs(places - np.round(places)) > _TIE).all(axis=0)
    height, width = raster.valid.shape
    column, row = np.floor(places).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height) & clear
    valid = np.zeros(len(column), dtype=bool)
    valid[inside] = raster.valid[row[inside], column[inside]]
    assert np.array_equal(array["valid"].ravel()[clear] > 0, valid[clear])
    for number, band in enumerate(raster.bands[:3]):
        assert np.array_equal(array[band].ravel()[valid], raster.values[number, row[valid], column[valid]])
    return int(valid.sum())


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [*PLACES, *REAL])
def test_the_pixel_under_the_transform_is_the_source_s(
    server: Server, folder: Path, rasters: dict[str, Raster], name: str
) -> None:
    """A sweep over places, coordinate systems, sizes and scales, against rasterio and pyproj.

    Scales up to a little more than the source's: beyond, Earth Engine takes averages of its pyramids.
    """
    if name not in rasters:
        pytest.skip("no real data: ../shared/data is missing")
    raster = rasters[name]
    initialize(server)
    # A chip does not go on beyond the map of EPSG:3857 or EPSG:6933.
    on_globe = ("native", "utm", "EPSG:4326")
    crss = {"pole": ("native", "EPSG:3413", "EPSG:4326"), "dateline-degrees": on_globe}.get(name, CRSS)
    compared = 0

    @given(
        places=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=3),
        size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        crs=st.sampled_from(crss),
        stretch=st.none() | st.floats(0.2, 1.2),
    )
    @settings(suppress_health_check=list(HealthCheck))
    def sweep(places: list[tuple[float, float]], size: tuple[int, int], crs: str, stretch: float | None) -> None:
        nonlocal compared
        native = Grid(raster.crs, tuple(raster.transform)[:6], 1, 1)
        scale = None if stretch is None else stretch * nominal(native)
        points = [point_in(raster, *place) for place in places]
        if crs == "native" and scale is None:
            compared += native_chips(raster, folder, points, size)
            return
        if crs in ("EPSG:3857", "EPSG:4326") and scale is None:
            scale = nominal(native) * 0.9  # a pixel of these covers less of the ground, away from the equator
        for grid, array in chips(raster, folder, points, size=size, crs=crs, scale=scale):
            assert (grid.width, grid.height) == size
            compared += assert_is_source(raster, grid, array)

    sweep()
    assert compared > 1_000


def native_chips(raster: Raster, folder: Path, points: list[tuple[float, float]], size: tuple[int, int]) -> int:
    """Native chips are windows of the file: the same transform, to the last bit where it is a window's."""
    compared = 0
    for grid, array in chips(raster, folder, points, size=size):
        column, row = (float(v) for v in Grid(grid.crs, tuple(raster.transform)[:6], 1, 1).pixel(*grid.xy(0, 0)))
        assert column == pytest.approx(round(column), abs=1e-6)
        assert row == pytest.approx(round(row), abs=1e-6)
        assert grid.transform[0::2][:1] == (raster.transform.a,)
        compared += assert_is_source(raster, grid, array)
    return compared


def nominal(grid: Grid) -> float:
    from eechips.geo.grid import nominal_scale

    return nominal_scale(grid)


@pytest.mark.slow
@pytest.mark.parametrize("placed", [{"grid": f"{ROOT}/albers"}, {"crs": "EPSG:5070", "grid": (9, 0, 3, 0, -9, 4)}])
def test_chips_lie_on_the_pixels_of_another_image_or_of_a_transform(
    server: Server, folder: Path, rasters: dict[str, Raster], placed: dict[str, Any]
) -> None:
    initialize(server)
    raster = rasters["utm"]
    other = tuple(rasters["albers"].transform)[:6] if "crs" not in placed else placed["grid"]
    points = [point_in(raster, 0.4, 0.5), point_in(raster, 0.9, 0.1)]
    for grid, array in chips(raster, folder, points, size=20, **placed):
        assert grid.crs == "EPSG:5070"
        column, row = Grid("EPSG:5070", tuple(map(float, other)), 1, 1).pixel(*grid.xy(0, 0))  # type: ignore[arg-type]
        assert (float(column), float(row)) == pytest.approx((round(column), round(row)), abs=1e-9)
        assert grid.resolution == (abs(other[0]), abs(other[4]))
        assert assert_is_source(raster, grid, array) > 100


@pytest.mark.slow
def test_chips_over_a_zone_seam_are_on_one_grid_and_show_both_sides(
    server: Server, folder: Path, rasters: dict[str, Raster], tmp_path: Path
) -> None:
    """East and west of 108 W the images are in two zones; chips take the zone of the point where they are asked to."""
    initialize(server)
    for name, zone in (("west", "EPSG:32612"), ("east", "EPSG:32613")):
        raster = rasters[name]
        for grid, array in chips(raster, folder, [point_in(raster, 0.5, 0.5)], size=64, crs="utm"):
            lon, _ = point_in(raster, 0.5, 0.5)
            assert grid.crs == ("EPSG:32612" if lon < -108 else "EPSG:32613")
            assert_is_source(raster, grid, array)
        for grid, array in chips(raster, folder, [point_in(raster, 0.5, 0.5)], size=64):
            assert grid.crs == zone
            assert assert_is_source(raster, grid, array) == 64 * 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "crs", "kind", "error"),
    [
        ("pole", "utm", RegionError, "UTM has no zone at latitude 89"),
        ("pole", "EPSG:32613", RegionError, "degrees from the middle of UTM zone 13N"),
        ("utm", "EPSG:32633", RegionError, "degrees from the middle of UTM zone 33N"),
        ("utm", "EPSG:99999", UsageError, "unknown coordinate reference system"),
    ],
)
def test_places_beyond_a_projection_are_refused_with_the_reason(
    server: Server, folder: Path, rasters: dict[str, Raster], name: str, crs: str, kind: type[UsageError], error: str
) -> None:
    initialize(server)
    with pytest.raises(kind, match=error):
        chips(rasters[name], folder, [point_in(rasters[name], 0.3, 0.3)], size=8, crs=crs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "name", "crs"),
    [
        (f"{ROOT}/dateline", "dateline", "native"),
        (f"{ROOT}/dateline", "dateline", "utm"),
        (f"{ROOT}/dateline-degrees", "dateline-degrees", "native"),
        (EDGES, "dateline", "native"),
        (EDGES, "dateline", "utm"),
        (EDGES, "pole", "native"),
        (EDGES, "pole", "EPSG:3413"),
    ],
)
@pytest.mark.parametrize("form", ["tif", "png"])
def test_chips_at_the_edges_of_the_world_are_whole_through_a_run(
    server: Server, rasters: dict[str, Raster], tmp_path: Path, dataset: str, name: str, crs: str, form: str
) -> None:
    path = tmp_path / "points.csv"
    places = {"pole": ["10,89.95", "-170,89.999", "0,90"]}.get(name, ["180,10.005", "-179.9999,10.0", "179.9999,10.0"])
    path.write_text("\n".join(["lon,lat", *places]))
    raster, looks = rasters[name], {"stretch": (0.0, 400.0)} if form == "png" else {}
    run = eechips.sample(
        dataset, points=str(path), format=form, size=32, crs=crs, bands=raster.bands[: 2 if form == "tif" else 1],
        grid="native", endpoint=server.url, rate=None, executor="threads", quiet=True, out=tmp_path / "out", **looks,
    )  # fmt: skip
    assert set(run.units["state"]) == {"done"}, run.failures
    assert (run.units["valid_fraction"] == 1).all()
    for file in run.units["file"] if form == "tif" else ():
        with rasterio.open(run.path / file) as chip:
            grid = Grid(chip.crs.to_string(), tuple(chip.transform)[:6], chip.width, chip.height)
            array = {band: chip.read(n) for n, band in enumerate(raster.bands, start=1)}
            array["valid"] = chip.read_masks(1)
            assert assert_is_source(raster, grid, array) == 32 * 32


MONTANA = (
    "optical/lc08_041027_montana_2015-06-04.tif",
    "optical/le07_041027_montana_2007-05-05.tif",
    "optical/lt05_041027_montana_1997-06-02.tif",
)


@pytest.mark.slow
def test_samples_of_three_landsats_are_aligned_to_the_pixel(
    real_data: Path, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """Real images of 1997, 2007 and 2015, and a coarser one of the world: every file of a place has the same pixels."""
    for name in MONTANA:
        ingest(real_data / name, tmp_path / "store", real_id(name), bands=real_bands(name))
    world = np.arange(180 * 360, dtype=np.float32).reshape(1, 180, 360)
    coded_store.write_geotiff(tmp_path / "world.tif", "EPSG:4326", Affine(1, 0, -180, 0, -1, 90), world)
    ingest(tmp_path / "world.tif", tmp_path / "store", "users/someone/world", bands=["n"])
    server = serve("--assets", str(tmp_path / "store"), "--no-demo", "--rate", "none")
    rasters = [coded_store.read(real_data / name, real_id(name), tuple(real_bands(name))[:3]) for name in MONTANA]
    rasters.append(coded_store.read(tmp_path / "world.tif", "users/someone/world", ("n",)))
    points = tmp_path / "points.csv"
    places = [point_in(rasters[0], x, y) for x in (0.1, 0.5, 0.8) for y in (0.2, 0.6)]
    points.write_text("\n".join(["lon,lat", *(f"{lon!r},{lat!r}" for lon, lat in places)]))
    run = eechips.sample(
        [raster.id for raster in rasters], bands={raster.id: raster.bands for raster in rasters}, points=str(points),
        size=(50, 40), endpoint=server.url, rate=None, executor="threads", quiet=True, out=tmp_path / "out",
    )  # fmt: skip
    assert run.counts == {"done": 6}
    layers = run.layers
    assert len(layers) == 24
    for position in run.units.index:
        grids = set()
        for (_, name), row in layers.loc[[position]].iterrows():
            (raster,) = [raster for raster in rasters if raster.id.endswith(name)]
            with rasterio.open(run.path / row["file"]) as chip:
                grid = Grid(chip.crs.to_string(), tuple(chip.transform)[:6], chip.width, chip.height)
                array = {band: chip.read(n) for n, band in enumerate(raster.bands, start=1)}
                array["valid"] = chip.read_masks(1)
                assert assert_is_source(raster, grid, array) > 1000
            grids.add(grid)
        assert len(grids) == 1
