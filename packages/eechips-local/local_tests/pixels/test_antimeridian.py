"""Regions and rasters across 180 degrees and around poles, in projections that are cut there and in others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod

from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.geometry.projected_shapes import _kept_shapes, project_shape
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image
from eechips_local.values.values import Geometry
from local_tests.support.graphs import Ready, invoke
from local_tests.support.images import asset, constant, evaluate, read, stored, values_of

ELLIPSOID = Geod(ellps="WGS84")
# Geographic; cylinders, equal-area and Mercator's; MODIS's sinusoidal; UTM on both sides; both polar maps; cones.
EQUAL_AREA = CRS(6933).to_wkt("WKT1_GDAL")
PROJECTIONS = (
    "EPSG:4326", "EPSG:3857", EQUAL_AREA, "SR-ORG:6974", "EPSG:32601", "EPSG:32660", "EPSG:3395", "EPSG:3832",
    "EPSG:3338", "EPSG:2154", "ESRI:54009",
)  # fmt: skip
NORTH, SOUTH = "EPSG:3413", "EPSG:3031"


def _measured(region: Ready, crs: str, scale: float) -> float:
    """The sum of pixelArea over a region."""
    graph = invoke(
        "Image.reduceRegion", image=invoke("Image.pixelArea"), reducer=invoke("Reducer.sum"), geometry=region,
        crs=crs, scale=scale, maxPixels=1e8,
    )  # fmt: skip
    found: float = evaluate(graph)["area"]
    return found


def _on_ellipsoid(points: Sequence[tuple[float, float]], *, geodesic: bool) -> float:
    ring = shapely.Polygon(points)
    area, _ = ELLIPSOID.geometry_area_perimeter(ring if geodesic else shapely.segmentize(ring, 0.02))
    return abs(area)


def _polygon(points: Sequence[tuple[float, float]], *, geodesic: bool) -> Ready:
    return invoke("GeometryConstructors.Polygon", coordinates=[list(map(list, points))], geodesic=geodesic)


@st.composite
def stars(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Corners around a place near 180 degrees, west and east of it; longitudes run on."""
    longitude, latitude = draw(st.floats(176.0, 184.0)), draw(st.floats(-70.0, 70.0))
    count = draw(st.integers(3, 8))
    reach = [draw(st.floats(2.0, 8.0)) for _ in range(count)]
    angles = [2.0 * math.pi * (index + draw(st.floats(0.1, 0.9))) / count for index in range(count)]
    return [(longitude + r * math.cos(a), latitude + r * math.sin(a)) for r, a in zip(reach, angles, strict=True)]


def _check_star(corners: list[tuple[float, float]], crs: str, *, geodesic: bool, turn: int, wrapped: bool) -> None:
    described = [(x + 360.0 * turn, y) for x, y in corners]
    if geodesic and wrapped:
        described = [((x + 180.0) % 360.0 - 180.0, y) for x, y in corners]
    expected = _on_ellipsoid(corners, geodesic=geodesic)
    found = _measured(_polygon(described, geodesic=geodesic), crs, math.sqrt(expected) / 40.0)
    # The service's edges are arcs of the sphere, those of Geod of the ellipsoid.
    assert found == pytest.approx(expected, rel=4e-3 if geodesic else 1e-3)


MANY = pytest.param(400, marks=pytest.mark.slow)


@pytest.mark.exhaustive
@pytest.mark.parametrize("examples", [6, MANY])
def test_the_pixels_of_a_region_across_180_have_its_area(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, database=None)
    @given(stars(), st.sampled_from(PROJECTIONS), st.booleans(), st.sampled_from([0, -1]), st.booleans())
    def check(corners: list[tuple[float, float]], crs: str, geodesic: bool, turn: int, wrapped: bool) -> None:
        _check_star(corners, crs, geodesic=geodesic, turn=turn, wrapped=wrapped)

    check()


def _band(west: float, south: float, east: float, north: float) -> float:
    """The area between meridians and parallels, west to east."""
    across = (east - west) % 360.0 or 360.0
    parts = max(1, math.ceil(across / 90.0))
    step = across / parts
    return parts * _on_ellipsoid(list(shapely.box(0.0, south, step, north).exterior.coords), geodesic=False)


