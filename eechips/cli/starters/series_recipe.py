"""A time series for each district: a table with a row for each image.

    eechips run recipe.py --local --check   # try three districts
    eechips run recipe.py --local           # all; to resume, repeat the command

Without --local it asks Earth Engine: eechips doctor says whether that will work.
"""

import ee

from eechips import Series, Table

DISTRICTS = "FAO/GAUL_SIMPLIFIED_500m/2015/level2"
DATASETS = ["MODIS/061/MOD11A2", DISTRICTS]  # run.json gets their licence and citation


def get_requests(west=-105.3, south=39.5, east=-104.9, north=39.9):
    """Once, in the parent: the work units, here the codes of the districts that meet a box."""
    box = ee.Geometry.Rectangle([west, south, east, north], None, False)
    return ee.FeatureCollection(DISTRICTS).filterBounds(box).aggregate_array("ADM2_CODE").distinct().sort().getInfo()


def get_result(index, code, start="2019-01-01", end="2020-01-01"):
    """Once for each district, in a worker: its table."""
    district = ee.FeatureCollection(DISTRICTS).filter(ee.Filter.eq("ADM2_CODE", code)).geometry()
    images = ee.ImageCollection("MODIS/061/MOD11A2").filterDate(start, end).select("LST_Day_1km")

    def row(image):
        celsius = image.multiply(0.02).subtract(273.15)  # stored as kelvin / 0.02
        # On the dataset's own pixels: without a crs or scale Earth Engine chooses for itself.
        means = celsius.reduceRegion(ee.Reducer.mean(), district, crs=image.projection(), maxPixels=1e13)
        date = image.date().format("YYYY-MM-dd")
        return ee.Feature(None, {"code": code, "date": date, "celsius": means.get("LST_Day_1km")})

    # A Series is asked for in pieces where it is too large for one request.
    return Table(Series(images, row), columns=("code", "date", "celsius"), name=f"series/{code}")
