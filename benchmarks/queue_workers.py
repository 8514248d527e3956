"""Concurrent workers of a queue that write to one place, some of which are killed and started again.

    python benchmarks/queue_workers.py --seeds 20
    python benchmarks/queue_workers.py --store s3 --server moto

For each seed and store (a folder, a ``file://`` address, a bucket of S3 on loopback), ``eechips plan`` plans units of
two files each, which are dealt to ``eechips work`` processes in a random order. Some of the processes are killed
(SIGKILL) at random points and started again with the same units. The outcomes are shuffled and given to ``eechips
join``.

The server of S3 is bucket.py, or with ``--server moto`` one that others wrote and that is slower than the workers; both
count the requests for each unit.

The place also holds files of others: files of users with similar names, staged files of writers that are running or on
another host, and a folder below that is another run's. At the end this must hold; violations are printed, and the exit
status is 1:

- Every worker that was not killed, and ``eechips join``, exit with status 0.
- Every file has the content that is computed here independently, and the manifest has its sha256.
- Files of others are as they were, and there is nothing else: staged files of the killed workers are gone.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import s3fs

import eechips
from eechips.files.temporary_names import new_writer, temporary_name
from eechips.manifest.reserved_names import OUTCOMES_FOLDER
from eechips.storage import LocalStore, ObjectStore, Store
from local_tests.support.object_server import ACCOUNT, serving_objects

STORES = ("folder", "file", "s3")
ROOT = Path(__file__).resolve().parents[1]
RECIPE = """
from eechips import Table

NEEDS_SERVICE = False

def get_requests(count=10):
    return list(range(count))

def get_result(index, number):
    rows = [{"number": number, "row": row, "product": number * row} for row in range(20)]
    return {"rows": Table(rows), "sum": Table([{"number": number, "sum": 190 * number}])}
