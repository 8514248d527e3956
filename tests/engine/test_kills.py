"""Every process of a run is killed (SIGKILL) in turn: the run continues, or ends with one sentence and resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eechips.manifest.run import open_run
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.process_tree import children, is_running, kinds
from tests.support.engine_recipes import CHIPS
from tests.support.engine_service import Service

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")

COUNT = 60


def start(folder: Path, *options: str, count: int = COUNT) -> subprocess.Popen[str]:
    """Starts ``eechips run`` in a folder, or resumes it."""
    (folder / "recipe.py").write_text(CHIPS)
    command = [sys.executable, "-m", "eechips", "run", "recipe.py", "--out", "out", "-p", f"count={count}"]
    command += ["--rate", "none", *options]
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def done(folder: Path) -> int:
    """Return the number of results."""
    return len(list((folder / "out").rglob("*.png")))


def kill(pids: list[int]) -> None:
    """Kills processes, of which there are some."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and output of a command, which shows no traceback and no warning."""
    output, _ = process.communicate(timeout=240)
    for word in ("Traceback", "Warning", "please report it", "EOFError"):
        assert word not in output, output
    return process.returncode, output


def assert_whole(folder: Path, count: int = COUNT) -> None:
    """Every unit is done, its file is right, and nothing else was left behind."""
    run = open_run(folder / "out")
    assert run.counts == {"done": count}
    assert run.verify() == []
    assert not list(run.path.rglob("*.part"))


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param(["fork server", "resource tracker"], marks=[pytest.mark.slow, pytest.mark.exhaustive]),
        pytest.param(["fork server"], marks=pytest.mark.slow),
        pytest.param(["resource tracker"], marks=[pytest.mark.slow, pytest.mark.exhaustive]),
        pytest.param(["workers"], marks=pytest.mark.slow),
        pytest.param(["fork server", "workers"], marks=[pytest.mark.slow, pytest.mark.exhaustive]),
        pytest.param(["workers", "fork server", "resource tracker"], marks=pytest.mark.slow),
    ],
    ids=" and ".join,
)
def test_a_run_survives_killed_processes(service: Service, tmp_path: Path, victims: list[str]) -> None:
    service.latency = 0.15
    process = start(tmp_path, "--endpoint", service.url, "--in-flight", "8", "--executor", "processes:3")
    wait_until(lambda: done(tmp_path) >= 4 and bool(kinds(process.pid)["workers"]), process)
    there = kinds(process.pid)
    for victim in victims:
        kill(there[victim])
    status, output = ended(process)
    assert status == 0, output
    # The service still computes what the killed workers asked for, while others have their slots.
    assert service.most_in_flight <= (16 if "workers" in victims else 8)
    assert_whole(tmp_path)
    if "workers" not in victims:
        assert service.count("compute") == COUNT  # the workers of a fork server that has died work on


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_on_dask_survives_its_resource_tracker(service: Service, tmp_path: Path) -> None:
    service.latency = 0.15
    process = start(tmp_path, "--endpoint", service.url, "--in-flight", "8", "--executor", "dask:2")
    wait_until(lambda: done(tmp_path) >= 4, process)
    kill(kinds(process.pid)["resource tracker"])
    status, output = ended(process)
    assert status == 0, output
    assert_whole(tmp_path)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_workers_that_die_together_while_they_start_are_started_again(service: Service, tmp_path: Path) -> None:
    service.latency = 0.1
    process = start(tmp_path, "--endpoint", service.url, "--in-flight", "32", "--executor", "processes:4")
    wait_until(lambda: bool(kinds(process.pid)["workers"]), process)
    kill(kinds(process.pid)["workers"])
    status, output = ended(process)
    assert status == 0, output
    assert_whole(tmp_path)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_no_process_outlives_a_parent_killed_after_its_fork_server(service: Service, tmp_path: Path) -> None:
    service.latency = 0.3
    process = start(tmp_path, "--endpoint", service.url, "--in-flight", "4", "--executor", "processes:2")
    wait_until(lambda: done(tmp_path) >= 2, process)
    there = kinds(process.pid)
    everybody = [*children(process.pid), *there["workers"]]
    kill(there["fork server"])
    process.kill()
    process.communicate(timeout=60)  # whoever is left holds the pipe
    wait_until(lambda: not any(map(is_running, everybody)))
    service.latency = 0.0
    assert ended(start(tmp_path, "--endpoint", service.url))[0] == 0
    assert_whole(tmp_path)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["server's workers", "server's fork server", "server's resource tracker"])
def test_the_local_earth_engine_survives_killed_processes(tmp_path: Path, victim: str) -> None:
    count = 400
    process = start(tmp_path, "--local", count=count)
    wait_until(lambda: done(tmp_path) >= 10, process)
    kill(kinds(process.pid)[victim])
    status, output = ended(process)
    assert status == 0, output
    assert_whole(tmp_path, count)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pixels", pytest.param("url", marks=pytest.mark.exhaustive)])
def test_a_local_earth_engine_that_was_killed_is_started_again(tmp_path: Path, method: str) -> None:
    count = 400
    process = start(tmp_path, "--local", "--method", method, count=count)
    for least in (10, 150):
        wait_until(lambda least=least: done(tmp_path) >= least and bool(kinds(process.pid)["server"]), process)  # type: ignore[misc]
        kill(kinds(process.pid)["server"])
    status, output = ended(process)
    assert status == 0, output
    assert output.count("killed by signal 9: it is started again") == 1
    assert_whole(tmp_path, count)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_local_earth_engine_that_is_killed_again_and_again_ends_the_run_resumably(tmp_path: Path) -> None:
    count = 400
    process = start(tmp_path, "--local", count=count)
    wait_until(lambda: done(tmp_path) >= 10, process)
    killed: set[int] = set()
    while process.poll() is None:
        fresh = [each for each in kinds(process.pid)["server"] if each not in killed]
        if fresh:
            kill(fresh)
            killed.update(fresh)
        time.sleep(0.01)
    status, output = ended(process)
    assert status == 2
    assert "the local Earth Engine was killed by signal 9, 6 times in all; the results so far are kept" in output
    assert open_run(tmp_path / "out").verify() == []
    assert ended(start(tmp_path, "--local", count=count))[0] == 0
    assert_whole(tmp_path, count)
