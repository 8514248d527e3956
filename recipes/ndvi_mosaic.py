"""NDVI of a region of any size as one raster: fetch windows that Earth Engine computes, and join them.

    eechips run recipes/ndvi_mosaic.py -p west=-105.1 -p south=39.95 -p east=-105.0 -p north=40.0 --local

The command `eechips mosaic` does this with the bands of a dataset. This is the recipe to copy for what is computed.
"""

import ee
import shapely

from eechips import Chip, Grid
from eechips.formats.mosaic_cog import Mosaic, Tile
from eechips.geo.grid import Window
from eechips.planning.grid_alignment import aligned_grid, cover_region, find_utm_crs
from eechips.planning.request_windows import divide_grid

DATASETS = ["USDA/NAIP/DOQQ"]  # for licence and citation in run.json


def get_requests(west=-105.1, south=39.95, east=-105.0, north=40.0, scale=10.0):
    """Plan windows of the region's grid that fit into a request. Called once, in the parent."""
    base_grid = aligned_grid(find_utm_crs((west + east) / 2, (south + north) / 2), scale)
    grid = cover_region(base_grid, shapely.box(west, south, east, north))
    return [
        {"kind": "tile", "window": [window.column, window.row, window.width, window.height], "whole": grid.to_json()}
        for window in divide_grid(grid, base_grid, bands=1, dtype="float32")
    ]


def get_result(index, unit):
    """Return the chip of a window. Called once for each window, in a worker."""
    grid = Grid.from_json(unit["whole"]).window(*unit["window"])
    box = ee.Geometry.Rectangle(list(grid.bounds), grid.crs, False)
    images = ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(box).filterDate("2019-01-01", "2022-01-01")
    greenness = images.select("N", "R").sort("system:time_start").mosaic().normalizedDifference(["N", "R"]).toFloat()
    return Chip(greenness.rename("ndvi"), grid=grid, bands=("ndvi",), dtype="float32", format="tif")


def assemble(results):
    """Join the windows to one cloud-optimised GeoTIFF. Called once, in the parent, at the end."""
    if results.failed:
        return  # `eechips retry` calls this function again
    settled = list(results)
    grid = Grid.from_json(settled[0].unit["whole"])
    tiles = [Tile(Window(*each.unit["window"]), each.path) for each in settled]
    mosaic = Mosaic(grid=grid, bands=("ndvi",), dtype="float32", tiles=tiles)
    with results.make("ndvi.tif") as path:
        mosaic.write(path)
        list(mosaic.check(path))  # raises if a pixel differs from its window
