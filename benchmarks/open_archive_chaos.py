"""``eechips sample`` from an open archive whose hosts fail, and what these hosts are asked meanwhile.

    python benchmarks/open_archive_chaos.py --units 400 --outage 60 --seeds 2

Scenes in the shape of the Planetary Computer's Sentinel-2 lie on a host of loopback that wants tokens. Each seed is run
without faults, and then with each of these:

- ranges: 5% of the ranges get 503, 5% a reset, 5% half of their bytes, 5% come slowly;
- api: the half of the searches gets 502, or half a page;
- token: all tokens expire in the middle;
- outage: connections are refused for some time, and reset for as long;
- kills: all of the first three, while workers, the server and the command are killed, and the command is repeated;
- change: a file gets other bytes and another ETag in the middle.

Every pixel is compared with rasterio's window of the files. In all but the last, every unit must be done. Of a file
that changes, units show the old bytes, or fail and name the file; another run of the command fetches them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from affine import Affine
from harness import Command
from processes import adopt_orphans, command_line, descendants, workers
from rasterio.windows import from_bounds

import eechips
from local_tests.archives.archive_host import SECRET, ArchiveHost, ArchiveListener, listening_host
from local_tests.archives.real_items import RAW_OFFSET, ItemMaker, Raster, SentinelProduct, sentinel_item

BANDS = {"B4": "B04", "B3": "B03", "B2": "B02", "B8": "B08"}
SCENARIOS = ("calm", "ranges", "api", "token", "outage", "kills", "change")
_RANGES = dict.fromkeys(("status", "reset", "short", "slow"), 0.05)
_API = {"status": 0.25, "half": 0.25}
_CRS, _LEFT, _TOP, _METRES = "EPSG:32631", 400_000.0, 4_900_000.0, 10.0
_PATIENCE = 900.0  # seconds that one command may take


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What the runs are like.

    Attributes:
        units: how many.
        columns: scenes beside each other.
        rows: rows of scenes.
        side: pixels on a side of a scene.
        outage: seconds for which connections are refused, and then for which they are reset.
        kill_share: share of the units, after which the next worker is killed.
    """

    units: int
    columns: int = 4
    rows: int = 3
    side: int = 1024
    outage: float = 60.0
    kill_share: float = 0.05

    @property
    def region(self) -> str:
        """Within the scenes, in degrees."""
        to_degrees = pyproj.Transformer.from_crs(_CRS, "EPSG:4326", always_xy=True)
        width, height = self.columns * self.side * _METRES, self.rows * self.side * _METRES
        inset = 64 * _METRES
        west, south = to_degrees.transform(_LEFT + inset, _TOP - height + inset)
        east, north = to_degrees.transform(_LEFT + width - inset, _TOP - inset)
        return f"{west:.6f},{south:.6f},{east:.6f},{north:.6f}"


