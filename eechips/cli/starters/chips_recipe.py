"""Pictures at random points.

    eechips run recipe.py --local --check        # try three
    eechips run recipe.py --local -p count=200   # all; to resume, repeat the command

Without --local it asks Earth Engine: eechips doctor says whether that will work.
"""

import random

import ee

from eechips import Chip

DATASETS = ["USDA/NAIP/DOQQ"]  # run.json gets their licence and citation


def get_requests(count=24, seed=0, west=-105.3, south=39.6, east=-104.9, north=40.0):
    """Once, in the parent: the work units, small JSON values. Parameters are given with -p count=200.

    The same parameters must give the same units, so that a run can go on: seed what is random.
    """
    draw = random.Random(seed)
    return [
        {"kind": "point", "coordinates": [round(draw.uniform(west, east), 5), round(draw.uniform(south, north), 5)]}
        for _ in range(count)
    ]


def get_result(index, point, size=256, metres=1.0):
    """Once for each unit, in a worker: what to fetch. Requests, retries, checks and files are eechips' business."""
    region = ee.Geometry.Point(point["coordinates"]).buffer(size * metres / 2).bounds()
    images = ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(region).filterDate("2015-01-01", "2030-01-01")
    latest_on_top = images.select("R", "G", "B").sort("system:time_start").mosaic()
    # For data instead of pictures: format="tif" or "npy". For exact pixels: help(eechips.Grid).
    return Chip(latest_on_top, region=region, dimensions=(size, size), bands=("R", "G", "B"), format="png")
