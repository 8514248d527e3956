"""Workers that sort items: this process, a pool of processes, or a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eechips.archive.catalogs.ingest import ingest
from eechips.archive.catalogs.worker_pool import SMALL, WorkerPool, choose_worker_pool, workers
from eechips.errors import ClusterLostError, ConfigurationError
from tests.support.catalog_lists import cli, scene, write
from tests.support.dask_cluster import dask_cluster

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("who", ["processes", "dask", "configured"])
def test_every_worker_pool_makes_the_same_catalogue(tmp_path: Path, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in range(3):
        write(tmp_path / f"{part}.ndjson", [scene(n, text="x" * 20_000) for n in range(900 * part, 900 * part + 1000)])
    pattern = str(tmp_path / "*.ndjson")
    alone = ingest(pattern, tmp_path / "alone", resolution=0, quiet=True)
    assert alone.worker_pool.is_alone
    if who == "processes":
        result = cli(pattern, "--out", tmp_path / "other", "--resolution", 0, "--processes", 2)
        assert result.exit_code == 0, result.output
        assert "sorted by 2 processes" in result.output
    else:
        import dask.config
        from distributed import LocalCluster

        with LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster:
            address = cluster.scheduler_address
            if who == "dask":
                found = ingest(pattern, tmp_path / "other", resolution=0, scheduler=address, quiet=True)
            else:
                monkeypatch.setattr("eechips.archive.catalogs.worker_pool.SMALL", 1_000_000)
                with dask.config.set({"scheduler-address": address}):
                    found = ingest(pattern, tmp_path / "other", resolution=0, quiet=True)
            assert str(found.worker_pool) == f"the Dask cluster {address}"
            with (
                pytest.raises(ConfigurationError, match="do not see"),
                workers(found.worker_pool, tmp_path / "nowhere"),
            ):
                pass
    assert (tmp_path / "other/_schema.json").read_bytes() == (tmp_path / "alone/_schema.json").read_bytes()
    assert (alone.counts.items, alone.outcome.new) == (3000, 2800)


def die(lives: bytes, folder: Path) -> int:
    """Kills its process so many times."""
    deaths = len(list(folder.iterdir()))
    if deaths < len(lives):
        (folder / str(deaths)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return deaths


@pytest.mark.exhaustive
@pytest.mark.slow
def test_work_lost_with_a_cluster_worker_is_repeated(tmp_path: Path) -> None:
    """Data of a worker are lost with it, and Dask gives up tasks that need them."""
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        workers(WorkerPool(scheduler=cluster.scheduler_address), tmp_path) as found,
    ):
        assert found.submit(die, b"xx", tmp_path).result() == 2
        with pytest.raises(ConfigurationError, match="die while they sort items, perhaps for lack of memory"):
            found.submit(die, b"x" * 100, tmp_path).result()


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("victims", "told"),
    [
        ("scheduler", "the Dask cluster has lost its scheduler"),
        ("scheduler, which comes back", "the Dask cluster has another scheduler"),
        ("nanny", "the Dask cluster has no workers left"),
    ],
)
def test_a_lost_cluster_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], victims: str, told: str
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("eechips.archive.catalogs.worker_pool._PATIENCE", 20)
    monkeypatch.setattr("eechips.archive.catalogs.worker_pool._RETURN", 10)

    def lose_cluster() -> None:
        with (
            dask_cluster(tmp_path / "cluster", 1) as cluster,
            workers(WorkerPool(scheduler=cluster.address), tmp_path) as found,
        ):
            promise = found.submit(time.sleep, 3600.0)
            cluster.kill(*(cluster.nanny_pids if victims == "nanny" else [cluster.scheduler_pid]))
            if "comes back" in victims:
                cluster.start_scheduler()
            promise.result()

    with pytest.raises(ClusterLostError, match=f"{told}: run the same command to resume"):
        lose_cluster()
    assert capfd.readouterr().err == ""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_cluster_without_workers_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr("eechips.archive.catalogs.worker_pool._PATIENCE", 5)
    write(tmp_path / "list.ndjson", [scene(1)])
    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        result = cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog", "--scheduler", cluster.scheduler_address)
    assert result.exit_code == 2
    assert "has no workers: start some" in result.output


def test_the_worker_pool_is_chosen_by_size_and_option() -> None:
    import dask.config

    with dask.config.set({"scheduler-address": "tcp://here:1"}):
        assert choose_worker_pool(SMALL, None, None) == WorkerPool()
        assert choose_worker_pool(SMALL + 1, None, None).scheduler == "tcp://here:1"
        assert choose_worker_pool(SMALL + 1, 3, None) == WorkerPool(3)
        assert choose_worker_pool(0, None, "tcp://there:2") == WorkerPool(1, "tcp://there:2")
        assert choose_worker_pool(0, 3, "tcp://there:2").scheduler == "tcp://there:2"
    with dask.config.set({"scheduler-address": None}):
        assert choose_worker_pool(SMALL + 1, None, None) == WorkerPool(min(4, os.cpu_count() or 1))
        assert choose_worker_pool(SMALL + 1, 1, None).is_alone


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_program_needs_no_main_guard_and_its_processes_end_with_it(tmp_path: Path) -> None:
    """Killed, it leaves nobody who goes on writing."""
    write(tmp_path / "list.ndjson", [scene(n, text="x" * 20_000) for n in range(4000)])
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from eechips.archive.catalogs.ingest import ingest\n"
        "print('started', flush=True)\n"
        "ingest(sys.argv[1], sys.argv[2], processes=2, quiet=True)\n"
    )
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "list.ndjson"), str(tmp_path / "catalog")]
    whole = subprocess.run(
        [*command[:3], str(tmp_path / "whole")], cwd=ROOT, capture_output=True, text=True, timeout=90
    )
    assert (whole.returncode, whole.stdout) == (0, "started\n"), whole.stderr
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "catalog/.scratch-ingest").glob("*.shard"))) < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None
        process.kill()
        process.wait()
        while members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert members(process.pid) == []
    assert len(ingest(tmp_path / "list.ndjson", tmp_path / "catalog", quiet=True).catalog) == 4000


def members(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                found += [int(entry.name)] if int(own) == session and state != "Z" else []
    return found


def test_invalid_worker_options_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "list.ndjson", [scene(1)])
    assert (
        "must be at least 1, not 0"
        in cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog", "--processes", 0).output
    )