BOXES = [
    (170.0, -10.0, -170.0, 10.0), (179.0, 50.0, -178.0, 58.0), (-180.0, -30.0, -165.0, -20.0),
    (160.0, 20.0, 180.0, 30.0), (165.0, -85.0, -150.0, -70.0),
]  # fmt: skip
LONGEST = (BOXES[4], "EPSG:2154")
"""Of which PROJ projects millions of points, for 20 seconds: nearly around the point where that map has no end."""
GLOBE, ARCTIC, ANTARCTIC = (-180.0, -90.0, 180.0, 90.0), (-180.0, 80.0, 180.0, 90.0), (-180.0, -90.0, 180.0, -80.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("box", "crs"),
    [
        *((box, crs) for box in BOXES[:1] for crs in (*PROJECTIONS, NORTH, SOUTH)),
        *((box, crs) for box in BOXES[1:] for crs in PROJECTIONS if crs != "EPSG:3338" and (box, crs) != LONGEST),
        pytest.param(*LONGEST, marks=pytest.mark.exhaustive),
        *((GLOBE, crs) for crs in ("EPSG:4326", EQUAL_AREA, "SR-ORG:6974")),
        *(pytest.param(GLOBE, crs, marks=pytest.mark.slow) for crs in ("EPSG:3857", "EPSG:3395", "EPSG:3832")),
        *((ARCTIC, crs) for crs in ("EPSG:4326", EQUAL_AREA, NORTH)),
        *((ANTARCTIC, crs) for crs in ("EPSG:4326", EQUAL_AREA, SOUTH)),
        ((100.0, -90.0, -100.0, -80.0), EQUAL_AREA), ((-10.0, 80.0, 10.0, 90.0), NORTH),
    ],
)  # fmt: skip
def test_the_pixels_of_a_box_have_its_area(box: tuple[float, float, float, float], crs: str) -> None:
    west, south, east, north = box
    region = invoke("GeometryConstructors.BBox", west=west, south=south, east=east, north=north)
    expected = _band(*box)
    # Some 8,000 pixels; partly beyond a pole where the height of the map is no multiple of their edge.
    assert _measured(region, crs, math.sqrt(expected / 8000.0)) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    "crs", ["EPSG:3413", *(pytest.param(c, marks=pytest.mark.slow) for c in ("EPSG:4326", EQUAL_AREA))]
)
def test_a_cap_around_a_pole_has_its_area(crs: str) -> None:
    corners = [(float(x), 70.0) for x in range(-180, 180, 10)]
    expected = _on_ellipsoid(corners, geodesic=True)
    assert _measured(_polygon(corners, geodesic=True), crs, 40_000.0) == pytest.approx(expected, rel=4e-3)


@pytest.mark.slow
def test_a_corner_at_the_pole_is_a_place_of_any_longitude() -> None:
    corners = [(170.0, 70.0), (-170.0, 70.0), (0.0, 90.0)]
    expected = _on_ellipsoid(corners, geodesic=True)
    for crs in (NORTH, EQUAL_AREA, "EPSG:4326", "SR-ORG:6974"):
        assert _measured(_polygon(corners, geodesic=True), crs, 30_000.0) == pytest.approx(expected, rel=4e-3)


def test_a_pole_that_a_map_cannot_show_is_refused() -> None:
    region = invoke("GeometryConstructors.BBox", west=-10, south=80, east=10, north=90)
    with pytest.raises(Exception, match="outside of what the projection can show"):
        _measured(region, SOUTH, 100_000.0)


def test_regions_in_a_map_that_crosses_180_keep_their_area_in_one_that_is_cut_there() -> None:
    utm = invoke("Projection", crs="EPSG:32601")
    box = invoke(
        "GeometryConstructors.Rectangle",
        coordinates=[[0.0, 100_000.0], [500_000.0, 500_000.0]],
        crs=utm,
        geodesic=False,
    )
    expected = _measured(box, "EPSG:32601", 10_000.0)
    for crs in ("EPSG:4326", "EPSG:3857", "SR-ORG:6974", EQUAL_AREA):
        assert _measured(box, crs, 10_000.0) == pytest.approx(expected, rel=1e-3)


# Rasters: each pixel has its own value, by its longitude from -180 to 180 and latitude.

RASTERS = {"-180 to 180": -180.0, "0 to 360": 0.0, "-360 to 0": -360.0}


def _value(longitude: Any, latitude: Any) -> Any:
    return (np.floor((np.asarray(longitude) + 180.0) % 360.0) * 200 + np.floor(np.asarray(latitude) + 90.0)).astype(int)


def _raster(west: float, width: int = 360, id: str = "test/image") -> Any:
    grid = PixelGrid("EPSG:4326", Affine(1, 0, west, 0, -1, 90), width, 180)
    longitudes, latitudes = west + np.arange(width) + 0.5, 90.0 - np.arange(180) - 0.5
    return asset(_value(longitudes[None, :], latitudes[:, None]).astype(np.int32), grid, id=id)


def _at(image: Ready, *assets: Any, longitude: float, latitude: float = 5.5) -> Any:
    point = invoke("GeometryConstructors.Point", coordinates=[longitude, latitude])
    graph = invoke("Image.reduceRegion", image=image, reducer=invoke("Reducer.first"), geometry=point)
    return evaluate(graph, *assets)["B1"]


