"""Shared requests while everything goes wrong; and nothing is lost, nothing is there twice, and no neighbour is blamed.

    python benchmarks/shared_chaos.py --seeds 3
    python benchmarks/shared_chaos.py --seed 5 --side 40
    python benchmarks/shared_chaos.py --scenario frames --seeds 10 --side 15

With ``frames``, each place has three dates of a sensor with four bands and two of another with two, which are bands of
one request for several places; otherwise one image. A place with a bad frame has no file.

For each seed the local Earth Engine serves one image to adjoining chips of 64x64 pixels, and a tenth of its responses
meets a fault: 429, 500, broken, truncated, stalled or compressed responses. Six units cannot succeed: one kills its
worker, one hangs, two ask for an image that is not there, one for a band that is not there, and in one the recipe
raises. Workers are killed (SIGKILL) every few seconds, and the whole run when a third and two thirds of the files are
there; the same command resumes it.

At the end this must hold; what does not is told, and the exit status is 1: exactly the six units failed, each with its
class of error; every other unit has the file that a run without sharing and without trouble has; there is nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness import Command, serving
from processes import adopt_orphans, workers
from shared_requests import write_store

import eechips

_RECIPE = """
import os, signal, time
import ee
from eechips import Chip, Grid

TILE = Grid("EPSG:32613", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_400_000.0), 1, 1)


def get_requests(side=24):
    return [[column, row] for row in range(side) for column in range(side)]


def request_window(unit):
    return "tile", TILE.window(64 * unit[0], 64 * unit[1], 64, 64)


def get_result(index, unit, side=24, troubled=False):
    what = TROUBLE.get(tuple(unit)) if troubled else None
    if what == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hangs":
        time.sleep(86_400)
    if what == "raises":
        raise ValueError("this place is refused")
    return result_of(request_window(unit)[1], what)


"""
_IMAGE = """
def result_of(grid, what):
    image = ee.Image("users/bench/none" if what == "image" else "users/bench/tile")
    bands = ("B9",) if what == "band" else ("B1", "B2", "B3", "B4")
    return Chip(image, grid=grid, format="tif", bands=bands, dtype="uint16")
"""
_FRAMES = """
from eechips import Template

SENSORS = {"optical": (("B1", "B2", "B3", "B4"), (0, 5, 9)), "radar": (("B2", "B4"), (1, 7))}


def frame(added, bands, asset):
    return ee.Image(asset).select(list(bands)).add(added).toUint16()


def result_of(grid, what):
    found = {}
    for sensor, (bands, dates) in SENSORS.items():
        for date in dates:
            is_bad = sensor == "radar" and date == 7
            asset = "users/bench/none" if is_bad and what == "image" else "users/bench/tile"
            shown = ("B9", "B4") if is_bad and what == "band" else bands
            image = Template(frame, (date, shown), {"asset": asset})
            found[f"{sensor}-{date}"] = Chip(image, grid=grid, format="tif", bands=shown, dtype="uint16")
    return found
