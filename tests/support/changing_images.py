"""A collection of images that change between a run and its rebuild."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from affine import Affine

import eechips
from eechips.lockfile.rebuild_comparison import Rebuild
from eechips.manifest.run import Run
from eechips_local.assets import ingest
from local_tests.support.local_earth_engine import Server
from tests.support.coded_store import write_geotiff

COLLECTION = "users/someone/tiles"
CRS = "EPSG:32613"
WIDTH, EDGE = 8, 160  # images in a row; pixels of an edge


class Source:
    """A collection of images side by side, which change.

    Attributes:
        url: URL of the server.
        pixels: pixels of each image: (bands, rows, columns).
    """

    def __init__(self, folder: Path, count: int, serve: Callable[..., Server]) -> None:
        self._folder, self._serve = folder, serve
        random = np.random.default_rng(3)
        self.pixels = [random.integers(1, 200, (2, EDGE, EDGE)).astype(np.uint8) for _ in range(count)]
        for number in range(count):
            self.put(number)
        self.start()

    def start(self) -> None:
        """Serve the images, at another port than before."""
        store = str(self._folder / "store")
        self.server = self._serve("--assets", store, "--no-demo", "--rate", "none", "--concurrency", "none")

    def put(self, number: int) -> None:
        """Ingest an image, or replace it."""
        row, column = divmod(number, WIDTH)
        place = Affine(10, 0, 500_000 + 10 * EDGE * column, 0, -10, 4_400_000 - 10 * EDGE * row)
        path = self._folder / f"image_{number}.tif"
        write_geotiff(path, CRS, place, self.pixels[number], dtype="uint8")
        ingest(path, self._folder / "store", f"{COLLECTION}/image_{number}", time_start="2020-06-01", bands=["a", "b"])

    def points(self, per_image: int, size: int, seed: int = 5) -> Path:
        """Write a table of places whose chips lie inside of one image each."""
        from pyproj import Transformer

        random = np.random.default_rng(seed)
        offsets = random.uniform(size / 2 + 1, EDGE - size / 2 - 1, (len(self.pixels), per_image, 2))
        rows = []
        for number, places in enumerate(offsets):
            row, column = divmod(number, WIDTH)
            x = 500_000 + 10 * (EDGE * column + places[:, 0])
            y = 4_400_000 - 10 * (EDGE * row + places[:, 1])
            lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
            rows += [{"lon": a, "lat": b, "image": number} for a, b in zip(lon, lat, strict=True)]
        path = self._folder / "places.csv"
        pd.DataFrame(rows).to_csv(path, index=False)
        return path

    def sample(self, per_image: int, size: int, out: Path, **further: Any) -> Run:
        """Fetch chips at so many places of each image."""
        points = self.points(per_image, size)
        return eechips.sample(COLLECTION, points=points, size=size, out=out, **options(self.server, **further))


def files_of(run: Run) -> dict[str, bytes]:
    """The results of a run, with what was made of all, by path."""
    names = [*run.units["file"].dropna(), *(run.layers["file"] if len(run.layers) else ())]
    paths = {run.path / name for name in names} | set(run.assembled)
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in sorted(paths)}


def options(source: Server, **more: Any) -> dict[str, Any]:
    return {"endpoint": source.url, "project": "local", "quiet": True, "executor": "threads", **more}


def pixels_of(data: bytes) -> np.ndarray:
    with rasterio.MemoryFile(data) as memory, memory.open() as file:
        return np.asarray(file.read())


def members(lockfile: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a member of a lockfile."""
    with zipfile.ZipFile(lockfile) as archive:
        return [json.loads(line) for line in archive.read(name).splitlines()]


def at(server: Server) -> tuple[str, ...]:
    return ("--endpoint", server.url, "--project", "local", "-q")


def rebuilt(run: Run, folder: Path, server: Server, **more: Any) -> Rebuild:
    return eechips.rebuild(eechips.lock(run, folder / "a.lock"), folder / "again", **options(server, **more))
