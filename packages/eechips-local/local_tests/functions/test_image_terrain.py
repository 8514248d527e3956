"""Terrain against analytic surfaces; reduceResolution against GDAL's average and exactextract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from pyproj import Geod, Proj, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from eechips_local.geometry.map_projection import Projection, transform_shape
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs, transformer
from eechips_local.pixels.grids.pixel_size import pixel_edges
from eechips_local.protocol.request_errors import InvalidError
from local_tests.support.graphs import invoke
from local_tests.support.images import UTM, asset, evaluate, read, stored, values_of

RANDOM = np.random.default_rng(3)
X, Y = np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5)


def plane(east: float, north: float, grid: PixelGrid = UTM) -> Any:
    """Elevations that rise so many metres per metre of the grid."""
    return (1000 + east * X * grid.transform.a - north * Y * -grid.transform.e).astype(np.float64)


@pytest.mark.parametrize(
    ("east", "north", "aspect"), [(1, 0, 270), (-1, 0, 90), (0, 1, 180), (0, -1, 0), (1, 1, 225), (-0.2, 0.2, 135)]
)
def test_planes(east: float, north: float, aspect: float) -> None:
    """A plane that rises to the east faces west."""
    dem = asset(plane(east, north))
    image = evaluate(invoke("Terrain", input=stored()), dem)
    assert [b.name for b in image.bands] == ["B1", "slope", "aspect", "hillshade"]
    _, slope, facing, shade = (p.values[1:-1, 1:-1] for p in read(image))
    expected = np.degrees(np.arctan(np.hypot(east, north)))
    assert np.allclose(slope, expected, rtol=3e-3)  # the scale of UTM, and the ellipsoid's difference to the sphere
    assert np.abs((facing - aspect + 180) % 360 - 180).max() < 0.15
    tilt, light = np.radians(expected), np.radians(45)
    cosine = np.cos(np.radians(270 - aspect)) * np.sin(tilt) * np.sin(light) + np.cos(light) * np.cos(tilt)
    assert np.abs(shade - np.clip(cosine, 0, 1) * 255).max() <= 1


def _haversine(start: Any, end: Any) -> Any:
    (lon, lat), (lon2, lat2) = start, end
    chord = np.sin((lat2 - lat) / 2) ** 2 + np.cos(lat) * np.cos(lat2) * np.sin((lon2 - lon) / 2) ** 2
    return 2 * 6_371_008.8 * np.arcsin(np.sqrt(chord))


def _bearing(start: Any, end: Any) -> Any:
    (lon, lat), (lon2, lat2) = start, end
    turn = lon2 - lon
    north = np.cos(lat) * np.sin(lat2) - np.sin(lat) * np.cos(lat2) * np.cos(turn)
    return np.degrees(np.arctan2(np.sin(turn) * np.cos(lat2), north))


def test_slope_and_aspect_as_measured_on_the_service() -> None:
    """A user fitted both to ee.Terrain of SRTM on 2026-09-29, to 1e-5 and 2e-5 degrees (code 70191878970).

    Neighbours are as far as on a sphere of 6,371,008.8 m, and the aspect is less the convergence of the grid.
    """
    grid = PixelGrid("EPSG:32615", Affine(30, 0, 720_000, 0, -30, 1_640_000), 64, 48)
    heights = RANDOM.normal(1000, 40, grid.shape)
    dem = evaluate(invoke("Terrain", input=stored()), asset(heights, grid=grid))
    _, slope, facing, _ = (p.values[1:-1, 1:-1] for p in read(dem, grid))
    to_degrees = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform

    def place(right: int, up: int) -> Any:
        return np.radians(to_degrees(720_000 + 30 * (X + right), 1_640_000 - 30 * (Y - up)))[:, 1:-1, 1:-1]

    east, west, north, south = place(1, 0), place(-1, 0), place(0, 1), place(0, -1)
    to_east = (heights[1:-1, 2:] - heights[1:-1, :-2]) / _haversine(west, east)
    to_north = (heights[:-2, 1:-1] - heights[2:, 1:-1]) / _haversine(south, north)
    np.testing.assert_allclose(slope, np.degrees(np.arctan(np.hypot(to_east, to_north))), atol=2e-5)
    turn = (_bearing(south, north) + _bearing(west, east) - 90) / 2
    expected = np.degrees(np.arctan2(-to_east, -to_north)) - turn
    assert turn.min() > 0.4
    assert np.abs((facing - expected + 180) % 360 - 180).max() < 1e-4


@pytest.mark.parametrize(
    ("crs", "left", "top", "edge"),
    [("EPSG:3413", -960, 720, 30), ("EPSG:3413", -32_000, 24_000, 1000), ("EPSG:3031", -900, 700, 30)],
)
def test_terrain_around_the_poles(crs: str, left: float, top: float, edge: float) -> None:
    """Slopes are over exact lengths, aspects less PROJ's convergence; a window has the values of the whole."""
    grid = PixelGrid(crs, Affine(edge, 0, left, 0, -edge, top), 64, 48)
    heights = plane(0.1, -0.05, grid) + RANDOM.normal(0, 0.01 * edge, grid.shape)
    slope, facing = (
        evaluate(invoke(f"Terrain.{name}", input=stored()), asset(heights, grid=grid)) for name in ("slope", "aspect")
    )
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform

    def place(right: int, up: int) -> Any:
        degrees = to_degrees(left + edge * (X + right), top - edge * (Y - up))
        return np.radians(degrees)[:, 1:-1, 1:-1]

    to_east = (heights[1:-1, 2:] - heights[1:-1, :-2]) / _haversine(place(-1, 0), place(1, 0))
    to_north = (heights[:-2, 1:-1] - heights[2:, 1:-1]) / _haversine(place(0, -1), place(0, 1))
    whole = values_of(slope, grid)
    np.testing.assert_allclose(whole[1:-1, 1:-1], np.degrees(np.arctan(np.hypot(to_east, to_north))), atol=5e-5)
    convergence = Proj(crs).get_factors(*np.degrees(place(0, 0))).meridian_convergence
    aspects = values_of(facing, grid)
    apart = aspects[1:-1, 1:-1] - np.degrees(np.arctan2(-to_east, -to_north)) + convergence
    assert np.abs((apart + 180) % 360 - 180).max() < 2e-4
    window = grid.window(10, 7, 37, 29)
    np.testing.assert_allclose(values_of(slope, window), whole[7:36, 10:47], atol=5e-5)
    assert np.abs((values_of(facing, window) - aspects[7:36, 10:47] + 180) % 360 - 180).max() < 1e-4


