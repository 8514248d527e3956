"""Draw countries, states and counties: FAO/GAUL/2015 levels 0 to 2, the same simplified to 500 m, TIGER's of two years.

USDOS/LSIB_SIMPLE/2017 and USDOS/LSIB/2017 have the same countries.

The conterminous states have the atlas's outlines, with rivers' and ridges' wiggles on every edge that is neither a
meridian nor a parallel; their counties are cells of scattered seats. Elsewhere districts are such cells, put together
to countries by the nearest place that the atlas names, and to their provinces by the nearest place of
:mod:`eechips_local.demo.provinces`. Only Colorado is as the law has it; no other line means anything.

Columns: https://developers.google.com/earth-engine/datasets/catalog/FAO_GAUL_2015_level2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.demo import (
    demo_tables,
    drawing_cache,
    land_character,
    mercator,
    noise,
    political_atlas,
    provinces,
    state_outlines,
    tessellation,
)
from eechips_local.demo.mercator import SIZE, Floats
from eechips_local.evaluation.model import FeatureRow

USA = "United States of America"
_ATLAS_USA = "United States"
_ALASKA = "Alaska"
_HAWAII = "Hawaii"
_USA_CODE = 259
_FIRST_STATE_CODE = 3214
_FIRST_COUNTY_CODE = 23_725
_BEYOND = 1_000_000
_DISTRICT, _PROVINCE, _COUNTY = 18, 19, 16

Unit = tuple[str, str, str]
"""Names of country, state and county."""

_POSTAL = (
    "Alabama AL 01,Alaska AK 02,Arizona AZ 04,Arkansas AR 05,California CA 06,Colorado CO 08,Connecticut CT 09,"
    "Delaware DE 10,Florida FL 12,Georgia GA 13,Hawaii HI 15,Idaho ID 16,Illinois IL 17,Indiana IN 18,Iowa IA 19,"
    "Kansas KS 20,Kentucky KY 21,Louisiana LA 22,Maine ME 23,Maryland MD 24,Massachusetts MA 25,Michigan MI 26,"
    "Minnesota MN 27,Mississippi MS 28,Missouri MO 29,Montana MT 30,Nebraska NE 31,"
    "Nevada NV 32,New Hampshire NH 33,New Jersey NJ 34,"
    "New Mexico NM 35,New York NY 36,North Carolina NC 37,North Dakota ND 38,Ohio OH 39,Oklahoma OK 40,Oregon OR 41,"
    "Pennsylvania PA 42,Rhode Island RI 44,South Carolina SC 45,South Dakota SD 46,Tennessee TN 47,Texas TX 48,"
    "Utah UT 49,Vermont VT 50,Virginia VA 51,Washington WA 53,West Virginia WV 54,Wisconsin WI 55,Wyoming WY 56"
)


# FIPS 10-4 codes of countries by the regions of LSIB: https://en.wikipedia.org/wiki/List_of_FIPS_country_codes
_REGIONS = {
    "Africa": (
        "Algeria AG,Angola AO,Benin BN,Botswana BC,Burkina Faso UV,Burundi BY,Cameroon CM,Chad CD,Egypt EG,Eritrea ER,"
        "Ethiopia ET,Gabon GB,Ghana GH,Guinea GV,Kenya KE,Lesotho LT,Liberia LI,Libya LY,Madagascar MA,"
        "Malawi MI,Mali ML,Mauritania MR,Morocco MO,Mozambique MZ,Namibia WA,Niger NG,Nigeria NI,Rwanda RW,"
        "Senegal SG,Sierra Leone SL,Somalia SO,South Africa SF,South Sudan OD,Sudan SU,Tanzania TZ,Togo TO,"
        "Tunisia TS,Uganda UG,Zambia ZA,Zimbabwe ZI"
    ),
    "Australia": "Australia AS",
    "Caribbean": "Cuba CU,Dominican Republic DR,Haiti HA,Jamaica JM",
    "Central America": "Belize BH,Costa Rica CS,El Salvador ES,Guatemala GT,Honduras HO,Nicaragua NU,Panama PM",
    "Central Asia": "Kazakhstan KZ,Kyrgyzstan KG,Tajikistan TI,Turkmenistan TX,Uzbekistan UZ",
    "E Asia": "China CH,Japan JA,Mongolia MG",
    "Europe": (
        "Albania AL,Austria AU,Belarus BO,Belgium BE,Bulgaria BU,Croatia HR,Denmark DA,Estonia EN,Finland FI,France FR,"
        "Germany GM,Greece GR,Hungary HU,Iceland IC,Ireland EI,Italy IT,Latvia LG,Lithuania LH,Luxembourg LU,"
        "Moldova MD,Netherlands NL,Norway NO,Poland PL,Portugal PO,Romania RO,Serbia RI,Slovakia LO,"
        "Slovenia SI,Spain SP,Sweden SW,Switzerland SZ,Ukraine UP,United Kingdom UK"
    ),
    "N Asia": "Russia RS",
    "North America": "Canada CA,Mexico MX,United States US",
    "Oceania": "New Zealand NZ,Papua New Guinea PP",
    "S Asia": "Afghanistan AF,Bangladesh BG,Bhutan BT,India IN,Nepal NP,Pakistan PK,Sri Lanka CE",
    "SE Asia": "Cambodia CB,Indonesia ID,Malaysia MY,Philippines RP,Thailand TH,Vietnam VM",
    "SW Asia": (
        "Armenia AM,Azerbaijan AJ,Cyprus CY,Georgia GG,Iran IR,Iraq IZ,Israel IS,Jordan JO,Kuwait KU,Lebanon LE,"
        "Oman MU,Qatar QA,Saudi Arabia SA,Syria SY,Turkey TU,Yemen YM"
    ),
    "South America": (
        "Argentina AR,Bolivia BL,Brazil BR,Chile CI,Colombia CO,Ecuador EC,Guyana GY,Paraguay PA,Peru PE,Suriname NS,"
        "Uruguay UY,Venezuela VE"
    ),
}

_LSIB_NAMES = {USA: _ATLAS_USA, "Russian Federation": "Russia", "Myanmar": "Burma", "Lao PDR": "Laos"}


@dataclass(frozen=True)
class _Seats:
    """Places that counties or districts are nearest to, in units, and the names of what they belong to."""

    sites: tessellation.VoronoiSites
    owner: list[tuple[str, str]]


@cache
def _edges() -> dict[tuple[int, int], Floats]:
    """Return every edge of the states' outlines with its wiggles: degrees, from the corner of lower number."""
    points = state_outlines.corners()
    result = {}
    for rings in state_outlines.rings().values():
        for ring in rings:
            for a, b in zip(ring, [*ring[1:], ring[0]], strict=True):
                key = (min(a, b), max(a, b))
                if key not in result:
                    result[key] = _wiggly(points[key[0]], points[key[1]], key)
    return result


