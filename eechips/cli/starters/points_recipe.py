"""Values at many points, in one table: points near each other share a request.

    eechips run recipe.py --local --check                # try three cells
    eechips run recipe.py --local -p file=my_points.csv  # with columns lon and lat

Without --local it asks Earth Engine: eechips doctor says whether that will work.
"""

import random

import ee
import pandas as pd

from eechips import Table

DATASETS = ["USGS/SRTMGL1_003"]  # run.json gets their licence and citation


def get_requests(file="", cell=0.25, most=1000):
    """Once, in the parent: the work units, here cells of so many degrees with the points in them."""
    if file:
        points = pd.read_csv(file)
    else:  # something to begin with
        draw = random.Random(0)
        points = pd.DataFrame([{"lon": draw.uniform(-106, -105), "lat": draw.uniform(39, 40)} for _ in range(300)])
    points.insert(0, "row", range(len(points)))
    units = []
    for (x, y), group in points.groupby([points["lon"] // cell, points["lat"] // cell]):
        rows = [list(row) for row in group[["row", "lon", "lat"]].itertuples(index=False)]
        for first in range(0, len(rows), most):
            name = f"cells/{x:.0f}_{y:.0f}_{first}"
            units.append({"kind": "cell", "name": name, "points": rows[first : first + most]})
    return units


def get_result(index, unit, scale=30):
    """Once for each cell, in a worker: a row for each of its points."""
    points = ee.FeatureCollection(
        [ee.Feature(ee.Geometry.Point([lon, lat]), {"row": row, "lon": lon, "lat": lat})
         for row, lon, lat in unit["points"]]
    )  # fmt: skip
    terrain = ee.Terrain.products(ee.Image("USGS/SRTMGL1_003")).select("elevation", "slope")
    rows = terrain.reduceRegions(points, ee.Reducer.first(), scale)
    return Table(rows, columns=("row", "lon", "lat", "elevation", "slope"), name=unit["name"])


def assemble(results):
    """Once, in the parent, when all cells are there: one table in the order of the points."""
    tables = [pd.read_csv(result.path) for result in results if result.path]
    with results.make("points.csv") as path:
        pd.concat(tables).sort_values("row").to_csv(path, index=False)
