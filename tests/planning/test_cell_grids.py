"""Cells of grids, against facts that others have published and against brute force."""

from __future__ import annotations

import math
import re
from pathlib import Path

import geopandas as gpd
import h3
import numpy as np
import pytest
import shapely

from eechips.errors import RegionError, UsageError
from eechips.geo.crs import unproject
from eechips.planning.areas.regions import parse_box
from eechips.planning.sampling.cell_grids import FileGrid, GlobalGrid, MajorTomGrid, parse_cells
from local_tests.support.captured_log import CapturedLog

WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)


def points_of_grid(kilometres: float) -> dict[str, tuple[float, float, float, float]]:
    """All grid points by name, as section 3 of the paper lists them: west, south, and the steps to the next ones.

    A list of numbers for rows and columns that is sorted and searched, not counted as in the code. It is rounded: the
    last digit of a float decides in some rows of the authors' program whether the cell at the antimeridian is the
    leftmost or the rightmost one.
    """
    radius = 6378.137
    count = math.ceil(math.pi * radius / kilometres)
    latitudes = np.sort(np.mod(np.linspace(-90, 90, count + 1)[:-1].round(10), 180) - 90)
    equator = int(np.argmin(np.abs(latitudes)))
    found = {}
    for row, latitude in enumerate(latitudes):
        number = math.ceil(2 * math.pi * radius * math.cos(math.radians(latitude)) / kilometres)
        longitudes = np.sort(np.mod(np.linspace(-180, 180, number + 1)[:-1].round(10), 360) - 180)
        greenwich = int(np.argmin(np.abs(longitudes)))
        up = f"{row - equator}U" if row >= equator else f"{equator - row}D"
        for column, longitude in enumerate(longitudes):
            right = f"{column - greenwich}R" if column >= greenwich else f"{greenwich - column}L"
            found[f"{up}_{right}"] = (longitude, latitude, 360 / number, 180 / count)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kilometres", [100, 333, 1000, 5000])
def test_cells_of_major_tom_are_those_of_all_grid_points(kilometres: int) -> None:
    places = MajorTomGrid(1000.0 * kilometres).list_places(WORLD)
    found = {place.fields["grid_cell"]: place.point for place in places}
    assert len(found) == len(places)
    expected = points_of_grid(kilometres)
    centres = {name: (w + dx / 2, s + dy / 2) for name, (w, s, dx, dy) in expected.items() if s + dy / 2 < 90 - 1e-9}
    assert found.keys() == centres.keys()
    for name, (longitude, latitude) in centres.items():
        assert found[name][1] == pytest.approx(latitude, abs=1e-8)
        apart = (found[name][0] - longitude + 180) % 360 - 180
        assert apart == pytest.approx(0, abs=1e-8)
        assert -180 <= found[name][0] < 180


@pytest.mark.parametrize(
    ("kilometres", "place", "cell"),
    [
        # https://github.com/ESA-PhiLab/Major-TOM, tests/test_spec.py at c7e77bd
        (10, (-111.6556, 40.5829), "451U_946L"),
        (10, (0.001, 0.001), "0U_0R"),
        (10, (-0.001, -0.001), "1D_1L"),
        (1000, (-178.892, -63.121), "8D_7R"),  # which crosses the antimeridian
    ],
)
def test_published_cells_contain_their_places(kilometres: int, place: tuple[float, float], cell: str) -> None:
    width = 0.15 * kilometres / 10
    lon, lat = place
    west, east = ((lon - 3 * width + 180) % 360 - 180, (lon + 3 * width + 180) % 360 - 180)
    region = parse_box(f"{west},{lat - width},{east},{lat + width}").polygon()
    places = MajorTomGrid(1000.0 * kilometres).list_places(region)
    [(x, y)] = [place.point for place in places if place.fields["grid_cell"] == cell]
    height = 180 / math.ceil(math.pi * 6378.137 / kilometres)
    assert abs(y - lat) <= height / 2
    bottom = y - height / 2
    count = math.ceil(2 * math.pi * 6378.137 * math.cos(math.radians(bottom)) / kilometres)
    assert abs((x - lon + 180) % 360 - 180) <= 180 / count


