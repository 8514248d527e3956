"""What ``--estimate`` says of the rest of a run, beside what the rest takes: four shapes of runs of the demo planet.

    python benchmarks/estimates.py --latency 2

A local server has a quota of 40 and answers after some latency, so that the quota bounds a run, not the processor of
this machine. Each run fetches its first units, estimates, and continues in the same command.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness import Command, Server, serving

import eechips

_FREE = ("rest", "algorithms:list")
"""Kinds of requests of the connection."""
_SHOWN = ("tried", "left", "planning", "requests", "time", "compute")
SMALL = ("--size", "32", "--format", "tif")
YEAR = ("--start", "2020-01-01", "--end", "2021-01-01")
SUMMER = ("--start", "2020-06-01", "--end", "2020-08-01")
ROI = "--roi=-105.3,39.6,-104.7,40.2"


@dataclass(frozen=True)
class Shape:
    """A run.

    Attributes:
        words: its command.
        before: command that has finished or paused before; none by default.
    """

    words: tuple[str, ...]
    before: tuple[str, ...] = ()


def _write_points(path: Path, count: int, seed: int) -> str:
    draw = random.Random(seed)
    rows = [f"{-105.3 + 0.6 * draw.random():.6f},{39.6 + 0.6 * draw.random():.6f}" for _ in range(count)]
    path.write_text("\n".join(["lon,lat", *rows]) + "\n")
    return str(path)


def _write_fields(path: Path, count: int) -> str:
    """Write polygons of four corners with sides of 300 to 900 m."""
    draw, features = random.Random(3), []
    for number in range(count):
        x, y = -105.3 + 0.6 * draw.random(), 39.6 + 0.6 * draw.random()
        width, height = (0.003 + 0.006 * draw.random() for _ in range(2))
        ring = [[x, y], [x + width, y], [x + width, y + height], [x, y + 0.8 * height], [x, y]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {"field": f"f{number}"}, "geometry": geometry})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def _months(folder: Path, scale: float) -> Shape:
    return Shape(
        (
            *("sample", "--dataset", "L8", "--bands", "SR_B4,SR_B5", *SMALL, "--every", "month", *YEAR),
            *("--total", str(round(2000 * scale)), ROI),
        )
    )


def _clusters(folder: Path, scale: float) -> Shape:
    draw, rows = random.Random(1), ["lon,lat"]
    for _ in range(round(30 * scale)):
        longitude, latitude = -105.3 + 0.6 * draw.random(), 39.6 + 0.6 * draw.random()
        rows += [f"{draw.gauss(longitude, 0.004):.6f},{draw.gauss(latitude, 0.003):.6f}" for _ in range(10)]
    (folder / "clusters.csv").write_text("\n".join(rows) + "\n")
    months = ("--every", "month", "--start", "2020-05-01", "--end", "2020-09-01")
    points = ("--points", str(folder / "clusters.csv"))
    return Shape(("sample", "--dataset", "S2", "--bands", "B4,B8", *SMALL, *months, *points))


def _scattered(folder: Path, scale: float) -> Shape:
    places = ("--total", str(round(500 * scale)), "--roi=-107,38,-103,41")
    return Shape(("sample", "--dataset", "S2", "--bands", "B4,B8", *SMALL, *SUMMER, *places))


def _places(folder: Path, scale: float) -> Shape:
    points = _write_points(folder / "places.csv", round(400 * scale), 2)
    return Shape(("sample", "--dataset", "NAIP", *SMALL, "--points", points))


def _fields(folder: Path, scale: float) -> Shape:
    regions = _write_fields(folder / "fields.geojson", round(300 * scale))
    words = ("sample", "--dataset", "S2", "--bands", "B4,B8", "--format", "tif", *SUMMER)
    return Shape((*words, "--regions", regions, "--columns", "id=field", "--clip"))


def _composites(folder: Path, scale: float) -> Shape:
    regions = _write_fields(folder / "fields.geojson", round(20 * scale))
    words = ("composites", "--dataset", "L8", "--bands", "SR_B4,SR_B5", "--reducer", "median", "--mask")
    return Shape((*words, "--every", "month", *YEAR, "--regions", regions, "--columns", "id=field"))


def _series(folder: Path, scale: float) -> Shape:
    regions = _write_fields(folder / "fields.geojson", round(500 * scale))
    words = ("timeseries", "--dataset", "MOD13A2", "--bands", "NDVI", "--regions", regions, "--columns", "id=field")
    return Shape((*words, *YEAR))


def _series_together(folder: Path, scale: float) -> Shape:
    shape = _series(folder, scale)
    return Shape((*shape.words, "--output", "one"))


def _features(folder: Path, scale: float) -> Shape:
    roi = f"--roi=-180,-60,{-180 + 360 * scale:.3f},80"
    return Shape(("features", "--dataset", "FAO/GAUL_SIMPLIFIED_500m/2015/level2", roi))


def _mosaic(folder: Path, scale: float) -> Shape:
    return Shape(("mosaic", "--dataset", "SRTM", f"--roi=-106,39,{-106 + 3 * scale:.3f},41", "--window", "512"))


def _extension(folder: Path, scale: float) -> Shape:
    words = ("sample", "--dataset", "L8", "--bands", "SR_B4,SR_B5", *SMALL, *SUMMER, ROI, "--total")
    return Shape((*words, str(round(400 * scale)), "--extend"), before=(*words, str(round(100 * scale))))


def _resumed(folder: Path, scale: float) -> Shape:
    shape = _months(folder, 0.05 * scale)
    return Shape(shape.words, before=(*shape.words, "--estimate", "15"))


SHAPES: dict[str, Callable[[Path, float], Shape]] = {
    "2,000 places x 12 months, Landsat 8": _months,
    "30 clusters of 10 places x 4 months, Sentinel-2": _clusters,
    "500 scattered places, Sentinel-2": _scattered,
    "400 places, NAIP": _places,
    "300 fields, Sentinel-2": _fields,
    "composites of 20 fields x 12 months, Landsat 8": _composites,
    "time series of 500 fields, MODIS": _series,
    "time series of 500 fields in one table, MODIS": _series_together,
    "features of the world, GAUL": _features,
    "mosaic of six square degrees, SRTM": _mosaic,
    "100 places of Landsat 8 extended to 400": _extension,
    "100 places x 12 months, paused after 15": _resumed,
}


def count(server: Server) -> dict[str, float]:
    """Return the EECU-seconds and the requests that the server has counted, without requests of the connection."""
    stats = server.get("_stats")
    requests = sum(number for kind, number in stats["requests"].items() if kind not in _FREE)
    return {"requests": requests, "eecu": float(stats["compute"]["eecu_seconds"])}


def sum_results(out: Path, moment: str) -> tuple[float, float]:
    """Return requests and bytes of the units that were finished after a moment."""
    run = eechips.open_run(out)
    units = run.units[run.units["finished"] > moment]
    layers = run.layers.reset_index()
    files = layers[layers["position"].isin(units.index)].drop_duplicates("file")  # of several frames, a row for each
    sizes = units["bytes"] if layers.empty else files["bytes"]
    return float(units["requests"].sum()), float(sizes.sum())


def _since(events: list[dict[str, Any]], *names: str) -> float:
    """Return the seconds between two events of a run's log."""
    times = {event["event"]: datetime.fromisoformat(event["time"].replace("Z", "+00:00")) for event in events}
    first, last = (times[name] for name in names)
    return (last - first).total_seconds()