@dataclass
class ChaosStory:
    """What happened to the runs of a scenario.

    Attributes:
        scenario: which.
        statuses: with which the commands ended.
        seconds: all commands together.
        states: numbers of units by their state.
        requests: requests that the host received, by kind.
        rate: greatest number of requests in a second.
        refused: connections that were refused, of the whole machine.
        away: seconds of each of the two parts of the outage.
        files: files that the bands of the command have.
        received: megabytes of files.
        killed: processes.
        problems: what should not be.
    """

    scenario: str
    statuses: list[int] = field(default_factory=list)
    seconds: float = 0.0
    states: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    rate: int = 0
    refused: int = 0
    away: float = 0.0
    files: int = 0
    received: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Requests of files, and searches, that the host received."""
        return self.requests["file"] + self.requests["search"] + self.requests["away"]


def make_scenes(plan: FaultPlan, host: ArchiveHost, seed: int) -> tuple[Mapping[str, Any], ...]:
    """Write scenes beside each other; return their items."""
    maker = ItemMaker("planetary-computer", host.folder, f"{host.url}/files")
    host.folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(plan.columns * plan.rows):
        row, column = divmod(number, plan.columns)
        random = np.random.default_rng([seed, number])
        corner = Affine(_METRES, 0, _LEFT + column * plan.side * _METRES, 0, -_METRES, _TOP - row * plan.side * _METRES)
        tile = f"31T{'ABCDEFGH'[column]}{'JKLMNPQR'[row]}"
        product = SentinelProduct(
            "S2B", "20230713T104629", "20230713T104859", "20230713T105001", "20230713T131712", "05.09", 51, tile
        )
        bands = {
            name: Raster(random.integers(1, 9000, (1, plan.side, plan.side)).astype("uint16"), _CRS, corner)
            for name in ("B02", "B03", "B04", "B08")
        }
        items.append(sentinel_item(maker, product, {**bands, "B05": bands["B02"].every(2)}))
    return tuple(items)


def true_pixels(plan: FaultPlan, host: ArchiveHost) -> dict[str, npt.NDArray[Any]]:
    """Return the pixels of all scenes together by rasterio, as Earth Engine has them, by bands."""
    found = {}
    for band, name in BANDS.items():
        whole = np.zeros((plan.rows * plan.side, plan.columns * plan.side), int)
        for item in host.items:
            with rasterio.open(host.folder / item["assets"][name]["href"].rpartition("/")[2]) as file:
                column = round((file.transform.c - _LEFT) / _METRES)
                row = round((_TOP - file.transform.f) / _METRES)
                values = np.maximum(file.read(1).astype(int), RAW_OFFSET) - RAW_OFFSET
            whole[row : row + plan.side, column : column + plan.side] = values
        found[band] = whole
    return found


def sample(plan: FaultPlan, toml: Path, folder: Path) -> Command:
    """Start the command, or go on with it."""
    arguments = [
        sys.executable, "-m", "eechips", "sample", "--dataset", "S2", "--total", str(plan.units),
        f"--roi={plan.region}", "--start", "2023-07-01", "--end", "2023-08-01", "--bands", ",".join(BANDS),
        "--size", "64", "--format", "tif", "--seed", "5", "--archive", toml, "--out", folder / "out",
        "--executor", "processes:1", "--quiet",
    ]  # fmt: skip
    return Command(arguments, folder / "log.txt", {"XDG_CACHE_HOME": str(folder / "cache")})


def run_scenario(scenario: str, plan: FaultPlan, seed: int, folder: Path, calm: ChaosStory | None) -> ChaosStory:
    """Run the command with what happens in a scenario.

    Args:
        scenario: one of ``SCENARIOS``.
        plan: plan of the runs.
        seed: seed of pixels, faults and victims.
        folder: for everything; empty.
        calm: the run without faults.
    """
    story = ChaosStory(scenario, files=plan.columns * plan.rows * len(BANDS))
    with listening_host(folder.parent / f"files-{seed}", is_signed=True) as (host, listener):
        files = folder / "files" if scenario == "change" else host.folder
        if files != host.folder:
            shutil.copytree(host.folder, files)
            host.folder = files
        host.items, host.seed, host.slow_seconds = make_scenes(plan, host, seed), seed, 1.0
        toml = host.description(folder / "chaos.toml", "planetary-computer")
        truth = true_pixels(plan, host)
        middle = 0 if calm is None else calm.requests["file"] // 2
        changed = plan_faults(scenario, plan, host, listener, story, middle)
        refused = connections_refused()
        for share in (0.3, 0.6, 2.0) if scenario == "kills" else (2.0,):
            command = sample(plan, toml, folder)
            if scenario == "kills":
                harass(command, plan, story, random.Random(f"{seed} {share}"), folder / "out", share)
            try:
                ended = command.wait(_PATIENCE)
            except TimeoutError as error:
                story.problems.append(str(error))
                break
            story.statuses.append(ended.status)
            story.seconds += ended.seconds
            story.problems += [f"a process outlived its run: {line[:120]}" for line in ended.orphans]
        note_requests(story, host)
        story.refused = connections_refused() - refused
    story.problems += [*check_units(folder / "out", plan, truth, story, changed), *check_secrets(folder)]
    story.problems += check_requests(story, calm)
    if story.problems:
        story.problems.append("log: " + (folder / "log.txt").read_text()[-800:])
    return story


def plan_faults(
    scenario: str, plan: FaultPlan, host: ArchiveHost, listener: ArchiveListener, story: ChaosStory, middle: int
) -> str:
    """Let the host fail as a scenario wants; return the name of the file that changes, or nothing."""
    if scenario in ("ranges", "kills"):
        host.faults = _RANGES
    if scenario in ("api", "kills"):
        host.api_faults = _API
    if scenario in ("token", "kills"):
        host.actions[middle] = host.expire
    if scenario == "outage":
        story.away = plan.outage

        def go_away() -> None:
            listener.stop()
            time.sleep(plan.outage)
            host.is_away = True
            listener.start()
            time.sleep(plan.outage)
            host.is_away = False

        host.actions[middle] = lambda: threading.Thread(target=go_away).start()
    if scenario == "change":
        name = host.items[len(host.items) // 2]["assets"]["B04"]["href"].rpartition("/")[2]
        left = 1 + plan.units // 100  # requests of blocks of the file, until it changes

        turn = threading.Lock()

        def watch(asked: str, start: int) -> None:
            nonlocal left
            if asked == name and start:
                with turn:  # a request that comes while the file changes is answered from the new one
                    left -= 1
                    if left == 0:
                        change(host.folder / name)

        host.watch = watch
        return str(name)
    return ""


def change(path: Path) -> None:
    """Give a file other pixels, and thus another ETag."""
    draft = path.with_suffix(".draft")
    shutil.copy(path, draft)
    with rasterio.open(draft, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(12_000 - file.read())
    draft.replace(path)


def harass(command: Command, plan: FaultPlan, story: ChaosStory, draws: random.Random, out: Path, end: float) -> None:
    """Kill workers of the server, and once the server, until a share of the units is there; then the command.

    A worker is killed each time that some more units are there: a request whose workers are killed again and again is
    taken to need too much memory.
    """
    begin = count_chips(out) / plan.units
    worker_at, server_at = begin, begin + (min(end, 1.0) - begin) / 2
    while command.is_running and (share := count_chips(out) / plan.units) < end:
        time.sleep(0.02)
        servers = [pid for pid in descendants(command.pid) if "run_server" in command_line(pid)]
        if not servers:
            continue
        if share > server_at:
            kill(servers[0], "server", story)
            server_at = 2.0
        elif share >= worker_at and (there := workers(servers[0])):
            kill(draws.choice(there), "worker", story)
            worker_at = share + plan.kill_share
    if command.is_running and end < 1:
        kill(command.pid, "command", story)


def kill(pid: int, what: str, story: ChaosStory) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        story.killed[what] += 1


def count_chips(out: Path) -> int:
    return sum(entry.name.endswith(".tif") for entry in os.scandir(out / "chips")) if (out / "chips").exists() else 0


def connections_refused() -> int:
    """Return how many connections of this machine have failed so far (RFC 1213, tcpAttemptFails)."""
    names, numbers = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Tcp:"]
    return int(numbers[names.index("AttemptFails")])


# What must hold


def note_requests(story: ChaosStory, host: ArchiveHost) -> None:
    story.requests = Counter(host.requests)
    story.rate = max(Counter(int(at) for at, _ in host.times).values(), default=0)
    story.received = host.bytes / 1e6


def check_units(
    out: Path, plan: FaultPlan, truth: Mapping[str, npt.NDArray[Any]], story: ChaosStory, changed: str
) -> Iterator[str]:
    """Compare every pixel, and look for every unit."""
    if not (out / "manifest.parquet").exists():
        yield "the run did not finish: there is no manifest.parquet"
        return
    units = eechips.open_run(out).units
    story.states = Counter(units["state"])
    if len(units) != plan.units:
        yield f"the manifest has {len(units)} units, not {plan.units}"
    for unit in units.itertuples():
        if unit.state == "done":
            if not is_window(out / str(unit.file), plan, truth):
                yield f"unit {unit.Index}: its pixels are not those of the files"
        elif not changed:
            yield f"unit {unit.Index} is {unit.state}: {unit.error_class}: {str(unit.error)[:300]}"
        elif changed not in str(unit.error) or "has changed" not in str(unit.error):
            yield f"unit {unit.Index} failed for another reason than {changed}: {str(unit.error)[:300]}"
    if changed and not any(state.startswith("failed") for state in story.states):
        yield f"no unit failed, although {changed} has changed"
    if (story.statuses[-1] == 0) == bool(changed):
        yield f"exit statuses are {story.statuses}"


def is_window(path: Path, plan: FaultPlan, truth: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Return whether a chip shows a window of the scenes."""
    with rasterio.open(path) as chip:
        window = from_bounds(*chip.bounds, Affine(_METRES, 0, _LEFT, 0, -_METRES, _TOP))
        rows, columns = (slice(round(first), round(first + 64)) for first in (window.row_off, window.col_off))
        if chip.crs.to_string() != _CRS or not (chip.read_masks() > 0).all():
            return False
        values = chip.read().astype(int)
    return all(np.array_equal(values[i], whole[rows, columns]) for i, whole in enumerate(truth[band] for band in BANDS))


