"""Images of two UTM zones and polygons over them, clipped by rasterio."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from rasterio.mask import mask

from eechips_local.assets import ingest
from tests.support import coded_store

SCENES = "users/someone/scenes"
BANDS = ["B1", "B2"]
LEFT, TOP = 699_960.0, 4_400_040.0  # of the rasters: UTM zone 31, near its eastern end
SIZE = 240
DATES = {"a": "2020-05-03", "b": "2020-05-20", "c": "2020-07-04"}
OTHER, OTHER_DATE = "z", "2020-05-01"  # in zone 32; the earliest

Shapes = dict[str, Any]


def in_metres(shape: Any, x: float, y: float, scale: float = 1.0) -> Any:
    """Return a shape in metres of zone 31, to the right of and below the corner of the rasters."""
    return shapely.transform(shape, lambda xy: xy * [scale, -scale] + [LEFT + x, TOP - y])


def field_shapes() -> Shapes:
    """Polygons in metres of zone 31: concave, of two parts, with a hole, and smaller than a pixel."""
    concave = shapely.Polygon([(3, 2), (431, 57), (388, 391), (212, 244), (37, 301)])
    ring = shapely.Point(0, 0).buffer(203, quad_segs=5) - shapely.Point(20, 10).buffer(88, quad_segs=3)
    parts = shapely.MultiPolygon([shapely.box(1.3, 2.2, 157.9, 88.4), shapely.box(304.4, 203.1, 411.7, 288.6)])
    return {
        "concave": in_metres(concave, 200, 300),
        "ring": in_metres(ring, 1204, 907),
        "parts": in_metres(parts, 1500, 1700),
        "speck": in_metres(shapely.box(0, 0, 2.0, 1.5), 1001.0, 501.0),
    }


def write_fields(path: Path, shapes: Shapes) -> Path:
    """Write polygons of zone 31 in degrees, as most files have them, with seven digits, as requests have them."""
    frame = gpd.GeoDataFrame({"field": list(shapes)}, geometry=list(shapes.values()), crs="EPSG:32631")
    degrees = frame.to_crs("EPSG:4326")
    degrees.set_geometry(
        shapely.transform(degrees.geometry.values, lambda xy: np.round(xy, 7)), crs="EPSG:4326"
    ).to_file(path)
    return path


def write_scenes(folder: Path) -> None:
    """Write the rasters, an asset store of them, and ``fields.gpkg``."""
    rng = np.random.default_rng(3)
    transform = Affine(10, 0, LEFT, 0, -10, TOP)
    for name, date in DATES.items():
        values = rng.integers(1, 9_000, (2, SIZE, SIZE)).astype(np.uint16)
        values[:, 40:60, 30:50] = 0
        coded_store.write_geotiff(folder / f"{name}.tif", "EPSG:32631", transform, values, nodata=0)
        ingest(folder / f"{name}.tif", folder / "store", f"{SCENES}/{name}", bands=BANDS, time_start=date)
    west, north = rasterio.warp.transform("EPSG:32631", "EPSG:32632", [LEFT - 300], [TOP + 300])
    place = Affine(10, 0, round(west[0], -1), 0, -10, round(north[0], -1))
    values = rng.integers(1, 9_000, (2, SIZE + 60, SIZE + 60)).astype(np.uint16)
    coded_store.write_geotiff(folder / f"{OTHER}.tif", "EPSG:32632", place, values)
    ingest(folder / f"{OTHER}.tif", folder / "store", f"{SCENES}/{OTHER}", bands=BANDS, time_start=OTHER_DATE)
    write_fields(folder / "fields.gpkg", field_shapes())


def masked(path: Path, shape: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], Affine]:
    """Return values, which pixels are valid, and the transform of a raster that rasterio clips to a polygon."""
    with rasterio.open(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a polygon without a pixel's centre
        found, transform = mask(file, [shape], crop=True, all_touched=False, filled=False)
    return found.data, ~np.ma.getmaskarray(found).any(axis=0), transform


def check_clipped(path: Path, source: Path, shape: Any) -> None:
    """Check that a file is the part of a raster that rasterio clips to a polygon."""
    values, valid, transform = masked(source, shape)
    with rasterio.open(path) as file:
        assert file.transform == transform
        assert file.shape == values.shape[1:]
        assert np.array_equal(file.read_masks(1) > 0, valid)
        assert np.array_equal(file.read()[:, valid], values[:, valid])