"""
_S3 = "s3://queue/run"
_PATIENCE = 600.0  # seconds that one command may take
_COLUMNS = ("seed", "store", "units", "workers", "killed", "work s", "join s", "asked", "files", "problems")


@dataclass
class Story:
    """What happened with one seed and store.

    Attributes:
        seconds: seconds of the workers, and of the join.
        killed: workers that were killed before their end.
        asked: requests for each unit, of the workers and of the join, where the server counts them.
        files: files that were compared.
        problems: violations.
    """

    seconds: tuple[float, float] = (0.0, 0.0)
    killed: int = 0
    asked: list[float] = field(default_factory=list)
    files: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Place:
    """Where results go.

    Attributes:
        address: as ``--out`` takes it.
        environment: variables by which clients find it.
        store: store of the results, as eechips sees it.
        content: what a file holds, read past eechips; None if there is none.
        requests: requests of the clients of the server so far; always 0 without one.
    """

    address: str
    environment: dict[str, str]
    store: Store
    content: Callable[[str], bytes | None]
    requests: Callable[[], int] = int

    def put(self, name: str, data: bytes) -> None:
        """Writes a file of somebody else."""
        if isinstance(self.store, LocalStore):
            path = self.store.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        else:
            import fsspec

            with fsspec.open(f"{self.address}/{name}", "wb", auto_mkdir=True) as file:
                file.write(data)

    def names(self) -> dict[str, int]:
        """Names and sizes of all files."""
        if isinstance(self.store, LocalStore):
            root = self.store.root
            paths = [path for path in root.rglob("*") if path.is_file()]
            return {path.relative_to(root).as_posix(): path.stat().st_size for path in paths}
        return {file.name: file.size for file in self.store.files([""])}


@contextmanager
def placed(kind: str, folder: Path, server: str) -> Iterator[Place]:
    """A new place of a kind, for the duration of the block."""
    if kind == "s3":
        with (_moto if server == "moto" else _bucket)() as place:
            yield place
        return
    root = folder / "results"
    root.mkdir()

    def content(name: str) -> bytes | None:
        path = root / name
        return path.read_bytes() if path.exists() else None

    if kind == "folder":
        yield Place(str(root), {}, LocalStore(root), content)
    else:
        yield Place(f"file://{root}", {}, ObjectStore(f"file://{root}"), content)


@contextmanager
def _moto() -> Iterator[Place]:
    with serving_objects("queue") as objects, _environment(objects.environment):
        own = Counter[str]()

        def content(name: str) -> bytes | None:
            own["GET"] += 1
            return objects.content(f"run/{name}")

        yield Place(
            _S3, objects.environment, ObjectStore(_S3), content, lambda: objects.asked.total() - own.total()
        )  # fmt: skip


@contextmanager
def _bucket() -> Iterator[Place]:
    command = [sys.executable, str(ROOT / "benchmarks" / "bucket.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        connection = http.client.HTTPConnection(urlsplit(url).netloc)

        def ask(path: str) -> bytes | None:
            connection.request("GET", quote(path))
            answer = connection.getresponse()
            body = answer.read()
            return body if answer.status == 200 else None

        environment = {**ACCOUNT, "AWS_ENDPOINT_URL": url}
        s3fs.S3FileSystem.clear_instance_cache()  # clients of earlier servers
        with _environment(environment), closing(connection):
            yield Place(
                _S3, environment, ObjectStore(_S3), lambda name: ask(f"/_objects/queue/run/{name}"),
                lambda: sum(json.loads(ask("/_asked") or b"{}").values()),
            )  # fmt: skip
        process.stdin.close()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def expected(number: int) -> dict[str, bytes]:
    """The files of a unit by layer, computed without eechips."""
    rows = "".join(f"{number},{row},{number * row}\n" for row in range(20))
    return {"rows": f"number,row,product\n{rows}".encode(), "sum": f"number,sum\n{number},{190 * number}\n".encode()}


def others() -> dict[str, bytes]:
    """Files of others, by name."""
    running = new_writer("another run")
    far = replace(new_writer("a third run"), place="0" * 12)
    ended = replace(running, number="0" * 8, pid=2**22 + 1)  # a process that there cannot be: it has ended
    names = (
        ".video.mp4.part", "nest/.chip.tif.part", "notes.txt", ".scratch-mine/note.txt",
        temporary_name("1.png", str(running)), temporary_name("nest/1.png", f"{running}-0123456789abcdef"),
        temporary_name("2.png", str(far)),
        "nest/b/.eechips.lock", temporary_name("nest/b/3.png", str(ended)), temporary_name("nest/b/c/4.png", str(far)),
    )  # fmt: skip
    return {name: f"file {number} of somebody else".encode() for number, name in enumerate(names)}


def story(seed: int, kind: str, units: int, workers: int, kills: int, folder: Path, server: str) -> Story:
    """Plans, works, kills, joins and compares.

    Args:
        seed: seed of all random choices.
        kind: kind of store.
        units: planned; each has two files.
        workers: at once.
        kills: kills of them are killed and started again.
        folder: empty, for everything.
        server: server of S3: ``bucket`` or ``moto``.
    """
    told, chance = Story(), random.Random(seed)
    (folder / "recipe.py").write_text(RECIPE)
    with placed(kind, folder, server) as place:
        foreign = others()
        for name, data in foreign.items():
            place.put(name, data)
        plan = _eechips(folder, "plan", "run", "recipe.py", "-p", f"count={units}", environment=place.environment)
        lines = plan.communicate(timeout=_PATIENCE)[0].splitlines()
        if plan.returncode or len(lines) != units:
            told.problems.append(f"eechips plan: exit status {plan.returncode}, {len(lines)} lines")
            return told
        began, asked = time.monotonic(), place.requests()
        dealt = chance.sample(lines, len(lines))
        outcomes = _work(told, chance, [dealt[n::workers] for n in range(workers)], kills, place, folder)
        worked = time.monotonic()
        told.asked.append((place.requests() - asked) / units)
        asked = place.requests()
        chance.shuffle(outcomes)
        (folder / "plan.jsonl").write_text("\n".join(chance.sample(lines, len(lines))))
        (folder / "outcomes.jsonl").write_text("\n".join(outcomes))
        _join(told, kind, place, folder)
        told.seconds = worked - began, time.monotonic() - worked
        told.asked.append((place.requests() - asked) / units)
        _compare(told, kind, units, foreign, place, folder)
    return told


def _eechips(folder: Path, *words: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    variables = {**os.environ, **environment, "PYTHONPATH": str(ROOT), "EECHIPS_CACHE": str(folder / "cache")}
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "eechips", *words],
            cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            start_new_session=True,
        )  # fmt: skip


def _work(
    told: Story, chance: random.Random, shares: Sequence[list[str]], kills: int, place: Place, folder: Path
) -> list[str]:
    """Has all units worked at; returns the outcomes."""

    def start(number: int) -> subprocess.Popen[str]:
        words = ("--units", f"units-{number}.jsonl", "--out", place.address, "--outcomes", f"outcomes-{number}.jsonl")
        return _eechips(folder, "work", *words, "--executor", "threads", "-q", environment=place.environment)

    for number, share in enumerate(shares):
        (folder / f"units-{number}.jsonl").write_text("\n".join(share))
    with ExitStack() as stack:
        running = [stack.enter_context(start(number)) for number in range(len(shares))]
        stack.callback(lambda: [process.kill() for process in running])
        for number in chance.sample(range(len(shares)), kills):
            share, process = shares[number], running[number]
            # Units are worked at in the order of their delivery, but for the few that are in flight at the same time.
            name = json.loads(share[int(chance.uniform(0.1, 0.7) * len(share))])["name"]
            while process.poll() is None and place.content(f"{name}.rows.csv") is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait(_PATIENCE)
            told.killed += process.returncode == -signal.SIGKILL
            running[number] = stack.enter_context(start(number))
        for number, process in enumerate(running):
            process.communicate(timeout=_PATIENCE)
            if process.returncode:
                told.problems.append(f"worker {number}: exit status {process.returncode}; see log.txt")
    return [line for number in range(len(shares)) for line in _lines(folder / f"outcomes-{number}.jsonl")]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _join(told: Story, kind: str, place: Place, folder: Path) -> None:
    words = ["join", "--units", "plan.jsonl", "--outcomes", "outcomes.jsonl", "--out", place.address, "-q"]
    if kind != "folder":
        words += ["--ledger", "ledger"]
    join = _eechips(folder, *words, environment=place.environment)
    join.communicate(timeout=_PATIENCE)
    if join.returncode:
        told.problems.append(f"eechips join: exit status {join.returncode}; see log.txt")


def _compare(told: Story, kind: str, units: int, foreign: dict[str, bytes], place: Place, folder: Path) -> None:
    """Compares what is there with what must be."""
    ledger = Path(place.address) if kind == "folder" else folder / "ledger"
    try:
        run = eechips.open_run(ledger)
        layers = run.layers.reset_index()
        rows = _units(ledger)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a violation
        told.problems.append(f"the run cannot be opened: {error!r}")
        return
    values = {row["position"]: json.loads(row["unit"])["value"] for row in rows}
    wanted: set[str] = set()
    seen: Counter[int] = Counter()
    for row in layers.to_dict("records"):
        content = expected(values[row["position"]])[row["layer"]]
        digest = hashlib.sha256(content).hexdigest()
        seen[row["position"]] += 1
        wanted.add(row["file"])
        if row["sha256"] != digest:
            told.problems.append(f"{row['file']}: the manifest has another sha256")
        if place.content(row["file"]) != content:
            told.problems.append(f"{row['file']}: its content is wrong")
    told.files = len(wanted)
    if len(seen) != units or set(seen.values()) != {2} or len(wanted) != 2 * units:
        told.problems.append(f"{len(wanted)} files of {len(seen)} units instead of {2 * units} of {units}")
    there = place.names()
    for name, data in foreign.items():
        if name not in there:
            told.problems.append(f"{name}, somebody else's, was removed")
        elif place.content(name) != data:
            told.problems.append(f"{name}, somebody else's, was changed")
    own = {"run.json", "manifest.parquet", "layers.parquet", "manifest.sqlite", ".eechips.lock", "run.log"}
    own.add("report.html")  # of the run that was joined
    outcomes = {name for name in there if name.startswith(f"{OUTCOMES_FOLDER}/")}
    left = set(there) - wanted - set(foreign) - own - outcomes
    if left:
        told.problems.append(f"{len(left)} files are left over, such as {min(left)}")


def _units(ledger: Path) -> list[dict[str, object]]:
    import pyarrow.parquet

    rows: list[dict[str, object]] = pyarrow.parquet.read_table(
        ledger / "manifest.parquet", columns=["position", "unit"]
    ).to_pylist()
    return rows


def main() -> None:
    """Runs all seeds and stores, and prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --first on [1]")
    parser.add_argument("--first", type=int, default=0, help="the first seed [0]")
    parser.add_argument("--units", type=int, default=5000, help="of two files each [5000]")
    parser.add_argument("--workers", type=int, default=6, help="at once [6]")
    parser.add_argument("--kills", type=int, default=2, help="workers that are killed and started again [2]")
    parser.add_argument("--store", default=",".join(STORES), help="folder,file,s3 [all]")
    parser.add_argument("--server", choices=["bucket", "moto"], default="bucket", help="of S3 [bucket]")
    options = parser.parse_args()
    problems = 0
    print("  ".join(f"{name:>8}" for name in _COLUMNS), flush=True)
    for seed in range(options.first, options.first + options.seeds):
        for kind in options.store.split(","):
            with tempfile.TemporaryDirectory(prefix="queue-workers-") as folder:
                told = story(seed, kind, options.units, options.workers, options.kills, Path(folder), options.server)
                row = (
                    seed, kind, options.units, options.workers, told.killed, f"{told.seconds[0]:.1f}",
                    f"{told.seconds[1]:.1f}", "+".join(f"{count:.1f}" for count in told.asked if count) or "-",
                    told.files, len(told.problems),
                )  # fmt: skip
                print("  ".join(f"{value:>8}" for value in row), flush=True)
                for problem in told.problems[:20]:
                    print(f"    {problem}", flush=True)
                if told.problems:
                    print((Path(folder) / "log.txt").read_text()[-3000:], flush=True)
            problems += len(told.problems)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
