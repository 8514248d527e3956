"""How several eechips that know nothing of each other share one project's quota.

    python benchmarks/shared_quota.py two
    python benchmarks/shared_quota.py two --place s3 --apart
    python benchmarks/shared_quota.py array --tasks 8 --units 4000 --kills 2
    python benchmarks/shared_quota.py array --scheduler slurm --tasks 8 --units 4000 --kills 2 --drain

``two``: a run starts, a second one after it; the second is killed (SIGKILL). With ``--apart`` they are in different UTS
namespaces, with different host names, and cannot see each other's processes, as on two machines (needs root). Shares
are counted by the local Earth Engine: computed chips by workload tag.

``array``: ``eechips plan``, an array of ``eechips work --part``, ``eechips join``. Tasks are processes, or a job array
of SLURM (slurm.py). Some are killed, and their parts are started again at once, in SLURM by jobs of their own
(``--part 3/8``), since SLURM requeues a task after two minutes only. With ``--drain`` a node is drained, and its tasks
start elsewhere likewise.

The service has 40 slots, 100 requests a second and a latency of ``--latency``; its count is what is reported.
``--place`` is where the records of the quota are, and for ``array`` also the results: a folder, or a bucket of S3
(moto). Figures that miss their mark are said to. They depend on what else the machine does, so that only a result that
is missing or wrong makes the exit status 1. The marks:

- slots: two runs use 95% of them while both run, an array 93% from its first request to its last response.
- shares: each of two runs has 40 to 60%.
- rejected: fewer than 2% of requests.
- most: at most 42 requests in flight, rejected ones included (the light server, which ``array`` uses, counts them).
- used again: after the kill, at least 90% of the slots within the lease and five steps.
- files: every file has the content that the server sent, the manifest has its sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow.parquet as pq
from harness import HERE, Sample, Server, Watch, serving
from pictures import Asked, picture
from points import points
from slurm import Cluster, Task, cluster, missing_programs

from eechips.cli.cluster_commands import quote_directive
from eechips.client.quota.quota_folder import FOLDER_TIMES, STORE_TIMES

SLOTS, RATE = 40, 100
_BOTH = 0.95
_ARRAY = 0.93
_MOST = 42
_REJECTED = 0.02
_SETTLED = 12.0  # seconds after which a second run has its share, and in a bucket twice as many
_PATIENCE = 3600.0


@dataclass
class Place:
    """Where runs meet.

    Attributes:
        out: as ``--out`` takes it.
        environment: variables by which clients find it, the folder of the quota among them.
        lease: seconds.
        step: seconds between two records.
    """

    out: str
    environment: dict[str, str]
    lease: float
    step: float
    content: Callable[[str], bytes | None]


@contextmanager
def placed(kind: str, folder: Path) -> Iterator[Place]:
    """A place for the duration of the block."""
    if kind == "folder":
        out = folder / "out"

        def content(name: str) -> bytes | None:
            return (out / name).read_bytes() if (out / name).exists() else None

        environment = {"EECHIPS_QUOTA_FOLDER": str(folder / "quota")}
        yield Place(str(out), environment, FOLDER_TIMES.lease, FOLDER_TIMES.step, content)
        return
    from local_tests.support.object_server import serving_objects

    with serving_objects("cluster") as objects:
        yield Place(
            "s3://cluster/run", {**objects.environment, "EECHIPS_QUOTA_FOLDER": "s3://cluster/quota"},
            STORE_TIMES.lease, STORE_TIMES.step, lambda name: objects.content(f"run/{name}"),
        )  # fmt: skip


@dataclass
class Report:
    """Figures, and results that are missing or wrong."""

    faults: list[str] = field(default_factory=list)

    def tell(self, name: str, value: str, *, is_met: bool = True) -> None:
        """Print a figure, which depends on the machine and what else it does."""
        print(f"{name:<34} {value}{'' if is_met else '   MISSED'}", flush=True)

    def check(self, name: str, value: str, *, is_right: bool) -> None:
        """Print what must be right on every machine."""
        print(f"{name:<34} {value}{'' if is_right else '   WRONG'}", flush=True)
        if not is_right:
            self.faults.append(name)


def between(first: Sample, last: Sample) -> tuple[float, float]:
    """The mean in flight, and the share of rejected requests, between two looks."""
    in_flight = (last.busy - first.busy) / max(1e-9, last.time - first.time)
    return in_flight, (last.rejected - first.rejected) / max(1, last.requests - first.requests)


def start(words: Sequence[str | Path], folder: Path, environment: dict[str, str], log: str) -> subprocess.Popen[bytes]:
    """A process in a session of its own."""
    with (folder / log).open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in words], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, **environment, "EECHIPS_CACHE": str(folder / "cache")}, start_new_session=True,
        )  # fmt: skip


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# Two runs


def two(given: argparse.Namespace, folder: Path, report: Report) -> None:
    """A run, a second one, and the kill of the second."""
    limits = ["--concurrency", str(SLOTS), "--rate", str(RATE), "--latency", f"image:computePixels={given.latency}"]
    settled = _SETTLED * (2 if given.place == "s3" else 1)
    with serving("emulator", *limits, "--workers", "1") as server, placed(given.place, folder) as place:

        def run(name: str, *further: str) -> subprocess.Popen[bytes]:
            words: list[str | Path] = [
                sys.executable, "-m", "eechips", "run", HERE / "points.py", "-p", "count=100000", "-p", "chip=constant",
                "-p", f"edge={64}", "--endpoint", server.url, "--project", "bench", "--method", "pixels",
                "--executor", "threads", "--out", folder / name, "--quiet", *further,
            ]  # fmt: skip
            if given.apart:
                words = ["unshare", "--uts", "sh", "-c", f"hostname {name} && exec {shlex.join(map(str, words))}"]
            return start(words, folder, {**place.environment, "EECHIPS_WORKLOAD_TAG": name}, f"{name}.log")

        with Watch(server) as watch:
            first = run("first")
            pause(first, 15.0)
            second = run("second")
            pause(second, settled)
            begin, tags = watch.samples[-1], chips_by_tag(server)
            pause(second, given.seconds)
            end, later = watch.samples[-1], chips_by_tag(server)
            kill(second)
            killed = watch.samples[-1]
            pause(first, place.lease + 5 * place.step + 10.0)
            samples = [each for each in watch.samples if each.time >= killed.time]
            kill(first)
    in_flight, rejected = between(begin, end)
    report.tell("slots while both run", f"{in_flight / SLOTS:.1%}", is_met=in_flight >= _BOTH * SLOTS)
    made = {name: later.get(name, 0) - tags.get(name, 0) for name in ("first", "second")}
    for name, count in made.items():
        share = count / max(1, sum(made.values()))
        report.tell(f"share of the {name}", f"{share:.1%}", is_met=0.4 <= share <= 0.6)
    report.tell("rejected while both run", f"{rejected:.2%}", is_met=rejected < _REJECTED)
    report.tell("rejected of all", f"{between(watch.samples[0], samples[-1])[1]:.2%}")
    looks = [each for each in samples if each.time <= samples[-1].time - 2.0]
    empty = [each.time for each in looks if used(samples, each) < 0.9 * SLOTS]
    free = max(empty, default=killed.time) - killed.time
    most = place.lease + 5 * place.step
    report.tell("slots used again after the kill", f"{free:.1f} s (lease {place.lease:g} s)", is_met=free <= most)


def pause(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait while a process runs.

    Raises:
        RuntimeError: if it ends.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"a run ended with status {process.returncode}")
        time.sleep(0.1)


def used(samples: Sequence[Sample], first: Sample) -> float:
    """The mean in flight in the second after a look; 0 if it was not seen to its end."""
    last = next((each for each in samples if each.time >= first.time + 1.0), None)
    return 0.0 if last is None else between(first, last)[0]


def chips_by_tag(server: Server) -> dict[str, int]:
    """Requests that computed anything, by workload tag."""
    found = server.get("_stats")["compute"]["workload_tags"]
    return {tag: int(account["requests"]) for tag, account in found.items()}


# An array


def array(given: argparse.Namespace, folder: Path, report: Report) -> None:
    """Plan, work on the parts, join."""
    limits = ["--concurrency", str(SLOTS), "--rate", str(RATE), "--latency", f"image:computePixels={given.latency}"]
    with serving("light", *limits) as server, placed(given.place, folder) as place:
        common = [sys.executable, "-m", "eechips"]
        plan = [
            *common, "plan", "run", HERE / "points.py", "-p", f"count={given.units}", "-p", "edge=64",
            "--endpoint", server.url, "--project", "bench", "--method", "pixels", "--to", "units.jsonl",
        ]  # fmt: skip
        check(start(plan, folder, place.environment, "plan.log"), folder / "plan.log")
        work = [
            *common, "work", "--units", "units.jsonl", "--out", place.out, "--executor", "threads", "--quiet",
        ]  # fmt: skip
        with Watch(server) as watch:
            if given.scheduler == "slurm":
                # SLURM itself takes no folder with spaces.
                with (
                    tempfile.TemporaryDirectory(prefix="slurm-") as state,
                    cluster(Path(state), nodes=given.tasks // 2 + 1) as slurm,
                ):
                    work_in_slurm(slurm, work, given, folder, place, watch)
            else:
                work_in_processes(work, given, folder, place, watch)
        most = server.get("_most")
        lines = [line for path in sorted(folder.glob("outcomes-*.jsonl")) for line in path.read_text().splitlines()]
        (folder / "outcomes.jsonl").write_text("".join(f"{line}\n" for line in lines))
        join = [
            *common,
            "join",
            "--units",
            "units.jsonl",
            "--out",
            place.out,
            "--outcomes",
            "outcomes.jsonl",
            "--quiet",
        ]
        ended = start(join, folder, place.environment, "join.log").wait(_PATIENCE)
        report.check("join", f"exit status {ended}", is_right=ended == 0)
        compare(given.units, place, folder, report)
    (folder / "samples.json").write_text(json.dumps([asdict(each) for each in watch.samples]))
    tell_array(watch.samples, most, report)


def check(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the success of a process."""
    if process.wait(_PATIENCE):
        raise RuntimeError(log.read_text())