def test_a_shear_that_rounding_leaves_changes_no_aspect() -> None:
    grid = PixelGrid("EPSG:3035", Affine(1000, 0, 2_500_000, 0, -1000, 5_400_000), 64, 48)
    sheared = PixelGrid(grid.crs, Affine(1000, 1e-13, 2_500_000, 0, -1000, 5_400_000), 64, 48)
    aspects = [
        values_of(evaluate(invoke("Terrain.aspect", input=stored()), asset(plane(0.1, 0.02, g), grid=g)), g)
        for g in (grid, sheared)
    ]
    np.testing.assert_allclose(aspects[1], aspects[0], atol=1e-4)


def test_level_ground() -> None:
    slope, aspect, shade = (
        values_of(evaluate(invoke(f"Terrain.{n}", input=stored()), asset(plane(0, 0))))
        for n in ("slope", "aspect", "hillshade")
    )
    assert np.isnan(slope[0]).all()
    assert np.isnan(slope[:, -1]).all()
    assert (slope[1:-1, 1:-1] == 0).all()
    assert (aspect[1:-1, 1:-1] == 0).all()
    assert (shade[1:-1, 1:-1] == 180).all()


def test_a_missing_neighbour_masks() -> None:
    valid = np.ones((48, 64), dtype=bool)
    valid[20, 30] = False
    slope = values_of(evaluate(invoke("Terrain.slope", input=stored()), asset(plane(0.1, 0), valid=valid)))
    missing = np.argwhere(np.isnan(slope[1:-1, 1:-1])) + 1
    assert sorted(map(tuple, missing.tolist())) == [(19, 30), (20, 29), (20, 30), (20, 31), (21, 30)]


