"""Tables of boundaries: FAO/GAUL/2015 levels 0 to 2, the same simplified to 500 m, TIGER's of two years, and LSIB's.

Columns: https://developers.google.com/earth-engine/datasets/catalog/FAO_GAUL_2015_level2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import shapely

from eechips_local.demo import demo_tables, provinces
from eechips_local.demo.borders import boundaries
from eechips_local.demo.borders.boundaries import ATLAS_USA, USA, shapes_of, us_states
from eechips_local.evaluation.asset_model import FeatureRow

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


_LSIB_NAMES = {USA: ATLAS_USA, "Russian Federation": "Russia", "Myanmar": "Burma", "Lao PDR": "Laos"}


@cache
def gaul(level: int) -> demo_tables.Rows:
    """Return rows of a level of GAUL, in the order of their codes."""
    country, state, county = boundaries.codes()
    known = provinces.countries()
    codes: list[dict[Any, int]] = [country, state, county]
    entries = []
    for key, shape in shapes_of(level):
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
    for name, (postal, code) in us_states().items():
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
    codes = {name: code for name, (_, code) in us_states().items()}
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
    for number, ((country,), shape) in enumerate(shapes_of(0)):
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