def check_secrets(folder: Path) -> Iterator[str]:
    """Look for tokens in texts of the run, and of the caches."""
    for path in (*(folder / "out").rglob("*"), *(folder / "cache").rglob("*"), folder / "log.txt"):
        if path.is_file() and path.suffix != ".tif" and SECRET.encode() in path.read_bytes():
            yield f"{path.name} has a token"


def check_requests(story: ChaosStory, calm: ChaosStory | None) -> Iterator[str]:
    """Compare the requests of a host with those of a run without faults."""
    if calm is None:
        return
    failed = sum(story.requests[kind] for kind in ("failed", "expired", "away", "changed"))
    # A killed worker forgets what it has in work; a new server asks every file for its version.
    servers = story.killed["server"] + story.killed["command"]
    again = servers * story.files + 20 * story.killed["worker"]
    # By chance, each of the server's four workers reads a header that another is about to keep.
    again += 3 * story.files
    # The units of a request that fails are asked for one by one, and read their bands, up to two ranges each, again.
    again += 2 * len(BANDS) * sum(count for state, count in story.states.items() if state.startswith("failed"))
    most = calm.sent * 1.15 + failed + again + 20
    if story.sent > most:
        yield f"{story.sent} requests, of which {failed} failed; {calm.sent} without faults"
    # Those that are in work when the network goes, some of each process, and then one after the other.
    if story.away and max(story.refused, story.requests["away"]) > 120 + 0.5 * story.away:
        yield f"{story.refused} refused and {story.requests['away']} reset connections in {story.away:g} s each"
    if story.requests["token"] > 60:
        yield f"{story.requests['token']} tokens were asked for"