@pytest.mark.parametrize("west", [-180.0, 0.0, -360.0, 170.0, -190.0])
@pytest.mark.parametrize("longitude", [-170.5, 189.5, 180.0, -180.0, 179.5, 175.5, 535.5])
def test_a_place_has_one_value_however_its_longitude_is_written(west: float, longitude: float) -> None:
    raster = _raster(west, 20 if west in (170.0, -190.0) else 360)
    assert _at(stored(), raster, longitude=longitude) == _value(longitude, 5.5)


GRIDS = {
    "beyond 180": PixelGrid("EPSG:4326", Affine(1, 0, 170, 0, -1, 10), 20, 20),
    "below -180": PixelGrid("EPSG:4326", Affine(1, 0, -190, 0, -1, 10), 20, 20),
    "sinusoidal": PixelGrid("SR-ORG:6974", Affine(100_000, 0, 18_500_000, 0, -100_000, 1_000_000), 10, 20),
    "Mercator": PixelGrid("EPSG:3857", Affine(100_000, 0, 19_100_000, 0, -100_000, 1_000_000), 20, 20),
    "UTM": PixelGrid("EPSG:32601", Affine(50_000, 0, -400_000, 0, -50_000, 1_000_000), 20, 20),
}


def _lonlat(grid: PixelGrid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    longitude, latitude = read(evaluate(invoke("Image.pixelLonLat")), grid)
    return longitude.values, latitude.values


def _picture(image: Ready, grid: PixelGrid, *assets: Any) -> npt.NDArray[np.float64]:
    found = evaluate(image, *assets)
    assert isinstance(found, Image)
    return np.asarray(values_of(found, grid), dtype=np.float64)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("west", RASTERS.values(), ids=RASTERS)
def test_a_raster_is_seen_on_both_sides_of_180(west: float, grid: PixelGrid) -> None:
    expected = _value(*_lonlat(grid))
    raster = _raster(west)
    for image in (
        stored(),
        _mosaic(),
        invoke("Image.reproject", image=stored(), crs="EPSG:4326", crsTransform=[1, 0, 0, 0, -1, 0]),
    ):
        assert (_picture(image, grid, raster) == expected).all()


def _mosaic() -> Ready:
    return invoke("ImageCollection.mosaic", collection=invoke("ImageCollection.fromImages", images=[stored()]))


REGION = {"west": 172, "south": -8, "east": -172, "north": 8}


def _inside(grid: PixelGrid) -> npt.NDArray[np.bool_]:
    longitude, latitude = _lonlat(grid)
    found: npt.NDArray[np.bool_] = (longitude % 360.0 > 172) & (longitude % 360.0 < 188) & (np.abs(latitude) < 8)
    return found


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_clip_paint_and_style_across_180(grid: PixelGrid) -> None:
    region = invoke("GeometryConstructors.BBox", **REGION)
    features = invoke("Collection", features=[invoke("Feature", geometry=region, metadata={"one": 1})])
    inside = _inside(grid)
    clipped = _picture(invoke("Image.clip", input=stored(), geometry=region), grid, _raster(-180.0))
    assert (np.isfinite(clipped) == inside).all()
    assert (clipped[inside] == _value(*_lonlat(grid))[inside]).all()
    painted = _picture(invoke("Image.paint", image=constant(0), featureCollection=features, color=1), grid)
    assert (painted == inside).all()
    drawn = invoke("Collection.reduceToImage", collection=features, properties=["one"], reducer=invoke("Reducer.first"))
    assert (np.isfinite(_picture(drawn, grid)) >= inside).all()


@pytest.mark.parametrize(("west", "width"), [(-180.0, 360), (0.0, 360), (170.0, 20), (-190.0, 20)])
def test_a_clipped_raster_has_one_extent_across_180(west: float, width: int) -> None:
    region = invoke("GeometryConstructors.BBox", **REGION)
    image = evaluate(invoke("Image.clip", input=stored(), geometry=region), _raster(west, width))
    grid = image.bands[0].grid
    assert (grid.width, grid.height) == (16, 16)
    assert (values_of(image, grid) == _value(*_lonlat(grid))).all()


def test_images_on_both_sides_of_180_are_found() -> None:
    west, east = _raster(160.0, 20, "test/west"), _raster(-180.0, 20, "test/east")
    images = invoke("ImageCollection.fromImages", images=[stored("test/west"), stored("test/east")])
    for name, grid in GRIDS.items():
        for image in (
            invoke("ImageCollection.mosaic", collection=images),
            invoke("ImageCollection.reduce", collection=images, reducer=invoke("Reducer.max")),
        ):
            assert (_picture(image, grid, west, east) == _value(*_lonlat(grid))).all(), name


def test_longitudes_of_pixels_are_those_of_a_circle() -> None:
    for grid in GRIDS.values():
        longitude, _ = _lonlat(grid)
        assert ((longitude >= -180.0) & (longitude <= 180.0)).all()


@pytest.mark.parametrize("name", ["beyond 180", "Mercator", "UTM"])
@pytest.mark.parametrize("place", [179.9, -179.9, 180.0, 540.1])
def test_distances_across_180_are_the_short_way(name: str, place: float) -> None:
    point = invoke("GeometryConstructors.Point", coordinates=[place, 1.0])
    features = invoke("Collection", features=[invoke("Feature", geometry=point, metadata={})])
    grid = GRIDS[name]
    found = _picture(invoke("Collection.distance", features=features, searchRadius=900_000), grid)
    longitude, latitude = _lonlat(grid)
    expected = ELLIPSOID.inv(longitude, latitude, np.full(grid.shape, place), np.ones(grid.shape))[2]
    near = expected < 890_000
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-6)
    assert np.isnan(found[expected > 910_000]).all()


