"""Chips and a median from files on a distant host, beside what others read them with.

    python -m venv /opt/rivals
    /opt/rivals/bin/pip install odc-stac stackstac rasterio "dask[array]" pystac async-tiff obstore
    python benchmarks/open_archive.py --rivals /opt/rivals/bin/python --chips 1000 --rounds 5

Scenes are cloud-optimised GeoTIFFs of uint16 in deflated tiles, with predictor and overviews: one file of four bands
(as NAIP), or with ``--apart`` four files of one band (as Sentinel-2 and Landsat). A host on loopback serves them with a
latency and a bandwidth (``slow_host.py``). In each round,

1. chips of 256 x 256 pixels are read: cold; with the headers kept; with all blocks kept that the run before has read;
2. the median of 30 scenes over 1,024 x 1,024 pixels is computed, cold and with everything kept;

by the reader of archives with as many threads as the rivals have, and by them. All sums are compared with the files.
earthlens-imagery 0.31 is not compared: it searches anew for each box, and copies whole scenes before it crops them
(``merge_rasters`` without a box in its ``stac/backend.py``), which are 103 MB here: at most one chip a second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.windows import Window

from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.files.cog_raster import RangeCogReader
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.signing import Signer
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, PixelWindow
from eechips_local.functions import load_functions
from eechips_local.functions.series.image_collections import reduction
from eechips_local.pixels.composite import Reduced
from eechips_local.pixels.lazy_image import Render
from eechips_local.pixels.stored_image import stored_image
from eechips_local.reducers import MEDIAN

HERE = Path(__file__).resolve().parent
EDGE = 256
THREADS = 40
DIFFERENT = 4  # scenes with pixels of their own; the others repeat them
CHIPS = ("rasterio", "rasterio, files kept open", "odc-stac", "stackstac", "async-tiff and obstore")
MEDIANS = ("odc-stac, Dask threads",)
OWN = ("eechips-local, cold", "eechips-local, headers kept", "eechips-local, blocks kept")
OWN_MEDIANS = ("eechips-local median, cold", "eechips-local median, blocks kept")


def make_scene(folder: Path, names: Sequence[str], side: int, block: int, seed: int) -> None:
    """Write fields with edges, soft relief and the noise of a sensor, about as compressible as Sentinel-2.

    Args:
        folder: where the files are written.
        names: names of one file of four bands, or of four files of one band.
        side: pixels on a side of the scene.
        block: pixels on a side of a tile.
        seed: seed of the pixels.
    """
    rng = np.random.default_rng(seed)
    fields = np.kron(rng.integers(300, 2500, (side // 64, side // 64)), np.ones((64, 64), np.int64))
    slope = np.add.outer(np.sin(np.arange(side) / 97.0), np.cos(np.arange(side) / 61.0)) * 150
    bands = [
        np.clip(fields * (0.6 + 0.3 * band) + slope + rng.normal(0, 25, (side, side)), 1, 10_000).astype(np.uint16)
        for band in range(4)
    ]
    count = 4 // len(names)
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": count, "dtype": "uint16", "crs": "EPSG:32613",
        "transform": Affine(10.0, 0.0, 499_980.0, 0.0, -10.0, 4_400_040.0),
    }  # fmt: skip
    for number, name in enumerate(names):
        with MemoryFile() as memory:
            with memory.open(**profile) as dataset:
                dataset.write(np.stack(bands[number * count : (number + 1) * count]))
            rasterio.shutil.copy(
                memory.name, str(folder / name), driver="COG", blocksize=block, compress="DEFLATE", predictor="YES",
                level=1, num_threads="ALL_CPUS",
            )  # fmt: skip


def scene_files(number: int, apart: bool) -> list[str]:
    return [f"scene-{number:02}-b{band}.tif" for band in range(1, 5)] if apart else [f"scene-{number:02}.tif"]


def make_plan(host: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    scenes, chips, side = options.scenes, options.chips, options.side
    rng = np.random.default_rng(seed)
    transform = [10.0, 0.0, 499_980.0, 0.0, -10.0, 4_400_040.0]
    places = [
        {
            "urls": [f"{host}/{name}" for name in scene_files(number, options.apart)], "epsg": 32613,
            "transform": transform, "width": side, "height": side,
        }
        for number in range(scenes)
    ]  # fmt: skip
    found = [
        [int(rng.integers(scenes)), *(int(v) for v in rng.integers(0, side - EDGE, 2))] for _ in range(chips)
    ]  # fmt: skip
    return {
        "host": host, "scenes": places, "chips": found, "edge": EDGE, "stack": min(30, scenes), "window": 1024,
        "corner": [side // 2 - 700, side // 2 - 600],
    }  # fmt: skip


def true_sums(folder: Path, plan: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Return the sums of all chips, and of the bands of the median twice, by rasterio from the files."""

    def read(scene: int, window: Window) -> Any:
        bands = []
        for url in plan["scenes"][scene]["urls"]:
            with rasterio.open(folder / url.rpartition("/")[2]) as dataset:
                bands.append(dataset.read(window=window))
        return np.concatenate(bands)

    chips = [
        int(read(scene, Window(column, row, EDGE, EDGE)).astype(np.int64).sum())
        for scene, column, row in plan["chips"]
    ]  # fmt: skip
    window = Window(*plan["corner"], plan["window"], plan["window"])
    stack = [read(scene, window) for scene in range(plan["stack"])]
    return chips, [int(band.sum() * 2) for band in np.median(np.stack(stack), axis=0)]


