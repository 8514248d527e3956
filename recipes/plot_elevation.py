"""Elevation and slope at the places of a table, many places in one request.

    eechips run recipes/plot_elevation.py -p plots=recipes/plots.csv --local

The command `eechips points` does the same for bands of any dataset, with dates, masks and polygons. This is the recipe
to copy and change: something that is computed, here the slope.
"""

import ee
import numpy as np
import pandas as pd

from eechips import Table
from eechips.planning.areas.place_groups import TILE, Cost, divide_places

DATASETS = ["USGS/SRTMGL1_003"]  # for licence and citation in run.json
COLUMNS = ("row", "elevation", "slope")


def get_requests(plots="recipes/plots.csv"):
    """Divide the places into cells of near places, each for one request. Called once, in the parent."""
    at = pd.read_csv(plots)[["lon", "lat"]].to_numpy()
    cost = Cost(values=len(COLUMNS), images=1, tile=TILE * 30)
    return [{"kind": "cell", "rows": rows.tolist(), "at": at[rows].tolist()} for rows in divide_places(at, cost)]


def get_result(index, cell):
    """Return the table of a cell. Called once for each cell, in a worker."""
    places = ee.List([[lon, lat, row] for (lon, lat), row in zip(cell["at"], cell["rows"], strict=True)])
    features = places.map(
        lambda place: ee.Feature(ee.Geometry.Point(ee.List(place).slice(0, 2)), {"row": ee.List(place).get(2)})
    )
    elevation = ee.Image(DATASETS[0])
    image = elevation.addBands(ee.Terrain.slope(elevation))
    # On the image's own pixels: nothing is resampled.
    values = image.reduceRegions(ee.FeatureCollection(features), ee.Reducer.first(), crs=elevation.projection())
    return Table(values, columns=COLUMNS, format="parquet")


def assemble(results, plots="recipes/plots.csv"):
    """Add the values to the user's table. Called once, in the parent, at the end."""
    table = pd.read_csv(plots)
    found = pd.concat([pd.read_parquet(settled.path) for settled in results if settled.path])
    values = found.set_index("row").reindex(np.arange(len(table)))
    with results.make("plots.csv") as path:
        table.join(values).to_csv(path, index=False)
