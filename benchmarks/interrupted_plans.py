"""A sample with a frame of each month: its planning begins with ``--estimate``, or is killed at half.

    python benchmarks/interrupted_plans.py --places 2000 --months 12

Chips of the demo planet's Landsat 8; the clearest image of each month is chosen by the planner. One local server
counts requests and EECU, and serves three runs of the same places:

1. one that nothing disturbs; afterwards, the demo planet is drawn;
2. one that begins with ``--estimate`` and is finished by the same command without it;
3. one that is killed when half of the planning requests of (1) were sent, and whose command is repeated.

The exit status is 1 if (2) or (3) has other units, frames or pixels than (1), or if (3) sends planning requests again
other than those that were in flight.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from harness import Command, Server, serving

import eechips

ROI = "-105.3,39.6,-104.7,40.2"
_PIXELS = "image:computePixels"
_PLANNING = "value:compute"
_SLOTS = 4


def command(server: Server, out: Path, options: argparse.Namespace) -> list[str]:
    """Return the command of a run."""
    months = options.months
    return [
        *(sys.executable, "-m", "eechips", "sample", "--dataset", "L8", "--bands", "SR_B4,SR_B5"),
        *("--size", str(options.size)),
        *("--every", "month", "--start", "2020-01-01", "--end", f"{2020 + months // 12}-{months % 12 + 1:02}-01"),
        *("--total", str(options.places), "--roi=" + ROI, "--format", "tif"),
        *("--endpoint", server.url, "--project", "local"),
        *("--executor", "threads", "--in-flight", str(_SLOTS), "--out", str(out)),
    ]


def count(server: Server) -> dict[str, float]:
    """Return what the server has counted so far: requests by kind, and EECU-seconds."""
    stats = server.get("_stats")
    eecu = float(stats["compute"]["eecu_seconds"])
    return {_PIXELS: 0, _PLANNING: 0, **stats["requests"], "eecu": eecu}


def spent_since(before: dict[str, float], server: Server) -> dict[str, float]:
    """Return what the server has counted since."""
    return {kind: number - before.get(kind, 0) for kind, number in count(server).items()}


def timed(server: Server, words: list[str], log: Path) -> tuple[dict[str, float], float]:
    """Execute a command; return what the server has counted meanwhile, and the seconds.

    Raises:
        RuntimeError: if it fails.
    """
    before = count(server)
    ended = Command(words, log).wait()
    if ended.status:
        raise RuntimeError(f"status {ended.status}:\n{log.read_text()}")
    return spent_since(before, server), ended.seconds


def kill_at(server: Server, words: list[str], log: Path, requests: float) -> dict[str, float]:
    """Kill a command when it has sent so many requests of its plan; return what the server has counted meanwhile.

    Raises:
        RuntimeError: if it ends before.
    """
    before = count(server)
    process = Command(words, log)
    while process.is_running and spent_since(before, server)[_PLANNING] < requests:
        time.sleep(0.02)
    process.signal(signal.SIGKILL)
    if process.wait().status != -signal.SIGKILL:
        raise RuntimeError(f"ended before it was killed:\n{log.read_text()}")
    return spent_since(before, server)


def content(out: Path) -> dict[str, tuple[Any, str]]:
    """Return unit and pixels of each file."""
    units, rows = eechips.open_run(out).units, pd.read_parquet(out / "layers.parquet")
    planned = list(zip(units["id"], units["unit"], strict=True))
    return {
        file: (planned[position], hashlib.sha256((out / file).read_bytes()).hexdigest())
        for file, position in zip(rows["file"], rows["position"], strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=2000)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--size", type=int, default=128, help="pixels of a side")
    parser.add_argument("--estimate", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.3, help="seconds of a request")
    options = parser.parse_args()
    limits = ["--demo", "--rate", "100", "--concurrency", "40", "--latency", str(options.latency)]
    with tempfile.TemporaryDirectory(prefix="estimate-") as temporary, serving("emulator", *limits) as server:
        folder = Path(temporary)
        log = folder / "log.txt"
        os.environ["EECHIPS_CACHE"] = str(folder / "cache")
        words = {n: command(server, folder / n, options) for n in ("whole", "part", "killed")}
        whole, whole_seconds = timed(server, words["whole"], log)
        expected = content(folder / "whole")

        first, first_seconds = timed(server, [*words["part"], "--estimate", str(options.estimate)], log)
        rest, rest_seconds = timed(server, words["part"], log)

        killed = kill_at(server, words["killed"], log, whole[_PLANNING] // 2)
        resumed, resumed_seconds = timed(server, words["killed"], log)
        problems = [f"{name} differs" for name in ("part", "killed") if content(folder / name) != expected]
        again = killed[_PLANNING] + resumed[_PLANNING] - whole[_PLANNING]
        if again > _SLOTS:
            problems.append(f"{again} planning requests were sent again")
        figures = {
            "whole": {**whole, "seconds": round(whole_seconds)},
            "estimate": {**first, "seconds": round(first_seconds)},
            "rest": {**rest, "seconds": round(rest_seconds)},
            "killed": {
                "planning requests before and after, of": [killed[_PLANNING], resumed[_PLANNING], whole[_PLANNING]],
                "chips' requests before and after, of": [killed[_PIXELS], resumed[_PIXELS], whole[_PIXELS]],
                "seconds after": round(resumed_seconds),
            },
            "problems": problems,
        }
    print(json.dumps(figures, indent=1))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
