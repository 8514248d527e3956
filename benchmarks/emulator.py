"""What the local Earth Engine gives a second, beside rasterio reading the same windows of the same file.

    python benchmarks/emulator.py --chips 400

A raster of 8,192 x 8,192 pixels and four bands is made and ingested; then 256x256 windows of three of its bands at
random places, on its own grid, are (1) read by rasterio from the file that is served, opened once; asked of
computePixels as NPY, (2) by one client and (3) by forty at once; (4) and by thumbnails, PNG, forty at once, two
requests a chip. The clients send ready bodies, so that what is measured is the server. One run measures all four.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import requests
from affine import Affine
from rasterio.windows import Window

from eechips_local.assets import ingest

ID = "bench/chips/quad"
EDGE, SIZE = 8192, 256
TRANSFORM = Affine(1, 0, 500_000, 0, -1, 4_400_000)


def make(folder: Path) -> Path:
    """Ingests a raster that looks a little like a photograph; returns the file that is served."""
    random = np.random.default_rng(0)
    coarse = random.integers(30, 220, (4, EDGE // 64, EDGE // 64))
    values = np.kron(coarse, np.ones((64, 64), dtype=np.int64)) + random.integers(-9, 10, (4, EDGE, EDGE))
    source = folder / "quad.tif"
    profile = {"driver": "GTiff", "width": EDGE, "height": EDGE, "count": 4, "dtype": "uint8", "crs": "EPSG:26913"}
    with rasterio.open(source, "w", transform=TRANSFORM, tiled=True, **profile) as file:
        file.write(values.astype("uint8"))
    ingest(source, folder / "assets", ID, bands=["R", "G", "B", "N"])
    (served,) = (folder / "assets").rglob("*.tif")
    return served


def graph(window: Window | None = None) -> dict[str, Any]:
    """The expression of the image's bands, perhaps cut to a window as ``getThumbURL`` does it."""
    load = {"functionInvocationValue": {"functionName": "Image.load", "arguments": {"id": {"constantValue": ID}}}}
    bands = {"input": load, "bandSelectors": {"constantValue": ["R", "G", "B"]}}
    node = {"functionInvocationValue": {"functionName": "Image.select", "arguments": bands}}
    if window is not None:
        left, top = TRANSFORM @ (window.col_off, window.row_off)
        corners = [[left, top - SIZE], [left + SIZE, top]]
        rectangle = {"coordinates": {"constantValue": corners}, "crs": {"constantValue": "EPSG:26913"}}
        rectangle["geodesic"] = {"constantValue": False}
        geometry = {
            "functionInvocationValue": {"functionName": "GeometryConstructors.Rectangle", "arguments": rectangle}
        }
        cut = {"input": node, "geometry": geometry, "width": {"constantValue": SIZE}, "height": {"constantValue": SIZE}}
        node = {"functionInvocationValue": {"functionName": "Image.clipToBoundsAndScale", "arguments": cut}}
    return {"result": "0", "values": {"0": node}}


def grid(window: Window) -> dict[str, Any]:
    left, top = TRANSFORM @ (window.col_off, window.row_off)
    affine = {"scaleX": 1, "shearX": 0, "translateX": left, "shearY": 0, "scaleY": -1, "translateY": top}
    return {"dimensions": {"width": SIZE, "height": SIZE}, "affineTransform": affine, "crsCode": "EPSG:26913"}


class Client:
    """Asks a server for windows."""

    def __init__(self, url: str) -> None:
        self.base = f"{url}/v1/projects/local"
        self.root = f"{url}/v1"
        self.session = requests.Session()
        self.session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    def pixels(self, window: Window) -> bytes:
        body = {"expression": graph(), "fileFormat": "NPY", "grid": grid(window)}
        response = self.session.post(f"{self.base}/image:computePixels", json=body)
        response.raise_for_status()
        return response.content

    def thumbnail(self, window: Window) -> bytes:
        body = {"expression": graph(window), "fileFormat": "PNG"}
        created = self.session.post(f"{self.base}/thumbnails", json=body)
        created.raise_for_status()
        response = self.session.get(f"{self.root}/{created.json()['name']}:getPixels")
        response.raise_for_status()
        return response.content


def rate(work: Any, windows: list[Window], clients: int) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, windows))
    return len(windows) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=400)
    count = parser.parse_args().chips
    random = np.random.default_rng(1)
    windows = [Window(*random.integers(0, EDGE - SIZE, 2).tolist(), SIZE, SIZE) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        served = make(Path(folder))
        server = subprocess.Popen(
            [sys.executable, "-m", "eechips_local.run_server", "--exit-with-parent", "--no-demo", "--rate", "none",
             "--concurrency", "none", "--assets", str(Path(folder) / "assets")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout is not None
        client = Client(json.loads(server.stdout.readline())["url"])
        with rasterio.open(served) as file:
            truth = file.read((1, 2, 3), window=windows[0])
            found = np.load(io.BytesIO(client.pixels(windows[0])))
            assert all(np.array_equal(found[name], truth[i]) for i, name in enumerate("RGB"))
            client.thumbnail(windows[0])
            for _ in range(8):  # every worker has opened the file
                client.pixels(windows[1])
            direct = rate(lambda w: file.read((1, 2, 3), window=w), windows, 1)
        print(f"rasterio, one thread:             {direct:7.1f} windows/s")
        for label, work, clients in (
            ("computePixels, one client:       ", client.pixels, 1),
            ("computePixels, forty clients:    ", client.pixels, 40),
            ("thumbnails (PNG), forty clients: ", client.thumbnail, 40),
        ):
            found_rate = rate(work, windows, clients)
            print(f"{label} {found_rate:7.1f} windows/s, {found_rate / direct:.2f} of rasterio")
        server.communicate()


if __name__ == "__main__":
    main()
