"""The enhanced vegetation index of Sentinel-2 scenes, without clouds: a GeoTIFF for each image, on the image's pixels.

    eechips run recipes/sentinel2_evi.py -p start=2020-06-01 -p end=2020-07-01 --local

The images are those of a collection, or those of a list (`-p ids=FILE`, a line each).

EVI is 2.5 (NIR - RED) / (NIR + 6 RED - 7.5 BLUE + 1), of reflectance: Huete et al. 2002, Remote Sensing of Environment
83, https://doi.org/10.1016/S0034-4257(02)00096-2.
"""

import re
from pathlib import Path

import ee
import shapely

from eechips import Chip, Grid, Template
from eechips.planning.areas.regions import parse_box
from eechips.planning.asset_metadata import fetch_metadata
from eechips.planning.grid_alignment import aligned_grid, cover_region, rescale_grid
from eechips.planning.imagery.image_masking import parse_mask

DATASETS = ["COPERNICUS/S2_SR_HARMONIZED"]  # for licence and citation in run.json
NIR, RED, BLUE = "B8", "B4", "B2"
# Times of sensing and processing, and the tile, which begins with its UTM zone and latitude band.
INDEX = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)_\w+_T(\d\d)([C-X])\w\w")


def get_requests(ids="", box="-105.3,39.9,-105.28,39.92", start="2020-06-01", end="2020-07-01", dataset=DATASETS[0]):
    """Return ids of images only, as a queue delivers them. Called once, in the parent."""
    if ids:
        return [line.strip() for line in Path(ids).read_text().splitlines() if line.strip()]
    if not box:
        raise ValueError("an empty box takes all of each image: say which images, with -p ids=FILE")
    region = parse_box(box).polygon()
    there = ee.ImageCollection(dataset).filterBounds(ee.Geometry(shapely.geometry.mapping(region)))
    found = there.filterDate(start, end).aggregate_array("system:index").getInfo()
    return [f"{dataset}/{index}" for index in sorted(found)]


def get_result(index, image, box="-105.3,39.9,-105.28,39.92", scale=10.0, mask="auto"):
    """Return the chip of an image. Called in a worker. Without a box, the whole image: its size is requested first."""
    source = image if "/" in image else f"{DATASETS[0]}/{image}"
    dataset, _, name = source.rpartition("/")
    year, month, day, hour, minute, second, zone, band = INDEX.fullmatch(name).groups()
    if box:
        # Pixel corners of Sentinel-2 are at multiples of the pixel size.
        utm = f"EPSG:{326 if band >= 'N' else 327}{zone}"
        grid = cover_region(aligned_grid(utm, scale), parse_box(box).polygon())
    else:
        own = fetch_metadata(source, "image").select([RED])[0].grid
        coarser = rescale_grid(own, scale)
        factor = coarser.transform[0] / own.transform[0]
        grid = Grid(own.crs, coarser.transform, round(own.width / factor), round(own.height / factor))
    return Chip(
        Template(evi, (dataset, mask), {"source": source}),
        grid=grid,
        bands=("EVI",),
        dtype="float32",
        format="tif",
        name=f"evi/{name}",
        sources=(source,),
        dates=(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z",),
    )


def evi(dataset, mask, source):
    """Build the expression. Values that differ between images are only passed on, so it is converted to JSON once."""
    image = ee.Image(source)
    found = parse_mask(mask, dataset)
    bands = image.select([NIR, RED, BLUE]) if found is None else found.apply(image, [NIR, RED, BLUE])
    nir, red, blue = (reflectance(bands.select([name]), image, dataset) for name in (NIR, RED, BLUE))
    below = nir.add(red.multiply(6)).subtract(blue.multiply(7.5)).add(1)
    index = nir.subtract(red).multiply(2.5).divide(below)
    return index.updateMask(below.neq(0)).rename("EVI").toFloat()  # Earth Engine's x / 0 is 0


def reflectance(band, image, dataset):
    """Convert a band's integers to reflectance, which they have times 10,000.

    From processing baseline 04.00 on (25 January 2022) they are 1,000 larger than that, so that there are none below
    zero. The harmonized collections have that taken off
    (https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED, read 2025-11).
    """
    if not dataset.endswith("_HARMONIZED"):
        baseline = ee.Number.parse(ee.String(image.get("PROCESSING_BASELINE")))
        band = band.subtract(ee.Image.constant(baseline.gte(4).multiply(1000)))
    return band.divide(10000)
