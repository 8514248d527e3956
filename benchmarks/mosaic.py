"""What a mosaic costs: putting gigabytes of windows together, and fetching a scene, beside geedim's download.

python benchmarks/mosaic.py assembly --gigabytes 1.2
python benchmarks/mosaic.py download --edge 2600 --repeats 2
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from harness import Command, serving
from processes import adopt_orphans
from rasterio.crs import CRS

from eechips.formats import geotiff
from eechips.formats.mosaic_cog import Mosaic, Tile
from eechips.geo.grid import Grid
from eechips.planning.request_windows import divide_grid
from eechips_local.assets import ingest

BANDS = ("B2", "B3", "B4", "B8")
EDGE = 1024
BASE_GRID = Grid("EPSG:32618", (10.0, 0.0, 399_960.0, 0.0, -10.0, 4_200_000.0), 1, 1)
IMAGE = "users/someone/scene"
LATENCY = "lognormal:0.9,0.5"  # of computePixels at the high-volume endpoint, as users measured it

# What a script that uses geedim does.
GEEDIM = """
import sys, ee, geedim
from geedim.stac import STACClient
from google.auth.credentials import AnonymousCredentials
STACClient()._urls = {"ROOT": {}}
ee.Initialize(AnonymousCredentials(), url=sys.argv[1], project="local")
ee.Image(sys.argv[2]).gd.prepareForExport().gd.toGeoTIFF(sys.argv[3], overwrite=True)
"""


def scene(edge: int) -> np.ndarray:
    """Four bands that compress as reflectances do: to three quarters."""
    random = np.random.default_rng(0)
    slopes = np.add.outer(np.arange(edge), np.arange(edge)) % 4000
    return (random.integers(0, 300, (len(BANDS), edge, edge)) + slopes).astype("uint16")


def assembly(gigabytes: float, folder: Path) -> None:
    """Windows of so many gigabytes, made of the same pixels; then the mosaic, in a process of its own."""
    edge = round((gigabytes * 1e9 / (2 * len(BANDS))) ** 0.5)
    grid = BASE_GRID.window(100, 7, edge, edge)
    pixels, mask = scene(EDGE), np.ones((EDGE, EDGE), bool)
    mask[:50, :70] = False
    pixels[:, ~mask] = 0
    for window in divide_grid(grid, BASE_GRID, len(BANDS), "uint16", EDGE):
        place = grid.window(window.column, window.row, window.width, window.height)
        part = pixels[:, : window.height, : window.width]
        data = geotiff.encode(part, mask[: window.height, : window.width], BANDS, CRS.from_epsg(32618), place.affine)
        (folder / f"{window.row}-{window.column}.tif").write_bytes(data)
    subprocess.run([sys.executable, __file__, "together", "--edge", str(edge), "--folder", str(folder)], check=True)


def together(edge: int, folder: Path) -> None:
    """Puts the windows in a folder together, and says what that took."""
    grid = BASE_GRID.window(100, 7, edge, edge)
    windows = divide_grid(grid, BASE_GRID, len(BANDS), "uint16", EDGE)
    tiles = [Tile(window, folder / f"{window.row}-{window.column}.tif") for window in windows]
    mosaic = Mosaic(grid=grid, bands=BANDS, dtype="uint16", tiles=tiles)
    before = _peak()
    for step in ("write", "check"):
        wall, cpu = time.monotonic(), time.process_time()
        if step == "write":
            mosaic.write(folder / "mosaic.tif", lambda _: None)
        else:
            assert len(list(mosaic.check(folder / "mosaic.tif"))) == len(tiles)
        print(f"{step:6} {time.monotonic() - wall:6.1f} s, {time.process_time() - cpu:6.1f} s of processors")
    size = (folder / "mosaic.tif").stat().st_size
    print(f"{mosaic.bytes / 1e9:.2f} GB of pixels in {len(tiles)} windows; the file has {size / 1e9:.2f} GB")
    print(f"peak memory {_peak()} MB, {before} MB of it before")


def download(edge: int, repeats: int, folder: Path) -> None:
    """A scene by ``eechips mosaic`` and by geedim, in turns."""
    pixels = scene(edge)
    profile = {"driver": "GTiff", "width": edge, "height": edge, "count": len(BANDS), "dtype": "uint16", "tiled": True}
    transform = Affine(*BASE_GRID.transform)
    with rasterio.open(folder / "scene.tif", "w", crs="EPSG:32618", transform=transform, **profile) as file:
        file.write(pixels)
    ingest(folder / "scene.tif", folder / "store", IMAGE, bands=list(BANDS))
    adopt_orphans()
    latency = ("--latency", f"image:computePixels={LATENCY};thumbnails:getPixels={LATENCY}")
    with serving("emulator", "--assets", str(folder / "store"), "--no-demo", *latency) as server:
        for number in range(repeats):
            out = folder / str(number)
            verb = ["-m", "eechips", "mosaic", "--dataset", IMAGE, "--endpoint", server.url, "--out", out]
            for name, words, made in (
                ("eechips mosaic", verb, out / "mosaic.tif"),
                ("geedim", ["-c", GEEDIM, server.url, IMAGE, folder / "geedim.tif"], folder / "geedim.tif"),
            ):
                before = server.cpu()
                ended = Command([sys.executable, *words], folder / "log.txt").wait()
                if ended.status:
                    sys.exit((folder / "log.txt").read_text())
                with rasterio.open(made) as file:
                    assert np.array_equal(file.read(), pixels), name
                cost = f"{ended.cpu:5.1f} s of processors; server {server.cpu() - before:5.1f} s"
                print(f"{name:15} {ended.seconds:5.1f} s, {cost}")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["assembly", "download", "together"])
    parser.add_argument("--gigabytes", type=float, default=1.2)
    parser.add_argument("--edge", type=int, default=2600)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="of the windows; used by assembly")
    given = parser.parse_args()
    if given.what == "together":
        together(given.edge, given.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "assembly":
            assembly(given.gigabytes, Path(folder))
        else:
            download(given.edge, given.repeats, Path(folder))


if __name__ == "__main__":
    main()