def open_reader(plan: dict[str, Any], folder: Path) -> RangeCogReader:
    description = ArchiveDescription("loopback", "Loopback", hosts=(plan["host"].removeprefix("http://"),))
    transport = HostTransport(AllowedHosts.of_files(description), THREADS)
    return RangeCogReader(transport, Signer(description), folder, THREADS)


def read_chips(plan: dict[str, Any], folder: Path) -> list[int]:
    reader = open_reader(plan, folder)
    scenes = [[reader.open(url, collection="c") for url in scene["urls"]] for scene in plan["scenes"]]

    def read(chip: Sequence[int]) -> int:
        scene, column, row = chip
        window, total = PixelWindow(column, row, EDGE, EDGE), 0
        for file in scenes[scene]:
            file.prefetch_header()
        for file in scenes[scene]:
            file.prefetch(list(range(4 // len(scenes[scene]))), window, 0)
        for file in scenes[scene]:
            values, _ = file.read(list(range(4 // len(scenes[scene]))), window, 0)
            total += int(values.astype(np.int64).sum())
        return total

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read, plan["chips"]))


def read_median(plan: dict[str, Any], folder: Path) -> list[int]:
    reader = open_reader(plan, folder)
    window = plan["window"]
    scenes = [[reader.open(url, collection="c") for url in scene["urls"]] for scene in plan["scenes"][: plan["stack"]]]
    for file in itertools.chain.from_iterable(scenes):
        file.prefetch_header()
    grid, count = scenes[0][0].header.grid, 4 // len(scenes[0])
    stored = [
        stored_image(
            ImageAsset(
                "a",
                tuple(
                    BandInfo(f"b{number}", PixelType.of("uint16"), grid, files[number // count], number % count)
                    for number in range(4)
                ),
                {},
                shapely.box(-180, -90, 180, 90),
            )
        )
        for files in scenes
    ]
    raster = Reduced(lambda bounds: iter(stored), tuple((i,) for i in range(4)), reduction(MEDIAN), 1)
    found = raster.read([0, 1, 2, 3], grid.window(*plan["corner"], window, window), Render(4 << 30))
    return [int(pixels.values.sum() * 2) for pixels in found]


def run_own(task: str, plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read in a process of its own, as rivals do."""
    text = json.dumps({**plan, "task": task, "folder": str(folder)})
    done = subprocess.run(
        [sys.executable, __file__, "--own"], input=text, capture_output=True, text=True, check=True
    )  # fmt: skip
    return json.loads(done.stdout)


def run_rival(python: str, task: str, plan: dict[str, Any]) -> dict[str, Any] | str:
    text = json.dumps({**plan, "task": task})
    command = [python, str(HERE / "open_archive_rivals.py")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=900)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:160]
    return json.loads(done.stdout)


def counts(host: str) -> tuple[int, int]:
    with urlopen(f"{host}/counts") as response:
        found = json.load(response)
    return found["requests"], found["bytes"]


def measured(run: Any, host: str) -> dict[str, Any] | str:
    requests, received = counts(host)
    found = run()
    if isinstance(found, str):
        return found
    after = counts(host)
    return {**found, "requests": after[0] - requests, "bytes": after[1] - received}


def own() -> None:
    plan = json.load(sys.stdin)
    load_functions()
    task = read_median if "median" in plan["task"] else read_chips
    begin, used = time.perf_counter(), time.process_time()
    sums = task(plan, Path(plan["folder"]))
    print(json.dumps({"seconds": time.perf_counter() - begin, "cpu": time.process_time() - used, "sums": sums}))


def one_round(options: argparse.Namespace, plan: dict[str, Any], truth: Any, kept: Path) -> dict[str, dict[str, Any]]:
    host = plan["host"]
    found: dict[str, dict[str, Any]] = {}

    def note(name: str, run: Any, true: list[int]) -> None:
        result = measured(run, host)
        if isinstance(result, str):
            print(f"  {name}: {result}", flush=True)
            return
        if result.pop("sums") != true:
            print(f"  {name}: OTHER PIXELS", flush=True)
        found[name] = result

    shutil.rmtree(kept, ignore_errors=True)
    note(OWN[0], lambda: run_own(OWN[0], plan, kept), truth[0])
    shutil.rmtree(kept / "blocks", ignore_errors=True)
    note(OWN[1], lambda: run_own(OWN[1], plan, kept), truth[0])
    note(OWN[2], lambda: run_own(OWN[2], plan, kept), truth[0])
    shutil.rmtree(kept, ignore_errors=True)
    for name in OWN_MEDIANS:
        note(name, lambda name=name: run_own(name, plan, kept), truth[1])
    if options.rivals:
        for name in CHIPS:
            note(name, lambda name=name: run_rival(options.rivals, name, plan), truth[0])
        for name in MEDIANS:
            note(name, lambda name=name: run_rival(options.rivals, name, plan), truth[1])
    return found


def report(rounds: list[dict[str, dict[str, Any]]], plan: dict[str, Any]) -> None:
    chips, kept = len(plan["chips"]), EDGE * EDGE * 4 * 2
    print(f"{'':32}{'seconds':>16}{'chips/s':>9}{'requests/chip':>15}{'read/kept':>11}{'cpu s':>8}")
    for name in rounds[0]:
        rows = [found[name] for found in rounds if name in found]
        seconds = [row["seconds"] for row in rows]
        row = rows[0]
        span = f"{statistics.median(seconds):.2f} ({min(seconds):.1f}-{max(seconds):.1f})"
        if "median" in name or "Dask" in name:
            whole = plan["stack"] * plan["window"] ** 2 * 4 * 2
            print(f"{name:32}{span:>16}{'':9}{row['requests']:>15}{row['bytes'] / whole:>11.2f}{row['cpu']:>8.1f}")
        else:
            print(
                f"{name:32}{span:>16}{chips / statistics.median(seconds):>9.1f}{row['requests'] / chips:>15.2f}"
                f"{row['bytes'] / (chips * kept):>11.2f}{row['cpu']:>8.1f}"
            )
    for mine, others in (*((name, CHIPS) for name in OWN), *((name, MEDIANS) for name in OWN_MEDIANS)):
        ratios = [
            min(found[name]["seconds"] for name in others if name in found) / found[mine]["seconds"]
            for found in rounds
            if mine in found and any(name in found for name in others)
        ]
        if ratios:
            print(f"{mine}: {statistics.median(ratios):.2f} times the best other ({min(ratios):.2f}-{max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", help="Python with odc-stac, stackstac, rasterio, async-tiff and obstore")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--chips", type=int, default=1000)
    parser.add_argument("--side", type=int, default=4096, help="pixels on a side of a scene")
    parser.add_argument("--block", type=int, default=512, help="pixels on a side of a tile; Sentinel-2 has 1024")
    parser.add_argument("--apart", action="store_true", help="a file for each band, as Sentinel-2 has")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--rate", type=float, default=100e6)
    parser.add_argument("--folder", type=Path, help="where scenes are made, and left for the next run")
    parser.add_argument("--own", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own:
        return own()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "scenes"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(options.scenes):
            names, sources = scene_files(number, options.apart), scene_files(number % DIFFERENT, options.apart)
            if (folder / names[-1]).exists():
                continue
            if number < DIFFERENT:
                make_scene(folder, names, options.side, options.block, number)
            else:
                for name, source in zip(names, sources, strict=True):
                    os.link(folder / source, folder / name)
        command = [sys.executable, str(HERE / "slow_host.py"), str(folder)]
        command += ["--latency", str(options.latency), "--rate", str(options.rate)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                host = server.stdout.readline().strip()
                plan = make_plan(host, options, 1)
                truth = true_sums(folder, plan)
                rounds = []
                for number in range(options.rounds):
                    rounds.append(one_round(options, plan, truth, Path(scratch) / "kept"))
                    print(f"round {number + 1} of {options.rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
                report(rounds, plan)
            finally:
                server.terminate()
    return None


if __name__ == "__main__":
    main()