def test_the_code_is_that_of_the_stac_extension() -> None:
    """The example of its README: MAJORTOM-10-922D_249L."""
    region = shapely.box(-90.0, -83.0, -40.0, -82.0)
    codes = {place.fields["grid_code"] for place in MajorTomGrid(10_000.0).list_places(region)}
    assert "MAJORTOM-10-922D_100L" in codes
    assert all(re.fullmatch(r"MAJORTOM-10-\d+D_\d+L", code) for code in codes)
    small = MajorTomGrid(320.0).list_places(shapely.box(0.0, 0.0, 0.01, 0.01))
    assert {place.fields["grid_code"] for place in small} >= {"MAJORTOM-0.32-0U_0R"}


def test_a_region_has_the_cells_whose_centres_lie_in_it() -> None:
    region = shapely.Point(10.0, 50.0).buffer(1.0)
    places = MajorTomGrid(10_000.0).list_places(region)
    everywhere = MajorTomGrid(10_000.0).list_places(shapely.box(8.0, 48.0, 12.0, 52.0))
    wanted = [place for place in everywhere if region.contains(shapely.Point(place.point))]
    assert places == wanted
    latitudes = [place.point[1] for place in places]
    assert latitudes == sorted(latitudes, reverse=True)


@pytest.mark.slow
def test_a_region_across_the_antimeridian_has_every_cell_once() -> None:
    region = parse_box("179,-20,-179,-18").polygon()
    places = MajorTomGrid(50_000.0).list_places(region)
    everywhere = MajorTomGrid(50_000.0).list_places(WORLD)
    wanted = {s.fields["grid_cell"] for s in everywhere if abs(s.point[0]) >= 179 and -20 <= s.point[1] <= -18}
    assert {place.fields["grid_cell"] for place in places} == wanted
    assert len(places) == len(wanted)


def test_hexagons_are_those_of_h3_whose_centres_lie_in_the_region() -> None:
    region = shapely.box(10.0, 50.0, 11.0, 50.5)
    places = GlobalGrid("h3", 6).list_places(region)
    lon, lat = np.meshgrid(np.linspace(9.8, 11.2, 300), np.linspace(49.8, 50.7, 300))
    every = {h3.latlng_to_cell(y, x, 6) for x, y in zip(lon.ravel().tolist(), lat.ravel().tolist(), strict=True)}
    wanted = {cell for cell in every if region.contains(shapely.Point(h3.cell_to_latlng(cell)[::-1]))}
    assert {place.fields["grid_cell"] for place in places} == wanted
    assert {place.fields["grid_code"] for place in places} == {f"H3-{cell}" for cell in wanted}
    for place in places:
        assert h3.latlng_to_cell(*place.point[::-1], 6) == place.fields["grid_cell"]


