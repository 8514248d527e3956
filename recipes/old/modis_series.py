# Daily land surface temperature of some districts, as CSV. Each district is one work item.
import csv
import os
from datetime import datetime
from multiprocessing import Pool

import ee

ee.Authenticate()
ee.Initialize(project="ee-someone")

OUT = "series"
KELVIN = -273.15
modis = ee.ImageCollection("MODIS/061/MOD11A2").filterDate("2019-01-01", "2019-03-01").select("LST_Day_1km")
districts = ee.FeatureCollection("FAO/GAUL_SIMPLIFIED_500m/2015/level2").filterBounds(
    ee.Geometry.Rectangle([-105.3, 39.6, -104.9, 39.9])
)
os.makedirs(OUT, exist_ok=True)


def to_rows(features):
    for feature in features:
        p = feature["properties"]
        value = p.get("LST_Day_1km")
        yield [p["date"], "" if value is None else round(value * 0.02 + KELVIN, 2)]


def get_series(code):
    region = districts.filter(ee.Filter.eq("ADM2_CODE", code)).geometry()

    def one(image):
        found = image.reduceRegion(ee.Reducer.max(), region, 1000)
        return ee.Feature(None, found).set("date", image.date().format("YYYY-MM-dd"))

    info = modis.map(one).getInfo()
    path = os.path.join(OUT, "%d.csv" % code)
    with open(path, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["date", "lst"])
        w.writerows(to_rows(info["features"]))
    return code, len(info["features"])


if __name__ == "__main__":
    codes = districts.aggregate_array("ADM2_CODE").getInfo()
    print(len(codes), "districts")
    with Pool(8) as pool:
        done = pool.map(get_series, codes)
    with open("summary.csv", "w") as f:
        f.write("code,n\n")
        for code, n in sorted(done):
            f.write("%s,%s\n" % (code, n))
    print("files:", sorted(os.listdir(OUT)) == sorted("%d.csv" % c for c in codes))
