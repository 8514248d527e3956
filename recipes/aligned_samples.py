"""Samples for land-cover models: an image, elevation and a mask of classes on the same pixels, as many of every class.

    eechips run recipes/aligned_samples.py -p per_class=3 --local

The command `eechips sample --dataset S2 --dataset SRTM --dataset WORLDCOVER --per-class 3` does the same, with more
choice. This is the recipe to copy and change: what `get_result` returns by name becomes files of one sample, which come
together or not at all.
"""

import ee
import shapely

from eechips import Chip, Grid
from eechips.planning.grid_alignment import aligned_grid, find_utm_crs, snap_chip
from eechips.planning.imagery.map_bands import MapName, fetch_map
from eechips.planning.sampling.class_strata import ClassPool
from eechips.planning.sampling.stratified_draw import StratifiedDraw

DATASETS = ["COPERNICUS/S2_SR_HARMONIZED", "USGS/SRTMGL1_003", "ESA/WorldCover/v200"]


def get_requests(per_class=10, west=-105.3, south=39.9, east=-105.2, north=40.0, size=64, seed=0):
    """Plan places in every class, each with the grid of its samples. Called once, in the parent."""
    labels = fetch_map(
        "labels", MapName("ESA/WorldCover/v200", "Map"), ee.Geometry.Rectangle([west, south, east, north])
    )
    pool = ClassPool(labels, shapely.box(west, south, east, north), seed)
    units = []
    for label, point in StratifiedDraw(pool, pool.find_classes(per_class), per_class).interleaved():
        grid = snap_chip(aligned_grid(find_utm_crs(*point), 10), point, (size, size))
        units.append({"kind": "point", "coordinates": list(point), "class": label, "grid": grid.to_json()})
    return units


def get_result(index, unit, start="2021-06-01", end="2021-09-01"):
    """Return the chips of a place by name. Called once for each place, in a worker."""
    grid = Grid.from_json(unit["grid"])
    place = ee.Geometry.Point(unit["coordinates"]).buffer(1000)
    images = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterBounds(place).filterDate(start, end)
    images = images.select("B4", "B3", "B2", "B8")  # before compositing, since bands differ between images
    clearest_on_top = images.sort("CLOUDY_PIXEL_PERCENTAGE", False).mosaic()
    labels = ee.ImageCollection("ESA/WorldCover/v200").mosaic()
    return {
        "image": Chip(clearest_on_top, grid=grid, bands=("B4", "B3", "B2", "B8"), format="tif"),
        "elevation": Chip(ee.Image("USGS/SRTMGL1_003"), grid=grid, bands=("elevation",), format="tif"),
        "mask": Chip(labels, grid=grid, bands=("Map",), format="tif"),
    }
