"""Adjoining chips in shared requests, beside the same run with `--method pixels`, in turns.

    python benchmarks/shared_requests.py
    python benchmarks/shared_requests.py --models square,bands --rounds 1
    python benchmarks/shared_requests.py --scenario scattered --rounds 5
    python benchmarks/shared_requests.py --scenario frames --places 100 --rounds 1

Scenarios:

- ``adjoining``: some 10,000 chips of 64x64 pixels and four bands (uint16), `--cells regular:640m` on 10 m.
- ``scattered``: 1,000 places that are at least 1,500 m apart, of the same image: nothing can be shared.
- ``frames``: places on the demo planet with twelve monthly medians of Sentinel-2 (ten bands) and of Sentinel-1 (two).

The server is the local Earth Engine with its own quota, 40 in flight and 100 a second. The image of the first two is a
stored COG, which takes a few milliseconds a chip. What the service takes for a request is a model, added to that:

- ``pixels``: 1.05 s (the median that the other benchmarks have) and 4 s for each 2^20 pixels;
- ``square``: 0.3 s and 100 s for each squared megapixel: large windows take disproportionately long;
- ``bands``: 1 s and 0.5 s for each band: sharing saves the fixed part only;
- ``steep``: 0.05 s and 40 s for each 2^20 pixels: requests cost next to nothing, pixels everything.

Shown are requests for pixels, all requests, chips a second of the whole command, pixels of the requests for each
pixel of a chip, received bytes for each byte that chips alone have, and processor time of the client and of the server.
Both runs must have the same SHA-256 of every file, else the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from harness import Command, Server, serving
from processes import adopt_orphans
from pyproj import Transformer

from eechips_local.assets import ingest

MODELS = {
    "pixels": "*Pixels=1.05+4mp;0.1",
    "square": "*Pixels=0.3+100mp^2;0.1",
    "bands": "*Pixels=1+0.5band;0.1",
    "steep": "*Pixels=0.05+40mp;0.1",
    "none": "0.001",
}
PIXELS = ("assets:getPixels", "image:computePixels")
_ID, _CRS, _PIXEL, _CHIP = "users/bench/tile", "EPSG:32613", 10.0, 64
_WEST, _NORTH = 500_000.0, 4_400_000.0
_BLOCK = 512
_PATIENCE = 3_600.0


@dataclass(frozen=True)
class Measured:
    """A run.

    Attributes:
        chips: files.
        seconds: seconds of the whole command.
        pixel_requests: requests for pixels, as the server counted them; those that the quota rejected not included.
        requests: all of them.
        received: bytes of responses with pixels.
        waste: pixels of the requests for each pixel of the chips; 1 if they tile their windows.
        cpu: seconds of processor time of the client.
        server_cpu: processor time of the server of the server.
    """

    chips: int
    seconds: float
    pixel_requests: int
    requests: int
    received: int
    waste: float
    cpu: float
    server_cpu: float

    @property
    def rate(self) -> float:
        """Chips a second."""
        return self.chips / self.seconds


def write_store(folder: Path, side: int) -> list[str]:
    """Write the image, noise on blocks, and return the options of the server."""
    random, size = np.random.default_rng(0), side * _CHIP
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 4, "dtype": "uint16", "crs": _CRS, "tiled": True,
        "transform": Affine(_PIXEL, 0, _WEST, 0, -_PIXEL, _NORTH), "blockxsize": _BLOCK, "blockysize": _BLOCK,
        "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    with rasterio.open(folder / "tile.tif", "w", **profile) as file:
        for row in range(0, size, _BLOCK):
            for column in range(0, size, _BLOCK):
                height, width = min(_BLOCK, size - row), min(_BLOCK, size - column)
                noise = random.integers(0, 16, (height, width))
                rows, columns = np.mgrid[row : row + height, column : column + width]
                values = (1000 + (rows // 8 * 31 + columns // 8 * 17) % 800 + noise).astype("uint16")
                window = rasterio.windows.Window(column, row, width, height)
                file.write(np.stack([values + 100 * band for band in range(4)]), window=window)
    ingest(folder / "tile.tif", folder / "store", _ID, bands=["B1", "B2", "B3", "B4"])
    return ["--assets", str(folder / "store"), "--no-demo"]


def region(side: int) -> str:
    """The bounds of the image in degrees, without its slanting edges."""
    end = side * _CHIP * _PIXEL
    corners = [(_WEST, _NORTH), (_WEST + end, _NORTH), (_WEST, _NORTH - end), (_WEST + end, _NORTH - end)]
    places = [Transformer.from_crs(_CRS, 4326, always_xy=True).transform(*corner) for corner in corners]
    xs, ys = sorted(x for x, _ in places), sorted(y for _, y in places)
    return ",".join(f"{each:.5f}" for each in (xs[1], ys[1], xs[2], ys[2]))


def sample(server: Server, out: Path, options: Sequence[str]) -> Measured:
    """Run `eechips sample` on a server of its own."""
    command = [
        sys.executable, "-m", "eechips", "--debug", "sample", *options, "--endpoint", server.url, "--project", "local",
        "--out", str(out), "--quiet",
    ]  # fmt: skip
    before = server.cpu()
    ended = Command(command, out.parent / f"{out.name}.txt").wait(_PATIENCE)
    if ended.status:
        raise RuntimeError((out.parent / f"{out.name}.txt").read_text()[-2000:])
    stats = server.get("_stats")
    rejected = sum(stats["rejected"].values())
    events = [json.loads(line) for line in (out / "run.log").read_text().splitlines()]
    pixels = [event for event in events if event.get("event") == "request" and event["kind"] in PIXELS]
    return Measured(
        chips=sum(1 for _ in (out / "chips").rglob("*.tif")),
        seconds=ended.seconds,
        pixel_requests=sum(stats["requests"].get(kind, 0) for kind in PIXELS) - rejected,
        requests=sum(stats["requests"].values()),
        received=sum(event["bytes"] for event in pixels),
        waste=waste(out),
        cpu=ended.cpu,
        server_cpu=server.cpu() - before,
    )


def waste(out: Path) -> float:
    """Pixels of the windows that cover the chips of a request, for each pixel of these."""
    rows = pd.read_parquet(out / "manifest.parquet")
    rows = rows[rows["width"].notna()]
    if "shared_request" not in rows:
        return 1.0
    cells = pd.DataFrame([[float(cell) for cell in each] for each in rows["transform"]], index=rows.index)
    left, top = (cells[2] / cells[0]).round(), (cells[5] / cells[4]).round()
    about = pd.DataFrame({"left": left, "top": top, "right": left + rows["width"], "bottom": top + rows["height"]})
    boxes = about.groupby(rows["shared_request"].fillna(-1 - rows["position"])).agg(
        {"left": "min", "top": "min", "right": "max", "bottom": "max"}
    )
    covered = ((boxes["right"] - boxes["left"]) * (boxes["bottom"] - boxes["top"])).sum()
    return float(covered / (rows["width"] * rows["height"]).sum())


def digests(out: Path) -> pd.Series:
    """SHA-256 of every file by its name."""
    layers = out / "layers.parquet"
    rows = pd.read_parquet(layers if layers.exists() else out / "manifest.parquet", columns=["file", "sha256"])
    return rows.dropna().set_index("file")["sha256"].sort_index()


def scenario(name: str, side: int, places: int, folder: Path) -> tuple[list[str], list[str]]:
    """The options of the server and of the command."""
    if name == "frames":
        s2 = "S2:B2,B3,B4,B5,B6,B7,B8,B8A,B11,B12"
        return ["--demo"], [
            "--dataset", "S2", "--bands", s2, "--dataset", "S1", "--bands", "S1:VV,VH", "--every", "month:median",
            "--start", "2020-01-01", "--end", "2021-01-01", "--total", str(places),
            "--roi=-105.3,39.6,-104.7,40.2", "--size", "64",
        ]  # fmt: skip
    options = ["--dataset", _ID, "--size", str(_CHIP), "--format", "tif", f"--roi={region(side)}"]
    where = ["--cells", "regular:640m"] if name == "adjoining" else ["--total", str(places), "--min-distance", "1500m"]
    return write_store(folder, side), [*options, *where]


def compare(name: str, model: str, given: argparse.Namespace, server: Sequence[str], options: Sequence[str]) -> bool:
    """Run both in turns, and print medians and their ratio; return whether all files were the same."""
    found: dict[str, list[Measured]] = {"shared": [], "alone": []}
    is_same = True
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            for kind in ("shared", "alone") if number % 2 == 0 else ("alone", "shared"):
                with serving("emulator", *server, "--latency", MODELS[model]) as running:
                    more = [] if kind == "shared" else ["--method", "pixels"]
                    measured = sample(running, Path(scratch) / kind, [*options, *more])
                found[kind].append(measured)
                print(f"  {kind}: {measured.rate:.1f} chips/s {json.dumps(asdict(measured))}", flush=True)
            is_same &= digests(Path(scratch) / "shared").equals(digests(Path(scratch) / "alone"))
    pairs = list(zip(found["shared"], found["alone"], strict=True))
    ratio = {
        "chips/s": statistics.median(s.rate / a.rate for s, a in pairs),
        "requests for pixels": statistics.median(a.pixel_requests / s.pixel_requests for s, a in pairs),
        "bytes received": statistics.median(s.received / max(1, a.received) for s, a in pairs),
    }
    units = found["alone"][0].chips
    print(
        f"{name}, {model} ({MODELS[model]}), medians of {given.rounds}: {units:,} files;"
        f" {statistics.median(s.pixel_requests for s, _ in pairs):,} requests for pixels instead of"
        f" {statistics.median(a.pixel_requests for _, a in pairs):,} ({ratio['requests for pixels']:.1f} times fewer);"
        f" {statistics.median(s.rate for s, _ in pairs):.1f} chips/s instead of"
        f" {statistics.median(a.rate for _, a in pairs):.1f} ({ratio['chips/s']:.2f} times);"
        f" {statistics.median(s.waste for s, _ in pairs):.3f} pixels for each pixel kept,"
        f" bytes received {ratio['bytes received']:.3f} of those alone;"
        f" files {'the same' if is_same else 'DIFFERENT'}",
        flush=True,
    )
    return is_same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=["adjoining", "scattered", "frames"], default="adjoining")
    parser.add_argument("--models", default="pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=102, help="chips along an edge of the image")
    parser.add_argument("--places", type=int, default=1_000)
    given = parser.parse_args()
    adopt_orphans()
    is_same = True
    with tempfile.TemporaryDirectory() as folder:
        server, options = scenario(given.scenario, given.side, given.places, Path(folder))
        for model in given.models.split(","):
            is_same &= compare(given.scenario, model, given, server, options)
    sys.exit(not is_same)


if __name__ == "__main__":
    main()
