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
from datetime import datetime
from pathlib import Path
from typing import Any

from harness import PIXELS, Command, Server, serving

_KINDS = {"results": PIXELS, "planning": ("value:compute", "table:computeFeatures")}
_SHOWN = ("tried", "left", "planning", "requests", "time", "compute")


def _months(folder: Path, scale: float) -> list[str]:
    return [
        *("--dataset", "L8", "--bands", "SR_B4,SR_B5", "--every", "month", "--start", "2020-01-01"),
        *("--end", "2021-01-01", "--total", str(round(2000 * scale)), "--roi=-105.3,39.6,-104.7,40.2"),
    ]


def _clusters(folder: Path, scale: float) -> list[str]:
    draw, rows = random.Random(1), ["lon,lat"]
    for _ in range(round(30 * scale)):
        longitude, latitude = -105.3 + 0.6 * draw.random(), 39.6 + 0.6 * draw.random()
        rows += [f"{draw.gauss(longitude, 0.004):.6f},{draw.gauss(latitude, 0.003):.6f}" for _ in range(10)]
    (folder / "clusters.csv").write_text("\n".join(rows) + "\n")
    return [
        *("--dataset", "S2", "--bands", "B4,B8", "--points", str(folder / "clusters.csv")),
        *("--every", "month", "--start", "2020-05-01", "--end", "2020-09-01"),
    ]


def _scattered(folder: Path, scale: float) -> list[str]:
    return [
        *("--dataset", "S2", "--bands", "B4,B8", "--start", "2020-06-01", "--end", "2020-08-01"),
        *("--total", str(round(500 * scale)), "--roi=-107,38,-103,41"),
    ]


def _places(folder: Path, scale: float) -> list[str]:
    draw = random.Random(2)
    rows = [f"{-105.3 + 0.6 * draw.random():.6f},{39.6 + 0.6 * draw.random():.6f}" for _ in range(round(400 * scale))]
    (folder / "places.csv").write_text("\n".join(["lon,lat", *rows]) + "\n")
    return ["--dataset", "NAIP", "--points", str(folder / "places.csv")]


SHAPES: dict[str, Callable[[Path, float], list[str]]] = {
    "2,000 places x 12 months, Landsat 8": _months,
    "30 clusters of 10 places x 4 months, Sentinel-2": _clusters,
    "500 scattered places, Sentinel-2": _scattered,
    "400 places, NAIP": _places,
}


def count(server: Server) -> dict[str, float]:
    """Return the requests that the server has answered, for results and for plans, and the EECU-seconds."""
    stats = server.get("_stats")
    sums = {name: sum(stats["requests"].get(kind, 0) for kind in kinds) for name, kinds in _KINDS.items()}
    return {**sums, "eecu": float(stats["compute"]["eecu_seconds"])}


def file_bytes(out: Path) -> int:
    """Return the bytes of the chips of a run."""
    return sum(path.stat().st_size for path in out.rglob("*.tif"))


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
    words = [
        *(sys.executable, "-m", "eechips", "sample", *SHAPES[shape](folder, options.scale)),
        *("--size", str(options.size)),
        *("--format", "tif", "--endpoint", server.url, "--project", "local", "--executor", "threads"),
        *("--estimate", str(options.estimate), "--yes", "--out", str(out)),
    ]
    command = Command(words, log)
    forecast: dict[str, Any] | None = None
    while command.is_running and forecast is None:
        time.sleep(0.02)
        lines = (out / "run.log").read_text().splitlines() if (out / "run.log").exists() else []
        forecast = next((json.loads(line) for line in lines if '"estimated"' in line), None)
    before, bytes_before, moment = count(server), file_bytes(out), time.monotonic()
    ended = command.wait()
    if ended.status or forecast is None:
        raise RuntimeError(f"status {ended.status}:\n{log.read_text()}")
    events = [json.loads(line) for line in (out / "run.log").read_text().splitlines()]
    took = {name: number - before[name] for name, number in count(server).items()}
    planning = forecast["planning"] or {"requests": 0, "sent": 0, "compute": None}
    planned = forecast["unplanned"] / (forecast["tried"] + forecast["left"])
    eecu = forecast["compute"]["seconds"] + planned * (planning["compute"] or {"seconds": 0.0})["seconds"]
    pairs = {
        "requests": (forecast["requests"], took["results"]),
        "planning requests": (planned * planning["requests"], took["planning"]),
        "all requests": (forecast["requests"] + planned * planning["requests"], took["results"] + took["planning"]),
        "bytes": (forecast["bytes"], file_bytes(out) - bytes_before),
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
    parser.add_argument("--size", type=int, default=32, help="pixels of a side of a chip")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of places")
    parser.add_argument("--only", type=int, help="number of a shape, from 0")
    options = parser.parse_args()
    limits = ["--demo", "--rate", "100", "--concurrency", "40", "--latency", str(options.latency)]
    for number, shape in enumerate(SHAPES):
        if options.only in (None, number):
            with tempfile.TemporaryDirectory(prefix="estimate-") as temporary, serving("emulator", *limits) as server:
                os.environ["EECHIPS_CACHE"] = str(Path(temporary) / "cache")
                print(json.dumps({shape: measure(server, Path(temporary), shape, options)}), flush=True)


if __name__ == "__main__":
    main()
