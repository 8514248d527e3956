"""Polygons of the demo planet: valid, without gaps or overlaps, and where they should be."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from eechips_local.demo import DemoStore, land_character
from eechips_local.demo.borders import ecoregions
from eechips_local.demo.land_character import CHARACTERS, characters_at
from eechips_local.demo.painting.mercator import x_of, y_of
from eechips_local.evaluation.asset_model import FeatureRow, Query

STORE = DemoStore(date(2025, 1, 1))
COLORADO = shapely.box(-109.05, 37.0, -102.05, 41.0)
LEVELS = tuple(f"FAO/GAUL/2015/level{n}" for n in range(3))
TABLES = (*LEVELS, "RESOLVE/ECOREGIONS/2017", "TIGER/2018/States", "USDOS/LSIB_SIMPLE/2017")


@cache
def rows(name: str) -> tuple[FeatureRow, ...]:
    return tuple(STORE.get(name).rows(Query()))  # type: ignore[union-attr]


def shapes(name: str) -> np.ndarray:
    return np.array([row.geometry for row in rows(name)])


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_shapes_are_valid_and_rows_are_complete(name: str) -> None:
    assert shapely.is_valid(shapes(name)).all()
    assert not shapely.is_empty(shapes(name)).any()
    columns = STORE.get(name).columns  # type: ignore[union-attr]
    for row in rows(name):
        assert set(row.properties) == set(columns)
    indices = [row.index for row in rows(name)]
    assert len(set(indices)) == len(indices)
    assert STORE.get(name).properties["eechips:synthetic"] == 1  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES[:4])
def test_shapes_tile_the_land(name: str) -> None:
    """Neighbours share their edges exactly (GEOS's coverage check), and areas add up to the same land."""
    parts = shapes(name)
    if hasattr(shapely, "coverage_is_valid"):  # from shapely 2.1 on
        assert shapely.coverage_is_valid(parts)
    land = float(shapely.area(shapes(LEVELS[0])).sum())
    assert float(shapely.area(parts).sum()) == pytest.approx(land, rel=1e-9)
    assert float(shapely.union_all(parts).area) == pytest.approx(land, rel=1e-9)


def test_the_land_has_the_size_of_the_earths() -> None:
    geod = Geod(ellps="WGS84")
    square_kilometres = sum(abs(geod.geometry_area_perimeter(shape)[0]) for shape in shapes(LEVELS[0])) / 1e6
    # Without Antarctica there are about 135 million.
    assert 1.15e8 < square_kilometres < 1.5e8


@pytest.mark.slow
def test_colorado_is_as_the_law_has_it() -> None:
    (state,) = STORE.get(LEVELS[1]).rows(Query(equals={"ADM1_NAME": "Colorado"}))  # type: ignore[union-attr]
    assert state.properties["ADM0_NAME"] == "United States of America"
    assert state.geometry.geom_type == "Polygon"
    assert state.geometry.symmetric_difference(COLORADO).area < 1e-9
    assert state.geometry.bounds == COLORADO.bounds
    counties = list(STORE.get(LEVELS[2]).rows(Query(equals={"ADM1_NAME": "Colorado"})))  # type: ignore[union-attr]
    assert 20 <= len(counties) <= 120
    assert shapely.union_all([c.geometry for c in counties]).symmetric_difference(COLORADO).area < 1e-9


def test_states_are_there() -> None:
    states = {
        row.properties["ADM1_NAME"]: row.geometry for row in rows(LEVELS[1]) if row.properties["ADM0_CODE"] == 259
    }
    assert len(states) == 50
    capitals = {
        "California": (-121.5, 38.6), "Texas": (-97.7, 30.3), "Maine": (-69.8, 44.4), "Florida": (-82.0, 29.2),
        "Washington": (-120.5, 47.3), "Kansas": (-98.5, 38.5), "Ohio": (-83.0, 40.2), "Alaska": (-152.0, 64.5),
        "Hawaii": (-155.4, 19.6),
    }  # fmt: skip
    for name, place in capitals.items():
        assert states[name].contains(shapely.Point(place)), name


def test_administrative_units_are_nested() -> None:
    for level in (1, 2):
        key = "ADM0_CODE" if level == 1 else "ADM1_CODE"
        outer = {row.properties[key]: row.geometry.area for row in rows(LEVELS[level - 1])}
        inner: dict[int, float] = {}
        for row in rows(LEVELS[level]):
            inner[row.properties[key]] = inner.get(row.properties[key], 0.0) + row.geometry.area
        assert inner.keys() == outer.keys()
        for code, area in inner.items():
            assert area == pytest.approx(outer[code], rel=1e-9)
    codes = [row.properties["ADM2_CODE"] for row in rows(LEVELS[2])]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("country", "province", "codes", "place"),
    [
        ("Colombia", "Amazonas", (57, 934), (-70.0, -3.5)),
        ("Holy See", "Administrative unit not available", (110, 1419), (12.453386, 41.903282)),
        ("Viet Nam", "Lam Dong", (264, 3359), None),
    ],
)
def test_names_and_codes_are_those_of_gaul(
    country: str, province: str, codes: tuple[int, int], place: tuple[float, float] | None
) -> None:
    """As geetools' tests (tests/conftest.py, tests/test_FeatureCollection.py) and pygaul's table have them."""
    named = {"ADM0_NAME": country, "ADM1_NAME": province}
    (row,) = STORE.get(LEVELS[1]).rows(Query(equals=named))  # type: ignore[union-attr]
    assert (row.properties["ADM0_CODE"], row.properties["ADM1_CODE"]) == codes
    assert place is None or row.geometry.contains(shapely.Point(place))