def test_degrees_are_metres_on_the_ellipsoid() -> None:
    """At 60 degrees north a degree of longitude is half as long as one of latitude."""
    grid = PixelGrid("EPSG:4326", Affine(1e-3, 0, 10, 0, -1e-3, 60), 64, 48)
    geod = Geod(ellps="WGS84")
    across, down = pixel_edges(grid)
    latitude = 60 - 1e-3 * 20.5
    assert geod.inv(10, latitude, 10.001, latitude)[2] == pytest.approx(across[20, 0], rel=1e-6)
    assert geod.inv(10, latitude - 5e-4, 10, latitude + 5e-4)[2] == pytest.approx(down[20, 0], rel=1e-6)
    dem = asset((X * 10.0), grid)
    slope = values_of(evaluate(invoke("Terrain.slope", input=stored()), dem), grid)
    on_sphere = 6_371_008.8 * np.radians(1e-3) * np.cos(np.radians(latitude))
    assert np.allclose(slope[20, 5:-5], np.degrees(np.arctan(10 / on_sphere)), rtol=1e-5)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32633", "EPSG:3035", "SR-ORG:6974"])
def test_edges_of_projected_pixels(crs: str) -> None:
    x, y = transformer("EPSG:4326", crs).transform(14.0, 52.0)
    grid = PixelGrid(crs, Affine(500, 0, x, 0, -500, y), 40, 30)
    across, down = (np.broadcast_to(v, grid.shape) for v in pixel_edges(grid))
    geod = Geod(ellps="WGS84")

    def distance(a: tuple[float, float], b: tuple[float, float]) -> float:
        ends = [transformer(crs, "EPSG:4326").transform(*(grid.transform * p)) for p in (a, b)]
        return float(geod.inv(*ends[0], *ends[1])[2])

    assert across[7, 23] == pytest.approx(distance((23, 7.5), (24, 7.5)), rel=1e-5)
    assert down[7, 23] == pytest.approx(distance((23.5, 7), (23.5, 8)), rel=1e-5)


def test_the_elevation_is_found_by_name() -> None:
    two = np.stack([plane(0, 0), plane(1, 0)])
    named = evaluate(invoke("Terrain.slope", input=stored()), asset(two, names=["stdev", "elevation"]))
    assert np.allclose(read(named)[0].values[1:-1, 1:-1], 45, atol=0.1)
    with pytest.raises(InvalidError, match="elevation"):
        evaluate(invoke("Terrain.slope", input=stored()), asset(two))


# reduceResolution

VALUES = RANDOM.normal(500, 100, (48, 64))
HOLES = RANDOM.random((48, 64)) > 0.3


def combined(reducer: str, grid: PixelGrid, **facts: Any) -> Any:
    more = {"maxPixels": facts.pop("maxPixels", 4096)}
    image = invoke("Image.reduceResolution", image=stored(), reducer=invoke(f"Reducer.{reducer}"), **more)
    return values_of(evaluate(image, asset(facts.pop("values", VALUES), **facts)), grid)


def averaged(values: Any, grid: PixelGrid, method: Resampling) -> Any:
    out = np.zeros(grid.shape)
    reproject(
        values, out, src_transform=UTM.transform, src_crs=parse_crs(UTM.crs).to_wkt(), dst_transform=grid.transform,
        dst_crs=parse_crs(grid.crs).to_wkt(), resampling=method, src_nodata=np.nan, dst_nodata=np.nan, tolerance=0,
    )  # fmt: skip
    return out


