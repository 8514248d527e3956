"""RESOLVE/ECOREGIONS/2017: the ecoregions of ``land_character``, as polygons.

Columns: https://developers.google.com/earth-engine/datasets/catalog/RESOLVE_ECOREGIONS_2017
"""

from __future__ import annotations

from functools import cache

import numpy as np
import shapely

from eechips_local.demo import demo_tables, land_character
from eechips_local.demo.borders import tessellation
from eechips_local.demo.painting import drawing_cache, mercator, noise
from eechips_local.demo.painting.mercator import Floats
from eechips_local.evaluation.asset_model import FeatureRow

ID = "RESOLVE/ECOREGIONS/2017"
COLUMNS = {
    "BIOME_NAME": "String",
    "BIOME_NUM": "Float",
    "COLOR": "String",
    "COLOR_BIO": "String",
    "COLOR_NNH": "String",
    "ECO_BIOME_": "String",
    "ECO_ID": "Integer",
    "ECO_NAME": "String",
    "LICENSE": "String",
    "NNH": "Integer",
    "NNH_NAME": "String",
    "OBJECTID": "Integer",
    "REALM": "String",
    "SHAPE_AREA": "Float",
    "SHAPE_LENG": "Float",
}

_BIOMES = {
    1: ("Tropical & Subtropical Moist Broadleaf Forests", "#38A700"),
    2: ("Tropical & Subtropical Dry Broadleaf Forests", "#CCCD65"),
    3: ("Tropical & Subtropical Coniferous Forests", "#88CE66"),
    4: ("Temperate Broadleaf & Mixed Forests", "#00734C"),
    5: ("Temperate Conifer Forests", "#458970"),
    6: ("Boreal Forests/Taiga", "#7AB6F5"),
    7: ("Tropical & Subtropical Grasslands, Savannas & Shrublands", "#FEAA01"),
    8: ("Temperate Grasslands, Savannas & Shrublands", "#FEFF73"),
    9: ("Flooded Grasslands & Savannas", "#BEE7FF"),
    10: ("Montane Grasslands & Shrublands", "#D6C39D"),
    11: ("Tundra", "#9ED7C2"),
    12: ("Mediterranean Forests, Woodlands & Scrub", "#FE0000"),
    13: ("Deserts & Xeric Shrublands", "#CC6767"),
}
_PROTECTION = {
    0: ("N/A", "#FFFFFF"),
    1: ("Half Protected", "#257339"),
    2: ("Nature Could Reach Half Protected", "#7BC141"),
    3: ("Nature Could Recover", "#F9A91B"),
    4: ("Nature Imperiled", "#EE1E23"),
}
_REALMS = {
    "Afrotropic": "AT",
    "Australasia": "AU",
    "Indomalayan": "IM",
    "N/A": "AN",
    "Nearctic": "NE",
    "Neotropic": "NO",
    "Oceania": "OC",
    "Palearctic": "PA",
}


def owner(longitude: Floats, latitude: Floats) -> list[int]:
    """Return the number (from 0) in the atlas of the ecoregion that places belong to, were they land."""
    table = land_character.sites()
    bx, by = land_character.bend(mercator.x_of(longitude)[None, :], mercator.y_of(latitude)[None, :])
    ecoregions: list[int] = table.owner[_sites().nearest(bx[0], by[0])].tolist()
    return ecoregions


@cache
def _sites() -> tessellation.VoronoiSites:
    return tessellation.VoronoiSites.of(land_character.sites().x, land_character.sites().y)


@cache
def rows() -> demo_tables.Rows:
    """Return all ecoregions that have land, in the order of the atlas."""
    table = land_character.sites()
    shapes = {int(number): shape for number, shape in drawing_cache.kept_shapes("ecoregions", _shapes).items()}
    result = []
    for place, number in enumerate(sorted(shapes)):
        eco, shape = table.ecoregions[number], shapes[number]
        biome, biome_colour = _BIOMES[eco.biome]
        protection, protection_colour = _PROTECTION[eco.protection]
        area, length = demo_tables.measures(shape)
        properties = {
            "BIOME_NAME": "N/A" if eco.code == 0 else biome,
            "BIOME_NUM": float(eco.biome),
            "COLOR": f"#{int(noise.hashed(eco.code, 0, 701)[0]) & 0xFFFFFF:06X}",
            "COLOR_BIO": biome_colour,
            "COLOR_NNH": protection_colour,
            "ECO_BIOME_": f"{_REALMS[eco.realm]}{eco.biome:02d}",
            "ECO_ID": eco.code,
            "ECO_NAME": eco.name,
            "LICENSE": "CC-BY 4.0",
            "NNH": eco.protection,
            "NNH_NAME": protection,
            "OBJECTID": place + 1,
            "REALM": eco.realm,
            "SHAPE_AREA": area,
            "SHAPE_LENG": length,
        }
        result.append(FeatureRow(demo_tables.index_of(place), shape, properties))
    return tuple(result)


def _shapes() -> dict[str, shapely.Geometry]:
    """Return outlines by the numbers of the ecoregions."""
    ends = _sites().borders()
    ends = ends[tessellation.near_land(ends)]
    between = land_character.sites().owner[_sites().between(ends)]
    lines = tessellation.drawn(ends[between[:, 0] != between[:, 1]], _step)
    return {str(number): shape for number, shape in tessellation.tiles([lines], owner).items()}


def _step(x: Floats, y: Floats) -> Floats:
    """Return units between vertices: finer in and around the conterminous United States."""
    longitude, latitude = mercator.longitude_of(x), mercator.latitude_of(y)
    here = (longitude > -128.0) & (longitude < -64.0) & (latitude > 23.0) & (latitude < 51.0)
    return np.where(here, 7000.0, 24000.0)


def table() -> demo_tables.DemoTable:
    """Return the table."""
    return demo_tables.DemoTable(ID, COLUMNS, rows, "RESOLVE Ecoregions 2017")