def _wiggly(start: Floats, end: Floats, key: tuple[int, int]) -> Floats:
    """Move midpoints aside repeatedly; meridians and parallels stay as straight as surveyors drew
    them.
    """
    across, along = np.abs(end - start)
    straight = across < 0.025 or along < 0.025
    line = np.array([start, end])
    for depth in range(9):
        delta = line[1:] - line[:-1]
        length = np.sqrt((delta * delta).sum(axis=1))
        if length.max() < (0.12 if straight else 0.05):
            break
        middle = (line[1:] + line[:-1]) * 0.5
        if not straight:
            aside = noise.random(key[0] * 1024 + key[1], np.arange(len(middle)) + (1 << depth), 801) - 0.5
            middle = middle + np.stack([-delta[:, 1], delta[:, 0]], axis=1) * (aside * 0.34)[:, None]
        longer = np.empty((len(line) + len(middle), 2))
        longer[::2], longer[1::2] = line, middle
        line = longer
    return np.round(line, 7)


@cache
def _states() -> tuple[list[str], shapely.STRtree]:
    """Return names of the states, and their shapes with all wiggles, in a tree."""
    edges = _edges()
    shapes = []
    for rings in state_outlines.rings().values():
        parts = []
        for ring in rings:
            pieces = [
                edges[(a, b)][:-1] if a < b else edges[(b, a)][:0:-1]
                for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)
            ]
            parts.append(shapely.make_valid(shapely.Polygon(np.concatenate(pieces))))
        shapes.append(shapely.union_all(parts))
    return list(state_outlines.rings()), shapely.STRtree(shapes)


def _state_of(longitude: Floats, latitude: Floats) -> npt.NDArray[np.int64]:
    """Return the number of the state that places lie in, -1 outside all."""
    _, tree = _states()
    result = np.full(len(longitude), -1, dtype=np.int64)
    points, states = tree.query(shapely.points(longitude, latitude), predicate="intersects")
    result[points[::-1]] = states[::-1]
    return result


