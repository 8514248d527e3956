"""How full eechips keeps a quota, beside the original script's pattern, in the same run, in turns.

    python benchmarks/quota.py
    python benchmarks/quota.py --scenarios forty,ten --methods url --rounds 3 --json quota.json
    python benchmarks/quota.py --scenarios change,restricted --server emulator --scale 0.5

Scenarios:

- ``forty``: Earth Engine's own quota, 40 in flight and 100 a second; medians of 0.15 s to create a thumbnail, 0.9 s
  for its pixels, 1.05 s for computePixels, lognormal with sigma 0.5; 1% 503, 0.2% resets, 0.2% truncated bodies.
- ``ten``: the same with 10 in flight.
- ``large``: 200 in flight, 1,000 a second, 0.3 s.
- ``none``: no quota, no latency, no faults: what a chip costs the processor.
- ``change``: 40 in flight, then 10, then 40 again, a third of the time each; ``restricted`` says so in a header.

The original (original_pattern.py) has 25 processes, ``@retry(tries=10, delay=1, backoff=2)``, ``getThumbURL`` and
``requests.get``, or computePixels. eechips is its command line with a recipe (points.py) for the same points. The
server is the light one (service.py) or the local Earth Engine; each run has one of its own.

Columns: chips a second of the whole command, start included, and between the first and last 5% of the units; mean in
flight, as the server counts it, between those, and its share of the quota, and the share from the first request for a
chip to the last chip; the most in flight at once, those that it
rejected included (only the light server tells); requests that the quota rejected, as a share
of all between those; files missing, broken, or mixed up (another unit's picture), each compared with what the server
sent; processor time of all processes of the client, a chip, and of the server, a request; requests a chip, repeats
included; seconds until the first request for a chip, to a tenth; peak memory of all processes of the client
(proportional set sizes). For changes: seconds until two seconds long at least 90% of the new quota were used and at
most 5% of requests rejected.

The original mixes pictures up now and then because its forks share the connection that their parent opened. Over TLS,
as to Earth Engine itself, the connection breaks instead.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from harness import HERE, Command, Memory, Sample, Server, Watch, serving
from pictures import Asked, picture, unit_of
from PIL import Image, UnidentifiedImageError
from points import points
from processes import adopt_orphans

_LATENCY = (
    "thumbnails:create=lognormal:0.15,0.5;thumbnails:getPixels=lognormal:0.9,0.5;image:computePixels=lognormal:1.05,0.5"
)
_FAULTS = (
    {"type": "status", "status": 503, "probability": 0.01},
    {"type": "reset", "probability": 0.002},
    {"type": "truncate", "probability": 0.002},
)
_SEED = 20
_WINDOW = 2.0  # seconds that a quota must be followed to count as followed
_FOLLOWED, _TOLERATED = 0.9, 0.05


@dataclass(frozen=True)
class Change:
    """A change of the quota under way.

    Attributes:
        after: seconds after the first chip, before scaling.
        concurrency: from then on.
        restricted: whether answers say so.
    """

    after: float
    concurrency: int
    restricted: bool = False


@dataclass(frozen=True)
class Scenario:
    """A server's behaviour, and how many units it takes to see it.

    Attributes:
        units: by method, before scaling.
        concurrency: requests in flight, or None.
        rate: requests a second, or None.
        latency: as ``--latency`` takes it, or None.
        faults: faults of the plan.
        changes: changes of the quota.
        rivals: whether the original pattern takes part.
    """

    units: dict[str, int]
    concurrency: int | None = 40
    rate: float | None = 100.0
    latency: str | None = _LATENCY
    faults: tuple[dict[str, object], ...] = _FAULTS
    changes: tuple[Change, ...] = ()
    rivals: bool = True


_TURNS = (Change(20, 10), Change(40, 40))
SCENARIOS = {
    "forty": Scenario({"url": 1500, "pixels": 1500}),
    "ten": Scenario({"url": 350, "pixels": 350}, concurrency=10),
    "large": Scenario({"url": 8000, "pixels": 16000}, concurrency=200, rate=1000.0, latency="0.3"),
    "none": Scenario({"url": 6000, "pixels": 12000}, concurrency=None, rate=None, latency=None, faults=()),
    "change": Scenario({"url": 1600, "pixels": 1600}, changes=_TURNS, rivals=False),
    "restricted": Scenario(
        {"url": 1600, "pixels": 1600}, changes=(Change(20, 10, restricted=True), Change(40, 40)), rivals=False
    ),
}


@dataclass(frozen=True)
class Result:
    """What one run of one client came to; the columns of the table."""

    scenario: str
    server: str
    method: str
    client: str
    units: int
    status: int
    seconds: float
    chips_per_second: float
    steady_chips_per_second: float
    in_flight: float
    share: float | None
    whole: float | None
    most: int | None
    rejected: float
    missing: int
    broken: int
    mixed: int
    client_ms_per_chip: float
    server_ms_per_request: float
    requests_per_chip: float
    first_request_after: float
    client_mb: float
    follows: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What the runs of a scenario have in common."""

    name: str
    scenario: Scenario
    server: str
    method: str
    scale: float

    @property
    def units(self) -> int:
        """How many there are, scaled."""
        return max(40, round(self.scenario.units[self.method] * self.scale))

    @property
    def chip(self) -> str:
        """What is asked for: the local Earth Engine gets what is cheap to compute."""
        return "naip" if self.server == "light" else "constant"


