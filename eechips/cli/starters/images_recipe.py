"""Every image of a collection over a place, one GeoTIFF each.

    eechips run recipe.py --local --check   # try three images
    eechips run recipe.py --local           # all; to resume, repeat the command

Without --local it asks Earth Engine: eechips doctor says whether that will work.
"""

import ee
import shapely

from eechips import Chip, Grid
from eechips.planning.grid_alignment import cover_region

COLLECTION = "LANDSAT/LC08/C02/T1_L2"
DATASETS = [COLLECTION]  # run.json gets their licence and citation


def get_requests(bounds=(-105.12, 39.73, -105.08, 39.77), start="2020-06-01", end="2020-09-01", cloud=50.0):
    """Once, in the parent: the work units, here the images' names and dates, and which of their pixels to take."""
    images = ee.ImageCollection(COLLECTION).filterDate(start, end).filter(ee.Filter.lt("CLOUD_COVER", cloud))
    images = images.filterBounds(ee.Geometry.Rectangle(list(bounds), None, False)).select("SR_B4")
    units = []
    for image in images.sort("system:time_start").getInfo()["features"]:
        band = image["bands"][0]
        native = Grid(band["crs"], tuple(band["crs_transform"]), *band["dimensions"])
        grid = cover_region(native, shapely.box(*bounds))  # the image's own pixels: nothing is resampled
        date = image["properties"]["DATE_ACQUIRED"]
        name = image["properties"]["system:index"]
        units.append({"kind": "image", "image": name, "date": date, "grid": grid.to_json()})
    return units


def get_result(index, unit):
    """Once for each image, in a worker: what to fetch."""
    # By its name: a stored image is found at once, the 17th of a filtered collection is searched for each time.
    source = f"{COLLECTION}/{unit['image']}"
    image = ee.Image(source)
    clear = image.select("QA_PIXEL").bitwiseAnd(0b11010).eq(0)  # no dilated cloud, cloud or shadow
    return Chip(
        image.updateMask(clear),
        grid=Grid.from_json(unit["grid"]),
        bands=("SR_B4", "SR_B3", "SR_B2"),
        format="tif",
        name=f"images/{unit['date']}_{unit['image']}",
        sources=(source,),
        dates=(unit["date"],),
    )