@cache
def _counties() -> _Seats:
    """Return seats of the counties of the conterminous states; every state has at least one."""
    names, tree = _states()
    west, east = mercator.x_of([-125.5, -66.0])
    north, south = mercator.y_of([49.6, 24.3])
    x, y = tessellation.jittered(
        _COUNTY,
        811,
        range(int(north) >> _COUNTY, int(south) >> _COUNTY),
        range(int(west) >> _COUNTY, int(east) >> _COUNTY),
    )
    state = _state_of(mercator.longitude_of(x), mercator.latitude_of(y))
    x, y, state = x[state >= 0], y[state >= 0], state[state >= 0]
    for number in sorted(set(range(len(names))) - set(state.tolist())):
        inside = shapely.point_on_surface(tree.geometries[number])
        x, y = np.append(x, mercator.x_of(inside.x)), np.append(y, mercator.y_of(inside.y))
        state = np.append(state, number)
    return _Seats(tessellation.VoronoiSites.of(x, y), [(USA, names[number]) for number in state])


@cache
def _districts() -> tuple[_Seats, list[tuple[str, str]]]:
    """Return seats of the districts of the world, and what they would belong to if there were no United States."""
    named = [
        (name, place)
        for name, where in land_character.records(political_atlas.COUNTRIES)
        for place in land_character.places(where)
    ]
    country_x = mercator.x_of([place[0] for _, place in named])
    country_y = mercator.y_of([place[1] for _, place in named])
    x, y = tessellation.jittered(_DISTRICT, 821, range(110), range(SIZE >> _DISTRICT))
    close = tessellation.inland(x, y) > -4.5e5
    x, y = x[close], y[close]
    px, py = tessellation.jittered(_PROVINCE, 831, range(55), range(SIZE >> _PROVINCE))
    province = tessellation.VoronoiSites.of(px, py).nearest(x, y)
    others = np.flatnonzero([name != _ATLAS_USA for name, _ in named])
    owners = []
    for chosen in (np.arange(len(named)), others):
        near = chosen[tessellation.VoronoiSites.of(country_x[chosen], country_y[chosen]).nearest(x, y)]
        names = [named[n][0] for n in near]
        owners.append([*zip(names, _provinces_of(names, x, y, [str(p) for p in province]), strict=True)])
    seats = [(name, one) for name, known in provinces.countries().items() for one in known.provinces]
    seats = [(name, one) for name, one in seats if name not in provinces.ENCLAVES]
    x = np.append(x, mercator.x_of(np.array([one.longitude for _, one in seats])))
    y = np.append(y, mercator.y_of(np.array([one.latitude for _, one in seats])))
    for owner in owners:
        owner += [(name, one.name) for name, one in seats]
    return _Seats(tessellation.VoronoiSites.of(x, y), owners[0]), owners[1]


def _provinces_of(names: list[str], x: Floats, y: Floats, others: list[str]) -> list[str]:
    """Return the nearest of the named provinces of each place's country; one of ``others`` if it has none."""
    chosen, countries = list(others), np.array(names)
    for name, known in provinces.countries().items():
        here = np.flatnonzero(countries == name)
        if known.provinces and len(here):
            px = mercator.x_of(np.array([one.longitude for one in known.provinces]))
            py = mercator.y_of(np.array([one.latitude for one in known.provinces]))
            near = tessellation.VoronoiSites.of(px, py).nearest(x[here], y[here])
            for place, number in zip(here.tolist(), near.tolist(), strict=True):
                chosen[place] = known.provinces[number].name
    return chosen


def _american(longitude: float, latitude: float) -> bool:
    """Return whether land beside the outlines of the states is a piece of their coast, and not of Canada or Mexico."""
    if latitude > 42.0:
        return (-71.5 < longitude < -66.7 and latitude < 44.9) or (longitude < -123.2 and latitude < 48.4)
    return longitude > -97.6 if latitude < 32.5 else longitude > -85.0 or longitude < -117.0


def _beyond_states(latitude: float) -> str:
    """Return the state of American land west of the outlines."""
    return _ALASKA if latitude > 45.0 else _HAWAII