@pytest.mark.parametrize(("edge", "size"), [(40, 10), (25, 12), (73.3, 4)])
def test_the_mean_is_weighted_by_area(edge: float, size: int) -> None:
    grid = PixelGrid(UTM.crs, Affine(edge, 0, 500_053.7, 0, -edge, 4_399_931.2), size, min(size, 5))
    values = np.where(HOLES, VALUES, np.nan)
    found = combined("mean", grid, valid=HOLES)
    assert np.allclose(found, averaged(values, grid, Resampling.average), rtol=1e-6)
    assert np.allclose(found, covered(values, grid), rtol=1e-8)  # exactextract's parts have 32 bits


def covered(values: Any, grid: PixelGrid) -> Any:
    """Means of the input under each output pixel, by exactextract."""
    left, bottom, right, top = UTM.bounds
    source = NumPyRasterSource(values, left, bottom, right, top, nodata=np.nan)
    lattice = Projection(UTM.crs)
    result = np.zeros(grid.shape)
    for row in range(grid.height):
        for column in range(grid.width):
            corners = [(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)]
            cell = shapely.Polygon([grid.transform * corner for corner in corners])
            cell = transform_shape(cell, Projection(grid.crs), lattice, geodesic=False, tolerance=1e-3)
            feature = {"type": "Feature", "geometry": shapely.geometry.mapping(cell), "properties": {}}
            result[row, column] = exact_extract(source, [feature], "mean")[0]["properties"]["mean"]
    return result


def test_grids_that_lie_askew() -> None:
    x, y = transformer(UTM.crs, "EPSG:4326").transform(500_150, 4_399_900)
    grid = PixelGrid("EPSG:4326", Affine(6e-4, 0, x, 0, -6e-4, y), 5, 5)
    found, expected = combined("mean", grid), covered(VALUES, grid)
    assert np.abs(found - expected).max() < 0.04 * VALUES.std()
    assert np.abs(found - expected).mean() < 0.02 * VALUES.std()


def test_the_mode() -> None:
    classes = RANDOM.integers(0, 3, (48, 64)).astype(np.uint8)
    grid = PixelGrid(UTM.crs, UTM.transform * Affine.scale(8), 8, 6)
    found = combined("mode", grid, values=classes)
    blocks = classes.reshape(6, 8, 8, 8).transpose(0, 2, 1, 3).reshape(6, 8, 64)
    counts = np.stack([(blocks == c).sum(axis=-1) for c in range(3)])
    taken = np.take_along_axis(counts, found.astype(int)[None], axis=0)[0]
    assert (taken == counts.max(axis=0)).all()


def test_names_and_types() -> None:
    image = evaluate(
        invoke("Image.reduceResolution", image=stored(), reducer=invoke("Reducer.minMax")), asset(VALUES, names=["b"])
    )
    assert [b.name for b in image.bands] == ["b_min", "b_max"]
    image = evaluate(invoke("Image.reduceResolution", image=stored(), reducer=invoke("Reducer.mean")), asset(VALUES))
    assert [b.name for b in image.bands] == ["B1"]


def test_too_many_pixels() -> None:
    grid = PixelGrid(UTM.crs, UTM.transform * Affine.scale(16), 4, 3)
    with pytest.raises(InvalidError, match="maxPixels"):
        combined("mean", grid, maxPixels=64)
    with pytest.raises(InvalidError, match="maxPixels is 65536"):
        combined("mean", PixelGrid(UTM.crs, UTM.transform * Affine.scale(257), 1, 1), maxPixels=100_000)
    image = invoke("Image.reduceResolution", image=stored(), reducer=invoke("Reducer.mean"), bestEffort=True)
    assert values_of(evaluate(image, asset(VALUES, levels=(1, 2, 4))), grid).shape == (3, 4)


def test_the_same_resolution_changes_nothing() -> None:
    assert np.allclose(combined("mean", UTM.window(3, 4, 20, 10)), VALUES[4:14, 3:23])


def test_outside_the_image_all_is_masked() -> None:
    grid = PixelGrid(UTM.crs, Affine(40, 0, 900_000, 0, -40, 100_000), 4, 4)
    assert np.isnan(combined("mean", grid)).all()