@pytest.mark.parametrize("crs", [EQUAL_AREA, "EPSG:8857"])
def test_a_region_that_is_transformed_keeps_its_area(crs: str) -> None:
    """Both are equal-area projections, cylindrical and not."""
    region = invoke("GeometryConstructors.BBox", west=170, south=-10, east=-170, north=10)
    moved = invoke("Geometry.transform", geometry=region, proj=crs, maxError=1)
    measured = invoke("Geometry.area", geometry=moved, proj=crs, maxError=1)
    assert evaluate(measured) == pytest.approx(_band(170.0, -10.0, -170.0, 10.0), rel=1e-4)
    # In no projection, areas are those of the sphere with the surface of the ellipsoid.
    expected = 6371007.181**2 * math.radians(20.0) * 2.0 * math.sin(math.radians(10.0))
    assert evaluate(invoke("Geometry.area", geometry=moved, maxError=1)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("longitude", [180, -180])
@pytest.mark.parametrize("geodesic", [False, True])
def test_places_on_the_antimeridian_lie_in_regions_across_it(longitude: int, geodesic: bool) -> None:
    """Not at an edge of either piece: a region that ends there has them at its edge, and contains them not."""
    region = _polygon([(170, -10), (190, -10), (190, 10), (170, 10)], geodesic=geodesic)
    ending = _polygon([(170, -10), (180, -10), (180, 10), (170, 10)], geodesic=geodesic)
    point = invoke("GeometryConstructors.Point", coordinates=[longitude, 1.5])
    line = invoke("GeometryConstructors.LineString", coordinates=[[longitude, -1], [longitude, 2]], geodesic=False)
    for place in (point, line):
        assert evaluate(invoke("Geometry.contains", left=region, right=place))
        assert evaluate(invoke("Geometry.containedIn", left=place, right=region))
        assert not evaluate(invoke("Geometry.contains", left=ending, right=place))
        feature = invoke("Feature", geometry=place, metadata={})
        for area, count in ((region, 1), (ending, 0)):
            inside = invoke("Filter.isContained", leftField=".geo", rightValue=area)
            places = invoke("Collection.filter", collection=invoke("Collection", features=[feature]), filter=inside)
            assert evaluate(invoke("Collection.size", collection=places)) == count


def test_a_shape_that_clips_many_images_is_projected_once() -> None:
    ring = [(95.0 + 20.0 * math.cos(n / 50.0), 5.0 * math.sin(n / 50.0)) for n in range(314)]
    lattice = Projection("EPSG:32647", Affine(1000.0, 0.0, 0.0, 0.0, -1000.0, 0.0))
    hits = _kept_shapes.cache_info().hits
    first, second = (Geometry(shapely.Polygon(ring), geodesic=True).within(lattice, 0.01) for _ in range(2))
    assert _kept_shapes.cache_info().hits == hits + 1
    assert shapely.equals_identical(first, second)
    shapely.prepare(first)  # two threads that build the index of one shape end the process
    assert first is not second
    assert not shapely.is_prepared(second)
    assert not shapely.is_prepared(Geometry(shapely.Polygon(ring), geodesic=True).within(lattice, 0.01))


def test_a_shape_that_becomes_large_is_not_kept() -> None:
    corners = [(-150.0 + 40.0 * (n % 8), 20.0 + 40.0 * (n // 8)) for n in (0, 1, 2, 3, 4, 5, 6, 7, 15, 14, 13, 12, 8)]
    lattice = Projection("EPSG:3857", Affine(10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    shape = shapely.Polygon(corners)
    projected = project_shape(shape, WGS84, lattice, geodesic=True, tolerance=0.01)
    assert shapely.get_num_coordinates(projected) > 20_000
    assert not _kept_shapes(shape, WGS84, lattice, True, 0.01)
