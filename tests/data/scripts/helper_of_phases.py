import ee

BANDS = ["elevation"]


def height(point, scale=30):
    value = ee.Image("USGS/SRTMGL1_003").select(BANDS).reduceRegion(ee.Reducer.first(), point, scale)
    return value.get("elevation").getInfo()