def test_ecoregions_of_colorado() -> None:
    found = list(STORE.get("RESOLVE/ECOREGIONS/2017").rows(Query(bounds=COLORADO.bounds)))  # type: ignore[union-attr]
    shares = {
        row.properties["ECO_NAME"]: row.geometry.intersection(COLORADO).area / COLORADO.area
        for row in found
        if row.geometry.intersects(COLORADO)
    }
    assert set(shares) == {
        "Colorado Plateau shrublands",
        "Colorado Rockies forests",
        "Western shortgrass prairie",
        "Wyoming Basin shrub steppe",
    }
    assert min(shares.values()) > 0.05
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-9)


@given(st.floats(-124, -68), st.floats(26, 49))
def test_polygons_and_rendering_agree_on_the_ecoregion(longitude: float, latitude: float) -> None:
    """The site nearest on the bent plane belongs to the polygon, but for the metres between vertices of a border."""
    point = shapely.Point(longitude, latitude)
    holders = [row for row in rows("RESOLVE/ECOREGIONS/2017") if row.geometry.distance(point) < 0.02]
    if not holders:
        return
    (number,) = ecoregions.owner(np.array([longitude]), np.array([latitude]))
    assert land_character.sites().ecoregions[number].code in {row.properties["ECO_ID"] for row in holders}


@given(st.floats(-180, 180), st.floats(-56, 80))
def test_polygons_and_rendering_agree_on_the_coast(longitude: float, latitude: float) -> None:
    shape = shapely.Point(longitude, latitude)
    coast = characters_at(x_of([longitude]), y_of([latitude]), 1.0)[CHARACTERS.index("coast"), 0, 0]
    on_land = any(part.contains(shape) for part in shapes(LEVELS[0]))
    if abs(coast) > 12_000.0:
        assert on_land == (coast > 0.0)


