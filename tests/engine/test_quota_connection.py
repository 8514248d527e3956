"""Runs that share a quota: when they do, what users see of it, and what `eechips doctor` says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.quota_folder import QuotaFolder
from eechips.client.quota.shared_quota import SharedQuota
from eechips.client.quota.throttle import Throttle
from eechips.engine.config import RunConfig
from eechips.engine.service.doctor import examine
from eechips.engine.service.quota_connection import QuotaSharing, list_sharing_runs, quota_place
from eechips.engine.service.session import connect
from eechips.errors import ConfigurationError, UsageError
from eechips.files.local_paths import CACHE_VARIABLE
from eechips.files.temporary_names import new_writer
from local_tests.support.object_server import missing_packages
from tests.support.engine_service import Service
from tests.support.programs import run_program

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "benchmarks" / "shared_quota.py"
GOOGLE = "https://earthengine-highvolume.googleapis.com"
LOOPBACK = "http://127.0.0.1:8000"


def test_runs_share_by_default_where_the_service_is_not_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EECHIPS_QUOTA_FOLDER", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = RunConfig(out=tmp_path)
    assert quota_place(config, GOOGLE) == tmp_path / "eechips" / "quota"
    assert quota_place(config, LOOPBACK) is None
    assert quota_place(RunConfig(out=tmp_path, local=True), LOOPBACK) is None
    assert quota_place(RunConfig(out=tmp_path, executor="beam"), GOOGLE) is None
    assert quota_place(RunConfig(out=tmp_path, quota_folder="s3://b/q"), LOOPBACK) == "s3://b/q"
    monkeypatch.setenv("EECHIPS_QUOTA_FOLDER", "/shared/quota")
    assert quota_place(config, LOOPBACK) == Path("/shared/quota")
    monkeypatch.setenv("EECHIPS_QUOTA_FOLDER", "s3:/b/q")
    with pytest.raises(UsageError, match="EECHIPS_QUOTA_FOLDER: 's3:/b/q' is an address"):
        quota_place(config, LOOPBACK)
    monkeypatch.delenv("EECHIPS_QUOTA_FOLDER")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "own"))
    assert quota_place(config, LOOPBACK) == tmp_path / "own" / "quota"


@pytest.mark.slow
def test_doctor_lists_the_runs(service: Service, tmp_path: Path) -> None:
    config = RunConfig(out=tmp_path / "out", endpoint=service.url, project="fields", quota_folder=tmp_path / "quota")

    def finding() -> str:
        (found,) = [found for found in examine(config) if found.name == "runs"]
        assert found.state == "ok"
        return found.detail

    assert finding().startswith("no other run uses the quota of fields")
    assert not (tmp_path / "quota").exists()
    with connect(config) as session:
        assert session.sharing is not None
        assert session.sharing.learns
        assert session.sharing.message is None
        detail = finding()
        assert detail.startswith("1 other run uses the quota of fields")
        assert ": eechips, process " in detail
        assert detail.endswith(": 5 of 5 slots")
    assert finding().startswith("no other run uses the quota of fields")


@pytest.mark.slow
def test_a_second_run_waits_for_its_share_and_gets_it(service: Service, tmp_path: Path) -> None:
    config = RunConfig(out=tmp_path / "out", endpoint=service.url, project="fields", quota_folder=tmp_path / "quota")
    with connect(config) as first, connect(config) as second:  # connecting needs slots
        assert first.sharing is not None
        assert second.sharing is not None
        assert not second.sharing.learns
        assert second.throttle.limit >= 1
        assert first.throttle.limit + second.throttle.limit <= first.throttle.total_limit
        assert "it is divided among all" in str(second.sharing.message)
        runs, slots = list_sharing_runs(tmp_path / "quota", service.url, "fields")
        assert len(runs) == 2
        assert sum(run.slots for run in runs) <= slots


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_that_was_killed_is_not_listed(service: Service, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from eechips.engine.config import RunConfig\n"
        "from eechips.engine.service.session import connect\n"
        "url, quota = sys.argv[1:]\n"
        "with connect(RunConfig(out=Path('out'), endpoint=url, project='fields', quota_folder=quota)):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    quota = str(tmp_path / "quota")
    done = subprocess.run([sys.executable, "-c", code, service.url, quota], cwd=tmp_path, check=False)
    assert done.returncode == -9
    folder = QuotaFolder(quota, service.url, "fields")
    assert folder.find()[0] == [1]
    assert list_sharing_runs(quota, service.url, "fields") == ([], 5)
    with connect(RunConfig(out=tmp_path, endpoint=service.url, project="fields", quota_folder=quota)) as session:
        assert session.sharing is not None
        assert session.sharing.learns  # at once, since the process is known to have ended
        assert 1 <= session.throttle.limit <= 5  # for a while, as requests of the killed one may last


def test_a_named_place_that_does_not_respond_stops_the_run(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = RunConfig(out=tmp_path, endpoint=service.url, project="fields", quota_folder=tmp_path / "file")
    with pytest.raises(ConfigurationError, match=r"quota_folder .*file cannot be used"), connect(config):
        pass
    (found,) = [found for found in examine(config) if found.name == "runs"]
    assert found.state in ("ok", "failed")


def test_without_the_default_folder_a_run_has_the_quota_for_itself(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with connect(RunConfig(out=tmp_path, endpoint=service.url, project="fields")) as session:
        assert session.sharing is None
        assert session.throttle.limit == 5


def test_a_folder_that_vanishes_leaves_one_slot(tmp_path: Path) -> None:
    seconds = [0.0]
    throttle = Throttle(None, QuotaLimits(in_flight=40, start=40), clients=1, lease_clock=lambda: seconds[0])
    folder = QuotaFolder(tmp_path / "quota", GOOGLE, "fields")
    folder.prepare()
    quota = SharedQuota(folder, throttle, str(new_writer()), folder.times, clock=lambda: seconds[0])
    quota.join()
    sharing = QuotaSharing(quota, "fields")
    try:
        assert sharing.message is None
        assert throttle.limit == 40
        (tmp_path / "quota").rename(tmp_path / "gone")
        (tmp_path / "quota").write_text("")
        seconds[0] += folder.times.lease
        assert throttle.limit == 1
        assert "continues with one request in flight" in str(sharing.message)
    finally:
        sharing.close()


def share_tasks(*words: str) -> None:
    """Run the benchmark of tasks that share a quota, which checks that every result is there and right."""
    if not BENCHMARK.is_file():
        pytest.skip("the benchmarks are not beside the tests")
    command = [sys.executable, BENCHMARK, "array", *words]
    run_program(*command, status=0)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tasks_that_share_a_quota_in_a_folder_lose_nothing() -> None:
    share_tasks("--units", "600", "--kills", "1")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_tasks_that_share_a_quota_in_a_bucket_lose_nothing() -> None:
    if missing_packages("s3"):
        pytest.skip(str(missing_packages("s3")))
    share_tasks("--units", "400", "--kills", "1", "--place", "s3", "--tasks", "4")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_a_job_array_of_slurm_loses_nothing() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from slurm import missing_programs  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    if reason := missing_programs():
        pytest.skip(reason)
    share_tasks("--scheduler", "slurm", "--units", "400", "--kills", "1")