@pytest.mark.parametrize(
    ("box", "kilometres"),
    [
        ("-105.5,39.5,-104.9,40.1", 10),
        ("-108.3,35.8,-107.6,36.3", 10),  # two zones
        ("-0.4,-0.4,0.3,0.3", 10),  # both hemispheres
        ("2.6,63.6,3.6,64.3", 10),  # the wide zone of Norway
        ("-108,0,-107.5,0.5", 10),  # it touches three other zones
        ("8.5,71.7,9.5,72.3", 10),  # zones of Svalbard
        ("179.6,-16.4,-179.6,-15.9", 10),
        ("-105.2,39.93,-105.1,40.0", 1),
        ("-110,-3,-101,7", 100),
    ],
)
def test_squares_are_those_of_the_mgrs_library_whose_centres_lie_in_the_region(box: str, kilometres: int) -> None:
    """The library names the squares of many points, and where they lie: their corners or centres, by its version."""
    library = pytest.importorskip("mgrs").MGRS()
    digits = {100: 0, 10: 1, 1: 2}[kilometres]
    region = parse_box(box).polygon()
    seen = set()
    for part in shapely.get_parts(region):
        west, south, east, north = part.buffer(0.01 * kilometres).bounds
        steps = [np.linspace(a, b, int((b - a) / (0.0035 * kilometres))) for a, b in ((west, east), (south, north))]
        for lon in (steps[0] + 180) % 360 - 180:
            seen |= {library.toMGRS(lat, lon, MGRSPrecision=digits) for lat in steps[1]}
    expected = {}
    for name in seen:
        zone, hemisphere, x, y = library.MGRSToUTM(name)
        corner = np.floor(np.array([x, y]) / (1000 * kilometres)) * 1000 * kilometres
        crs = f"EPSG:{326 if hemisphere == 'N' else 327}{zone:02}"
        lon, lat = unproject(crs, [corner + 500 * kilometres])[0]
        if shapely.intersects_xy(region, lon, lat) and library.toMGRS(lat, lon, MGRSPrecision=digits) == name:
            expected[name.zfill(5 + 2 * digits)] = (lon, lat)
    places = GlobalGrid("mgrs", 1000 * kilometres).list_places(region)
    found = {place.fields["grid_cell"]: place.point for place in places}
    assert len(places) == len(found) > 20
    assert found.keys() == expected.keys()
    for name, place in expected.items():
        np.testing.assert_allclose(found[name], place, atol=1e-8)
    assert places[0].fields["grid_code"] == f"MGRS-{places[0].fields['grid_cell']}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("box", "level"),
    [
        ("-105.3,39.9,-105.1,40.0", 13),
        ("-46,-1,-44,1", 9),  # two faces
        ("44,34,46,36.5", 8),  # three faces
        ("179.6,-16.4,-179.6,-15.9", 11),
        ("-180,88,180,90", 8),
        ("-180,-90,180,90", 4),
    ],
)
def test_s2_cells_are_cells_of_its_library_whose_centres_lie_in_the_region(box: str, level: int) -> None:
    s2sphere = pytest.importorskip("s2sphere")
    region = parse_box(box).polygon()
    found = {place.fields["grid_cell"]: place.point for place in GlobalGrid("s2", level).list_places(region)}
    assert found
    for token, point in found.items():
        centre = s2sphere.CellId.from_token(token).to_lat_lng()
        assert s2sphere.CellId.from_token(token).level() == level
        np.testing.assert_allclose(point, (centre.lng().degrees, centre.lat().degrees), atol=1e-8)
    expected = set()
    for part in shapely.get_parts(region):
        west, south, east, north = part.bounds
        coverer = s2sphere.RegionCoverer()
        coverer.min_level = coverer.max_level = level
        coverer.max_cells = 1_000_000
        corners = [s2sphere.LatLng.from_degrees(lat, lon) for lat, lon in ((south, west), (north, east))]
        for cell in coverer.get_covering(s2sphere.LatLngRect(*corners)):
            centre = cell.to_lat_lng()
            if shapely.intersects_xy(region, centre.lng().degrees, centre.lat().degrees):
                expected.add(cell.to_token())
    assert found.keys() == expected
    assert list(found) == sorted(found)


def test_known_s2_cells_of_a_region() -> None:
    """Tokens and centres from s2sphere 0.2.5, for where that is not installed."""
    places = GlobalGrid("s2", 13).list_places(shapely.box(-105.28, 40.0, -105.25, 40.03))
    assert [(place.fields["grid_code"], place.point) for place in places[:2]] == [
        ("S2-876bec2c", (-105.272145599, 40.016975457)),
        ("S2-876bec34", (-105.272145599, 40.006947787)),
    ]
    assert len(places) == 6


