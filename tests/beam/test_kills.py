"""Every process of a run with Beam is killed in turn: the run continues or is resumed, and no process is left."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

from local_tests.support.local_earth_engine import wait_until
from local_tests.support.process_tree import is_running, pipeline_kinds
from tests.engine.test_kills import assert_whole, done, ended, kill, start
from tests.support.engine_service import Service

if importlib.util.find_spec("apache_beam") is None:  # importing it would take seconds in every process
    pytest.skip("Apache Beam is not installed", allow_module_level=True)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc"),
]
PARALLEL = ["--", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def begin(folder: Path, service: Service) -> subprocess.Popen[str]:
    service.latency = 0.2
    return start(folder, "--endpoint", service.url, "--in-flight", "4", "--executor", "beam", *PARALLEL)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "victims",
    [
        pytest.param("one worker", marks=pytest.mark.exhaustive),
        "workers",
        "runner",
        pytest.param("shells", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_survives_killed_processes(service: Service, tmp_path: Path, victims: str) -> None:
    process = begin(tmp_path, service)
    wait_until(lambda: done(tmp_path) >= 4, process)
    there = pipeline_kinds(process.pid)
    kill(there["workers"][:1] if victims == "one worker" else there[victims])
    status, output = ended(process)
    assert status == 0, output
    assert "60/60 units" in output
    assert_whole(tmp_path)


@pytest.mark.exhaustive
def test_a_worker_that_dies_while_it_starts_does_not_stop_the_run(service: Service, tmp_path: Path) -> None:
    """It has told nobody of itself: Beam's runner, and we with it, would wait for it for ever."""
    process = begin(tmp_path, service)
    wait_until(lambda: bool(pipeline_kinds(process.pid)["workers"]), process)
    kill(pipeline_kinds(process.pid)["workers"])
    status, output = ended(process)
    assert status == 0, output
    assert_whole(tmp_path)


@pytest.mark.exhaustive
def test_no_process_outlives_a_parent_killed_after_its_runner(service: Service, tmp_path: Path) -> None:
    process = begin(tmp_path, service)
    wait_until(lambda: done(tmp_path) >= 4, process)
    there = pipeline_kinds(process.pid)
    everybody = [pid for pids in there.values() for pid in pids]
    kill(there["runner"])
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not any(map(is_running, everybody)))
    status, output = ended(begin(tmp_path, service))
    assert status == 0, output
    assert_whole(tmp_path)