def measure(server: Server, folder: Path, shape: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run a shape; return what was expected of the rest beside what it took.

    Raises:
        RuntimeError: if the run fails.
    """
    out, log = folder / "run", folder / "log.txt"
    run = SHAPES[shape](folder, options.scale)
    base = [sys.executable, "-m", "eechips"]
    service = ["--endpoint", server.url, "--project", "local", "--executor", "threads", "--out", str(out)]
    if run.before and (ended := Command([*base, *run.before, *service], log).wait()).status:
        raise RuntimeError(f"status {ended.status}:\n{log.read_text()}")
    settled = int(eechips.open_run(out).units["requests"].notna().sum()) if run.before else 0
    old = len((out / "run.log").read_text().splitlines()) if run.before else 0
    command = Command([*base, *run.words, "--estimate", str(settled + options.estimate), "--yes", *service], log)
    forecast: dict[str, Any] | None = None
    while command.is_running and forecast is None:
        time.sleep(0.02)
        lines = (out / "run.log").read_text().splitlines()[old:] if (out / "run.log").exists() else []
        forecast = next((json.loads(line) for line in lines if '"estimated"' in line), None)
    moment = time.monotonic()
    before = count(server)
    ended = command.wait()
    if ended.status or forecast is None:
        raise RuntimeError(f"status {ended.status}:\n{log.read_text()}")
    events = [json.loads(line) for line in (out / "run.log").read_text().splitlines()[old:]]
    took = {name: number - before[name] for name, number in count(server).items()}
    results, size = sum_results(out, forecast["time"])
    planning = forecast["planning"] or {"requests": 0, "sent": 0, "compute": None}
    planned = forecast["unplanned"] / max(1, forecast["tried"] + forecast["left"])
    others = planned * planning["requests"]
    eecu = (forecast["compute"] or {"seconds": 0.0})["seconds"]
    eecu += planned * (planning["compute"] or {"seconds": 0.0})["seconds"]
    pairs = {
        "requests": (forecast["requests"], results),
        "planning and profiles": (others, took["requests"] - results),
        "all requests": (forecast["requests"] + others, took["requests"]),
        "bytes": (forecast["bytes"] or 0, size),
        "EECU-seconds": (eecu, took["eecu"]),
        "seconds": (forecast["seconds"], _since(events, "estimated", "finished")),
    }
    ratios = {name: round(one / other, 3) if other else math.nan for name, (one, other) in pairs.items()}
    return {
        "log": [line for line in log.read_text().splitlines() if line[:9].strip() in _SHOWN],
        "seconds of the estimate": round(moment - command.began, 1),
        "expected, took": {name: [round(one, 1), round(other, 1)] for name, (one, other) in pairs.items()},
        "ratios": ratios,
        "range of requests": [forecast["least_requests"], forecast["most_requests"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--estimate", type=int, default=20)
    parser.add_argument("--latency", type=float, default=2.0, help="seconds of a request")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of places")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of shapes, from 0")
    options = parser.parse_args()
    limits = ["--demo", "--rate", "100", "--concurrency", "40", "--latency", str(options.latency)]
    for number, shape in enumerate(SHAPES):
        if options.only is None or number in options.only:
            with tempfile.TemporaryDirectory(prefix="estimate-") as temporary, serving("emulator", *limits) as server:
                os.environ["EECHIPS_CACHE"] = str(Path(temporary) / "cache")
                print(json.dumps({shape: measure(server, Path(temporary), shape, options)}), flush=True)


if __name__ == "__main__":
    main()
