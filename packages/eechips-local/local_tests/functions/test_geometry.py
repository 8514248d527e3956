"""Geometry.* and GeometryConstructors.*, against pyproj.Geod, shapely and what the guides say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from eechips_local.geometry.geometry import collection_geometry, coordinates, geojson
from eechips_local.geometry.map_projection import Projection
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.values.values import Collection, Feature, Geometry
from local_tests.support.geometries import (
    GEOD,
    SMALL,
    SPHERE,
    call_bbox,
    great_circle,
    op,
    planar,
    point,
    polygon,
    projection,
    ready,
    rectangle,
)
from local_tests.support.graphs import Ready, call, evaluate, invoke

# Constructors


def test_edges_are_geodesic_by_default_only_where_the_crs_is_geographic() -> None:
    assert op("geodesic", geometry=rectangle(0, 0, 1, 1)) is True
    assert op("geodesic", geometry=planar(0, 0, 1, 1)) is False
    assert op("geodesic", geometry=rectangle(0, 0, 1, 1, crs=projection("EPSG:32631"))) is False
    assert op("edgesAreGeodesics", geometry=call_bbox(0, 0, 1, 1)) is False


@pytest.mark.parametrize(
    ("name", "given", "kind", "shown"),
    [
        ("Point", [1, 2], "Point", [1, 2]),
        ("MultiPoint", [1, 2, 3, 4], "MultiPoint", [[1, 2], [3, 4]]),
        ("MultiPoint", [[1, 2], [3, 4]], "MultiPoint", [[1, 2], [3, 4]]),
        ("LineString", [1, 2, 3, 4], "LineString", [[1, 2], [3, 4]]),
        ("LinearRing", [0, 0, 1, 0, 1, 1], "LinearRing", [[0, 0], [1, 0], [1, 1], [0, 0]]),
        ("MultiLineString", [0, 0, 1, 0], "MultiLineString", [[[0, 0], [1, 0]]]),
        ("MultiLineString", [[[0, 0], [1, 0]], [[5, 5], [6, 6]]], "MultiLineString", [[[0, 0], [1, 0]], [[5, 5], [6, 6]]]),  # noqa: E501
        ("Polygon", [0, 0, 1, 0, 1, 1], "Polygon", [[[0, 0], [1, 0], [1, 1], [0, 0]]]),
        ("Polygon", [[0, 0], [1, 0], [1, 1]], "Polygon", [[[0, 0], [1, 0], [1, 1], [0, 0]]]),
        ("MultiPolygon", [[[[0, 0], [1, 0], [1, 1]]]], "MultiPolygon", [[[[0, 0], [1, 0], [1, 1], [0, 0]]]]),
        ("MultiPolygon", [], "MultiPolygon", []),
        ("MultiLineString", [], "MultiLineString", []),
        ("Rectangle", [0, 0, 1, 2], "Polygon", [[[0, 0], [1, 0], [1, 2], [0, 2], [0, 0]]]),
        ("Rectangle", [[0, 0], [1, 2]], "Polygon", [[[0, 0], [1, 0], [1, 2], [0, 2], [0, 0]]]),
    ],
)  # fmt: skip
def test_constructors_take_the_forms_that_the_client_sends(name: str, given: Any, kind: str, shown: Any) -> None:
    made = call(f"GeometryConstructors.{name}", coordinates=given)
    assert geojson(made)["type"] == kind
    assert coordinates(made) == shown


def test_points_among_coordinates_are_geometries_too() -> None:
    made = call("GeometryConstructors.LineString", coordinates=[point(0, 0), point(3, 4)])
    assert coordinates(made) == [[0, 0], [3, 4]]
    made = call("GeometryConstructors.Rectangle", coordinates=[point(0, 0), point(3, 4)])
    assert shapely.box(0, 0, 3, 4).equals(made.shape)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Point", [1]),
        ("Point", [1, "x"]),
        ("LineString", [[0, 0]]),
        ("LinearRing", [[0, 0], [1, 1]]),
        ("Polygon", [[[0, 0], [1, 1]]]),
        ("Polygon", [[[0, 0], [1, 1], [2, "a"]]]),
        ("Polygon", [0, 0, 1, 1, 2]),
        ("Polygon", []),
        ("LineString", []),
        ("Rectangle", [0, 0, 1]),
    ],
)
def test_bad_coordinates_are_refused(name: str, given: Any) -> None:
    with pytest.raises(InvalidError, match="GeometryConstructors"):
        call(f"GeometryConstructors.{name}", coordinates=given)


def test_bbox_wraps_at_the_antimeridian_and_covers_the_globe() -> None:
    assert evaluate(call_bbox(170, -10, -170, 10)).shape.bounds == (170, -10, 190, 10)
    assert evaluate(call_bbox(-300, -100, 500, 95)).shape.bounds == (-180, -90, 180, 90)
    with pytest.raises(InvalidError, match="south must be at most"):
        evaluate(call_bbox(0, 91, 1, 92))


def test_geodesic_rings_take_the_short_way_across_the_antimeridian() -> None:
    made = evaluate(polygon((170, 10), (-170, 10), (-170, 20), (170, 20)))
    assert made.shape.bounds == (170, 10, 190, 20)
    assert geojson(made)["coordinates"] == [[[170, 10], [-170, 10], [-170, 20], [170, 20], [170, 10]]]


def test_a_ring_around_a_pole_contains_it() -> None:
    cap = polygon((0, 80), (120, 80), (-120, 80))
    assert op("contains", left=cap, right=point(77, 90)) is True
    assert op("contains", left=cap, right=point(77, -90)) is False
    assert coordinates(evaluate(cap)) == [[[0, 80], [120, 80], [-120, 80], [0, 80]]]
    # Three meridians' worth of a great circle triangle: area by Geod, which knows rings around poles.
    area, _ = SPHERE.polygon_area_perimeter([0, 120, -120], [80, 80, 80])
    assert op("area", geometry=cap) == pytest.approx(area, rel=1e-9)


def test_left_inside_rule_of_the_guide() -> None:
    # developers.google.com/earth-engine/guides/geometric_operations: false, then true.
    ring = ((-35, -10), (-35, 10), (35, 10), (35, -10), (-35, -10))
    inside = point(1.5, 1.5)
    assert op("contains", left=polygon(*ring, evenOdd=False), right=inside) is False
    assert op("contains", left=polygon(*ring), right=inside) is True


@pytest.mark.parametrize("options", [{}, {"crs": projection("EPSG:32632")}], ids=["planar", "projected"])
def test_the_left_inside_rule_needs_geodesic_edges(options: dict[str, Any]) -> None:
    # Google's client for JavaScript refuses it (javascript/src/geometry.js); cubexpress measured that the service does.
    ring = [[0, 0], [4, 0], [4, 4], [0, 4]]
    with pytest.raises(InvalidError, match=r"Planar interiors must be even/odd\."):
        call("GeometryConstructors.Polygon", coordinates=[ring], geodesic=False, evenOdd=False, **options)


def test_a_projected_rectangle_takes_the_left_inside_rule() -> None:
    # google/Xee@17dfdd9: test_write_projected_dataset_to_raster.
    box = invoke(
        "GeometryConstructors.Rectangle",
        coordinates=[540_000, 4_170_000, 560_000, 4_190_000],
        crs=projection("EPSG:32610"),
        evenOdd=False,
    )
    assert op("intersects", left=box, right=point(-122.44, 37.78)) is True
    assert op("intersects", left=box, right=point(0, 0)) is False


def test_multi_geometry_takes_the_first_ones_projection() -> None:
    made = call("GeometryConstructors.MultiGeometry", geometries=[point(1, 2), planar(0, 0, 1, 1)])
    assert made.shape.geom_type == "GeometryCollection"
    assert made.geodesic is True
    assert geojson(made)["geometries"][0] == {"type": "Point", "coordinates": [1, 2]}


# Measures


@given(SMALL)
def test_area_is_the_spheres_and_perimeter_and_length_are_the_ellipsoids(
    where: tuple[float, float, float, float],
) -> None:
    west, south, wide, high = where
    box = (west, south, west + wide, south + high)
    area, _ = SPHERE.geometry_area_perimeter(shapely.box(*box))
    _, perimeter = GEOD.geometry_area_perimeter(shapely.box(*box))
    assert op("area", geometry=rectangle(*box)) == pytest.approx(abs(area), rel=1e-9)
    assert op("perimeter", geometry=rectangle(*box)) == pytest.approx(perimeter, rel=1e-9)
    line = [[west, south], [west + wide, south + high], [west, south + high]]
    expected = GEOD.geometry_length(shapely.LineString(line))
    made = invoke("GeometryConstructors.LineString", coordinates=line)
    assert op("length", geometry=made) == pytest.approx(expected, rel=1e-9)
    assert op("area", geometry=made) == 0
    assert op("length", geometry=rectangle(*box)) == 0


RECORDED_AREAS = [
    # https://github.com/shapely/shapely/issues/726
    (
        23944.14737277293,
        (
            (-97.59238135821987, 43.47456565304017), (-97.59244690469288, 43.47962399877412),
            (-97.59191951546768, 43.47962728271748), (-97.59185396090983, 43.47456565304017),
        ),
    ),
    # https://github.com/csaybar/EEwPython/blob/master/4_features.ipynb
    (9918985.748240016e6, ((-5, 40), (65, 40), (65, 60), (-5, 60), (-5, 60))),
]  # fmt: skip


@pytest.mark.parametrize(("area", "ring"), RECORDED_AREAS)
def test_areas_are_those_that_were_recorded_from_the_service(
    area: float, ring: tuple[tuple[float, float], ...]
) -> None:
    assert op("area", geometry=polygon(*ring)) == pytest.approx(area, rel=1e-10)


def test_planar_rectangles_follow_parallels() -> None:
    expected = math.radians(60) * 6371007.180918475**2 * (math.sin(math.radians(50)) - math.sin(math.radians(40)))
    assert op("area", geometry=planar(0, 40, 60, 50)) == pytest.approx(expected, rel=1e-6)
    bowed = op("area", geometry=rectangle(0, 40, 60, 50))
    assert abs(bowed - expected) > 0.01 * expected


def test_the_whole_globe_has_the_ellipsoids_area() -> None:
    assert op("area", geometry=planar(-180, -90, 180, 90)) == pytest.approx(5.10065621724e14, rel=1e-6)


def test_area_in_a_projection_is_planar_and_overlaps_count_twice() -> None:
    utm = projection("EPSG:32631")
    assert op("area", geometry=rectangle(5e5, 0, 5e5 + 30, 20, crs=utm), proj=utm) == pytest.approx(600)
    both = invoke(
        "GeometryConstructors.MultiPolygon", coordinates=[[[[0, 0], [1, 0], [1, 1], [0, 1]]]] * 2, geodesic=False
    )
    assert op("area", geometry=both, proj=projection("EPSG:4326")) == pytest.approx(2)


def test_planar_edges_of_a_projected_crs_need_an_error_margin() -> None:
    square = rectangle(5e5, 0, 5e5 + 30, 20, crs=projection("EPSG:32631"))
    with pytest.raises(InvalidError, match="specify a non-zero error margin"):
        op("area", geometry=square)
    # The scale of UTM on its central meridian is 0.9996. At the equator, radii of the ellipsoid are those of a meridian
    # and of the equator.
    of_sphere = 6371007.180918475**2 / (6335439.327 * 6378137.0)
    assert op("area", geometry=square, maxError=1) == pytest.approx(600 / 0.9996**2 * of_sphere, rel=1e-5)


@pytest.mark.slow
@given(SMALL)
@settings(max_examples=40, deadline=None)
def test_bounds_contain_and_touch(where: tuple[float, float, float, float]) -> None:
    west, south, wide, high = where
    ring = ((west, south), (west + wide, south + high / 3), (west + wide / 2, south + high))
    made = op("bounds", geometry=polygon(*ring))
    assert made.geodesic is False
    w, s, e, n = made.shape.bounds
    # Fine samples of the great circles lie inside, and reach the edges.
    fine = np.array([p for a, b in zip(ring, (*ring[1:], ring[0]), strict=True) for p in great_circle(a, b, 400)])
    fine[:, 0] += 360.0 * np.round((west - fine[:, 0]) / 360.0)
    assert w <= fine[:, 0].min() + 1e-9
    assert s <= fine[:, 1].min() + 1e-9
    assert e >= fine[:, 0].max() - 1e-9
    assert n >= fine[:, 1].max() - 1e-9
    assert n == pytest.approx(fine[:, 1].max(), abs=1e-4)
    assert s == pytest.approx(fine[:, 1].min(), abs=1e-4)
    assert coordinates(made)[0][0] == pytest.approx([w, s])


def test_bounds_of_a_geodesic_edge_rise_above_its_ends() -> None:
    # Half way along the great circle between two points 70 degrees apart on the 60th parallel.
    top = math.degrees(math.atan(math.tan(math.radians(60)) / math.cos(math.radians(35))))
    made = op("bounds", geometry=polygon((-5, 40), (65, 40), (65, 60), (-5, 60)))
    assert made.shape.bounds == pytest.approx((-5, 40, 65, top))


def test_bounds_across_the_antimeridian_run_on() -> None:
    made = op("bounds", geometry=polygon((170, 10), (-170, 10), (-170, 20), (170, 20)))
    west, _, east, _ = made.shape.bounds
    assert (west, east) == (170, 190)


def test_bounds_in_a_projection() -> None:
    made = op("bounds", geometry=point(3, 0), proj=projection("EPSG:32631"))
    assert made.projection.crs == "EPSG:32631"
    assert made.shape.bounds == pytest.approx((5e5, 0, 5e5, 0), abs=1e-6)


def test_centroids() -> None:
    assert coordinates(op("centroid", geometry=rectangle(10, -1, 12, 1))) == pytest.approx([11, 0], abs=1e-9)
    # Only the parts of highest dimension count.
    mixed = invoke("GeometryConstructors.MultiGeometry", geometries=[rectangle(0, 0, 0.01, 0.01), point(50, 50)])
    assert coordinates(op("centroid", geometry=mixed)) == pytest.approx([0.005, 0.005], abs=1e-6)
    made = op("centroid", geometry=rectangle(0, 0, 10, 20), proj=projection("EPSG:4326"))
    assert coordinates(made) == pytest.approx([5, 10], abs=0.2)


@pytest.mark.slow
@given(SMALL)
@settings(max_examples=40, deadline=None)
def test_centroids_of_small_and_large_polygons_agree(where: tuple[float, float, float, float]) -> None:
    west, south, wide, high = where
    tiny = shapely.box(west, south, west + wide / 1000, south + high / 1000)
    found = shapely.Point(coordinates(op("centroid", geometry=rectangle(*tiny.bounds))))
    assert GEOD.inv(found.x, found.y, tiny.centroid.x, tiny.centroid.y)[2] < 1.0
    lon, lat = coordinates(op("centroid", geometry=rectangle(west, south, west + wide, south + high)))
    lon += 360.0 * round((west - lon) / 360.0)
    assert shapely.box(west, south, west + wide, south + high).buffer(0.1).contains(shapely.Point(lon, lat))


# Forms


def test_transform_moves_coordinates_and_chooses_edges() -> None:
    there = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    made = op("transform", geometry=point(15, 50), proj=projection("EPSG:32633"))
    assert coordinates(made) == pytest.approx(there.transform(15, 50))
    assert made.geodesic is False
    square = op("transform", geometry=rectangle(14, 50, 16, 51), proj=projection("EPSG:32633"), maxError=1)
    # A geodesic edge is bowed in UTM: there are more corners, and they lie on the great circle.
    corners = np.array(square.shape.exterior.coords)
    assert len(corners) > 8
    back = op("transform", geometry=_utm(square), proj=projection("EPSG:4326"), maxError=1)
    assert back.geodesic is True
    assert back.shape.hausdorff_distance(shapely.segmentize(evaluate(rectangle(14, 50, 16, 51)).shape, 0.01)) < 0.01


def _utm(geometry: Geometry) -> Ready:
    return invoke(
        "GeometryConstructors.Polygon", coordinates=coordinates(geometry), crs=projection(geometry.projection.crs)
    )


def test_projected_shapes_run_on_across_the_antimeridian() -> None:
    # Zone 1 begins at the antimeridian: half of this square lies east of it, half west.
    east = Transformer.from_crs("EPSG:4326", "EPSG:32601", always_xy=True).transform(-180, 0)[0]
    utm = rectangle(east - 50_000, 0, east + 50_000, 1e5, crs=projection("EPSG:32601"))
    for geodesic in (True, False):
        made = op("transform", geometry=utm, proj=projection("EPSG:4326"), maxError=1, geodesic=geodesic)
        west, _, right, _ = made.shape.bounds
        assert right - west == pytest.approx(0.9, abs=0.01)
        assert op("area", geometry=ready(made), maxError=1) == pytest.approx(1e10, rel=0.01)


def test_points_on_both_sides_of_the_antimeridian_are_moved_one_by_one() -> None:
    """Alone, and beside a line across it, whose edges get vertices."""
    places = np.random.default_rng(1).uniform([170.0, -60.0], [190.0, 60.0], (3_000, 2))
    points = shapely.MultiPoint(places)
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(*places.T)
    turn = 2.0 * math.pi * 6_378_137.0
    alone = Geometry(points, geodesic=True).within(Projection("EPSG:3857"), 1.0)
    both = Geometry(shapely.GeometryCollection([points, shapely.LineString([(175, 1), (185, 20)])]), geodesic=True)
    made = op("transform", geometry=both, proj=projection("EPSG:3857"), maxError=1).shape
    for parts in (list(alone.geoms), [part for part in made.geoms if part.geom_type == "Point"]):
        assert {part.geom_type for part in parts} == {"Point"}
        moved = shapely.get_coordinates(parts)
        np.testing.assert_allclose(np.column_stack([moved[:, 0] % turn, moved[:, 1]]), np.column_stack([x % turn, y]))


def test_simplify_stays_within_the_margin() -> None:
    circle = invoke("Geometry.buffer", geometry=point(3, 50), distance=1000, maxError=0.1)
    fine, coarse = evaluate(circle), op("simplify", geometry=circle, maxError=20)
    assert len(coordinates(coarse)[0]) < len(coordinates(fine)[0]) / 3
    there = Transformer.from_crs("EPSG:4326", "EPSG:32631", always_xy=True)
    flat = [shapely.transform(g.shape, lambda xy: np.column_stack(there.transform(*xy.T))) for g in (fine, coarse)]
    assert flat[0].hausdorff_distance(flat[1]) < 20


def test_hulls_and_dissolving() -> None:
    points = invoke("GeometryConstructors.MultiPoint", coordinates=[[0, 0], [2, 0], [2, 2], [0, 2], [1, 1]])
    assert len(coordinates(op("convexHull", geometry=points))[0]) == 5
    line = invoke("GeometryConstructors.MultiPoint", coordinates=[[0, 0], [0, 1], [0, 2]])
    assert op("type", geometry=invoke("Geometry.convexHull", geometry=line)) == "LineString"
    assert op("type", geometry=invoke("Geometry.convexHull", geometry=point(1, 2))) == "Point"
    both = invoke(
        "GeometryConstructors.MultiPolygon",
        coordinates=[[[[0, 0], [2, 0], [2, 2], [0, 2]]], [[[1, 1], [3, 1], [3, 3], [1, 3]]]],
    )
    assert op("type", geometry=invoke("Geometry.dissolve", geometry=both)) == "Polygon"
    assert len(op("geometries", geometry=both)) == 2


def test_cut_lines() -> None:
    line = invoke("GeometryConstructors.LineString", coordinates=[[0, 0], [0, 0.01]])
    made = op("cutLines", geometry=line, distances=[100, 400])
    lengths = [GEOD.geometry_length(part) for part in made.shape.geoms]
    whole = GEOD.geometry_length(shapely.LineString([(0, 0), (0, 0.01)]))
    assert lengths == pytest.approx([100, 300, whole - 400], abs=1e-6)
    assert op("cutLines", geometry=rectangle(0, 0, 1, 1), distances=[10]).shape.is_empty


def test_covering_grid_covers() -> None:
    region = rectangle(0.5, 0.5, 2.5, 1.5, geodesic=False)
    cells = list(op("coveringGrid", geometry=region, proj=projection("EPSG:4326")))
    assert [c.properties["system:index"] for c in cells] == ["0,0", "1,0", "2,0", "0,1", "1,1", "2,1"]
    metres = list(op("coveringGrid", geometry=region, proj=projection("EPSG:3857"), scale=50_000))
    union = shapely.union_all([c.geometry.shape for c in metres])
    there = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    assert union.covers(shapely.box(*there.transform(0.5, 0.5), *there.transform(2.5, 1.5)))
    assert {round(c.geometry.shape.area) for c in metres} == {(50_000**2)}


def test_geojson_says_what_is_not_the_default() -> None:
    assert geojson(evaluate(rectangle(0, 0, 1, 1))).keys() == {"type", "coordinates"}
    assert geojson(evaluate(planar(0, 0, 1, 1)))["geodesic"] is False
    utm = geojson(evaluate(point(5e5, 0, crs=projection("EPSG:32631"))))
    assert utm["crs"] == {"type": "name", "properties": {"name": "EPSG:32631"}}


# Collections


def _collection(*shapes: shapely.Geometry) -> Collection:
    return Collection.of("Feature", [Feature(Geometry(shape), {}) for shape in shapes])


def test_the_geometry_of_a_collection() -> None:
    points = collection_geometry(_collection(shapely.Point(0, 0), shapely.Point(1, 1)))
    assert geojson(points) == {"geodesic": False, "type": "MultiPoint", "coordinates": [[0, 0], [1, 1]]}
    apart = collection_geometry(_collection(shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6)))
    assert apart.shape.geom_type == "MultiPolygon"
    overlapping = collection_geometry(_collection(shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)))
    assert overlapping.shape.area == pytest.approx(7)
    mixed = collection_geometry(_collection(shapely.box(0, 0, 2, 2), shapely.Point(9, 9)))
    assert mixed.shape.geom_type == "GeometryCollection"
    assert collection_geometry(_collection()).shape.is_empty
    assert collection_geometry(Collection.of("Feature", [Feature(None, {})])).shape.is_empty


def test_the_geometry_of_a_collection_has_the_first_ones_projection() -> None:
    utm = Geometry(shapely.box(5e5, 0, 5e5 + 100, 100), Projection("EPSG:32631"))
    other = Geometry(shapely.box(3.1, 0, 3.2, 0.1))
    made = collection_geometry(Collection.of("Feature", [Feature(utm, {}), Feature(other, {})]))
    assert made.projection.crs == "EPSG:32631"


# Hostile geometries

corner = st.one_of(
    st.tuples(st.sampled_from([-360, -180, -90, 0, 90, 179.999, 180, 360]), st.sampled_from([-100, -90, 0, 89.99, 90])),
    st.tuples(st.floats(-180, 180), st.floats(-90, 90)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
).map(list)
rings = st.lists(corner, min_size=3, max_size=6)


@st.composite
def anything(draw: st.DrawFn) -> Ready:
    kind, given = draw(
        st.one_of(
            st.tuples(st.just("Point"), corner),
            st.tuples(st.just("MultiPoint"), st.lists(corner, max_size=4)),
            st.tuples(st.just("LineString"), st.lists(corner, min_size=2, max_size=5)),
            st.tuples(st.just("LinearRing"), rings),
            st.tuples(st.just("Polygon"), st.lists(rings, min_size=1, max_size=2)),
            st.tuples(
                st.just("MultiPolygon"), st.lists(st.lists(rings, min_size=1, max_size=1), min_size=1, max_size=2)
            ),
        )
    )
    options: dict[str, Any] = {}
    if kind not in ("Point", "MultiPoint"):
        options["geodesic"] = draw(st.booleans())
    if "Polygon" in kind:
        options["evenOdd"] = draw(st.booleans())
    return invoke(f"GeometryConstructors.{kind}", coordinates=given, **options)


UNARY = ("area", "length", "perimeter", "bounds", "centroid", "convexHull", "dissolve", "buffer")
BINARY = ("intersects", "contains", "closestPoints", "intersection", "union", "difference", "symmetricDifference")


@pytest.mark.slow
@given(anything(), anything(), st.sampled_from([*UNARY, *BINARY]), st.sampled_from([None, "EPSG:4326", "EPSG:3857"]))
@settings(max_examples=80, deadline=None)
def test_any_geometry_gets_an_answer_or_an_error_of_earth_engine(
    first: Ready, second: Ready, name: str, crs: str | None
) -> None:
    arguments: dict[str, Any] = {"left": first, "right": second} if name in BINARY else {"geometry": first}
    if name == "buffer":
        arguments["distance"] = 127
    if crs is not None:
        arguments["proj"] = projection(crs)
    try:
        found = op(name, maxError=1000, **arguments)
    except EarthEngineError as refused:
        found = refused
    if isinstance(found, Geometry):
        assert np.isfinite(shapely.get_coordinates(found.shape)).all()
