"""Other programs read the chips and the median of ``open_archive.py``, which starts this with their own Python.

python -m venv /opt/rivals
/opt/rivals/bin/pip install odc-stac stackstac rasterio "dask[array]" pystac async-tiff obstore

Reads a plan (JSON) on standard input, and prints seconds and the sums of what was read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

THREADS = 40
# What their documentation recommends: titiler's "performance tuning", odc-stac's and stackstac's defaults.
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "VSI_CACHE": "TRUE",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif",
}
Plan = dict[str, Any]


def total(values: Any) -> int:
    return int(np.asarray(values).astype(np.int64).sum())


def rasterio_chips(plan: Plan) -> list[int]:
    """A thread a chip, each of which opens its file."""
    import rasterio
    from rasterio.windows import Window

    def read(chip: list[int]) -> int:
        scene, column, row = chip
        found = 0
        for url in plan["scenes"][scene]["urls"]:
            with rasterio.open(url) as dataset:
                found += total(dataset.read(window=Window(column, row, plan["edge"], plan["edge"])))
        return found

    with rasterio.Env(**GDAL), ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read, plan["chips"]))


def rasterio_kept_chips(plan: Plan) -> list[int]:
    """A thread a chip, each of which keeps its files open: no header is read twice by one thread."""
    import threading

    import rasterio
    from rasterio.windows import Window

    local = threading.local()

    def read(chip: list[int]) -> int:
        scene, column, row = chip
        files = local.__dict__.setdefault("files", {})
        if scene not in files:
            files[scene] = [rasterio.open(url, sharing=False) for url in plan["scenes"][scene]["urls"]]
        window = Window(column, row, plan["edge"], plan["edge"])
        return sum(total(file.read(window=window)) for file in files[scene])

    with rasterio.Env(**GDAL), ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read, plan["chips"]))


def stac_items(plan: Plan, bands_apart: bool = False) -> list[Any]:
    """Items of the scenes, as archives have them: proj and raster extensions."""
    import pystac

    items = []
    for number, scene in enumerate(plan["scenes"]):
        a, b, c, d, e, f = scene["transform"]
        west, north = c, f
        east, south = c + a * scene["width"], f + e * scene["height"]
        properties = {
            "datetime": f"2024-01-{number % 28 + 1:02}T00:{number:02}:00Z",
            "proj:epsg": scene["epsg"],
            "proj:code": f"EPSG:{scene['epsg']}",
            "proj:shape": [scene["height"], scene["width"]],
            "proj:transform": [a, b, c, d, e, f, 0, 0, 1],
            "proj:bbox": [west, south, east, north],
        }
        box = [-105.1, 39.0, -104.9, 39.4]
        ring = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]
        item = pystac.Item.from_dict({
            "type": "Feature", "stac_version": "1.0.0", "id": f"scene-{number:02}", "properties": properties,
            "geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": box, "links": [], "assets": {},
            "collection": "naip",
            "stac_extensions": [
                "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            ],
        })  # fmt: skip
        raster = {"data_type": "uint16"}
        if bands_apart or has_bands_apart(plan):
            for band in range(1, 5):
                href = (
                    scene["urls"][band - 1] if has_bands_apart(plan)
                    else f"vrt:///vsicurl/{scene['urls'][0]}?bands={band}"
                )  # fmt: skip
                item.add_asset(f"b{band}", pystac.Asset(href, roles=["data"], extra_fields={"raster:bands": [raster]}))
        else:
            names = [{"name": f"b{band}"} for band in range(1, 5)]
            fields = {"raster:bands": [raster] * 4, "eo:bands": names}
            item.add_asset("image", pystac.Asset(scene["urls"][0], roles=["data"], extra_fields=fields))
        items.append(item)
    return items


def has_bands_apart(plan: Plan) -> bool:
    return len(plan["scenes"][0]["urls"]) > 1


def odc_bands(plan: Plan) -> list[str]:
    return [f"b{band}" if has_bands_apart(plan) else f"image.{band}" for band in range(1, 5)]


def odc_chips(plan: Plan) -> list[int]:
    """``odc.stac.load`` of a chip in each of 40 threads."""
    import odc.stac
    from odc.geo.geobox import GeoBox

    items = stac_items(plan)
    edge = plan["edge"]
    odc.stac.configure_rio(cloud_defaults=True)

    def read(chip: list[int]) -> int:
        scene, column, row = chip
        place = plan["scenes"][scene]
        a, _, c, _, e, f = place["transform"]
        box = GeoBox.from_bbox(
            (c + column * a, f + (row + edge) * e, c + (column + edge) * a, f + row * e),
            f"EPSG:{place['epsg']}", resolution=a, tight=True,
        )  # fmt: skip
        found = odc.stac.load([items[scene]], bands=odc_bands(plan), geobox=box)
        return sum(total(found[name].values) for name in found.data_vars)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read, plan["chips"]))


def stackstac_chips(plan: Plan) -> list[int]:
    """``stackstac.stack`` of a chip in each of 40 threads; a VRT a band, as it reads single-band assets only."""
    import dask
    import stackstac

    items = [item.to_dict() for item in stac_items(plan, bands_apart=True)]
    for item, place in zip(items, plan["scenes"], strict=True):
        # pystac writes proj:code; without proj:epsg stackstac takes the box in degrees, and leaves out chips
        item["properties"]["proj:epsg"] = place["epsg"]
    edge = plan["edge"]

    def read(chip: list[int]) -> int:
        scene, column, row = chip
        place = plan["scenes"][scene]
        a, _, c, _, e, f = place["transform"]
        bounds = (c + column * a, f + (row + edge) * e, c + (column + edge) * a, f + row * e)
        stack = stackstac.stack(
            [items[scene]], assets=["b1", "b2", "b3", "b4"], epsg=place["epsg"], resolution=a, bounds=bounds,
            snap_bounds=False, dtype="uint16", fill_value=np.uint16(0), rescale=False, chunksize=edge,
        )  # fmt: skip
        with dask.config.set(scheduler="threads", num_workers=4):
            return total(stack.values)

    with ThreadPoolExecutor(THREADS // 4) as pool:
        return list(pool.map(read, plan["chips"]))


def async_tiff_chips(plan: Plan) -> list[int]:
    """async-tiff over obstore: headers kept, 40 chips at a time."""
    from async_tiff import TIFF
    from obstore.store import HTTPStore

    edge = plan["edge"]

    async def run() -> list[int]:
        gate = asyncio.Semaphore(THREADS)
        opened: dict[str, asyncio.Future[Any]] = {}
        store = HTTPStore(plan["host"], client_options={"allow_http": True})

        async def read(chip: list[int]) -> int:
            scene, column, row = chip
            async with gate:
                urls = plan["scenes"][scene]["urls"]
                return sum(await asyncio.gather(*(read_file(url, 4 // len(urls), column, row) for url in urls)))

        async def read_file(url: str, count: int, column: int, row: int) -> int:
            name = url.rpartition("/")[2]
            if name not in opened:
                opened[name] = asyncio.ensure_future(TIFF.open(name, store=store, prefetch=65536))
            tiff = await opened[name]
            block = tiff.ifds[0].tile_width
            places = [
                (x, y)
                for y in range(row // block, (row + edge - 1) // block + 1)
                for x in range(column // block, (column + edge - 1) // block + 1)
            ]
            tiles = await tiff.fetch_tiles(places, 0)
            values = np.empty((edge, edge, count), np.uint16)
            for (x, y), tile in zip(places, tiles, strict=True):
                decoded = np.asarray(await tile.decode()).reshape(block, block, count)
                left, top = max(column, x * block), max(row, y * block)
                right, bottom = min(column + edge, (x + 1) * block), min(row + edge, (y + 1) * block)
                values[top - row : bottom - row, left - column : right - column] = decoded[
                    top - y * block : bottom - y * block, left - x * block : right - x * block
                ]
            return total(values)

        return list(await asyncio.gather(*map(read, plan["chips"])))

    return asyncio.run(run())


def odc_median(plan: Plan) -> list[int]:
    """``odc.stac.load`` with Dask's threads, and xarray's median."""
    import dask
    import odc.stac
    from odc.geo.geobox import GeoBox

    items = stac_items(plan)[: plan["stack"]]
    place, edge, (column, row) = plan["scenes"][0], plan["window"], plan["corner"]
    a, _, c, _, e, f = place["transform"]
    box = GeoBox.from_bbox(
        (c + column * a, f + (row + edge) * e, c + (column + edge) * a, f + row * e),
        f"EPSG:{place['epsg']}", resolution=a, tight=True,
    )  # fmt: skip
    odc.stac.configure_rio(cloud_defaults=True)
    found = odc.stac.load(items, bands=odc_bands(plan), geobox=box, chunks={"x": 512, "y": 512})
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        median = found.median("time").compute()
    return [int(median[name].values.astype(np.float64).sum() * 2) for name in median.data_vars]


TASKS: dict[str, Callable[[Plan], list[int]]] = {
    "rasterio": rasterio_chips,
    "rasterio, files kept open": rasterio_kept_chips,
    "odc-stac": odc_chips,
    "stackstac": stackstac_chips,
    "async-tiff and obstore": async_tiff_chips,
    "odc-stac, Dask threads": odc_median,
}


def main() -> None:
    warnings.simplefilter("ignore")
    plan = json.load(sys.stdin)
    task = TASKS[plan["task"]]
    __import__({"odc-stac": "odc.stac", "odc-stac, Dask threads": "odc.stac"}.get(plan["task"], "rasterio"))
    begin, used = time.perf_counter(), time.process_time()
    sums = task(plan)
    print(json.dumps({"seconds": time.perf_counter() - begin, "cpu": time.process_time() - used, "sums": sums}))
    sys.stdout.flush()
    os._exit(0)  # without what libraries do at the end


if __name__ == "__main__":
    main()
