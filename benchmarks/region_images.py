"""A picture of each of many polygons: ``eechips images --regions --clip`` beside others, against one local server.

    pip install geedim agrigee_lite
    python benchmarks/region_images.py --polygons 200 --months 12 --rivals-polygons 4

Polygons of 0.1 to 400 ha lie at random in 20 km of the demo planet. Every image of Sentinel-2 and of Landsat 8 that
meets one becomes a GeoTIFF of four bands. geedim exports the collection of each polygon over its box, an image a file:
``collection.gd.prepareForExport(region=…).gd.toGeoTIFF(folder, split="images")``. rasterio then masks geedim's files,
and the results are compared pixel by pixel. geedim's catalogue of bands is on the web, and is not asked. eechips is
the first, so that the demo planet is drawn for it.

``--rivals-polygons`` has the others export the first polygons only, as 200 take geedim hours.

agrigee_lite, if ``--clients`` names it, downloads the images of each polygon as ZIP files by its own rules, which mask
clouds and drop images and polygons of few pixels: its files are counted, and not compared.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.mask
import shapely
from harness import Server, serving

DATASETS = {
    "S2": ("COPERNICUS/S2_SR_HARMONIZED", ["B4", "B3", "B2", "B8"]),
    "L8": ("LANDSAT/LC08/C02/T1_L2", ["SR_B4", "SR_B3", "SR_B2", "SR_B5"]),
}
CRS, LEFT, BOTTOM, SIDE = "EPSG:32613", 475_000.0, 4_416_000.0, 20_000.0
YEAR = 2020


def draw_polygons(count: int, path: Path) -> None:
    """Write polygons of nine corners, whose areas are spread evenly in magnitude."""
    rng = np.random.default_rng(0)
    shapes = []
    for _ in range(count):
        radius = np.sqrt(10 ** rng.uniform(-1, np.log10(400)) * 1e4 / np.pi)
        angles, lengths = np.sort(rng.uniform(0, 2 * np.pi, 9)), radius * rng.uniform(0.7, 1.3, 9)
        ring = np.column_stack([lengths * np.cos(angles), lengths * np.sin(angles)])
        shapes.append(shapely.Polygon(ring + np.array([LEFT, BOTTOM]) + rng.uniform(0, SIDE, 2)).buffer(0))
    frame = gpd.GeoDataFrame({"field": [f"F{number:03}" for number in range(count)]}, geometry=shapes, crs=CRS)
    degrees = frame.to_crs("EPSG:4326").geometry.values
    rounded = shapely.transform(degrees, lambda xy: np.round(xy, 7))
    gpd.GeoDataFrame({"field": frame["field"]}, geometry=rounded, crs="EPSG:4326").to_file(path)


def last_day(months: int) -> str:
    return f"{YEAR + months // 12}-{months % 12 + 1:02}-01"


def run_eechips(server: Server, fields: Path, names: list[str], months: int, out: Path) -> None:
    """Run the command for each dataset."""
    for name in names:
        _, bands = DATASETS[name]
        words = [
            sys.executable, "-m", "eechips", "images", "--dataset", name, "--bands", ",".join(bands), "--regions",
            str(fields), "--columns", "id=field", "--clip", "--start", f"{YEAR}-01-01", "--end", last_day(months),
            "--endpoint", server.url, "--project", "local", "--quiet", "--yes", "--out", str(out / name),
        ]  # fmt: skip
        subprocess.run(words, check=True)


def run_geedim(url: str, fields: Path, names: list[str], months: int, out: Path, polygons: int) -> None:
    """Export every image over the box of every polygon; called in a process of its own."""
    import ee
    import geedim  # noqa: F401 - registers the accessor
    from geedim.collection import ImageCollectionAccessor
    from geedim.image import ImageAccessor
    from google.auth.credentials import AnonymousCredentials

    for accessor in (ImageAccessor, ImageCollectionAccessor):
        accessor.stac = None
    for name in ("geedim", "rasterio"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    ee.Initialize(AnonymousCredentials(), url=url, project="local")
    frame = gpd.read_file(fields, rows=polygons)

    for name in names:
        dataset, bands = DATASETS[name]
        for field, shape in zip(frame["field"], frame.geometry, strict=True):
            region = ee.Geometry(shapely.geometry.mapping(shape), None, False)
            images = ee.ImageCollection(dataset).filterDate(f"{YEAR}-01-01", last_day(months)).filterBounds(region)
            folder = out / name / field
            folder.mkdir(parents=True)
            images.select(bands).gd.prepareForExport(region=region).gd.toGeoTIFF(folder, split="images")


def run_agrigee(url: str, fields: Path, names: list[str], months: int, out: Path, polygons: int) -> None:
    """Download every image of every polygon, without dropping more than its own filters do; in a process of its own."""
    import agrigee_lite as agl
    import ee
    from google.auth.credentials import AnonymousCredentials

    ee.Initialize(AnonymousCredentials(), url=url, project="local")
    colours = {"red", "green", "blue", "nir"}
    satellites = {"S2": agl.sat.Sentinel2(bands=colours), "L8": agl.sat.Landsat8(bands=colours)}
    for name in names:
        for shape in gpd.read_file(fields, rows=polygons).geometry:
            period = f"{YEAR}-01-01", last_day(months)
            agl.get.images(shape, *period, satellites[name], invalid_images_threshold=0.0)
    (Path.home() / ".cache" / "agrigee_lite" / "images").rename(out)


def timed(server: Server, function: Any, *arguments: Any) -> dict[str, Any]:
    """Return the minutes and the requests of a call, by their kinds."""
    before, began = server.get("_stats")["requests"], time.monotonic()
    function(*arguments)
    seconds, after = time.monotonic() - began, server.get("_stats")["requests"]
    kinds = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
    return {"minutes": round(seconds / 60, 2), "requests": sum(kinds.values()), "kinds": kinds}


def count_files(folder: Path) -> dict[str, Any]:
    """Return the number of image files, and their megabytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.suffix in (".tif", ".zip")]
    return {"files": len(sizes), "megabytes": round(sum(sizes) / 1e6, 1)}


