"""Make the outlines on the maps of reports: countries, and the states of the United States.

From Natural Earth (https://www.naturalearthdata.com), which is in the public domain: the countries of 1:110m, and the
states of 1:10m, simplified together, so that neighbours keep a common border.

python tools/outlines.py COUNTRIES STATES eechips/reports/basemap.json

COUNTRIES is ne_110m_admin_0_countries, STATES the part of ne_10m_admin_1_states_provinces that lies in the USA; any
vector file or Parquet.
"""

import json
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

STEP = 0.01  # degrees: coordinates are whole multiples
TOLERANCE = 0.03  # degrees by which a state's border may be simplified
LEAST = 0.002  # square degrees: smaller islands of states are left out
SOURCE = "Natural Earth 5, 1:110m countries and 1:10m states of the USA, simplified (public domain)"


def main(countries: str, states: str, target: str) -> None:
    """Writes the outlines."""
    world, parts = read(countries), read(states)
    world = world[world["ADM0_A3"] != "USA"]
    borders = shapely.coverage_simplify(parts.geometry.to_numpy(), TOLERANCE)
    shapes = [shape(name, outline) for name, outline in zip(world["NAME"], world.geometry, strict=True)]
    shapes += [shape(name, outline) for name, outline in zip(parts["name"], borders, strict=True)]
    shapes = sorted((each for each in shapes if each["rings"]), key=lambda each: each["name"])
    text = json.dumps({"source": SOURCE, "step": STEP, "shapes": shapes}, separators=(",", ":"), ensure_ascii=False)
    Path(target).write_text(text + "\n", encoding="utf-8")


def read(path: str) -> gpd.GeoDataFrame:
    """A table of outlines in longitude and latitude."""
    found = gpd.read_parquet(path) if path.endswith(".parquet") else gpd.read_file(path)
    return found.to_crs("EPSG:4326")


def shape(name: str, outline: shapely.Geometry) -> dict:
    """A name, and rings of whole numbers: the first place, then the way from each to the next."""
    rings = []
    for part in shapely.get_parts(outline):
        if part.area < LEAST:
            continue
        places = np.round(shapely.get_coordinates(part.exterior) / STEP).astype(int)  # what lies inside has its own
        steps = np.diff(places, axis=0)
        rings.append([*places[0].tolist(), *steps[(steps != 0).any(axis=1)].ravel().tolist()])
    return {"name": name, "rings": rings}


if __name__ == "__main__":
    main(*sys.argv[1:])
