"""A recipe of point chips, planned without a request: what benchmarks measure is the fetching.

The light server tells units apart by their point; the local Earth Engine gets an image that is cheap to compute.
"""

import math
import os
import signal
import time

import ee

from eechips import Chip, Grid, Template


def points(count):
    """So many places in and around Colorado, all different, as [longitude, latitude] with six decimals."""
    golden, silver = 0.6180339887, 0.4142135624
    return [[round(-109 + 4 * (n * golden % 1), 6), round(37 + 4 * (n * silver % 1), 6)] for n in range(count)]


def naip(point):
    """The original script's mosaic."""
    region = ee.Geometry.Point(point).buffer(127).bounds()
    found = (
        ee.ImageCollection("USDA/NAIP/DOQQ")
        .filterBounds(region)
        .filterDate("2015-01-01", "2030-01-01")
        .sort("system:time_start")
    )
    return found.mosaic().select("R", "G", "B")


def constant(point, values):
    return ee.Image.constant(values).addBands(ee.Image.constant(point)).select([0, 1, 2]).toUint8()


def missing(point):
    return ee.Image("bench/missing").clip(ee.Geometry.Point(point))


def square(point, edge):
    """The pixels around a point that ``buffer(127).bounds()`` at so many gives, to a thousandth."""
    longitude, latitude = point
    width, height = (254 / (111_320 * shrink) for shrink in (math.cos(math.radians(latitude)), 1))
    corner = longitude - width / 2, latitude + height / 2
    return Grid("EPSG:4326", (width / edge, 0.0, corner[0], 0.0, -height / edge, corner[1]), edge, edge)


def trouble(count):
    """Units that cannot succeed, by index: one kills its worker, one hangs, three ask for what is not there."""
    return {3: "hangs", count // 7: "kills", count // 3: "missing", count // 2: "missing", count - 2: "missing"}


def get_requests(count=1000):
    return points(count)


def get_result(index, point, chip="naip", count=1000, troubled=False, edge=256):
    what = trouble(count).get(index) if troubled else None
    if what == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hangs":
        time.sleep(86_400)
    values = {"point": point}
    if what == "missing":
        found = Template(missing, values=values, passes_values=True)
    elif chip == "constant":
        found = Template(
            constant, values={**values, "values": [index % 251, index % 241, index % 239]}, passes_values=True
        )
    else:
        found = Template(naip, values=values, passes_values=True)
    return Chip(found, grid=square(point, edge), name=f"tile_{index:05d}")
