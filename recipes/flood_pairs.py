"""Sentinel-1 before and after the date of each place, both from the same orbit, so that only the ground differs.

    eechips run recipes/flood_pairs.py -p floods=recipes/floods.csv --local

The image after is the first one from the date on whose relative orbit has an image before the date; the image before
is the latest of these. The angle of view, and with it the shadows and the bright slopes of the terrain, are the same in
both. `eechips sample --frames 2:before-after` takes images of any orbit.
"""

import ee
import pandas as pd

from eechips import Chip, Grid, Template
from eechips.planning.grid_alignment import aligned_grid, find_utm_crs, snap_chip
from eechips.recipe import NoData

DATASETS = ["COPERNICUS/S1_GRD"]  # for licence and citation in run.json
BANDS = ("VV", "VH")
DAY = 86_400_000  # milliseconds
ROWS = 50  # places in one request


def get_requests(floods="recipes/floods.csv", days=24, size=64):
    """Choose the images of each place, many places in one request. Called once, in the parent."""
    table = pd.read_csv(floods, parse_dates=["day"], dtype={"id": str})
    table["moment"] = table["day"].astype("datetime64[ms]").astype("int64")
    rows = table[["lon", "lat", "moment"]].to_numpy(dtype=float).tolist()
    found = [each for start in range(0, len(rows), ROWS) for each in list_images(rows[start : start + ROWS], days)]
    units = []
    for place, images in zip(table.itertuples(), found, strict=True):
        grid = snap_chip(aligned_grid(find_utm_crs(place.lon, place.lat), 10), (place.lon, place.lat), (size, size))
        unit = {"kind": "point", "coordinates": [place.lon, place.lat], "flood": place.id, "day": str(place.day.date())}
        units.append({**unit, "grid": grid.to_json(), "pair": choose_pair(images, place.moment)})
    return units


def get_result(index, unit):
    """Return the two chips of a place by name. Called once for each place, in a worker."""
    if unit["pair"] is None:
        return NoData()
    chips = {}
    for name in ("before", "after"):
        image, moment = unit["pair"][name]
        source = f"{DATASETS[0]}/{image}"
        chips[name] = Chip(
            Template(backscatter, (), {"source": source}),
            grid=Grid.from_json(unit["grid"]),
            bands=BANDS,
            dtype="float32",
            format="tif",
            sources=(source,),
            dates=(str(pd.Timestamp(moment, unit="ms", tz="UTC")),),
            name=f"{unit['flood']}/{name}",
        )
    return chips


def backscatter(source):
    """Build the expression: decibels of one image."""
    return ee.Image(source).select(list(BANDS)).toFloat()


def list_images(rows, days):
    """Return ``[index, time, relative orbit, pass]`` of the images of each place, by time; one request."""
    collection = ee.ImageCollection(DATASETS[0]).filter(ee.Filter.eq("instrumentMode", "IW"))
    for band in BANDS:
        collection = collection.filter(ee.Filter.listContains("transmitterReceiverPolarisation", band))

    def of_place(row):
        lon, lat, moment = (ee.List(row).getNumber(number) for number in range(3))
        span = (ee.Date(moment.subtract(days * DAY)), ee.Date(moment.add(days * DAY)))
        images = collection.filterBounds(ee.Geometry.Point([lon, lat])).filterDate(*span)
        names = ("system:index", "system:time_start", "relativeOrbitNumber_start", "orbitProperties_pass")
        return images.toList(10_000).map(lambda image: ee.List([ee.Image(image).get(name) for name in names]))

    return [sorted(images, key=lambda image: image[1]) for images in ee.List(rows).map(of_place).getInfo()]


def choose_pair(images, moment):
    """Return index and time of the images before and after a moment; None if no orbit has both."""
    latest = {tuple(orbit): [index, time] for index, time, *orbit in images if time < moment}
    for index, time, *orbit in images:
        if time >= moment and tuple(orbit) in latest:
            return {"before": latest[tuple(orbit)], "after": [index, time]}
    return None
