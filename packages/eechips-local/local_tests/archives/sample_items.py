"""STAC items in the shape of open archives, with only the fields that matter here.

Field names and values are those of opendatacube/odc-stac tests/data (Planetary Computer, USGS) and of items of Earth
Search that public documents print (esciencecenter-digital-skills/geospatial-python, episode on access to data).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.warp import transform_bounds

AZURE = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/32/U/PU/2024/06/01"
SENTINEL_COGS = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/32/U/PU/2024/6"


def write_cog(
    path: Path, values: npt.NDArray[Any], transform: Affine, crs: str = "EPSG:32632", nodata: float | None = None
) -> dict[str, Any]:
    """Write a raster of shape (bands, rows, columns), and return what an asset declares of its grid."""
    count, height, width = values.shape
    kind = {"driver": "GTiff", "count": count, "dtype": values.dtype.name, "tiled": True}
    with rasterio.open(
        path, "w", **kind, height=height, width=width, crs=crs, transform=transform, nodata=nodata,
        blockxsize=64, blockysize=64,
    ) as dataset:  # fmt: skip
        dataset.write(values)
        if min(height, width) >= 64:
            dataset.build_overviews([2], rasterio.enums.Resampling.nearest)
    return {"proj:shape": [height, width], "proj:transform": list(transform)[:6]}


def item_box(transform: Affine, shape: tuple[int, int], crs: str = "EPSG:32632") -> list[float]:
    """Return the bounds in degrees of a raster of some rows and columns."""
    height, width = shape
    corner = transform @ (width, height)
    return list(transform_bounds(crs, "EPSG:4326", transform.c, corner[1], corner[0], transform.f))


def stac_item(
    id: str, collection: str, box: list[float], properties: dict[str, Any], assets: dict[str, Any]
) -> dict[str, Any]:
    """Return an item whose outline is its box."""
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": id,
        "collection": collection,
        "bbox": box,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "assets": assets,
        "links": [],
    }


def planetary_sentinel2(
    product: str, strip: str, box: list[float], assets: dict[str, Any], **properties: Any
) -> dict[str, Any]:
    """Return an item of Planetary Computer's sentinel-2-l2a."""
    mission, level, start, baseline, orbit, tile, made = product.split("_")
    return stac_item(
        f"{mission}_{level}_{start}_{orbit}_{tile}_{made}",
        "sentinel-2-l2a",
        box,
        {
            "datetime": f"{start[:4]}-{start[4:6]}-{start[6:8]}T{start[9:11]}:{start[11:13]}:{start[13:]}.024000Z",
            "platform": f"Sentinel-{mission[1:]}",
            "proj:epsg": 32632,
            "instruments": ["msi"],
            "s2:mgrs_tile": tile[1:],
            "constellation": "Sentinel 2",
            "s2:granule_id": f"{mission}_OPER_MSI_L2A_TL_ESRI_{made}_A012081_{tile}_N{baseline[1:3]}.{baseline[3:]}",
            "eo:cloud_cover": 12.5,
            "s2:product_uri": f"{product}.SAFE",
            "s2:datastrip_id": f"{mission}_OPER_MSI_L2A_DS_ESRI_{made}_S{strip}_N{baseline[1:3]}.{baseline[3:]}",
            "s2:product_type": "S2MSI2A",
            "sat:orbit_state": "descending",
            "s2:generation_time": f"{made[:4]}-{made[4:6]}-{made[6:8]}T{made[9:11]}:{made[11:13]}:{made[13:]}.830Z",
            "sat:relative_orbit": int(orbit[1:]),
            "s2:mean_solar_zenith": 37.9128805424161,
            "s2:processing_baseline": f"{baseline[1:3]}.{baseline[3:]}",
            **properties,
        },
        {key: {"href": f"{AZURE}/{key}.tif", **asset} for key, asset in assets.items()},
    )


def earth_sentinel2(
    id: str, collection: str, product: str, strip: str, box: list[float], assets: dict[str, Any], **properties: Any
) -> dict[str, Any]:
    """Return an item of Earth Search's sentinel-2-l2a or sentinel-2-c1-l2a."""
    mission, _, start, baseline, _, tile, made = product.split("_")
    code = f"{baseline[1:3]}.{baseline[3:]}"
    return stac_item(
        id,
        collection,
        box,
        {
            "datetime": f"{start[:4]}-{start[4:6]}-{start[6:8]}T{start[9:11]}:{start[11:13]}:{start[13:]}.262000Z",
            "platform": f"sentinel-{mission[1:].lower()}",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": 12.5,
            "proj:epsg": 32632,
            "grid:code": f"MGRS-{tile[1:]}",
            "view:sun_azimuth": 158.4,
            "view:sun_elevation": 57.5,
            "s2:product_type": "S2MSI2A",
            "s2:processing_baseline": code,
            "s2:product_uri": f"{product}.SAFE",
            "s2:generation_time": f"{made[:4]}-{made[4:6]}-{made[6:8]}T{made[9:11]}:{made[11:13]}:{made[13:]}.000000Z",
            "s2:datastrip_id": f"{mission}_OPER_MSI_L2A_DS_2APS_{made}_S{strip}_N{code}",
            **properties,
        },
        {key: {"href": f"{SENTINEL_COGS}/{id}/{key}.tif", **asset} for key, asset in assets.items()},
    )


FOLDER_IMAGE = "COPERNICUS/S2_SR_HARMONIZED/20190601T102031_20190601T102034_T32UPU"
"""The only image of :func:`write_folder_archive`."""


def write_folder_archive(folder: Path) -> Path:
    """Write a scene of Sentinel-2 as a file, a list of its item, and a description of both; return the latter.

    The scene is of a baseline without an offset, so that its band B4 has the numbers of ``B04.tif``: 128 columns and
    rows of 10 m in UTM zone 32, none of them 0.
    """
    folder.mkdir(parents=True)
    grid = Affine(10.0, 0.0, 600_000.0, 0.0, -10.0, 5_800_020.0)
    values = np.random.default_rng(3).integers(1, 9000, (1, 128, 128)).astype(np.uint16)
    asset = {**write_cog(folder / "B04.tif", values, grid), "href": "./B04.tif"}
    product = "S2A_MSIL2A_20190601T102031_N0212_R065_T32UPU_20201006T080531"
    item = planetary_sentinel2(product, "20190601T102034", item_box(grid, (128, 128)), {"B04": asset})
    items = {"type": "FeatureCollection", "features": [item]}
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")
    description = folder / "archive.toml"
    text = 'like = "planetary-computer"\nfile = "items.json"\nhosts = []\nsigning = "none"\n'
    description.write_text(text, encoding="utf-8")
    return description
