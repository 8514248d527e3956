"""Resampling against GDAL's warper, and grids that no file has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.warp import reproject

from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.location import locate
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs, transformer
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, constant, evaluate, read, stored

RANDOM = np.random.default_rng(5)
SMOOTH = (1000 * np.cumsum(np.cumsum(RANDOM.normal(size=(300, 400)), axis=0), axis=1) / 50).astype(np.float64)
NATIVE = PixelGrid("EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000), 400, 300)


def around(crs: str, edge: float, size: int = 64) -> PixelGrid:
    """A grid in another CRS that lies wholly within NATIVE."""
    x, y = transformer(NATIVE.crs, crs).transform(501_200, 4_399_200)
    return PixelGrid(crs, Affine(edge, 0, x, 0, -edge, y), size, size)


def warped(values: Any, grid: PixelGrid, method: Resampling, native: PixelGrid = NATIVE) -> Any:
    """What GDAL's warper gives."""
    out = np.zeros(grid.shape, dtype=values.dtype)
    reproject(
        values, out, src_transform=native.transform, src_crs=parse_crs(native.crs).to_wkt(),
        dst_transform=grid.transform, dst_crs=parse_crs(grid.crs).to_wkt(), resampling=method, tolerance=0,
        XSCALE=1, YSCALE=1,
    )  # fmt: skip
    return out


def ours(values: Any, grid: PixelGrid, mode: str | None, native: PixelGrid = NATIVE, **facts: Any) -> Any:
    image = stored() if mode is None else invoke("Image.resample", image=stored(), mode=mode)
    (pixels,) = read(evaluate(image, asset(values, native, **facts)), grid)
    assert pixels.valid.all()
    return pixels.values


GRIDS = [
    around("EPSG:4326", 1e-4),
    around("EPSG:4326", 3.3e-5),
    PixelGrid("EPSG:32613", Affine(7.3, 0, 500_405.1, 0, -7.3, 4_399_601.7), 100, 100),
    PixelGrid("EPSG:32613", Affine(6, 2, 500_800.3, 2, -6, 4_399_200.2), 50, 40),
    around("EPSG:3857", 9.1),
    around("EPSG:5070", 11.0),
]


def inside(grid: PixelGrid) -> bool:
    located = locate(grid, Projection(NATIVE.crs, NATIVE.transform))
    columns, rows = located.columns, located.rows
    return bool(columns.min() > 3 and columns.max() < 397 and rows.min() > 3 and rows.max() < 297)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: f"{g.crs} {g.transform.a:g}")
class TestAgainstGdal:
    def test_the_grid_lies_inside(self, grid: PixelGrid) -> None:
        assert inside(grid)

    def test_nearest_takes_the_same_pixels(self, grid: PixelGrid) -> None:
        index = np.arange(120_000, dtype=np.float64).reshape(300, 400)
        located = locate(grid, Projection(NATIVE.crs, NATIVE.transform))
        gaps = np.minimum(
            np.abs(located.columns - np.round(located.columns)), np.abs(located.rows - np.round(located.rows))
        )
        clear = np.broadcast_to(gaps > 2e-4, grid.shape)
        assert clear.mean() > 0.9
        found, expected = ours(index, grid, None), warped(index, grid, Resampling.nearest)
        assert np.array_equal(found[clear], expected[clear])

    @pytest.mark.parametrize(("mode", "method"), [("bilinear", Resampling.bilinear), ("bicubic", Resampling.cubic)])
    def test_interpolation(self, grid: PixelGrid, mode: str, method: Resampling) -> None:
        found, expected = ours(SMOOTH, grid, mode), warped(SMOOTH, grid, method)
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(SMOOTH).max()
        assert np.median(np.abs(found - expected)) <= 1e-4 * np.abs(expected).mean()


@given(st.floats(3, 40), st.floats(0, 60), st.floats(-15, 15), st.floats(-15, 15))
def test_nearest_is_the_pixel_around_the_centre(edge: float, turn: float, dx: float, dy: float) -> None:
    """Any scale and rotation in the native CRS: floor of the centre's position, masked outside."""
    transform = Affine.translation(500_300 + dx, 4_399_700 + dy) * Affine.rotation(turn) * Affine.scale(edge, -edge)
    grid = PixelGrid("EPSG:32613", transform, 20, 20)
    index = np.arange(48 * 64, dtype=np.float64).reshape(48, 64)
    (pixels,) = read(evaluate(stored(), asset(index, UTM)), grid)
    columns, rows = np.meshgrid(np.arange(20) + 0.5, np.arange(20) + 0.5)
    u, v = ~UTM.transform * (transform * (columns, rows))
    clear = (np.abs(u - np.round(u)) > 1e-4) & (np.abs(v - np.round(v)) > 1e-4)
    within = (u >= 0) & (u < 64) & (v >= 0) & (v < 48)
    assert np.array_equal(pixels.valid[clear], within[clear])
    at = clear & within
    assert np.array_equal(pixels.values[at], index[np.floor(v[at]).astype(int), np.floor(u[at]).astype(int)])


