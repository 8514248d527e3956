"""Every process of a Dask cluster is killed in turn: the run continues, or ends with one sentence and resumes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from eechips.manifest.run import open_run
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.process_tree import named
from tests.engine.test_kills import COUNT, assert_whole, done, ended, kill, start
from tests.support.dask_cluster import DaskCluster, dask_cluster
from tests.support.engine_service import Service, serving
from tests.support.proxy import tcp_proxy

pytestmark = [
    pytest.mark.skipif(find_spec("distributed") is None, reason="Dask is not installed"),
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc"),
]
SAME = ["id", "unit", "name", "state", "file", "bytes", "sha256", "width", "height", "crs"]
RESUMABLE = "the results so far are kept, and the same command resumes the run"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path / "cluster") as found:
        yield found


def begin(folder: Path, service: Service, *options: str, scheduler: str | None = None) -> subprocess.Popen[str]:
    """Starts a run on a Dask cluster and waits for its first results."""
    service.latency = 0.15
    words = ["--executor", "dask:2", "--endpoint", service.url, "--in-flight", "4", *options]
    process = start(folder, *words, *([] if scheduler is None else ["--executor", f"dask:{scheduler}"]))
    wait_until(lambda: done(folder) >= 4, process)
    return process


def output_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and output, of which nothing is Dask's, and in which no count is beyond its total."""
    status, output = ended(process)
    for word in ("distributed", "tornado", "asyncio", "ERROR", "WARNING", ", -"):
        assert word not in output, output
    return status, output


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The units of a run to which nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with serving() as service:
        assert ended(start(folder, "--endpoint", service.url, "--executor", "threads"))[0] == 0
    return open_run(folder / "out").units[SAME]


def assert_as_undisturbed(folder: Path, undisturbed: pd.DataFrame) -> None:
    """The ledger and the files are those of a run to which nothing has happened."""
    assert_whole(folder)
    pd.testing.assert_frame_equal(open_run(folder / "out").units[SAME], undisturbed)


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param("worker", marks=pytest.mark.exhaustive),
        "all workers",
        pytest.param("nanny", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_survives_killed_processes(
    service: Service, tmp_path: Path, cluster: DaskCluster, undisturbed: pd.DataFrame, victims: str
) -> None:
    process = begin(tmp_path, service, scheduler=cluster.address)
    wait_until(lambda: len(cluster.worker_pids) == 2, process)
    found = {"worker": cluster.worker_pids[:1], "all workers": cluster.worker_pids, "nanny": cluster.nanny_pids[:1]}
    cluster.kill(*found[victims])
    status, output = output_of(process)
    assert status == 0, output
    assert f"{COUNT}/{COUNT} units" in output
    assert_as_undisturbed(tmp_path, undisturbed)


def kill_scheduler(cluster: DaskCluster) -> None:
    cluster.kill(cluster.scheduler_pid)


def restart_scheduler(cluster: DaskCluster) -> None:
    cluster.kill(cluster.scheduler_pid)
    cluster.start_scheduler()


def stop_scheduler(cluster: DaskCluster) -> None:
    os.kill(cluster.scheduler_pid, signal.SIGSTOP)


def kill_nannies(cluster: DaskCluster) -> None:
    cluster.kill(*cluster.nanny_pids)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("strike", "sentence"),
    [
        (kill_scheduler, "is gone"),
        (restart_scheduler, "was started again and knows nothing of the run"),
        (stop_scheduler, "has not answered for 6 s"),
        (kill_nannies, "has had no workers for 6 s"),
    ],
)
def test_a_run_without_its_cluster_ends_with_a_sentence_and_is_resumed_on_another(
    service: Service,
    tmp_path: Path,
    cluster: DaskCluster,
    undisturbed: pd.DataFrame,
    strike: Callable[[DaskCluster], None],
    sentence: str,
) -> None:
    process = begin(tmp_path, service, "--unit-timeout", "6", scheduler=cluster.address)
    strike(cluster)
    status, output = output_of(process)
    assert status == 2
    (last,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert last.startswith("Error: the Dask ")
    assert sentence in last
    assert last.endswith(RESUMABLE)
    assert open_run(tmp_path / "out").verify() == []
    before = done(tmp_path)
    assert before < COUNT
    service.forget()
    with dask_cluster(tmp_path / "another") as other:
        status, output = output_of(begin(tmp_path, service, scheduler=other.address))
        assert status == 0, output
    assert service.count("compute") == COUNT - before  # nothing is fetched twice
    assert_as_undisturbed(tmp_path, undisturbed)


@pytest.mark.exhaustive
def test_a_run_survives_a_broken_connection_to_the_scheduler(
    service: Service, tmp_path: Path, cluster: DaskCluster, undisturbed: pd.DataFrame
) -> None:
    with tcp_proxy(cluster.address) as wire:
        process = begin(tmp_path, service, scheduler=wire.url.replace("http", "tcp"))
        wire.cut()
        log = tmp_path / "out" / "run.log"
        wait_until(lambda: '"notice"' in log.read_text(), process)
        wire.restore()
        status, output = output_of(process)
    assert status == 0, output
    assert "The connection to the Dask scheduler" in output
    assert_as_undisturbed(tmp_path, undisturbed)


@pytest.mark.exhaustive
def test_messages_of_a_local_cluster_are_written_to_a_file(
    service: Service, tmp_path: Path, undisturbed: pd.DataFrame
) -> None:
    process = begin(tmp_path, service)
    kill(named(process.pid, "multiprocessing.spawn")[:1])
    status, output = output_of(process)
    assert status == 0, output
    assert_as_undisturbed(tmp_path, undisturbed)