def work_in_processes(
    work: Sequence[str | Path], given: argparse.Namespace, folder: Path, place: Place, watch: Watch
) -> None:
    """Each task is a process; killed ones start again."""

    def task(number: int) -> subprocess.Popen[bytes]:
        part = ["--part", f"{number}/{given.tasks}", "--ledger", f"ledger-{number}"]
        words = [*work, *part, "--outcomes", f"outcomes-{number}.jsonl"]
        return start(words, folder, place.environment, f"work-{number}.log")

    running = {number: task(number) for number in range(1, given.tasks + 1)}
    kills = [given.units * (n + 1) // (given.kills + 2) for n in range(given.kills)]
    while running:
        time.sleep(0.2)
        if kills and watch.samples[-1].chips >= kills[0]:
            number = list(running)[len(kills) * 3 % len(running)]
            kills.pop(0)
            kill(running[number])
            print(f"killed task {number}", flush=True)
            running[number] = task(number)
        for number, process in list(running.items()):
            if process.poll() is not None:
                if process.returncode:
                    raise RuntimeError((folder / f"work-{number}.log").read_text())
                del running[number]


class SlurmJob:
    """A job array, and the jobs that take the place of its killed tasks, as a user submits them.

    Args:
        slurm: where it runs.
        work: command of a task, without its part.
        tasks: tasks of the array.
        folder: folder of scripts and outcomes.
        environment: environment of the tasks.
    """

    def __init__(
        self, slurm: Cluster, work: Sequence[str | Path], tasks: int, folder: Path, environment: dict[str, str]
    ) -> None:
        self._slurm, self._tasks = slurm, tasks
        lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        lines.append(f"export EECHIPS_CACHE={shlex.quote(str(folder / 'cache'))}")
        command = shlex.join(map(str, work))
        self._again = folder / "again.sh"
        directives = f"#SBATCH --no-requeue --chdir={quote_directive(str(folder))} --open-mode=append"

        def write(name: str, directive: str, task: str) -> Path:
            part = f'--part "{task}/{tasks}" --ledger "ledger-{task}" --outcomes "outcomes-{task}.jsonl"'
            text = f"exec {command} {part}"  # without cgroups, SLURM may lose sight of a child of a killed shell
            (folder / name).write_text("\n".join(["#!/bin/bash", directives, directive, *lines, text]) + "\n")
            return folder / name

        def output(task: str) -> str:
            return f"--output={quote_directive(f'{folder}/work-{task}.log')}"

        script = write("work.sh", f"#SBATCH --array=1-{tasks} {output('%a')}", "$SLURM_ARRAY_TASK_ID")
        write("again.sh", f"#SBATCH {output('again-%j')}", "$1")
        self._jobs = {slurm.submit(script): 0}

    def is_running(self) -> bool:
        """Whether a task has not ended."""
        return any(self._slurm.is_running(job) for job in self._jobs)

    def tasks(self) -> list[Task]:
        """Tasks that are running, with the numbers of their parts."""
        return [
            Task(task.job, task.index or part, task.node)
            for job, part in self._jobs.items()
            if self._slurm.is_running(job)
            for task in self._slurm.tasks(job)
        ]

    def replace(self, task: Task) -> None:
        """Kill a task, and submit its part again."""
        self._slurm.kill(task.job)
        self._jobs[self._slurm.submit(self._again, arguments=[str(task.index)])] = task.index
        print(f"killed part {task.index} on {task.node}, and submitted it again", flush=True)


def work_in_slurm(
    slurm: Cluster, work: Sequence[str | Path], given: argparse.Namespace, folder: Path, place: Place, watch: Watch
) -> None:
    """A job array; parts of killed tasks, and of those on a drained node, are submitted again."""
    job = SlurmJob(slurm, work, given.tasks, folder, place.environment)
    kills = [given.units * (n + 1) // (given.kills + 3) for n in range(given.kills)]
    drain = given.units * (given.kills + 1) // (given.kills + 3) if given.drain else None
    while job.is_running():
        time.sleep(0.5)
        chips = watch.samples[-1].chips
        if kills and chips >= kills[0] and (tasks := job.tasks()):
            job.replace(tasks[len(kills) % len(tasks)])
            kills.pop(0)
        if drain is not None and chips >= drain and (tasks := job.tasks()):
            node = tasks[-1].node
            slurm.drain(node)
            print(f"drained {node}", flush=True)
            for task in job.tasks():
                if task.node == node:
                    job.replace(task)
            drain = None
    failed = [path for path in sorted(folder.glob("work-*.log")) if "Traceback" in path.read_text()]
    if failed:
        raise RuntimeError(failed[0].read_text())


def compare(units: int, place: Place, folder: Path, report: Report) -> None:
    """Compare each file with what the server sent, and the manifest with it."""
    (folder / "manifest.parquet").write_bytes(place.content("manifest.parquet") or _manifest(folder))
    table = pq.read_table(folder / "manifest.parquet", columns=["file", "sha256"]).to_pydict()
    recorded = dict(zip(table["file"], table["sha256"], strict=True))
    right = 0
    for index, (longitude, latitude) in enumerate(points(units)):
        name = f"tile_{index:05d}.png"
        wanted = picture(Asked(f"{longitude!r},{latitude!r}", width=64, height=64))
        is_right = place.content(name) == wanted and recorded.get(name) == hashlib.sha256(wanted).hexdigest()
        right += is_right
    report.check("files and checksums right", f"{right} of {units}", is_right=right == units)


def _manifest(folder: Path) -> bytes:
    """The manifest of a run in an object store, which is beside its ledger."""
    return next(folder.glob("outputs/**/manifest.parquet")).read_bytes()


def tell_array(samples: Sequence[Sample], most: int, report: Report) -> None:
    """Print what the server saw."""
    chips = samples[-1].chips
    begun = next(each for each in samples if each.asked > samples[0].asked)
    ended = next(each for each in samples if each.chips == chips)
    first = next(each for each in samples if each.chips >= 0.05 * chips)
    last = next(each for each in reversed(samples) if each.chips <= 0.95 * chips)
    in_flight, rejected = between(first, last)
    whole, _ = between(begun, ended)
    _, all_rejected = between(samples[0], samples[-1])
    report.tell("responses with chips", f"{chips} in {ended.time - begun.time:.0f} s")
    report.tell("slots from first to last request", f"{whole / SLOTS:.1%}", is_met=whole >= _ARRAY * SLOTS)
    report.tell("slots from first to last 5%", f"{in_flight / SLOTS:.1%}")
    report.tell("rejected from first to last 5%", f"{rejected:.2%}")
    report.tell("rejected of all", f"{all_rejected:.2%}", is_met=all_rejected < _REJECTED)
    report.tell("most in flight, rejected included", str(most), is_met=most <= _MOST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["two", "array"])
    parser.add_argument("--place", choices=["folder", "s3"], default="folder")
    parser.add_argument("--latency", default="lognormal:2,0.4", help="of a chip")
    parser.add_argument("--seconds", type=float, default=40.0, help="two: while both runs are on")
    parser.add_argument("--apart", action="store_true", help="two: the runs cannot see each other's processes")
    parser.add_argument("--scheduler", choices=["processes", "slurm"], default="processes")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--units", type=int, default=4000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--drain", action="store_true", help="array in slurm: drain a node")
    parser.add_argument("--folder", type=Path, help="for all files, to look at afterwards; empty")
    given = parser.parse_args()
    if given.scheduler == "slurm" and (reason := missing_programs()):
        parser.error(reason)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="shared-quota-") as name:
        folder = Path(name) if given.folder is None else given.folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        (two if given.what == "two" else array)(given, folder, report)
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