def test_own_grid_is_copied_byte_for_byte() -> None:
    values = RANDOM.integers(0, 255, (3, 300, 400)).astype(np.uint8)
    window = NATIVE.window(17, 33, 256, 128)
    for band, pixels in enumerate(read(evaluate(stored(), asset(values, NATIVE)), window)):
        assert pixels.values.dtype == np.uint8
        assert np.array_equal(pixels.values, values[band, 33:161, 17:273])


@pytest.mark.parametrize(("scale", "factor"), [(1, 1), (1.9, 1), (2, 2), (3.9, 2), (4, 4), (7.99, 4), (8, 8), (200, 8)])
def test_the_level_is_the_coarsest_that_is_no_coarser(scale: float, factor: int) -> None:
    levels = (1, 2, 4, 8)
    found = asset(SMOOTH[:256, :256], PixelGrid(NATIVE.crs, NATIVE.transform, 256, 256), levels=levels)
    size = max(1, int(200 / scale))
    grid = PixelGrid(NATIVE.crs, NATIVE.transform * Affine.scale(scale), size, size)
    read(evaluate(stored(), found), grid)
    assert [levels[level] for _, level in found.bands[0].source.windows] == [factor]  # type: ignore[attr-defined]


def test_bilinear_leaves_masked_neighbours_out() -> None:
    values = np.where(np.arange(64) % 2, 7.0, 1e9) * np.ones((48, 1))
    valid = np.broadcast_to(np.arange(64) % 2 == 1, (48, 64))
    grid = PixelGrid(UTM.crs, UTM.transform * Affine.translation(0.3, 0.3), 60, 40)
    image = evaluate(invoke("Image.resample", image=stored(), mode="bilinear"), asset(values, valid=valid))
    (pixels,) = read(image, grid)
    assert pixels.valid.any()
    assert np.allclose(pixels.values[pixels.valid], 7.0)


def test_bilinear_masks_are_sums_of_weights() -> None:
    """A user measured so on 2026-09-29 (code 70191878970): also where the pixel that a centre lies in is masked."""
    random = np.random.default_rng(5)
    values, valid = random.normal(size=(48, 64)), random.random((48, 64)) > 0.4
    grid = PixelGrid(UTM.crs, UTM.transform * Affine.translation(0.31, 0.23), 60, 40)
    (pixels,) = read(evaluate(bilinear(), asset(values, valid=valid)), grid)

    def mean_of_four(lattice: Any) -> Any:
        along = lattice[:41, :60] * (1 - 0.31) + lattice[:41, 1:61] * 0.31
        return along[:-1] * (1 - 0.23) + along[1:] * 0.23

    weights = mean_of_four(valid)
    np.testing.assert_allclose(pixels.mask, np.round(weights * 255) / 255, atol=1e-7)
    means = mean_of_four(values * valid)[pixels.valid] / weights[pixels.valid]
    np.testing.assert_allclose(pixels.values[pixels.valid], means, atol=1e-9)


def test_bicubic_masks_are_those_of_the_centre() -> None:
    """Also where others are fractions: near a masked pixel, the mask must not depend on what else a request reads."""
    random = np.random.default_rng(5)
    values, valid = random.normal(size=(48, 64)), random.choice([0.25, 1], size=(48, 64))
    valid[::6, ::6] = 0
    grid = PixelGrid(UTM.crs, UTM.transform * Affine.translation(0.31, 0.23), 60, 40)
    found = asset(values, valid=valid)
    bicubic = invoke("Image.resample", image=stored(), mode="bicubic")
    (pixels,), (centres,) = (read(evaluate(image, found), grid) for image in (bicubic, stored()))
    assert np.array_equal(pixels.mask, centres.mask)


