"""Draw countries, provinces, states, counties and districts, and give them names and codes (GAUL, FIPS).

The conterminous states have the atlas's outlines, with rivers' and ridges' wiggles on every edge that is neither a
meridian nor a parallel; their counties are cells of scattered seats. Elsewhere districts are such cells, put together
to countries by the nearest place that the atlas names, and to their provinces by the nearest place of
:mod:`eechips_local.demo.provinces`. Only Colorado is as the law has it; no other line means anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.demo import land_character, provinces
from eechips_local.demo.borders import political_atlas, state_outlines, tessellation
from eechips_local.demo.painting import drawing_cache, mercator, noise
from eechips_local.demo.painting.mercator import SIZE, Floats

USA = "United States of America"
ATLAS_USA = "United States"
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
    others = np.flatnonzero([name != ATLAS_USA for name, _ in named])
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
        if districts.owner[district[outside]][0] == ATLAS_USA and _american(*where):
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
        if country == ATLAS_USA:
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
def us_states() -> dict[str, tuple[str, str]]:
    """Return the postal and the FIPS code of each state, by name, in the order of names."""
    entries = (entry.rsplit(" ", 2) for entry in _POSTAL.split(","))
    return {name: (postal, code) for name, postal, code in entries}


@cache
def codes() -> tuple[dict[str, int], dict[tuple[str, str], int], dict[Unit, int]]:
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
    american = sorted([*us_states(), "District of Columbia"])
    state |= {(USA, name): _FIRST_STATE_CODE + number for number, name in enumerate(american)}
    ordered = sorted(units, key=lambda unit: (unit[0] != USA, unit))
    return country | {USA: _USA_CODE}, state, {unit: _FIRST_COUNTY_CODE + number for number, unit in enumerate(ordered)}


@cache
def shapes_of(level: int) -> tuple[tuple[tuple[str, ...], shapely.Geometry], ...]:
    """Return the units of a level, by their names in the atlas, in the order of these."""
    groups: dict[tuple[str, ...], list[shapely.Geometry]] = {}
    for unit, shape in sorted(_units().items()):
        groups.setdefault(unit[: level + 1], []).append(shape)
    return tuple((key, tessellation.joined(shapes)) for key, shapes in groups.items())
