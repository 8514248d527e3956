"""The real Earth Engine, as ``eechips-local record-service`` has recorded it: the results are those that are expected.

The recording is ``--replay FILE``, or a new one with ``--live``, or the one beside this file if there is one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eechips_local.probes.fact_table import judge_results
from eechips_local.probes.probe import Probe, Verdict
from eechips_local.probes.probe_client import ProbeClient
from eechips_local.probes.probe_run import PROBES
from eechips_local.probes.results_file import ServiceResults
from local_tests.support.service_results import find_differences, list_replayed, read_archive, replayed

COMMITTED = Path(__file__).with_name("service-recording.zip")
pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := request.config.getoption("--replay"):
        return Path(given)
    if not request.config.getoption("--live"):
        return COMMITTED
    out = tmp_path_factory.mktemp("live") / "service-recording"
    command = [sys.executable, "-m", "eechips_local", "record-service", "--yes", "--out", str(out)]
    subprocess.run(command, check=True)
    return out.with_suffix(".zip")


@pytest.fixture(scope="module")
def results(recording: Path) -> ServiceResults:
    return read_archive(recording)


@pytest.fixture(scope="module")
def client(recording: Path) -> Iterator[ProbeClient]:
    with replayed(recording) as found:
        yield found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each probe; where there is no recording, a single one, which is skipped."""
    is_given = any(metafunc.config.getoption(option) for option in ("--live", "--replay"))
    probes = [pytest.param(probe, id=probe.name) for probe in PROBES]
    metafunc.parametrize("probe", probes if is_given or COMMITTED.exists() else [None])


def test_the_service_answers_as_expected(probe: Probe, results: ServiceResults) -> None:
    if probe.name not in results.results:
        pytest.skip("not recorded")
    assert judge_results(results)[probe.name] is not Verdict.CONTRADICTED, results.results[probe.name]


def test_a_replay_answers_as_the_service(probe: Probe, results: ServiceResults, client: ProbeClient) -> None:
    if probe not in list_replayed(results):
        pytest.skip("not recorded")
    assert find_differences(client, results, [probe]) == {}