def _unit(longitude: Floats, latitude: Floats) -> list[tuple[str, str, int]]:
    """Return country, state or province, and seat of places on land; seats of districts are numbered on from
    1,000,000.
    """
    names, tree = _states()
    counties, (districts, foreign) = _counties(), _districts()
    bx, by = (b[0] for b in land_character.bend(mercator.x_of(longitude)[None, :], mercator.y_of(latitude)[None, :]))
    district = districts.sites.nearest(bx, by)
    state = _state_of(longitude, latitude)
    for outside in np.flatnonzero(state < 0).tolist():
        where = float(longitude[outside]), float(latitude[outside])
        if districts.owner[district[outside]][0] == _ATLAS_USA and _american(*where):
            state[outside] = tree.nearest(shapely.Point(*where))
    county = np.zeros(len(longitude), dtype=np.int64)
    seats: dict[str, list[int]] = {}
    for seat, (_, name) in enumerate(counties.owner):
        seats.setdefault(name, []).append(seat)
    for number in np.unique(state[state >= 0]):
        here, own = np.flatnonzero(state == number), np.array(seats[names[number]])
        county[here] = own[
            tessellation.VoronoiSites.of(counties.sites.x[own], counties.sites.y[own]).nearest(bx[here], by[here])
        ]
    result = []
    for place, number in enumerate(state):
        if number >= 0:
            result.append((USA, names[number], int(county[place])))
            continue
        seat = int(district[place])
        country, province = districts.owner[seat]
        if country == _ATLAS_USA:
            country, province = (USA, _beyond_states(latitude[place])) if longitude[place] < -129.0 else foreign[seat]
        result.append((country, province, 1_000_000 + seat))
    return result


@cache
def _units() -> dict[Unit, shapely.Geometry]:
    """Return all counties and districts, named, in the order of their names."""
    kept = drawing_cache.kept_shapes("units", lambda: {"\t".join(unit): shape for unit, shape in _draw_units().items()})
    result = {}
    for key, shape in kept.items():
        country, state, county = key.split("\t")
        result[(country, state, county)] = shape
    for name, enclave in provinces.ENCLAVES.items():
        circle = _circle(enclave)
        for unit in [unit for unit, shape in result.items() if shape.intersects(circle)]:
            result[unit] = result[unit].difference(circle)
        result[(name, provinces.UNNAMED, name)] = circle
    return {unit: shape for unit, shape in result.items() if not shape.is_empty}


def _circle(enclave: provinces.Enclave) -> shapely.Geometry:
    """Return a circle of the area of an enclave."""
    radius = (enclave.area / np.pi) ** 0.5 / 111.2  # degrees of latitude
    angles = np.linspace(0.0, 2.0 * np.pi, 33)[:-1]
    east = radius / np.cos(np.radians(enclave.latitude))
    return shapely.Polygon(
        np.column_stack((enclave.longitude + east * np.cos(angles), enclave.latitude + radius * np.sin(angles)))
    )


def _draw_units() -> dict[Unit, shapely.Geometry]:
    counties, (districts, _) = _counties(), _districts()
    lines = [np.asarray(shapely.linestrings(line)) for line in _edges().values()]
    _, tree = _states()
    states = shapely.union_all(shapely.box(*shapely.bounds(tree.geometries).T))
    shapely.prepare(states)
    for seats, step, american in ((counties, 14000.0, True), (districts, 45000.0, False)):
        ends = seats.sites.borders()
        ends = ends[tessellation.near_land(ends)]
        if american:
            ends = ends[shapely.dwithin(states, shapely.points(tessellation.degrees(*ends.mean(axis=1).T)), 1.0)]
        lines.append(tessellation.drawn(ends, lambda x, y, step=step: np.full(len(x), step)))  # type: ignore[misc]
    unit_outlines = tessellation.tiles([np.atleast_1d(line) for line in lines], _unit)
    named: dict[Unit, shapely.Geometry] = {}
    numbers: dict[tuple[str, str], int] = {}
    unnamed: dict[str, list[str]] = {}
    for country, province, seat in sorted(unit_outlines):
        state = province
        if province.isdigit():
            known = unnamed.setdefault(country, [])
            if province not in known:
                known.append(province)
            state = f"{country} {known.index(province) + 1}"
        numbers[(country, state)] = numbers.get((country, state), 0) + 1
        kind = "County" if country == USA else "District"
        named[(country, state, f"{state} {kind} {numbers[(country, state)]:02d}")] = unit_outlines[
            (country, province, seat)
        ]
    return {unit: named[unit] for unit in sorted(named)}


