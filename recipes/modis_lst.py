"""Maximum land surface temperature of each district, every eight days, in degrees Celsius.

    eechips run recipes/modis_lst.py -p west=-80 -p south=42 -p east=-78 -p north=44 --local

The command `eechips timeseries` does the same, with more choice. This is the recipe to copy and change.
"""

import ee

from eechips import Table

DATASETS = ["MODIS/061/MOD11A2", "FAO/GAUL_SIMPLIFIED_500m/2015/level2"]  # for licence and citation in run.json

DISTRICTS = "FAO/GAUL_SIMPLIFIED_500m/2015/level2"


def get_requests(west=-80.0, south=42.0, east=-78.0, north=44.0):
    """Return the codes of the districts that meet a box. Called once, in the parent."""
    box = ee.Geometry.Rectangle([west, south, east, north], None, False)
    return ee.FeatureCollection(DISTRICTS).filterBounds(box).aggregate_array("ADM2_CODE").distinct().getInfo()


def get_result(index, code, start="2000-02-18", end="2100-01-01"):
    """Return a table with a row for each image. Called once for each district, in a worker."""
    district = ee.FeatureCollection(DISTRICTS).filter(ee.Filter.eq("ADM2_CODE", code)).geometry()
    images = ee.ImageCollection("MODIS/061/MOD11A2").filterBounds(district).filterDate(start, end)
    maximum = ee.Reducer.max().combine(ee.Reducer.count(), sharedInputs=True)

    def row(image):
        celsius = image.select("LST_Day_1km").multiply(0.02).add(-273.15)  # stored as kelvin / 0.02
        found = celsius.reduceRegion(maximum, district, maxPixels=1e13)
        return ee.Feature(
            None,
            {
                "ADM2_CODE": code,
                "date": image.date().format("YYYY-MM-dd"),
                "LST_Day_1km": found.get("LST_Day_1km_max"),  # missing if clouds cover every pixel
                "count": found.get("LST_Day_1km_count"),
            },
        )

    rows = ee.FeatureCollection(images.sort("system:time_start").map(row))
    return Table(rows, columns=("ADM2_CODE", "date", "LST_Day_1km", "count"), name=str(code))
