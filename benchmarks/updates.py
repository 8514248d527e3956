"""``eechips update`` twice a day for a month, of an archive in which images appear days after they were taken.

    python benchmarks/updates.py --days 30 --images 4 --kills 2

Each image of a day appears up to a week later; which one and when are drawn by a seed. The server counts the requests.
The exit status is 1 if an image that is there was missed, or has two units, or was asked for twice; if a file has other
bytes or another time than before; or if ``verify`` finds anything. A killed update asks again for what was in flight.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from harness import Command, Server, serving

import eechips
from eechips_local.assets import ingest

COLLECTION = "users/someone/daily"
FIRST = dt.date(2024, 6, 1)
LATEST = 7  # days after which an image appears, at most
ROI = "-104.9998,39.7487,-104.9994,39.7490"
_PIXELS = "image:computePixels"
_SLOTS = 2


class Archive:
    """A collection to which images are added.

    Attributes:
        taken: days on which the images of the archive were taken, by their names.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.taken: dict[str, dt.date] = {}

    @property
    def store(self) -> Path:
        return self._folder / "store"

    def put(self, day: dt.date) -> None:
        """Add an image of a day."""
        number = len(self.taken) + 1
        path, name = self._folder / "image.tif", f"image_{number:04}"
        pixels = np.full((1, 16, 16), number, dtype=np.uint16)
        with rasterio.open(
            path, "w", driver="GTiff", width=16, height=16, count=1, dtype="uint16", crs="EPSG:32613",
            transform=Affine(10, 0, 500_000, 0, -10, 4_400_000),
        ) as file:  # fmt: skip
            file.write(pixels)
        ingest(path, self.store, f"{COLLECTION}/{name}", time_start=day.isoformat(), bands=["n"])
        self.taken[name] = day


def draw_arrivals(days: int, count: int, seed: int) -> dict[tuple[int, int], list[dt.date]]:
    """Return the days of the images that appear before each update, by its day and its half."""
    rng = random.Random(seed)
    arrivals: dict[tuple[int, int], list[dt.date]] = {}
    for day in range(days):
        for _ in range(count):
            half = rng.randrange(2 * day + 1, 2 * (day + LATEST) + 1)
            arrivals.setdefault(divmod(half, 2), []).append(FIRST + dt.timedelta(day))
    return arrivals


def files(run: Path) -> dict[str, tuple[str, int]]:
    """Return SHA-256 and time of each file."""
    paths = (run / "images").rglob("*.tif")
    return {path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in paths}


def execute(words: list[str], log: Path, run: Path, *, is_killed: bool) -> None:
    """Run a command, which may be killed when it has a new file.

    Raises:
        RuntimeError: if it failed, or ended before it was killed.
    """
    before = len(files(run))
    command = Command([sys.executable, "-m", "eechips", *words], log)
    while is_killed and command.is_running and len(files(run)) == before:
        time.sleep(0.01)
    if is_killed and command.is_running:
        command.signal(signal.SIGKILL)
    status = command.wait().status
    if status != (-signal.SIGKILL if is_killed else 0):
        raise RuntimeError(f"status {status}:\n{log.read_text()}")


def asked(server: Server) -> int:
    return int(server.get("_stats")["requests"].get(_PIXELS, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--images", type=int, default=4, help="of a day")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    arrivals = draw_arrivals(options.days, options.images, options.seed)
    times = [(day, half) for day in range(1, options.days + 1) for half in range(2)]
    eventful = [moment for moment in times if len(arrivals.get(moment, [])) > _SLOTS]
    killed = set(random.Random(options.seed).sample(eventful, min(options.kills, len(eventful))))
    problems, seconds = [], []
    with tempfile.TemporaryDirectory(prefix="updates-") as temporary:
        folder = Path(temporary)
        archive, run, log = Archive(folder / "archive"), folder / "run", folder / "log.txt"
        archive.put(FIRST - dt.timedelta(1))
        with serving(
            "emulator", "--assets", str(archive.store), "--no-demo", "--rate", "none", "--latency", "0.3"
        ) as server:
            words = [
                *("images", "--dataset", COLLECTION, "--roi=" + ROI, "--endpoint", server.url, "--method", "pixels"),
                *("--executor", "threads", "--in-flight", str(_SLOTS), "--quiet", "--out", str(run)),
                *("--start", (FIRST - dt.timedelta(1)).isoformat(), "--end", FIRST.isoformat()),
            ]  # fmt: skip
            execute(words, log, run, is_killed=False)
            there = files(run)
            for day, half in times:
                for taken in arrivals.get((day, half), []):
                    archive.put(taken)
                until = (FIRST + dt.timedelta(day)).isoformat()
                began = time.monotonic()
                if (day, half) in killed:
                    execute(["update", str(run), "--until", until], log, run, is_killed=True)
                execute(["update", str(run), "--until", until], log, run, is_killed=False)
                seconds.append(time.monotonic() - began)
                now = files(run)
                if there.items() - now.items():
                    problems.append(f"{until}: {len(there.items() - now.items())} files have changed")
                there = now
                dated = {name for name, taken in archive.taken.items() if taken.isoformat() < until}
                units = [unit["image"] for unit in eechips.open_run(run).units["unit"]]
                if missed := dated.difference(units):
                    problems.append(f"{until}: missed {', '.join(sorted(missed))}")
            sent, requests = asked(server), server.get("_stats")["requests"]
        opened = eechips.open_run(run)
        problems += [f"{name} has {count} units" for name, count in Counter(units).items() if count > 1]
        problems += [str(finding) for finding in opened.verify()]
        if not len(dated) <= sent <= len(dated) + len(killed) * _SLOTS:
            problems.append(f"{sent} images were asked for, and {len(dated)} are there")
        extensions = len(opened.info["extensions"])
    figures = {
        "updates": len(times), "killed": len(killed), "images": len(dated), "files": len(there),
        "asked": sent, "requests": requests, "extensions": extensions,
        "seconds of an update": round(sum(seconds) / len(seconds), 2), "problems": problems,
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