class Changes(threading.Thread):
    """Changes a server's quota under way, in a ``with`` block; times count from the first chip.

    Attributes:
        made: the server's time of each change that was made, with the quota from then on.
    """

    def __init__(self, server: Server, watch: Watch, setting: Setting) -> None:
        super().__init__(daemon=True)
        self.made: list[tuple[float, int]] = []
        self._server = Server(server.url, server.process)  # with a session of this thread's own
        self._watch, self._setting, self._done = watch, setting, threading.Event()

    def __enter__(self) -> Changes:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()
        self._server.session.close()

    def run(self) -> None:
        while not self._watch.samples[-1].chips:
            if self._done.wait(0.05):
                return
        before = 0.0
        for change in self._setting.scenario.changes:
            if self._done.wait((change.after - before) * self._setting.scale):
                return
            before = change.after
            self._server.post("_quota", concurrency=change.concurrency, restricted=change.restricted)
            self.made.append((self._server.get("_stats")["time"], change.concurrency))


EXECUTORS = {
    "threads": ["--executor", "threads"],
    "dask2": ["--executor", "dask:2"],
    "dask4": ["--executor", "dask:4"],
    "beam2": ["--executor", "beam", "--", "--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    "beam4": ["--executor", "beam", "--", "--direct_running_mode=multi_processing", "--direct_num_workers=4"],
}
"""Clients that are eechips with other executors: with Dask and Beam, so many workers on this machine."""


def measure(client: str, setting: Setting, folder: Path, cache: Path) -> Result:
    """Runs a client against a server of its own.

    Args:
        client: original, eechips, or one of EXECUTORS.
        setting: what the runs have in common.
        folder: for everything the run leaves; empty.
        cache: where eechips remembers what it learned of the quota.
    """
    scenario, out = setting.scenario, folder / "out"
    limits = ["--concurrency", str(scenario.concurrency or "none"), "--rate", str(scenario.rate or "none")]
    limits += ["--latency", scenario.latency] if scenario.latency else []
    with serving(setting.server, *limits) as server:
        server.post("_faults", seed=_SEED, faults=list(scenario.faults))
        arguments = original(setting, server, folder, out) if client == "original" else eechips(setting, server, out)
        arguments += EXECUTORS.get(client, [])
        before = server.cpu()
        with Watch(server, every=0.1) as watch, Changes(server, watch, setting) as changes:
            command = Command(arguments, folder / "log.txt", {"EECHIPS_CACHE": str(cache)})
            with Memory(command.pid) as memory:
                ended = command.wait()
        samples = watch.samples
        server_cpu = server.cpu() - before
        most = server.get("_most") if setting.server == "light" else None
    files = checked(out, setting)
    good = files["good"]
    first, last = steady(samples, setting.units)
    time = last.time - first.time
    in_flight = (last.busy - first.busy) / time
    asked = samples[-1].requests - samples[0].requests
    return Result(
        scenario=setting.name,
        server=setting.server,
        method=setting.method,
        client=client,
        units=setting.units,
        status=ended.status,
        seconds=ended.seconds,
        chips_per_second=good / ended.seconds,
        steady_chips_per_second=(last.chips - first.chips) / time,
        in_flight=in_flight,
        share=in_flight / scenario.concurrency if scenario.concurrency and not scenario.changes else None,
        whole=whole_share(samples, scenario.concurrency) if not scenario.changes else None,
        most=most,
        rejected=(last.rejected - first.rejected) / max(1, last.requests - first.requests),
        missing=files["missing"],
        broken=files["broken"],
        mixed=files["mixed"],
        client_ms_per_chip=1000 * ended.cpu / max(1, good),
        server_ms_per_request=1000 * server_cpu / max(1, asked),
        requests_per_chip=asked / max(1, good),
        # The clocks are one: both are the system's monotonic one.
        first_request_after=next((s.time for s in samples if s.asked), math.inf) - command.began,
        client_mb=memory.peak,
        follows=tuple(
            followed([s for s in samples if began <= s.time <= until], began, quota)
            for (began, quota), (until, _) in pairwise([*changes.made, (last.time, 0)])
        ),
    )


def original(setting: Setting, server: Server, folder: Path, out: Path) -> list[str | Path]:
    """The command of the original pattern."""
    places = folder / "points.json"
    places.write_text(json.dumps(points(setting.units)))
    return [sys.executable, HERE / "original_pattern.py", places, server.url, out, setting.method, setting.chip]


def eechips(setting: Setting, server: Server, out: Path) -> list[str | Path]:
    """The command of eechips; it is told the rate, where that is not Earth Engine's, and learns the rest."""
    rate = setting.scenario.rate
    return [
        sys.executable, "-m", "eechips", "run", HERE / "points.py", "--quiet",
        "-p", f"count={setting.units}", "-p", f"chip={setting.chip}",
        "--endpoint", server.url, "--method", setting.method, "--out", out,
        "--in-flight", "auto", "--rate", "none" if rate is None else f"{rate:g}",
    ]  # fmt: skip


def checked(out: Path, setting: Setting) -> Counter[str]:
    """How many files are good, missing, broken, and mixed up: those that are another unit's."""
    found: Counter[str] = Counter()
    for index, (longitude, latitude) in enumerate(points(setting.units)):
        path, unit = out / f"tile_{index:05d}.png", f"{longitude!r},{latitude!r}"
        if not path.exists():
            found["missing"] += 1
        elif setting.server == "emulator":
            found["good" if decodes(path) else "broken"] += 1
        else:
            content = path.read_bytes()
            of = unit_of(content) or ""
            found["broken" if content != picture(Asked(of)) else "good" if of == unit else "mixed"] += 1
    return found


def decodes(path: Path) -> bool:
    """Whether a file is a whole picture."""
    try:
        with Image.open(path) as found:
            found.load()
    except (UnidentifiedImageError, OSError, SyntaxError):  # SyntaxError is what Pillow raises for a broken chunk
        return False
    return True


def steady(samples: Sequence[Sample], units: int) -> tuple[Sample, Sample]:
    """The looks between which lie all chips but the first and the last 5%."""
    first = next((s for s in samples if s.chips >= 0.05 * units), samples[0])
    last = next((s for s in reversed(samples) if s.chips <= 0.95 * units), samples[-1])
    return (first, last) if last.time > first.time else (samples[0], samples[-1])


def whole_share(samples: Sequence[Sample], quota: int | None) -> float | None:
    """The share of a quota that was in flight from the first request for a chip to the last chip, tail included."""
    if quota is None:
        return None
    asked = next((n for n, s in enumerate(samples) if s.asked), 0)
    first = samples[max(0, asked - 1)]
    last = next(s for s in samples if s.chips == samples[-1].chips)
    return (last.busy - first.busy) / max(1e-9, last.time - first.time) / quota


def followed(samples: Sequence[Sample], changed: float, quota: int) -> float | None:
    """Seconds after a change until the quota was kept full for a while, and not run against; None if never.

    Args:
        samples: from the change to the next.
        changed: when, on the server's clock.
        quota: requests in flight from then on.
    """
    for begin, end in windows(samples):
        in_flight = (end.busy - begin.busy) / (end.time - begin.time)
        rejected = (end.rejected - begin.rejected) / max(1, end.requests - begin.requests)
        if _FOLLOWED * quota <= in_flight <= quota * (1 + _TOLERATED) and rejected <= _TOLERATED:
            return begin.time - changed
    return None


def windows(samples: Sequence[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """Pairs of looks that are a window apart."""
    end = 0
    for begin in samples:
        while end < len(samples) and samples[end].time < begin.time + _WINDOW:
            end += 1
        if end == len(samples):
            return
        yield begin, samples[end]


# Telling


_COLUMNS = (
    "scenario", "method", "client", "units", "chips/s", "steady", "in flight", "share", "whole", "most", "429s",
    "missing", "broken", "mixed", "client ms", "server ms", "req/chip", "first s", "MB",
)  # fmt: skip


def row(result: Result) -> list[str]:
    """A result as the cells of the table."""
    cells = [
        result.scenario, result.method, result.client, f"{result.units:,}",
        f"{result.chips_per_second:.1f}", f"{result.steady_chips_per_second:.1f}", f"{result.in_flight:.1f}",
        "" if result.share is None else f"{result.share:.1%}",
        "" if result.whole is None else f"{result.whole:.1%}",
        "" if result.most is None else str(result.most), f"{result.rejected:.1%}",
        str(result.missing), str(result.broken), str(result.mixed),
        f"{result.client_ms_per_chip:.2f}", f"{result.server_ms_per_request:.2f}", f"{result.requests_per_chip:.2f}",
        f"{result.first_request_after:.1f}", f"{result.client_mb:.0f}",
    ]  # fmt: skip
    if result.follows:
        cells.append("follows after " + ", ".join("never" if f is None else f"{f:.1f} s" for f in result.follows))
    return cells


def tell(cells: Sequence[str]) -> None:
    widths = (10, 6, 8, 7, 7, 7, 9, 7, 7, 4, 6, 7, 6, 5, 9, 9, 8, 7, 5, 0)
    print(
        "  ".join(f"{c:<{w}}" if i < 3 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=False))),
        flush=True,
    )


def ratios(results: Sequence[Result]) -> Iterator[tuple[str, str, float, float]]:
    """By scenario and method: eechips' chips a second over the original's, whole and steady; medians of the rounds."""
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for theirs, ours in pairwise(results):
        if (theirs.client, ours.client) == ("original", "eechips"):
            whole = ours.chips_per_second / max(1e-9, theirs.chips_per_second)
            flat = ours.steady_chips_per_second / max(1e-9, theirs.steady_chips_per_second)
            pairs.setdefault((ours.scenario, ours.method), []).append((whole, flat))
    for (scenario, method), found in pairs.items():
        whole, flat = (statistics.median(values) for values in zip(*found, strict=True))
        yield scenario, method, whole, flat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="some of them, with commas")
    parser.add_argument("--methods", default="url,pixels")
    parser.add_argument("--clients", default="original,eechips", help=f"also {', '.join(EXECUTORS)}")
    parser.add_argument("--server", default="light", choices=["light", "emulator"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of units and times")
    parser.add_argument("--warm", action="store_true", help="later rounds know what the first learned of the quota")
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args()
    adopt_orphans()
    results: list[Result] = []
    tell(_COLUMNS)
    for name in given.scenarios.split(","):
        for method in given.methods.split(","):
            setting = Setting(name, SCENARIOS[name], given.server, method, given.scale)
            clients = given.clients.split(",") if setting.scenario.rivals else ["eechips"]
            with tempfile.TemporaryDirectory(prefix="quota-") as shared:
                for client in clients * given.rounds:
                    with tempfile.TemporaryDirectory(prefix="quota-") as folder:
                        cache = Path(shared if given.warm else folder) / "cache"
                        results.append(measure(client, setting, Path(folder), cache))
                    tell(row(results[-1]))
    for scenario, method, whole, flat in ratios(results):
        print(f"{scenario} by {method}: eechips {whole:.2f} times the original's chips/s, {flat:.2f} times when steady")
    if given.json:
        given.json.write_text(
            json.dumps(
                {"cores": os.cpu_count(), "load": os.getloadavg(), "results": [asdict(r) for r in results]}, indent=1
            )
        )


if __name__ == "__main__":
    main()