"""
_SCENARIOS = {"windows": (_IMAGE, 1), "frames": (_FRAMES, 5)}
"""What is fetched for a unit, and its files."""
_TROUBLE = {
    (3, 2): "kills", (9, 7): "hangs", (5, 11): "image", (14, 3): "image", (12, 12): "band", (8, 1): "raises",
}  # fmt: skip
_LEAST_SIDE = 15
_CLASSES = {
    "kills": "WorkerLostError", "hangs": "WorkerLostError", "image": "PermanentError", "band": "PermanentError",
    "raises": "RecipeError",
}  # fmt: skip
_KINDS = ("reject", "status", "reset", "reset-body", "truncate", "truncate-silently", "gzip", "wrong-content", "html")
_SHARE = 0.1
_PATIENCE = 900.0


def faults(seed: int, folder: Path) -> Path:
    """Write a plan of faults that meet a tenth of the requests for pixels."""
    each = [{"type": kind, "on": "*Pixels", "probability": _SHARE / len(_KINDS)} for kind in _KINDS]
    stall = {"type": "stall", "on": "*Pixels", "probability": 0.01, "seconds": 1.0}
    path = folder / "faults.json"
    path.write_text(json.dumps({"seed": seed, "faults": [*each, stall]}))
    return path


def files(out: Path) -> dict[str, bytes]:
    """Everything in the folder of results, by name."""
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted((out / "chips").rglob("*")) if path.is_file()
    }


def digests(run: eechips.Run) -> dict[tuple[str, str], str]:
    """SHA-256 of each file, by the place of its unit and its layer."""
    places = [str(tuple(unit["value"])) for unit in run.units["unit"]]
    if (run.path / "layers.parquet").exists():
        return {(places[position], layer): sha for (position, layer), sha in run.layers["sha256"].items()}
    return {(place, ""): sha for place, sha in zip(places, run.units["sha256"], strict=True) if isinstance(sha, str)}


def count(out: Path) -> int:
    """Files of results so far."""
    return sum(1 for _ in (out / "chips").glob("*.tif")) if (out / "chips").is_dir() else 0


def disturbed(command: Sequence[str], out: Path, random_: random.Random, total: int) -> tuple[list[int], int]:
    """Repeat a command until it ends by itself; kill it twice, and its workers now and then."""
    statuses, killed = [], 0
    stops = [total // 3, 2 * total // 3]
    while True:
        running = Command(command, out.parent / "output.txt")
        strike = time.monotonic() + random_.uniform(2, 6)
        while running.is_running:
            if stops and count(out) >= stops[0]:
                stops.pop(0)
                os.kill(running.pid, signal.SIGKILL)
                break
            if time.monotonic() > strike and killed < 12:
                victims = workers(running.pid)
                if victims:
                    with suppress(ProcessLookupError):
                        os.kill(random_.choice(victims), signal.SIGKILL)
                    killed += 1
                strike = time.monotonic() + random_.uniform(2, 6)
            time.sleep(0.05)
        statuses.append(running.wait(_PATIENCE).status)
        if statuses[-1] >= 0:
            return statuses, killed


def problems(scenario: str, seed: int, side: int, folder: Path) -> list[str]:
    """Run one seed; return what should not be."""
    recipe = folder / "recipe.py"
    code, files_each = _SCENARIOS[scenario]
    recipe.write_text(_RECIPE + code + f"\n\nTROUBLE = {_TROUBLE!r}\n")
    store = write_store(folder, side)
    options = [
        sys.executable, "-m", "eechips", "run", str(recipe), "-p", f"side={side}", "--project", "local", "--quiet",
        "--rate", "none",
    ]  # fmt: skip
    with serving("emulator", *store, "--rate", "none") as server:
        calm = folder / "calm"
        alone = Command(
            [*options, "--endpoint", server.url, "--out", str(calm), "--method", "pixels"], folder / "c.txt"
        )
        assert alone.wait(_PATIENCE).status == 0
    expected = digests(eechips.open_run(calm))
    out = folder / "troubled"
    with serving(
        "emulator", *store, "--rate", "none", "--faults", str(faults(seed, folder)), "--latency", "0.3"
    ) as server:
        command = [*options, "-p", "troubled=true", "--endpoint", server.url, "--out", str(out), "--unit-timeout", "20"]

        began = time.monotonic()
        statuses, killed = disturbed(command, out, random.Random(seed), side * side * files_each)
        seconds = time.monotonic() - began
        if statuses[-1] not in (0, 1):
            return [f"seed {seed}: {(folder / 'output.txt').read_text()[-1000:]}"]
        requests = sum(server.get("_stats")["requests"].values())
    found = []
    run = eechips.open_run(out)
    for unit, state, error in zip(*(run.units[c] for c in ("unit", "state", "error_class")), strict=True):
        place = tuple(unit["value"])
        wanted = _CLASSES.get(_TROUBLE.get(place, ""))
        if wanted is not None and error != wanted:
            found.append(f"{place} should fail with {wanted}: {state}, {error}")
        if wanted is None and state != "done":
            found.append(f"{place} should be done: {state}, {error}")
    succeeding = {key: sha for key, sha in expected.items() if key[0] not in map(str, _TROUBLE)}
    if (present := digests(run)) != succeeding:
        others = [key for key in present.keys() | succeeding.keys() if present.get(key) != succeeding.get(key)]
        found.append(f"{len(others)} files are missing, or others: {sorted(others)[:5]}")
    if len(run.units) != side * side:
        found.append(f"{len(run.units)} units instead of {side * side}")
    there, recorded = files(out), {*run.units["file"].dropna(), *run.layers["file"]}
    if set(there) != recorded:
        found.append(f"files that no unit has, or units without: {sorted(set(there) ^ recorded)[:5]}")
    if statuses[-1] != 1:
        found.append(f"the last command ended with {statuses[-1]}")
    found += [f"verify: {each}" for each in run.verify()]
    shared = run.units["shared_request"].notna().mean()
    print(
        f"{scenario}, seed {seed}: {len(run.units)} units, {shared:.0%} of them in shared requests,"
        f" {requests} requests, {killed} workers and {len(statuses) - 1} runs killed, {seconds:.0f} s;"
        f" problems: {found or 'none'}",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--side", type=int, default=24, help=f"units along an edge, at least {_LEAST_SIDE}")
    parser.add_argument("--scenario", choices=[*_SCENARIOS], default="windows")
    given = parser.parse_args()
    if given.side < _LEAST_SIDE:
        parser.error(f"the six units that fail need --side {_LEAST_SIDE}")
    adopt_orphans()
    found: list[str] = []
    for seed in range(given.seed, given.seed + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found += problems(given.scenario, seed, given.side, Path(folder))
    for each in found:
        print(each)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