@pytest.mark.slow
def test_polygons_of_a_file_have_their_centroids_and_ids(tmp_path: Path) -> None:
    squares = [shapely.box(10.0 + n, 50.0, 11.0 + n, 51.0) for n in range(4)]
    across = shapely.MultiPolygon([shapely.box(179.0, 0.0, 180.0, 1.0), shapely.box(-180.0, 0.0, -177.0, 1.0)])
    frame = gpd.GeoDataFrame(
        {"id": ["a", "b", "c", "d", "e"], "crop": [1, 2, 3, 4, 5]}, geometry=[*squares, across], crs=4326
    )
    frame.to_file(tmp_path / "grid.gpkg")
    grid = parse_cells(tmp_path / "grid.gpkg")
    assert isinstance(grid, FileGrid)
    assert not grid.needs_region
    places = grid.list_places(WORLD)
    assert [place.fields["grid_code"] for place in places] == ["a", "b", "c", "d", "e"]
    assert [place.point for place in places[:2]] == [(10.5, 50.5), (11.5, 50.5)]
    assert places[4].point == (-179.0, 0.5)
    assert places[1].fields["properties"] == {"id": "b", "crop": 2}
    assert [place.fields["grid_cell"] for place in grid.list_places(shapely.box(11.2, 50.0, 12.8, 51.0))] == ["b", "c"]
    named = parse_cells(tmp_path / "grid.gpkg", "crop")
    assert [place.fields["grid_code"] for place in named.list_places(WORLD)] == ["1", "2", "3", "4", "5"]


def test_features_without_geometry_are_no_cells_and_are_counted(tmp_path: Path, caplog: CapturedLog) -> None:
    path = tmp_path / "grid.csv"
    path.write_text(f'id,wkt\na,POLYGON EMPTY\nb,"{shapely.box(10.0, 50.0, 11.0, 51.0).wkt}"\n')
    assert [place.fields["grid_code"] for place in parse_cells(path).list_places(WORLD)] == ["b"]
    assert f"{path}: 1 feature without geometry left out" in caplog.messages


@pytest.mark.slow
def test_polygons_without_an_id_are_numbered_and_repeated_ids_are_refused(tmp_path: Path) -> None:
    squares = [shapely.box(10.0 + n, 50.0, 11.0 + n, 51.0) for n in range(2)]
    gpd.GeoDataFrame({"crop": [1, 1]}, geometry=squares, crs=4326).to_parquet(tmp_path / "grid.parquet")
    places = parse_cells(tmp_path / "grid.parquet").list_places(WORLD)
    assert [place.fields["grid_code"] for place in places] == ["1", "2"]
    with pytest.raises(RegionError, match="have the same crop"):
        parse_cells(tmp_path / "grid.parquet", "crop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("majortom:ten", "is not a distance"),
        ("majortom:1m", "the distance must be 100m to 20000km"),
        ("h3:16", "the resolution must be 0 to 15"),
        ("s2:31", "`cells` s2:31: the level must be 0 to 30"),
        ("geohash:5", "is none of regular:10km, majortom:10km, h3:6, s2:13, mgrs:10km, or a file of polygons"),
        ("mgrs:5km", "`cells` mgrs:5km: squares have edges of 100km, 10km or 1km"),
    ],
)
def test_cells_that_are_no_grid_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_cells(text)


def test_too_many_cells_are_refused_before_they_are_listed() -> None:
    with pytest.raises(RegionError, match="more than 10,000,000 cells"):
        MajorTomGrid(1_000.0).list_places(WORLD)
    with pytest.raises(RegionError, match="more than 10,000,000 cells"):
        GlobalGrid("h3", 10).list_places(WORLD)
    with pytest.raises(RegionError, match="more than 10,000,000 cells"):
        GlobalGrid("s2", 12).list_places(WORLD)


def test_distances_that_differ_are_other_parameters_of_a_regular_grid() -> None:
    distances = ["regular:10km", "regular:1234567.1m", "regular:1234567.2m", "regular:123.4567m", "regular:123.4568m"]
    found = [parse_cells(text).parameters["cells"] for text in distances]
    assert found[0] == "regular:10km"
    assert len(set(found)) == len(distances)
    assert [parse_cells(text) for text in found] == [parse_cells(text) for text in distances]
