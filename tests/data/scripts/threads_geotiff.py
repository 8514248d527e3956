"""GeoTIFF chips with a thread pool; results are collected in a list."""
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ee
import pandas as pd
import requests

ee.Initialize()
folder = Path("tifs")
folder.mkdir(exist_ok=True)
rows = []
seen = {}
s2 = ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterDate("2020-05-01", "2020-06-15")


def fetch(item):
    number, (lon, lat) = item
    region = ee.Geometry.Point([lon, lat]).buffer(300).bounds()
    url = s2.filterBounds(region).median().select(["B4", "B3"]).getDownloadURL(
        {"region": region, "scale": 20, "crs": "EPSG:32613", "format": "GEO_TIFF"}
    )
    response = requests.get(url)
    response.raise_for_status()
    path = folder / f"chip_{number}.tif"
    path.write_bytes(response.content)
    rows.append({"number": number, "lon": lon, "bytes": len(response.content)})
    seen[number] = str(path)
    return path


items = list(enumerate([(-105.27 + 0.02 * i, 40.02) for i in range(5)]))
with ThreadPoolExecutor(max_workers=8) as executor:
    paths = list(executor.map(fetch, items))

assert all(path.exists() for path in paths), paths
pd.DataFrame(rows).sort_values("number").to_csv("index.csv", index=False)
print(len(rows), len(seen))
