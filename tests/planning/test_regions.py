"""Regions of the command line: boxes, files, selections, and their errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from eechips.errors import RegionError, UsageError
from eechips.geo.vectors import read_vectors
from eechips.planning.areas.regions import (
    AssetRegion,
    BoxRegion,
    FileRegion,
    check_size,
    parse_box,
    parse_region,
    planar_geometry,
)
from eechips.planning.areas.zones import read_zones
from eechips.text.suggestion import describe_choices
from local_tests.support.captured_log import CapturedLog

SQUARE = shapely.box(-105.5, 39.5, -105.0, 40.0)
BOWTIE = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])


def write(path: Path, *geometries: shapely.Geometry | None, crs: str = "EPSG:4326", **columns: list[object]) -> Path:
    frame = gpd.GeoDataFrame(columns, geometry=list(geometries), crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


@pytest.mark.parametrize("text", ["-105.5,39.5,-105,40", " -105.5, 39.5 , -105 ,40.0", "-1.055e2,39.5,-105.,40"])
def test_boxes_are_parsed(text: str) -> None:
    assert parse_region(text) == BoxRegion(-105.5, 39.5, -105.0, 40.0)


def test_a_box_around_the_globe_may_have_its_sides_swapped(caplog: CapturedLog) -> None:
    parse_box("170,-20,-175,-10")
    parse_box("100,-60,-70,60")  # the Pacific
    assert not caplog.messages
    parse_box("-104.1234567, 39.1234567, -106.7654321, 41.10")
    assert "357 degrees wide: if W and E are swapped, write -106.7654321,39.1234567,-104.1234567,41.10" in caplog.text


def test_a_box_across_the_antimeridian() -> None:
    polygon = parse_box("170,-20,-175,-10").polygon()
    assert polygon.area == pytest.approx(150)
    assert polygon.bounds == (-180, -20, 180, -10)
    assert not polygon.intersects(shapely.Point(0, -15))
    assert parse_box("170,-20,-180,-10").polygon().equals(shapely.box(170, -20, 180, -10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-105,40,-105,41", "has no width"),
        ("180,0,-180,1", "has no width"),
        ("-105,41,-104,40", "S below N"),
        ("-105,40,-104,91", "within -90 and 90"),
        ("-105,40,255,41", "within -180 and 180"),
        ("-105,40,-104", "'-105,40,-104' has 3 numbers, and W,S,E,N are four, in degrees"),
        ("no/such/file.geojson", "is not a file"),
        ("FAO/GAUL/2015/level1", "ASSET:FIELD=VALUE"),
        ("", "is not a file"),
        (r"C:\Users\me\fields.gpkg", r"^C:\\Users\\me\\fields\.gpkg is a path of Windows"),
    ],
)
def test_invalid_regions_are_refused(text: str, message: str) -> None:
    with pytest.raises((RegionError, UsageError), match=message):
        parse_region(text)


def test_a_selection_from_a_table() -> None:
    region = parse_region("FAO/GAUL/2015/level1:ADM1_NAME=Provence-Alpes-Cote d'Azur")
    assert region == AssetRegion("FAO/GAUL/2015/level1", "ADM1_NAME", "Provence-Alpes-Cote d'Azur")
    selection = parse_region("projects/my-project/assets/x_y:NAME=a=b: c")
    assert selection == AssetRegion("projects/my-project/assets/x_y", "NAME", "a=b: c")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp", "a.fgb", "a.parquet"])
def test_files_of_any_format_are_read(tmp_path: Path, name: str) -> None:
    other = shapely.box(-105.2, 39.8, -104.0, 41.0)
    region = parse_region(str(write(tmp_path / name, SQUARE, other, name=["a", "b"])))
    assert isinstance(region, FileRegion)
    assert region.polygon.equals(SQUARE.union(other))


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:32613", "EPSG:5070", "EPSG:4269", "EPSG:3857"])
@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_files_are_reprojected(tmp_path: Path, crs: str, suffix: str) -> None:
    frame = gpd.GeoDataFrame(geometry=[SQUARE], crs="EPSG:4326").to_crs(crs)
    path = write(tmp_path / f"a{suffix}", *frame.geometry, crs=crs)
    polygon = read_vectors(path).geometries[0]
    # The sides are straight in the file's projection, so in between they leave the square a little.
    assert polygon.symmetric_difference(SQUARE).area < 2e-3 * SQUARE.area
    assert shapely.distance(shapely.points(SQUARE.exterior.coords[0]), polygon.exterior) < 1e-6
    oracle = frame.segmentize(100).to_crs("EPSG:4326").geometry[0]
    assert polygon.symmetric_difference(oracle).area < 1e-5 * SQUARE.area


def coast(vertices: int) -> shapely.Polygon:
    """A circle of a hundred kilometres whose radius varies by some metres."""
    angles = np.linspace(0.0, 2.0 * np.pi, vertices, endpoint=False)
    radius = 0.9 + 1e-4 * np.random.default_rng(1).uniform(-1.0, 1.0, vertices)
    return shapely.Polygon(np.column_stack([-105.1 + radius * np.cos(angles), 40.0 + radius * np.sin(angles)]))


@pytest.mark.exhaustive
def test_a_region_s_vertices_are_counted_in_bytes_of_a_request(demo_ee: Any, tmp_path: Path) -> None:
    polygon = coast(20_000)
    geometry = planar_geometry(polygon)
    twice = demo_ee.List([geometry.area(1), demo_ee.Image(1).clip(geometry)])
    body = json.dumps(demo_ee.serializer.encode(twice, for_cloud_api=True))
    assert 24 < len(body) / 20_000 <= 30
    assert json.loads(body)["values"]  # one constant, which both use
    # The largest region that fits, and one that does not: the limit is 10,485,760 bytes.
    check_size(coast(333_000))
    with pytest.raises(
        RegionError, match=r"has 400,001 vertices, 11\.\d MB in a request, and a request takes 10 MB"
    ) as e:
        check_size(coast(400_000))
    tolerance, left = re.search(r"simplify it within (\d+) m, which leaves ([\d,]+) vertices", str(e.value)).groups()
    simpler = shapely.simplify(coast(400_000), int(tolerance) / 111_320.0)
    assert shapely.get_num_coordinates(simpler) == int(left.replace(",", ""))
    check_size(simpler)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_file_with_too_many_vertices_is_refused_before_any_request(tmp_path: Path) -> None:
    path = write(tmp_path / "coast.parquet", coast(400_000))
    with pytest.raises(RegionError, match=r"coast\.parquet has 400,001 vertices, .* simplify it within"):
        parse_region(path)


@pytest.mark.parametrize(
    "polygon",
    [
        coast(2_000),
        shapely.box(0.0, 0.0, 1e-8, 1e-8),  # smaller than the rounding
        # Touches itself where it is rounded.
        shapely.Polygon([(0, 0), (1, 0), (1, 1), (0.5, 2e-8), (0, 1)]),
        shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)]),
        shapely.box(0, 0, 10, 10) - shapely.box(4, 4, 6, 6),
    ],
)
def test_rounding_moves_a_region_by_a_centimetre_at_most(demo_ee: Any, polygon: shapely.Geometry) -> None:
    found = shapely.geometry.shape(planar_geometry(polygon).getInfo())
    assert found.is_valid
    assert shapely.hausdorff_distance(found, polygon) <= 1e-7
    assert found.area == pytest.approx(polygon.area, rel=1e-6)


@pytest.mark.slow
def test_an_edited_file_is_another_region(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", SQUARE)
    before = parse_region(path).parameters
    assert parse_region(str(path)).parameters == before
    write(path, shapely.box(0, 0, 1, 1))
    assert parse_region(path).parameters != before


@pytest.mark.slow
def test_unusable_files_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.geojson"
    empty.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    garbage = tmp_path / "garbage.geojson"
    garbage.write_text("this is not GeoJSON")
    nothing = tmp_path / "nothing.geojson"
    nothing.touch()
    plain = tmp_path / "plain.parquet"
    gpd.pd.DataFrame({"a": [1]}).to_parquet(plain)
    no_geometry = tmp_path / "table.csv"
    no_geometry.write_text("a,b\n1,2\n")
    lost = write(tmp_path / "lost.shp", SQUARE)
    lost.with_suffix(".prj").unlink()
    unindexed = write(tmp_path / "unindexed.shp", SQUARE)
    unindexed.with_suffix(".shx").unlink()
    swapped = write(tmp_path / "swapped.geojson", SQUARE, shapely.box(39.5, -105.5, 40.0, -105.0), id=["a", "b"])
    metres = write(tmp_path / "metres.geojson", shapely.box(4e5, 4.4e6, 4.1e5, 4.5e6), id=["a"])
    cases = {
        empty: "holds no features",
        garbage: "cannot be read as a vector file: its content is of no format that is read",
        nothing: "cannot be read as a vector file",
        unindexed: r"unindexed\.shx is missing: copy all files of the shapefile",
        swapped: r"feature 2 \(id=b\) has latitudes beyond 90 degrees: are longitude and latitude swapped\?",
        metres: r"look projected \(metres\): say so in the file, as in ogr2ogr -a_srs EPSG:32632 metres\.gpkg metres",
        plain: "not GeoParquet",
        no_geometry: "holds no geometries: .*; for a CSV file of points, use `eechips points`",
        write(tmp_path / "line.gpkg", shapely.LineString([(0, 0), (1, 1)])): "feature 1 is a LineString, not a polygon",
        write(tmp_path / "mixed.gpkg", SQUARE, shapely.Point(0, 0), shapely.Point(1, 1)): (
            "feature 2 is a Point, not a polygon; 2 of 3 features are none"
        ),
        write(tmp_path / "bare.gpkg", shapely.Polygon(), None): "none of its features has a geometry",
        lost: r"does not say what coordinate reference system it is in: lost\.prj is missing",
    }
    for path, message in cases.items():
        with pytest.raises(RegionError, match=message) as caught:
            parse_region(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    far = write(tmp_path / "far.shp", shapely.box(4e5, 4.4e6, 4.1e5, 4.5e6), id=["a"])
    far.with_suffix(".prj").unlink()
    with pytest.raises(RegionError, match=r"look projected \(metres\): name .* with `input_crs`"):
        read_vectors(far, crs="EPSG:4326")


@pytest.mark.slow
def test_a_file_with_several_layers_says_which_is_read(
    tmp_path: Path, caplog: CapturedLog, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "layers.gpkg"
    gpd.GeoDataFrame({"a": [1]}, geometry=[SQUARE], crs="EPSG:4326").to_file(path, layer="fields")
    assert read_vectors(path).geometries[0].equals(SQUARE)
    assert not caplog.messages
    gpd.GeoDataFrame({"a": [2]}, geometry=[BOWTIE], crs="EPSG:4326").to_file(path, layer="roads")
    assert read_vectors(path).geometries[0].equals(SQUARE)
    note = f"{path} has several layers, of which fields is read: fields, roads"
    named = f"{path}|layername=roads"
    assert caplog.messages == [f"{note}. Another: {named!r}"]
    assert read_vectors(Path(named)).attributes["a"].tolist() == [2]
    assert parse_region(named).parameters["roi_sha256"] != parse_region(path).parameters["roi_sha256"]
    with pytest.raises(RegionError, match="it has no layer 'paths': fields, roads"):
        read_vectors(Path(f"{path}|layername=paths"))
    assert not recwarn.list


@pytest.mark.slow
def test_features_without_geometry_are_left_out_and_counted(tmp_path: Path, caplog: CapturedLog) -> None:
    path = write(tmp_path / "some.geojson", None, SQUARE, shapely.Polygon(), BOWTIE, code=[5, 6, 7, 8])
    found = read_vectors(path)
    assert caplog.messages == [f"{path}: 2 features without geometry left out: feature 1 (code=5) and 1 more"]
    assert found.numbers.tolist() == [2, 4]
    assert found.attributes["code"].tolist() == [6, 8]
    assert found.geometries[0].equals(SQUARE)
    assert found.repaired.endswith("feature 4 (code=8)")
    assert read_zones(path, None).ids == [2, 4]
    assert read_zones(path, "code").ids == [6, 8]


@pytest.mark.slow
def test_a_wide_region_is_told_of(tmp_path: Path, caplog: CapturedLog) -> None:
    fiji = shapely.Polygon([(179, -17), (-179, -17), (-179, -16), (179, -16)])
    parse_region(write(tmp_path / "fiji.geojson", SQUARE, fiji))
    assert "region 2 is 358 degrees wide: if it is meant to cross the antimeridian" in caplog.text
    caplog.clear()
    parse_region(write(tmp_path / "world.geojson", shapely.box(-180, -80, 180, 80)))
    assert not caplog.messages


def test_choices_name_similar_or_all_values() -> None:
    there = ["ADM1_NAME", "ADM1_CODE", "STATUS"]
    assert describe_choices("adm1_nam", there).startswith("did you mean 'ADM1_NAME'")
    assert describe_choices("qqq", there) == "there are ADM1_NAME, ADM1_CODE, STATUS"
    assert describe_choices("qqq", []) == "there are none"
    assert describe_choices("qqq", [f"x{n}" for n in range(2000)]).endswith("and 1,988 more")


@pytest.mark.slow
def test_an_invalid_polygon_is_named_by_its_attributes(tmp_path: Path, caplog: CapturedLog) -> None:
    path = tmp_path / "fields.geojson"
    frame = gpd.GeoDataFrame({"field": ["north", "south"]}, geometry=[SQUARE, BOWTIE], crs="EPSG:4326")
    frame.to_file(path)
    parse_region(path)
    assert "repaired 1 of 2 polygons" in caplog.text
    assert "feature 2 (field=south)" in caplog.text