def bilinear(id: str = "test/image", *, computed: bool = False) -> Any:
    """A stored image, or one computed on its pixels, that is interpolated."""
    image = invoke("Image.add", image1=stored(id), image2=constant(0)) if computed else stored(id)
    return invoke("Image.resample", image=image, mode="bilinear")


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("join", ["mosaic", "blend"])
def test_tiles_side_by_side_have_no_seam(join: str, computed: bool) -> None:
    """Only masked pixels lower masks, not the edge of a tile."""
    tiles = [asset(np.full((48, 64), k), UTM.window(64 * k, 0, 64, 48), id=f"test/{k}") for k in (0, 1)]
    first, second = (bilinear(tile.id, computed=computed) for tile in tiles)
    joined = invoke("Image.blend", bottom=first, top=second)
    if join == "mosaic":
        joined = invoke(
            "ImageCollection.mosaic", collection=invoke("ImageCollection.fromImages", images=[first, second])
        )
    finer = Affine(10 / 4, 0, UTM.transform.c + 620, 0, -10 / 4, UTM.transform.f - 100)
    (pixels,) = read(evaluate(joined, *tiles), PixelGrid(UTM.crs, finer, 16, 4))
    assert (pixels.mask == 1).all()
    assert (pixels.values == np.arange(16) // 8).all()


@pytest.mark.parametrize("computed", [False, True])
def test_the_edge_of_an_image_is_that_of_its_pixels(computed: bool) -> None:
    """Also beside a masked pixel: weights are those of the neighbours within the image."""
    valid = np.ones((48, 64), dtype=bool)
    valid[0, 3] = False
    image = evaluate(bilinear(computed=computed), asset(np.ones((48, 64)), valid=valid))
    grid = PixelGrid(UTM.crs, UTM.transform * Affine.translation(-2, -2) * Affine.scale(0.25), 36, 12)
    (pixels,) = read(image, grid)
    assert (pixels.mask[:8] == 0).all()
    assert (pixels.mask[:, :8] == 0).all()
    across = np.clip((np.arange(8, 36) + 0.5) / 4 - 2.5, 0, None)
    masks = np.round(np.interp(across, np.arange(64), valid[0]) * 255) / 255
    np.testing.assert_allclose(pixels.mask[8:10, 8:], [masks] * 2, atol=1e-7)  # no row above: that of the first alone
    window = read(image, grid.window(7, 7, 20, 4))[0]
    assert np.array_equal(window.mask, pixels.mask[7:11, 7:27])
    assert np.array_equal(window.values[window.valid], pixels.values[7:11, 7:27][window.valid])


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize(
    "grid",
    [
        PixelGrid("EPSG:4326", Affine(0.25, 0, 178, 0, -0.25, 10), 16, 4),
        PixelGrid("EPSG:4326", Affine(0.25, 0, 10, 0, -0.25, 90), 4, 8),
        PixelGrid("EPSG:3413", Affine(20_000, 0, -160_000, 0, -20_000, 160_000), 16, 16),
    ],
    ids=["180 degrees", "the pole", "across the pole"],
)
def test_a_whole_globe_is_masked_nowhere(grid: PixelGrid, computed: bool) -> None:
    image = evaluate(bilinear(computed=computed), asset(np.ones((180, 360)), WORLD))
    (pixels,) = read(image, grid)
    assert (pixels.mask == 1).all()
    np.testing.assert_allclose(pixels.values, 1)


WORLD = PixelGrid("EPSG:4326", Affine(1, 0, -180, 0, -1, 90), 360, 180)
HOSTILE = [
    PixelGrid("EPSG:4326", Affine(1, 0, 175, 0, -1, 20), 20, 20),  # past the antimeridian
    PixelGrid("EPSG:4326", Affine(0.5, 0, -10, 0, -0.5, 95), 20, 20),  # past the pole
    PixelGrid("EPSG:3413", Affine(200_000, 0, -4e6, 0, -200_000, 4e6), 40, 40),  # around the pole
    PixelGrid("EPSG:3857", Affine(1e6, 0, -3e7, 0, -1e6, 3e7), 60, 60),  # beyond the square of Web Mercator
    PixelGrid("EPSG:32660", Affine(20_000, 0, 0, 0, -20_000, 2e6), 80, 80),  # UTM across the antimeridian
    PixelGrid("SR-ORG:6974", Affine(1e6, 0, -2.1e7, 0, -1e6, 1.1e7), 42, 22),  # sinusoidal, beyond the Earth
    PixelGrid("EPSG:32613", Affine(1e6, 0, -5e7, 0, -1e6, 5e7), 100, 100),  # far outside the zone
    PixelGrid("EPSG:32613", Affine(1e12, 0, 0, 0, -1e12, 0), 4, 4),
]


@pytest.mark.parametrize("mode", [None, "bilinear", "bicubic"])
@pytest.mark.parametrize("grid", HOSTILE, ids=lambda g: g.crs)
def test_grids_beyond_the_earth_are_masked(grid: PixelGrid, mode: str | None) -> None:
    """No error, no warning, and nothing valid where the coordinates are not numbers."""
    longitude = np.broadcast_to(np.arange(360) - 179.5, (180, 360)).astype(np.float64)
    image = stored() if mode is None else invoke("Image.resample", image=stored(), mode=mode)
    (pixels,) = read(evaluate(image, asset(longitude, WORLD)), grid)
    assert pixels.values.shape == pixels.mask.shape == grid.shape
    located = locate(grid, Projection(WORLD.crs, WORLD.transform))
    known = np.broadcast_to(np.isfinite(located.columns) & np.isfinite(located.rows), grid.shape)
    assert not (pixels.valid & ~known).any()


def test_a_chip_on_the_antimeridian_reads_both_ends_only() -> None:
    """Not the whole way around the Earth between them."""
    world = PixelGrid("EPSG:4326", Affine(0.01, 0, -180, 0, -0.01, 1), 36_000, 200)
    index = np.broadcast_to(np.arange(36_000, dtype=np.float32), (200, 36_000))
    found = asset(index, world)
    grid = PixelGrid("EPSG:32601", Affine(1000, 0, 166_021 - 20_000, 0, -1000, 50_000), 40, 20)
    (pixels,) = read(evaluate(stored(), found), grid)
    assert pixels.valid.all()
    assert set(np.unique(pixels.values < 18_000)) == {True, False}
    located = locate(grid, Projection(world.crs, world.transform))
    assert np.abs(pixels.values - np.floor(located.columns)).max() <= 1
    windows = [window for window, _ in found.bands[0].source.windows]  # type: ignore[attr-defined]
    assert len(windows) == 2
    assert sum(window.width for window in windows) < 100


@pytest.mark.parametrize(
    ("source", "target", "place", "edge"),
    [
        ("EPSG:3857", "EPSG:3413", (-1_985_000, -645_000), 500),
        ("EPSG:3031", "EPSG:3413", (-1_985_000, -645_000), 500),
        ("EPSG:3857", "EPSG:32613", (500_000, 4_500_000), 1000),
        ("EPSG:4326", "EPSG:32613", (500_000, 4_500_000), 1000),
    ],
)
def test_centres_are_exact_between_two_conformal_projections(
    source: str, target: str, place: tuple[int, int], edge: int
) -> None:
    """Errors of interpolation cancel out in the middle of a square there: a check of middles passes all of them."""
    x, y = transformer(target, source).transform(*place)
    step = edge / 100_000 if source == "EPSG:4326" else 3 * edge
    grid = PixelGrid(source, Affine(step, 0, x, 0, -step, y), 65, 65)
    located = locate(grid, Projection(target, Affine(edge, 0, 0, 0, -edge, 0)))
    centres = np.arange(65) + 0.5
    x, y = transformer(source, target).transform(*(grid.transform * np.meshgrid(centres, centres)))
    assert np.abs(located.columns - x / edge).max() < 1e-4
    assert np.abs(located.rows + y / edge).max() < 1e-4


@pytest.mark.parametrize("columns", [446, 447, 448])
def test_the_scale_of_a_chip_whose_middle_is_on_the_antimeridian(columns: int) -> None:
    """In the sinusoidal projection the neighbours there are far apart; pixels are no larger for that."""
    sinusoidal = Projection("SR-ORG:6974", Affine(926.625433056, 0, -20015109.354, 0, -926.625433055, 10007554.677))
    edge = 0.01
    for west in (178.0, 180.0 - columns * edge / 2, 180.5):
        located = locate(PixelGrid("EPSG:4326", Affine(edge, 0, west, 0, -edge, 67), columns, 112), sinusoidal)
        latitude = np.deg2rad(67 - edge * 56)
        area = np.deg2rad(edge) ** 2 * 6_371_007.181**2 * np.cos(latitude)
        assert located.scale == pytest.approx(np.sqrt(area) / 926.625433, rel=1e-3)
