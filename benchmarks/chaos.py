"""Everything that can go wrong, at once; and nothing is lost.

    python benchmarks/chaos.py --seed 1
    python benchmarks/chaos.py --seeds 10
    python benchmarks/chaos.py --units 300 --kill-every 2

For each seed the light server (service.py) is made to fail 10% of requests, in every way that its fault plan knows, and
one connection stalls for ever. Five of the units cannot succeed: one kills its worker, one hangs, three ask for an
asset that is not there. ``eechips run`` fetches them while two of its workers, drawn by the seed, are killed (SIGKILL)
every few seconds. It is killed itself when a quarter and a half of the files are there, interrupted (SIGINT) at three
quarters, and started again by the same command each time.

At the end this must hold; what does not is told, and the exit status is 1:

- the last run ends with status 1: exactly the five units failed, each with its class of error;
- a file for every other unit, the bytes being those that the server sends for it and, by the manifest's sha256, those
  of a run without any trouble; nothing else in the folder, no temporary file;
- no process outlived its run;
- no unit was asked for again but after a fault, or when a crash struck while it was under way.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import HERE, Command, Server, serving
from pictures import Asked, picture
from points import points, trouble
from processes import adopt_orphans, workers

import eechips

_CLASSES = {"kills": "WorkerLostError", "hangs": "WorkerLostError", "missing": "PermanentError"}
_LATENCY = "*create=lognormal:0.05,0.4;*Pixels=lognormal:0.1,0.4"
_KINDS: tuple[dict[str, Any], ...] = (
    {"type": "reject", "retry_after": 0.5},
    {"type": "reject"},
    {"type": "status", "status": 500},
    {"type": "status", "status": 503},
    {"type": "reset"},
    {"type": "reset-body"},
    {"type": "stall", "seconds": 1.0},
    {"type": "stall-body", "seconds": 1.0},
    {"type": "truncate"},
    {"type": "truncate-silently"},
    {"type": "gzip"},
    {"type": "wrong-content"},
    {"type": "html"},
    {"type": "restricted"},
    {"type": "expired", "on": "thumbnails:getPixels"},
)
_SHARE = 0.1  # of requests that meet a fault
_HARMLESS = ("gzip", "restricted")
_DYING = 0.25  # seconds that a killed process may live on
_LOGGED = 2.0  # seconds after which the end of a worker must be in the log
_COMMIT = 10.0  # seconds after which an answer that came must be safe from a crash
_PATIENCE = 900.0  # seconds that one command may take
_FILES = {".eechips.lock", "manifest.sqlite", "manifest.parquet", "run.json", "run.log", "failures.csv", "report.html"}


@dataclass(frozen=True)
class Plan:
    """What a run of the chaos is like.

    Attributes:
        units: how many.
        kill_every: seconds between two strikes at the workers.
        unit_timeout: seconds that a unit may take.
        method: how pixels are asked for.
    """

    units: int
    kill_every: float
    unit_timeout: float
    method: str

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The fault plan: one connection stalls for ever; of the other requests a tenth, each kind as often."""
        pixels = "thumbnails:getPixels" if self.method == "url" else "image:computePixels"
        stalled = {"type": "stall", "on": pixels, "times": 1, "after": self.units // 10, "seconds": 86_400}
        found = [stalled]
        for on in ("thumbnails:create", pixels):
            kinds = [kind for kind in _KINDS if kind.get("on", on) == on]
            found += [{**kind, "on": on, "probability": _SHARE / len(kinds)} for kind in kinds]
        return found


@dataclass
class Story:
    """What happened to one seed's run.

    Attributes:
        crashes: from when to when, on the monotonic clock, something was killed or interrupted: a worker in a moment,
            a run until its last process had ended, since what these still got was lost.
        killed: workers.
        statuses: with which the commands ended.
        orphans: processes that outlived their command.
        problems: what should not be.
        seconds: all commands together.
        repeats: requests beyond a unit's first ones, by what explains them.
    """

    seed: int
    crashes: list[tuple[float, float]] = field(default_factory=list)
    killed: int = 0
    statuses: list[int] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    requests: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    left_in_tmp: list[str] = field(default_factory=list)


def chaos(seed: int, plan: Plan, calm: dict[str, str], folder: Path) -> Story:
    """One run, with all that happens to it.

    Args:
        seed: seed of faults and victims.
        plan: what the run is like.
        calm: sha256 of every file of a run without trouble, by name.
        folder: for everything; empty.
    """
    story, out = Story(seed), folder / "out"
    draws = random.Random(seed)
    with serving("light", "--concurrency", "40", "--rate", "none", "--latency", _LATENCY) as server:
        server.post("_faults", seed=seed, faults=plan.faults)
        for share, number in ((0.25, signal.SIGKILL), (0.5, signal.SIGKILL), (0.75, signal.SIGINT), (2.0, None)):
            command = start(server, plan, folder, troubled=True)
            harass(command, plan, story, draws, until=lambda share=share: files(out) >= share * plan.units)
            struck = None
            if number is not None and command.is_running:
                struck = time.monotonic()
                command.signal(number)
            try:
                ended = command.wait(_PATIENCE)
            except TimeoutError as error:
                story.problems.append(str(error))
                break
            if struck is not None:
                story.crashes.append((struck, time.monotonic()))
            story.statuses.append(ended.status)
            story.orphans += ended.orphans
            story.seconds += ended.seconds
        asked, report = server.get("_units"), server.get("_faults")
    for row in report["faults"]:
        story.faults[row["type"]] = story.faults.get(row["type"], 0) + row["struck"]
    story.requests = sum(len(notes) for notes in asked.values())
    story.left_in_tmp = sorted({p.name.split("-")[0] for p in (folder / "tmp").iterdir()})
    story.problems += [*endings(story), *ledger(out, plan, calm), *contents(out, plan, calm)]
    story.problems += unexplained(asked, story, losses(out))
    return story


def start(server: Server, plan: Plan, folder: Path, *, troubled: bool) -> Command:
    """Starts ``eechips run``, or goes on with it."""
    arguments = [
        sys.executable, "-m", "eechips", "run", HERE / "points.py", "--quiet",
        "-p", f"count={plan.units}", "-p", f"troubled={str(troubled).lower()}",
        "--endpoint", server.url, "--method", plan.method, "--out", folder / "out",
        "--unit-timeout", f"{plan.unit_timeout:g}", "--rate", "none",
    ]  # fmt: skip
    (folder / "tmp").mkdir(exist_ok=True)
    places = {"EECHIPS_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    return Command(arguments, folder / "log.txt", places)


def harass(command: Command, plan: Plan, story: Story, draws: random.Random, until: Any) -> None:
    """Kills two workers every few seconds, until something is the case or the command ends."""
    strike = time.monotonic() + plan.kill_every
    began = time.monotonic()
    while command.is_running and not until() and time.monotonic() - began < _PATIENCE:
        time.sleep(0.05)
        if time.monotonic() < strike:
            continue
        strike += plan.kill_every
        there = workers(command.pid)
        struck = time.monotonic()
        for victim in draws.sample(there, min(2, len(there))):
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it died by itself
            story.killed += 1
        # On a busy machine a signal takes a moment, in which the victim may still get an answer.
        story.crashes.append((struck, time.monotonic() + _DYING))


def files(out: Path) -> int:
    """How many results there are."""
    return sum(entry.name.startswith("tile_") for entry in os.scandir(out)) if out.exists() else 0


def undisturbed(plan: Plan, folder: Path) -> dict[str, str]:
    """Sha256 of every file of a run without trouble, by name, as its manifest has them."""
    with serving("light", "--concurrency", "none", "--rate", "none") as server:
        ended = start(server, plan, folder, troubled=False).wait(_PATIENCE)
    if ended.status != 0:
        raise RuntimeError(f"the undisturbed run failed:\n{(folder / 'log.txt').read_text()}")
    units = eechips.open_run(folder / "out").units
    return dict(zip(units["file"], units["sha256"], strict=True))


# What must hold


def endings(story: Story) -> Iterator[str]:
    """How the commands ended."""
    if story.statuses != [-signal.SIGKILL, -signal.SIGKILL, 130, 1]:
        yield f"exit statuses are {story.statuses}, not -9, -9, 130, 1"
    for orphan in story.orphans:
        yield f"a process outlived its run: {orphan[:120]}"


def ledger(out: Path, plan: Plan, calm: dict[str, str]) -> Iterator[str]:
    """What the manifest says of every unit."""
    if not (out / "manifest.parquet").exists():
        yield "the run did not finish: there is no manifest.parquet"
        return
    bad = trouble(plan.units)
    units = eechips.open_run(out).units
    if len(units) != plan.units:
        yield f"the manifest has {len(units)} units, not {plan.units}"
    for unit in units.itertuples():
        index = int(unit.Index)
        expected = _CLASSES[bad[index]] if index in bad else None
        failed = str(unit.state).startswith("failed")
        if failed and expected is None:
            yield f"unit {index} failed: {unit.error_class}: {str(unit.error)[:120]}"
        elif expected is not None and not (failed and unit.error_class == expected):
            yield f"unit {index} {bad[index]}: it is {unit.state} {unit.error_class}, not failed with {expected}"
        elif expected is None and unit.sha256 != calm[name(index)]:
            yield f"unit {index}: its sha256 is not that of the undisturbed run"


def contents(out: Path, plan: Plan, calm: dict[str, str]) -> Iterator[str]:
    """What lies in the folder."""
    bad = trouble(plan.units)
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    wrong = missing = 0
    for index, (longitude, latitude) in enumerate(points(plan.units)):
        if index in bad:
            continue
        if name(index) not in left:
            missing += 1
            continue
        left.remove(name(index))
        content = (out / name(index)).read_bytes()
        sent = picture(Asked(f"{longitude!r},{latitude!r}"))
        wrong += content != sent or hashlib.sha256(content).hexdigest() != calm[name(index)]
    if missing:
        yield f"{missing} files are missing"
    if wrong:
        yield f"{wrong} files are not what the server sent"
    for each in sorted(left - _FILES)[:5]:
        yield f"a file that should not be: {each}"


def name(index: int) -> str:
    """The file of a unit."""
    return f"tile_{index:05d}.png"


def losses(out: Path) -> dict[str, list[tuple[float, float]]]:
    """When a unit was with a worker that ended, on the monotonic clock, as the run's log has it, by unit.

    A worker may have several units: one that hangs or kills it takes the others along.
    """
    with contextlib.closing(sqlite3.connect(out / "manifest.sqlite")) as db:
        values = {key: json.loads(unit)["value"] for key, unit in db.execute("SELECT lower(hex(id)), unit FROM units")}
    shift = time.monotonic() - time.time()
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in (out / "run.log").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "worker lost":
            at = datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp() + shift
            longitude, latitude = values[event["id"]]
            found[f"{longitude!r},{latitude!r}"].append((at - _LOGGED, at))
    return found


def unexplained(
    asked: dict[str, list[list[Any]]], story: Story, lost: dict[str, list[tuple[float, float]]]
) -> Iterator[str]:
    """Requests of a unit that neither its progress, nor a fault, nor a crash explains."""
    why: Counter[str] = Counter()
    for unit, notes in asked.items():
        for before, after in pairwise(notes):
            reason = explanation(before, after, [*story.crashes, *lost.get(unit, [])])
            why[reason] += 1
            if reason == "nothing":
                yield f"unit {unit} was asked for again without a reason: {before}, then {after}"
    story.repeats = {reason: why[reason] for reason in ("fault", "crash", "nothing")}


def explanation(before: Sequence[Any], after: Sequence[Any], crashes: Sequence[tuple[float, float]]) -> str:
    """Why a unit's request follows another: progress, fault, crash or nothing.

    Args:
        before: a request: seconds, kind, outcome.
        after: the next one of the unit.
        crashes: from when to when.
    """
    began, kind, outcome = before
    good = outcome == 200 or outcome in _HARMLESS
    if not good:
        return "fault"
    if kind == "thumbnails:create" and after[1] == "thumbnails:getPixels":
        return "progress"
    struck = any(began <= end and start <= min(after[0], began + _COMMIT) for start, end in crashes)
    return "crash" if struck else "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--units", type=int, default=5000)
    parser.add_argument("--kill-every", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--unit-timeout", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--method", default="url", choices=["url", "pixels"])
    parser.add_argument("--keep", type=Path, help="empty folder for everything, which is kept")
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args()
    plan = Plan(given.units, given.kill_every, given.unit_timeout, given.method)
    adopt_orphans()
    stories = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        root = given.keep or Path(temporary)
        (root / "calm").mkdir(parents=True)
        calm = undisturbed(plan, root / "calm")
        for seed in range(given.seed, given.seed + given.seeds):
            (root / str(seed)).mkdir()
            story = chaos(seed, plan, calm, root / str(seed))
            stories.append(story)
            tell(story, plan)
    if given.json:
        given.json.write_text(json.dumps([asdict(story) for story in stories], indent=1))
    sys.exit(1 if any(story.problems for story in stories) else 0)


def tell(story: Story, plan: Plan) -> None:
    """Prints what happened, and what is wrong."""
    faults = ", ".join(f"{count} {kind}" for kind, count in story.faults.items() if count)
    repeats = ", ".join(f"{count} by {reason}" for reason, count in story.repeats.items())
    print(f"seed {story.seed}: {plan.units} units in {story.seconds:.1f} s, {story.killed} workers killed")
    print(f"  {story.requests} requests; faults: {faults}")
    print(f"  repeats explained: {repeats}; left in TMPDIR: {', '.join(story.left_in_tmp) or 'nothing'}")
    for problem in story.problems[:20]:
        print(f"  WRONG: {problem}")
    if len(story.problems) > 20:
        print(f"  WRONG: and {len(story.problems) - 20} more")
    print("  all as it should be" if not story.problems else f"  {len(story.problems)} problems", flush=True)


if __name__ == "__main__":
    main()