@pytest.mark.parametrize(
    ("country", "longitude", "latitude"),
    [
        ("India", 74.0, 15.4), ("Cuba", -82.35, 23.1), ("Spain", 2.15, 41.4), ("Sri Lanka", 80.6, 7.3),
        ("Italy", 14.2, 37.6), ("Greece", 24.9, 35.2), ("Taiwan", 121.0, 23.8), ("Mauritius", 57.55, -20.3),
        ("Puerto Rico", -66.7, 18.27), ("New Caledonia", 165.3, -21.4), ("Fiji", 178.0, -17.8),
        ("Philippines", 123.8, 10.4), ("U.K. of Great Britain and Northern Ireland", -0.1, 51.5),
    ],
)  # fmt: skip
def test_places_on_coasts_and_islands_are_land_of_their_country(
    country: str, longitude: float, latitude: float
) -> None:
    coast = characters_at(x_of([longitude]), y_of([latitude]), 1.0)[CHARACTERS.index("coast"), 0, 0]
    assert coast > 0.0
    (row,) = (row for row in rows(LEVELS[0]) if row.geometry.contains(shapely.Point(longitude, latitude)))
    assert row.properties["ADM0_NAME"] == country


@pytest.mark.parametrize(("longitude", "latitude"), [(0.0, 66.0), (-170.0, 70.0), (50.5, 41.0), (170.0, 72.0)])
def test_seas_reach_to_the_date_line(longitude: float, latitude: float) -> None:
    assert characters_at(x_of([longitude]), y_of([latitude]), 1.0)[CHARACTERS.index("coast"), 0, 0] < 0.0


def test_queries_find_rows_by_bounds_and_values() -> None:
    table = STORE.get(LEVELS[2])
    bounds = (-105.5, 39.0, -104.5, 40.0)
    near = {row.index for row in table.rows(Query(bounds=bounds))}  # type: ignore[union-attr]
    exact = {row.index for row in rows(LEVELS[2]) if row.geometry.intersects(shapely.box(*bounds))}
    assert exact <= near
    assert len(near) < 40
    across = {row.properties["ADM0_NAME"] for row in table.rows(Query(bounds=(170.0, 60.0, -170.0, 70.0)))}  # type: ignore[union-attr]
    assert "Russian Federation" in across
    assert list(table.rows(Query(start=0.0))) == []  # type: ignore[union-attr]
    assert list(table.rows(Query(equals={"ADM2_NAME": "Atlantis"}))) == []  # type: ignore[union-attr]


def test_places_come_back_from_the_bent_plane() -> None:
    x, y = np.linspace(5.0e6, 9.0e6, 200), np.linspace(1.1e7, 1.4e7, 200)
    bx, by = land_character.bend(x[None, :], y[None, :])
    ux, uy = land_character.unbend(bx[0], by[0])
    assert np.abs(ux - x).max() < 60.0
    assert np.abs(uy - y).max() < 60.0


def test_countries_of_lsib_are_those_of_gaul_by_their_codes() -> None:
    simple = {
        row.properties["country_co"]: row for row in rows("USDOS/LSIB_SIMPLE/2017") if row.properties["country_co"]
    }
    assert len(simple) >= 120
    for code, name, region, longitude, latitude in (
        ("KE", "Kenya", "Africa", 37.9, 0.2), ("US", "United States", "North America", -98.6, 39.8),
        ("BR", "Brazil", "South America", -51.9, -10.8), ("FR", "France", "Europe", 2.5, 46.6),
    ):  # fmt: skip
        row = simple[code]
        assert (row.properties["country_na"], row.properties["wld_rgn"]) == (name, region)
        assert row.geometry is not None
        assert row.geometry.distance(shapely.Point(longitude, latitude)) < 1.0
    assert len(rows("USDOS/LSIB/2017")) == len(rows("FAO/GAUL/2015/level0"))


def test_areas_of_tiger_are_those_of_the_shapes() -> None:
    geod = Geod(ellps="WGS84")
    for row in rows("TIGER/2018/States")[:12]:
        area, _ = geod.geometry_area_perimeter(row.geometry)
        assert row.properties["ALAND"] == pytest.approx(abs(area), rel=0.01)