def tell(story: ChaosStory, calm: ChaosStory) -> None:
    states = ", ".join(f"{count} {state}" for state, count in story.states.items())
    killed = ", ".join(f"{count} {what}" for what, count in story.killed.items())
    away = f"{story.refused}/{story.requests['away']}" if story.away else "-"
    row = (
        story.scenario, f"{story.seconds:.0f}", states, story.requests["search"], story.requests["file"],
        story.requests["token"], story.requests["failed"],
        story.requests["expired"] + story.requests["changed"],
        f"{story.sent / max(1, calm.sent):.2f}", story.rate, away, f"{story.received:.1f}", killed or "-",
    )  # fmt: skip
    print(_LINE.format(*row), flush=True)
    for problem in story.problems[:8]:
        print(f"  WRONG: {problem}", flush=True)


_LINE = "{:8} {:>5}  {:24} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>10} {:>7}  {}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--units", type=int, default=400)
    parser.add_argument("--side", type=int, default=1024, help="pixels on a side of a scene")
    parser.add_argument("--columns", type=int, default=4, help="scenes beside each other")
    parser.add_argument("--rows", type=int, default=3, help="of scenes")
    parser.add_argument("--outage", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--kill-share", type=float, default=0.05, help="of the units, after which a worker is killed")
    parser.add_argument("--only", action="append", choices=SCENARIOS[1:], help="scenario; may be repeated")
    parser.add_argument("--keep", type=Path, help="empty folder for everything, which is kept")
    given = parser.parse_args()
    plan = FaultPlan(given.units, given.columns, given.rows, given.side, given.outage, given.kill_share)
    adopt_orphans()
    stories: list[ChaosStory] = []
    print(
        _LINE.format(
            "", "s", "units", "search", "file", "token", "failed", "denied", "ratio", "max/s", "away", "MB", "killed"
        )
    )
    with tempfile.TemporaryDirectory(prefix="archive-chaos-") as temporary:
        root = given.keep or Path(temporary)
        for seed in range(given.seed, given.seed + given.seeds):
            calm: ChaosStory | None = None
            for scenario in ("calm", *(given.only or SCENARIOS[1:])):
                folder = root / f"{seed}-{scenario}"
                folder.mkdir(parents=True)
                story = run_scenario(scenario, plan, seed, folder, calm)
                calm = calm or story
                stories.append(story)
                tell(story, calm)
                if given.keep is None:
                    shutil.rmtree(folder)
    print(json.dumps({"problems": sum(len(story.problems) for story in stories)}))
    sys.exit(1 if any(story.problems for story in stories) else 0)


if __name__ == "__main__":
    main()
