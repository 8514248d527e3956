"""A run to an object store that is killed again and again, and what the store was asked for.

    python benchmarks/objects.py --units 20000 --kills 3
    python benchmarks/objects.py --units 20000 --kills 3 --verify
    python benchmarks/objects.py --units 3000 --kills 0 --edge 256

The light server (service.py) answers for the pixels, moto's server for S3, both on loopback; the latter counts, and
compares checksums as S3 does. ``eechips run`` puts chips into the bucket, is killed (SIGKILL) as many times,
at even distances, and started again by the same command each time.

At the end this must hold; what does not is told, and the exit status is 1:

- every unit is done, its object holds what the light server sends for it, and the manifest has its sha256;
- an object was uploaded once, or once more for a kill that struck before it was recorded;
- a command that goes on lists the objects once, in pages of 1,000, and asks for no object by itself; one that finds
  none asks once for an object whose name is made up, to see that what answers is an object store.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import HERE, Command, Memory, Server, serving
from pictures import Asked, picture
from points import points
from processes import adopt_orphans, own_cpu_of

import eechips
from local_tests.support.object_server import ObjectServer, serving_objects

_BUCKET = "bucket-of-chips"
_OWNER_CHECKS = 2  # reads of run.json: before the first result and before the manifest, to see whose the place is
_PAGE = 1000  # objects that S3 lists at a time
_PATIENCE = 3600.0  # seconds that one command may take
_COLUMNS = (
    "command", "status", "seconds", "cpu s", "parent s", "MB", "before", "PUT", "again", "LIST", "other", "recorded",
)  # fmt: skip
_EXPORTS = 2  # manifest.parquet and run.json, which are put beside the results


@dataclass
class Attempt:
    """One command, from its start to its end or to the kill.

    Attributes:
        status: exit status; -9 if it was killed.
        seconds: from its start to its end.
        cpu: seconds of processor time of all its processes.
        parent: parent of its first process alone.
        peak: peak of the memory of all its processes, in MB.
        before: objects that were there before.
        recorded: units that the ledger had as done afterwards.
        again: objects that were uploaded although they had been there.
        asked: requests of the store, by method.
    """

    status: int
    seconds: float
    cpu: float
    parent: float
    peak: float
    before: int
    recorded: int
    again: int
    asked: dict[str, int]


@dataclass
class Story:
    """What happened.

    Attributes:
        attempts: one after the other.
        problems: what should not be.
    """

    attempts: list[Attempt] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def story(units: int, kills: int, edge: int, folder: Path, *, verify: bool) -> Story:
    """Runs, kills and goes on, and looks at what is there in the end.

    Args:
        units: how many.
        kills: how many.
        edge: edge length of a chip, in pixels; the server of the store holds all chips in memory.
        folder: for the ledger and the commands' output; empty.
        verify: whether ``eechips verify`` reads everything back.
    """
    told = Story()
    options = ("--concurrency", "40", "--rate", "none", "--latency", "*Pixels=lognormal:0.1,0.4")
    with serving("light", *options) as service, serving_objects(_BUCKET) as objects:
        recorded: set[str] = set()
        for share in (*((n + 1) / (kills + 1) for n in range(kills)), None):
            puts = dict(objects.puts)
            attempt = one(service, objects, folder, units, edge, None if share is None else int(share * units))
            told.attempts.append(attempt)
            again = {key for key, count in objects.puts.items() if count > puts.get(key, 0) > 0}
            attempt.again = len(again)
            told.problems += wrong(attempt, again & recorded, len(told.attempts), is_last=share is None)
            recorded = known(folder / "ledger")
        told.problems += contents(objects, folder / "ledger", units, edge)
        if verify:
            arguments = [sys.executable, "-m", "eechips", "verify", folder / "ledger"]
            command = Command(arguments, folder / "log.txt", _places(objects, folder))
            if command.wait(_PATIENCE).status:
                told.problems.append("eechips verify found something wrong")
    return told


def one(service: Server, objects: ObjectServer, folder: Path, units: int, edge: int, until: int | None) -> Attempt:
    """One command, which is killed when so many objects are there, or not at all."""
    before = sum(key.endswith(".png") for key in objects.puts)
    objects.asked.clear()
    arguments = [
        sys.executable, "-m", "eechips", "run", HERE / "points.py", "--quiet", "-p", f"count={units}",
        "-p", f"edge={edge}", "--endpoint", service.url, "--rate", "none", "--in-flight", "40",
        "--out", f"{objects.bucket}/run", "--ledger", folder / "ledger",
    ]  # fmt: skip
    command = Command(arguments, folder / "log.txt", _places(objects, folder))
    parent = 0.0
    with Memory(command.pid) as memory:
        while command.is_running:
            parent = max(parent, own_cpu_of(command.pid))
            if until is not None and len(objects.puts) >= until:
                command.signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        ended = command.wait(_PATIENCE)
    asked = dict(objects.asked)
    recorded = len(known(folder / "ledger"))
    return Attempt(ended.status, ended.seconds, ended.cpu, parent, memory.peak, before, recorded, 0, asked)


def _places(objects: ObjectServer, folder: Path) -> dict[str, str]:
    """Environment of a command, whose user is the same in all of them: the key that signs runs is in the cache."""
    return {**objects.environment, "EECHIPS_CACHE": str(folder / "cache")}


def known(ledger: Path) -> set[str]:
    """Keys of the objects that the ledger has as done."""
    path = ledger / "manifest.sqlite"
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as db:
        return {f"run/{file}" for (file,) in db.execute("SELECT file FROM units WHERE file IS NOT NULL")}


# What must hold


def wrong(attempt: Attempt, needless: set[str], number: int, *, is_last: bool) -> Iterator[str]:
    """What is not as it should be with one command."""
    if attempt.status != (0 if is_last else -signal.SIGKILL):
        yield f"command {number} ended with status {attempt.status}"
    if needless:
        yield f"command {number} uploaded {len(needless)} objects that had been recorded, such as {min(needless)}"
    pages = max(1, -(-attempt.before // _PAGE))
    if attempt.asked.get("LIST") != pages:
        yield f"command {number} listed {attempt.asked.get('LIST')} pages: {attempt.before} objects are {pages}"
    if attempt.asked.get("GET", 0) > _OWNER_CHECKS:
        yield f"command {number} read {attempt.asked['GET']} objects"
    checks = {"HEAD": 1} if attempt.before == 0 else {}  # an empty listing is checked; see S3Backend.pages
    usual = ("LIST", "PUT", "DELETE", "GET")
    strange = {method: count for method, count in attempt.asked.items() if method not in usual}
    if strange != checks:
        yield f"command {number} asked for {strange}"


def contents(objects: ObjectServer, ledger: Path, units: int, edge: int) -> Iterator[str]:
    """What is not as it should be with what is there in the end."""
    run = eechips.open_run(ledger)
    if run.counts != {"done": units}:
        yield f"the ledger has {run.counts}, not {units} done"
        return
    if len(objects.puts) != units + _EXPORTS:
        yield f"there are {len(objects.puts)} objects, not {units} and {_EXPORTS}"
    found = run.units
    expected = {
        f"tile_{index:05d}.png": hashlib.sha256(picture(Asked(f"{x!r},{y!r}", width=edge, height=edge))).hexdigest()
        for index, (x, y) in enumerate(points(units))
    }
    if dict(zip(found["file"], found["sha256"], strict=True)) != expected:
        yield "the manifest has other sha256s than what was sent"
    if {
        key.removeprefix("run/"): digest for key, digest in objects.digests.items() if key.endswith(".png")
    } != expected:
        yield "objects hold something else than what was sent"


# Telling


def tell(told: Story, units: int) -> None:
    """Prints what happened, and what is wrong."""
    print(f"{units:,} units")
    print("  ".join(f"{name:>8}" for name in _COLUMNS))
    for number, each in enumerate(told.attempts, start=1):
        asked = dict(each.asked)
        put, listed = asked.pop("PUT", 0), asked.pop("LIST", 0)
        cells = (
            number,
            each.status,
            f"{each.seconds:.1f}",
            f"{each.cpu:.1f}",
            f"{each.parent:.1f}",
            f"{each.peak:.0f}",
        )
        cells = (*cells, each.before, put)
        cells = (*cells, each.again, listed, sum(asked.values()), each.recorded)
        print("  ".join(f"{cell:>8}" for cell in cells))
    for problem in told.problems:
        print(f"  WRONG: {problem}")
    print("all as it should be" if not told.problems else f"{len(told.problems)} problems", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--edge", type=int, default=64, metavar="PIXELS", help="of a chip")
    parser.add_argument("--verify", action="store_true", help="have eechips verify read everything back, too")
    given = parser.parse_args()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="objects-") as folder:
        told = story(given.units, given.kills, given.edge, Path(folder), verify=given.verify)
        if told.problems:
            print(Path(folder, "log.txt").read_text()[-2000:])
    tell(told, given.units)
    sys.exit(1 if told.problems else 0)


if __name__ == "__main__":
    main()