@cache
def _codes() -> tuple[dict[str, int], dict[tuple[str, str], int], dict[Unit, int]]:
    """Return codes of countries, states and counties: those of GAUL, and others beyond them where it has none."""
    units = list(_units())
    known = provinces.countries()
    countries = sorted({unit[0] for unit in units} - {USA})
    country = {name: known[name].code if name in known else _BEYOND + n for n, name in enumerate(countries)}
    states = sorted({unit[:2] for unit in units if unit[0] != USA})
    state = {key: _BEYOND + number for number, key in enumerate(states)}
    for name in countries:
        named = known[name].provinces if name in known else ()
        state |= {(name, one.name): one.code for one in named if (name, one.name) in state}
    american = sorted([entry.rsplit(" ", 2)[0] for entry in _POSTAL.split(",")] + ["District of Columbia"])
    state |= {(USA, name): _FIRST_STATE_CODE + number for number, name in enumerate(american)}
    ordered = sorted(units, key=lambda unit: (unit[0] != USA, unit))
    return country | {USA: _USA_CODE}, state, {unit: _FIRST_COUNTY_CODE + number for number, unit in enumerate(ordered)}


@cache
def _shapes(level: int) -> tuple[tuple[tuple[str, ...], shapely.Geometry], ...]:
    """Return the units of a level, by their names in the atlas, in the order of these."""
    groups: dict[tuple[str, ...], list[shapely.Geometry]] = {}
    for unit, shape in sorted(_units().items()):
        groups.setdefault(unit[: level + 1], []).append(shape)
    return tuple((key, tessellation.joined(shapes)) for key, shapes in groups.items())


@cache
def gaul(level: int) -> demo_tables.Rows:
    """Return rows of a level of GAUL, in the order of their codes."""
    country, state, county = _codes()
    known = provinces.countries()
    codes: list[dict[Any, int]] = [country, state, county]
    entries = []
    for key, shape in _shapes(level):
        names = [*key, "", ""]
        area, length = demo_tables.measures(shape)
        name = known[names[0]].name if names[0] in known else names[0]
        properties: dict[str, Any] = {"ADM0_CODE": country[names[0]], "ADM0_NAME": name}
        if level >= 1:
            properties |= {"ADM1_CODE": state[(names[0], names[1])], "ADM1_NAME": names[1]}
        if level >= 2:
            properties |= {"ADM2_CODE": county[(names[0], names[1], names[2])], "ADM2_NAME": names[2]}
        properties |= {
            "DISP_AREA": "NO",
            f"EXP{level}_YEAR": 3000,
            "STATUS": "Member State",
            f"STR{level}_YEAR": 1000,
            "Shape_Area": area,
            "Shape_Leng": length,
        }
        entries.append((codes[level][key[0] if level == 0 else key], shape, properties))
    entries.sort(key=lambda entry: entry[0])
    return tuple(
        FeatureRow(demo_tables.index_of(number), shape, properties)
        for number, (_, shape, properties) in enumerate(entries)
    )


@cache
def tiger_states() -> demo_tables.Rows:
    """Return rows of TIGER's states, in the order of their codes."""
    shapes = {row.properties["ADM1_NAME"]: row.geometry for row in gaul(1) if row.properties["ADM0_NAME"] == USA}
    result: list[FeatureRow] = []
    for entry in _POSTAL.split(","):
        name, postal, code = entry.rsplit(" ", 2)
        if name not in shapes:
            continue
        inside = shapely.point_on_surface(shapes[name])
        properties = {
            "FUNCSTAT": "A",
            "GEOID": code,
            "INTPTLAT": f"{inside.y:+.7f}",
            "INTPTLON": f"{inside.x:+.7f}",
            "LSAD": "00",
            "MTFCC": "G4000",
            "NAME": name,
            "STATEFP": code,
            "STUSPS": postal,
            **_land_area(shapes[name]),
        }
        result.append(FeatureRow(demo_tables.index_of(len(result)), shapes[name], properties))
    return tuple(result)


def _land_area(shape: shapely.Geometry) -> dict[str, int]:
    """Return the columns of TIGER on areas, square metres: all is land. On a sphere with the area of the Earth."""
    plane = shapely.transform(shape, lambda at: np.column_stack((np.radians(at[:, 0]), np.sin(np.radians(at[:, 1])))))
    return {"ALAND": round(float(shapely.area(plane)) * 6_371_007.2**2), "AWATER": 0}


