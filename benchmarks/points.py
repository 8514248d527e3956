"""A recipe of point chips, planned without a request: what benchmarks measure is the fetching.

The light server tells units apart by their point; the local Earth Engine gets an image that is cheap to compute.
"""

import os
import signal
import time

import ee

from eechips import Chip


def points(count):
    """So many places in and around Colorado, all different, as [longitude, latitude] with six decimals."""
    golden, silver = 0.6180339887, 0.4142135624
    return [[round(-109 + 4 * (n * golden % 1), 6), round(37 + 4 * (n * silver % 1), 6)] for n in range(count)]


def image(index, region, chip):
    """The original script's mosaic, or three constants."""
    if chip == "constant":
        return ee.Image.constant([index % 251, index % 241, index % 239]).toUint8()
    naip = ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(region).sort("system:time_start")
    return naip.mosaic().select("R", "G", "B")


def trouble(count):
    """Units that cannot succeed, by index: one kills its worker, one hangs, three ask for what is not there."""
    return {3: "hangs", count // 7: "kills", count // 3: "missing", count // 2: "missing", count - 2: "missing"}


def get_requests(count=1000):
    return points(count)


def get_result(index, point, chip="naip", count=1000, troubled=False):
    region = ee.Geometry.Point(point).buffer(127).bounds()
    what = trouble(count).get(index) if troubled else None
    if what == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hangs":
        time.sleep(86_400)
    found = ee.Image("bench/missing") if what == "missing" else image(index, region, chip)
    return Chip(found, region=region, dimensions=(256, 256), name=f"tile_{index:05d}")
