"""The pattern that eechips grew out of: a pool of 25 processes, ``getThumbURL``, ``requests.get``, its own ``@retry``.

Kept as people copy it, with its faults, as the rival to measure against: points are read from a file (they are the
same as eechips'), and the service's address is an argument. ``pixels`` is the same with ``ee.data.computePixels``, one
request a chip, as people copy it too. ``constant`` asks for three constants in place of the mosaic.

    python benchmarks/original_pattern.py POINTS.json URL OUT [url|pixels] [naip|constant]
"""

import json
import logging
import multiprocessing
import shutil
import sys
from pathlib import Path

import ee
import google.auth.credentials
import requests
from retry import retry


def initialize(url):
    ee.Initialize(google.auth.credentials.AnonymousCredentials(), url=url, project="local")


def image_of(index, region, chip):
    if chip == "constant":
        return ee.Image.constant([index % 251, index % 241, index % 239]).toUint8()
    return (
        ee.ImageCollection("USDA/NAIP/DOQQ")
        .filterBounds(region)
        .sort("system:time_start")
        .mosaic()
        .select("R", "G", "B")
    )


@retry(tries=10, delay=1, backoff=2)
def get_result(index, point, out, chip):
    """Handle the HTTP requests to download an image."""
    point = ee.Geometry.Point(point)
    region = point.buffer(127).bounds()
    image = image_of(index, region, chip)
    url = image.getThumbURL({"region": region, "dimensions": "256x256", "format": "png"})
    response = requests.get(url, stream=True)
    if response.status_code != 200:
        raise response.raise_for_status()
    with (Path(out) / f"tile_{index:05d}.png").open("wb") as file:
        shutil.copyfileobj(response.raw, file)


@retry(tries=10, delay=1, backoff=2)
def get_result_pixels(index, point, out, chip):
    """Handle the HTTP request to compute an image."""
    point = ee.Geometry.Point(point)
    region = point.buffer(127).bounds()
    image = image_of(index, region, chip).clipToBoundsAndScale(geometry=region, width=256, height=256)
    data = ee.data.computePixels({"expression": image, "fileFormat": "PNG"})
    (Path(out) / f"tile_{index:05d}.png").write_bytes(data)


def main(points, url, out, method="url", chip="naip"):
    logging.disable()
    Path(out).mkdir(parents=True, exist_ok=True)
    items = json.loads(Path(points).read_text())
    initialize(url)
    function = get_result_pixels if method == "pixels" else get_result
    with multiprocessing.get_context("fork").Pool(25) as pool:
        pool.starmap(function, [(index, point, out, chip) for index, point in enumerate(items)])


if __name__ == "__main__":
    main(*sys.argv[1:])