@cache
def tiger_counties() -> demo_tables.Rows:
    """Return rows of TIGER's counties, in the order of their codes: as in real ones, odd numbers within their state."""
    codes = {name: code for name, _, code in (entry.rsplit(" ", 2) for entry in _POSTAL.split(","))}
    numbers: Counter[str] = Counter()
    result: list[FeatureRow] = []
    rows = [row for row in gaul(2) if row.properties["ADM1_NAME"] in codes and row.properties["ADM0_NAME"] == USA]
    for row in sorted(rows, key=lambda row: (codes[row.properties["ADM1_NAME"]], row.properties["ADM2_NAME"])):
        state, name = codes[row.properties["ADM1_NAME"]], row.properties["ADM2_NAME"]
        assert row.geometry is not None
        inside = shapely.point_on_surface(row.geometry)
        number = f"{2 * numbers[state] + 1:03d}"
        numbers[state] += 1
        properties = {
            "CLASSFP": "H1",
            "COUNTYFP": number,
            "FUNCSTAT": "A",
            "GEOID": f"{state}{number}",
            "INTPTLAT": f"{inside.y:+.7f}",
            "INTPTLON": f"{inside.x:+.7f}",
            **_land_area(row.geometry),
            "LSAD": "06",
            "MTFCC": "G4020",
            "NAME": name,
            "NAMELSAD": f"{name} County",
            "STATEFP": state,
        }
        result.append(FeatureRow(demo_tables.index_of(len(result)), row.geometry, properties))
    return tuple(result)


@cache
def lsib(is_simple: bool) -> demo_tables.Rows:
    """Return the countries as in LSIB. Only larger countries have a code and a region."""
    known = {
        entry.rpartition(" ")[0]: (entry.rpartition(" ")[2], region)
        for region, entries in _REGIONS.items()
        for entry in entries.split(",")
    }
    rows = []
    for number, ((country,), shape) in enumerate(_shapes(0)):
        name = _LSIB_NAMES.get(country, country)
        code, region = known.get(name, ("", ""))
        names = {"country_co": code, "country_na": name, "wld_rgn": region} if is_simple else {"COUNTRY_NA": name}
        rows.append(FeatureRow(demo_tables.index_of(number), shape, names))
    return tuple(rows)


def _columns(level: int) -> dict[str, str]:
    columns: dict[str, str] = {}
    for n in range(level + 1):
        columns |= {f"ADM{n}_CODE": "Integer", f"ADM{n}_NAME": "String"}
    return columns | {
        "DISP_AREA": "String",
        f"EXP{level}_YEAR": "Integer",
        "STATUS": "String",
        f"STR{level}_YEAR": "Integer",
        "Shape_Area": "Float",
        "Shape_Leng": "Float",
    }


def gaul_tables() -> tuple[demo_tables.DemoTable, ...]:
    """Return the six tables of GAUL, the countries of LSIB, and TIGER's states and counties."""
    result: list[demo_tables.DemoTable] = []
    for name, is_simple, title in (
        ("LSIB_SIMPLE", True, "LSIB 2017: Large Scale International Boundary Polygons, Simplified"),
        ("LSIB", False, "LSIB 2017: Large Scale International Boundary Polygons, Detailed"),
    ):
        fields = ("country_co", "country_na", "wld_rgn") if is_simple else ("COUNTRY_NA",)
        drawn: Callable[[], demo_tables.Rows] = partial(lsib, is_simple)
        result.append(demo_tables.DemoTable(f"USDOS/{name}/2017", dict.fromkeys(fields, "String"), drawn, title))
    for folder, suffix in (("FAO/GAUL", ""), ("FAO/GAUL_SIMPLIFIED_500m", " 500m Simplified")):
        for level, what in enumerate(("Country Boundaries", "First-Level Units", "Second-Level Units")):
            draw: Callable[[], demo_tables.Rows] = partial(gaul, level)
            title = f"FAO GAUL{suffix}: Global Administrative Unit Layers 2015, {what}"
            result.append(demo_tables.DemoTable(f"{folder}/2015/level{level}", _columns(level), draw, title))
    names = ("FUNCSTAT", "GEOID", "INTPTLAT", "INTPTLON", "LSAD", "MTFCC", "NAME", "STATEFP", "STUSPS")
    areas = dict.fromkeys(("ALAND", "AWATER"), "Long")
    columns = {**areas, **dict.fromkeys(names, "String")}
    county = {**areas, **dict.fromkeys(("CLASSFP", "COUNTYFP", *names[:-1], "NAMELSAD"), "String")}
    for year in (2016, 2018):
        title = f"TIGER: US Census States {year}"
        result.append(demo_tables.DemoTable(f"TIGER/{year}/States", columns, tiger_states, title))
        title = f"TIGER: US Census Counties {year}"
        result.append(demo_tables.DemoTable(f"TIGER/{year}/Counties", county, tiger_counties, title))
    return tuple(result)