def compare_files(ours: Path, theirs: Path, fields: Path) -> dict[str, int]:
    """Compare the files of eechips with those of geedim, which rasterio.mask clips to the polygons.

    Edges are straight in degrees: corners every 100 m keep them so in metres.
    """
    frame = gpd.read_file(fields).set_index("field")
    shapes = frame.geometry.segmentize(1e-3)
    found = {"files": 0, "equal": 0, "pixels": 0, "pixels in one mask only": 0, "missing": 0}
    for name in (folder.name for folder in theirs.iterdir()):
        for path in sorted((ours / name / "images").glob("*/*.tif")):
            if not (theirs / name / path.parent.name).is_dir():
                continue  # a polygon of eechips alone
            found["files"] += 1
            other = theirs / name / path.parent.name / f"{path.stem.partition('_')[2]}.tif"
            if not other.is_file():
                found["missing"] += 1
                continue
            with rasterio.open(path) as one, rasterio.open(other) as two, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a polygon without a pixel's centre
                shape = gpd.GeoSeries([shapes[path.parent.name]], crs="EPSG:4326").to_crs(two.crs)[0]
                masked, transform = rasterio.mask.mask(two, [shape], crop=True, filled=False, indexes=[1, 2, 3, 4])
                valid = ~np.ma.getmaskarray(masked)
                found["pixels"] += int(valid.sum())
                if one.transform != transform or one.shape != masked.shape[1:]:
                    continue
                differing = int(((one.read_masks() > 0) != valid).sum())
                found["pixels in one mask only"] += differing
                found["equal"] += not differing and np.array_equal(one.read()[valid], masked.data[valid])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--polygons", type=int, default=200)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--latency", type=float, default=0.3, help="seconds of a request")
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--clients", default="geedim", help="the others, as in geedim,agrigee")
    parser.add_argument("--rivals-polygons", type=int, help="polygons of the others; by default all")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)  # client, url, polygons, output: run it
    given = parser.parse_args()
    names, rivals = given.datasets.split(","), given.rivals_polygons or given.polygons
    if given.run:
        client, url, fields, out = given.run
        run = {"geedim": run_geedim, "agrigee": run_agrigee}[client]
        run(url, Path(fields), names, given.months, Path(out), rivals)
        return
    limits = ["--demo", "--rate", "100", "--concurrency", "40", "--latency", str(given.latency)]
    with tempfile.TemporaryDirectory() as folder, serving("emulator", *limits) as server:
        place = Path(folder)
        fields = place / "fields.gpkg"
        draw_polygons(given.polygons, fields)
        os.environ["EECHIPS_CACHE"] = str(place / "cache")
        ours = timed(server, run_eechips, server, fields, names, given.months, place / "eechips")
        figures: dict[str, Any] = {"eechips": ours | count_files(place / "eechips")}
        for client in given.clients.split(","):
            words = [sys.executable, __file__, "--months", str(given.months), "--datasets", given.datasets]
            words += ["--rivals-polygons", str(rivals)]
            words += ["--run", client, server.url, str(fields), str(place / client)]
            setting = {**os.environ, "TQDM_DISABLE": "1", "HOME": str(place)}  # where agrigee_lite keeps its files
            run = functools.partial(subprocess.run, words, check=True, env=setting, stdout=sys.stderr)
            figures[client] = timed(server, run) | count_files(place / client)
        if (place / "geedim").is_dir():
            figures["compared"] = compare_files(place / "eechips", place / "geedim", fields)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
