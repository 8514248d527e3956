"""Chips of satellite embeddings from their public files, without Earth Engine.

    eechips run recipes/embedding_cogs.py -p places=places.csv -p year=2021 -p size=128

The chips are those of `eechips sample --dataset EMBEDDINGS --values quantized`, byte for byte; `-p floats=true` makes
float32 of them. `index` is the producers' list of files, or a part of it: path, year, crs and bounds in crs and in
degrees.

https://developers.google.com/earth-engine/guides/aef_on_gcs_readme describes the files: 8,192 x 8,192 pixels of int8.
https://source.coop/tge-labs/aef has a copy whose rows run from south to north. Either is read as it should be.
"""

from functools import cache

import pandas as pd
from pyproj import Transformer

from eechips.archive.windows import describe, plan_chip, read_chip, window_file
from eechips.datasets import find_dataset
from eechips.errors import RegionError

NEEDS_SERVICE = False  # the run does not use Earth Engine
DATASETS = ["GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL"]  # for licence and citation in run.json
EMBEDDINGS = find_dataset(DATASETS[0])
INDEX = "gs://alphaearth_foundations/satellite_embedding/v1/annual/aef_index.parquet"
DEGREES = ["wgs84_west", "wgs84_south", "wgs84_east", "wgs84_north"]
METRES = ["utm_west", "utm_south", "utm_east", "utm_north"]


def get_requests(places, year=2024, index=INDEX, size=128, max_memory="2GB"):
    """Plan a chip for each place. Called once, in the parent; the header of each file is read once."""
    files = read_index(index)
    files = files[files["year"] == year]
    header = cache(describe)
    for place in pd.read_csv(places)[["lon", "lat"]].itertuples(index=False):
        rasters = [header(path) for path in find_files(files, *place, size)]
        yield plan_chip(rasters, tuple(place), size, max_memory=max_memory)


def read_index(index):
    """Read the list of files: CSV or Parquet, without the outlines."""
    columns = ["path", "year", "crs", *DEGREES, *METRES]
    if str(index).endswith(".csv"):
        return pd.read_csv(index, usecols=columns)
    return pd.read_parquet(index, columns=columns)


def find_files(files, lon, lat, size):
    """Return the paths of the file that shows a place, and of those beside it in the same UTM zone."""
    west, south, east, north = (files[name] for name in DEGREES)
    for row in files[(west <= lon) & (lon <= east) & (south <= lat) & (lat <= north)].itertuples():
        x, y = Transformer.from_crs(4326, row.crs, always_xy=True).transform(lon, lat)
        if row.utm_west <= x < row.utm_east and row.utm_south < y <= row.utm_north:
            reach = 10 * size
            west, south, east, north = (files[name] for name in METRES)
            near = (west < x + reach) & (x - reach < east) & (south < y + reach) & (y - reach < north)
            others = files["path"][near & (files["crs"] == row.crs) & (files.index != row.Index)]
            return [row.path, *others]
    raise RegionError(f"no file of embeddings shows {lon:g}, {lat:g}")


def get_result(index, chip, floats=False):
    """Return the file of a chip. Called once for each chip, in a worker."""
    pixels = read_chip(chip)
    if floats:
        pixels = EMBEDDINGS.quantization.dequantize(pixels)
    return window_file(chip, pixels, bands=EMBEDDINGS.default_bands)
