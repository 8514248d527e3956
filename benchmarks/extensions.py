"""A finished run of ``eechips sample`` is extended by months, places and a dataset, and killed twice meanwhile.

    python benchmarks/extensions.py --places 500 --months 6 --more-places 100 --more-months 6 --kills 2

Chips of the demo planet's Sentinel-2, one a month; the extension adds an elevation to each place. The server counts
the requests. Each chip of the extension is needed once; a place whose months are in flight at a kill is asked for
again. The exit status is 1 if a file of the first run has other bytes or another time, if ``verify`` finds anything,
if a chip is missing, or if more was asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pandas as pd
from harness import Command, Server, serving

import eechips

_FIRST = date(2020, 1, 1)
_SLOTS = 8
_PIXELS = "image:computePixels"
_WAIT = 3600.0  # seconds, at most, for a number of files


def add_months(day: date, count: int) -> date:
    """Return the first day of a later month."""
    years, month = divmod(day.month - 1 + count, 12)
    return date(day.year + years, month + 1, 1)


def write_places(path: Path, count: int) -> None:
    """Write places that lie in rows of 100, 100 m from each other."""
    places = [(-105.29 + 0.001 * (number % 100), 39.95 + 0.001 * (number // 100)) for number in range(count)]
    pd.DataFrame(places, columns=["lon", "lat"]).to_csv(path, index=False)


def sample(server: Server, folder: Path, months: int, *further: str) -> list[str]:
    """Return the command."""
    return [
        *(sys.executable, "-m", "eechips", "sample", "--dataset", "S2", "--bands", "S2:B4", "--size", "8"),
        *("--format", "tif", "--every", "month", "--points", str(folder / "places.csv")),
        *("--start", _FIRST.isoformat(), "--end", add_months(_FIRST, months).isoformat()),
        *("--endpoint", server.url, "--rate", "none", "--method", "pixels", "--executor", "threads"),
        *("--in-flight", str(_SLOTS), "--out", str(folder / "run"), "--quiet", *further),
    ]


def files(folder: Path) -> dict[str, tuple[str, int]]:
    """Return SHA-256 and time of each chip."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in (folder / "run" / "chips").glob("*.tif")
    }


def wait_for(command: Command, chips: Path, count: int) -> None:
    """Wait until a command has so many chips, or ends."""
    end = time.monotonic() + _WAIT
    while command.is_running and len(list(chips.glob("*.tif"))) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"there are not {count} chips after {_WAIT:g} s")
        time.sleep(0.05)


def extend(server: Server, folder: Path, months: int, kills: list[int]) -> None:
    """Extend the run, killed once each of these numbers of chips is there."""
    words, chips = sample(server, folder, months, "--dataset", "SRTM", "--extend"), folder / "run" / "chips"
    for count in kills:
        command = Command(words, folder / "log.txt")
        wait_for(command, chips, count)
        if not command.is_running:
            raise RuntimeError((folder / "log.txt").read_text())
        command.signal(9)
        command.wait()
    subprocess.run(words, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=500)
    parser.add_argument("--months", type=int, default=6)
    parser.add_argument("--more-places", type=int, default=100)
    parser.add_argument("--more-months", type=int, default=6)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    places, months = given.places + given.more_places, given.months + given.more_months
    old, whole = given.places * given.months, places * (months + 1)
    kills = sorted(random.Random(given.seed).sample(range(old + 1, whole - _SLOTS), given.kills))
    problems = []
    with (
        tempfile.TemporaryDirectory(prefix="extensions-") as temporary,
        serving("emulator", "--rate", "none") as server,
    ):
        folder = Path(temporary)
        write_places(folder / "places.csv", given.places)
        began = time.monotonic()
        subprocess.run(sample(server, folder, given.months), check=True)
        first, middle = files(folder), time.monotonic()
        before = server.get("_stats")["requests"]
        write_places(folder / "places.csv", places)
        extend(server, folder, months, kills)
        ended, after, found = time.monotonic(), server.get("_stats")["requests"], files(folder)
        run = eechips.open_run(folder / "run")
        asked = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
        if first.items() - found.items():
            problems.append(f"{len(first.items() - found.items())} files of the first run have changed")
        if len(first) != old or len(found) != whole:
            problems.append(f"{len(first)} chips before, {len(found)} after; not {old} and {whole}")
        problems += [str(each) for each in run.verify()]
        if asked.get(_PIXELS, 0) > whole - old + given.kills * _SLOTS * months:
            problems.append(f"{asked[_PIXELS]} chips were asked for, and {whole - old} are new")
        parts = [part["units"] for part in run.info["extensions"]]
    told = {
        "chips": [old, whole], "kills": kills, "seconds": [round(middle - began), round(ended - middle)],
        "asked": asked, "units": parts, "problems": problems,
    }  # fmt: skip
    print(json.dumps(told, indent=1))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
