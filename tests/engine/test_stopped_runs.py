"""Runs that the service stops: the project cannot compute now, or every request is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
import requests

import eechips
from eechips.errors import ProjectUnavailableError
from eechips.manifest.run import open_run
from local_tests.support.local_earth_engine import Server
from tests.support.engine_recipes import run_chips, with_workers
from tests.support.engine_service import Service


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 403, 429])
def test_a_daily_quota_stops_the_run_and_the_same_command_resumes_it(
    service: Service, tmp_path: Path, status: int
) -> None:
    service.plan(None, *[""] * 15, *[f"daily-{status}"] * 500)
    with pytest.raises(ProjectUnavailableError, match=r"compute of the day.*midnight Pacific.*same command") as caught:
        run_chips(tmp_path, service.url, parameters={"count": 60}, executor="processes:1", in_flight=4)
    until = datetime.fromisoformat((caught.value.until or "").replace("Z", "+00:00"))
    assert 0 < (until - datetime.now(timezone.utc)).total_seconds() <= 25 * 3600
    stopped = open_run(tmp_path / "out")
    assert set(stopped.counts) <= {"planned", "done"}
    done = stopped.counts.get("done", 0)
    assert service.count("create") < 15 + 20  # nobody asked again and again
    service.faults.clear()
    service.forget()
    assert run_chips(tmp_path, service.url, parameters={"count": 60}).counts == {"done": 60}
    assert service.count("create") == 60 - done


@pytest.mark.exhaustive
@pytest.mark.parametrize(("before", "fault"), [(0, "409"), (30, "418")])
def test_constant_unknown_refusals_stop_the_run_and_lose_no_unit(
    service: Service, tmp_path: Path, before: int, fault: str
) -> None:
    service.plan(None, *[""] * before, *[fault] * 2000)
    with pytest.raises(ProjectUnavailableError, match=rf"refuses every request \(HTTP {fault}: Oh"):
        run_chips(tmp_path, service.url, parameters={"count": 200}, executor="processes:1", in_flight=4)
    stopped = open_run(tmp_path / "out")
    assert "failed_permanent" not in stopped.counts
    assert stopped.counts["failed_transient"] >= 20
    assert set(stopped.failures["error_class"]) == {"UnknownServiceError"}
    assert service.count("create") < before + 60
    service.faults.clear()
    assert run_chips(tmp_path, service.url, parameters={"count": 200}).counts == {"done": 200}


@pytest.mark.slow
def test_a_few_unknown_refusals_fail_their_units_with_the_message(service: Service, tmp_path: Path) -> None:
    service.plan(None, *["409"] * 3)
    finished = run_chips(tmp_path, service.url, parameters={"count": 30})
    assert finished.counts == {"done": 27, "failed_permanent": 3}
    assert set(finished.failures["error_class"]) == {"UnknownServiceError"}
    assert set(finished.failures["error"]) == {"Oh."}


@pytest.mark.slow
def test_a_wait_of_a_day_stops_the_run_until_then(service: Service, tmp_path: Path) -> None:
    service.plan(None, *[""] * 5, *["wait-86400"] * 500)
    with pytest.raises(ProjectUnavailableError, match=r"asks to wait 24.0 h.*same command"):
        run_chips(tmp_path, service.url, parameters={"count": 40}, executor="processes:1", in_flight=4)
    assert set(open_run(tmp_path / "out").counts) <= {"planned", "done"}
    service.faults.clear()
    assert run_chips(tmp_path, service.url, parameters={"count": 40}).counts == {"done": 40}


@pytest.mark.slow
def test_a_wait_beyond_the_time_of_the_run_stops_it_at_once(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.plan(None, *["wait-3600"] * 500)
    run = run_chips(tmp_path, service.url, executor="processes:1", in_flight=4, budget={"minutes": 50.0}, quiet=False)
    assert run.interrupted
    assert run.counts == {"planned": 12}
    assert "longer than the time limit allows" in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_long_wait_is_announced_and_does_not_count_towards_the_time_of_units(
    service: Service, tmp_path: Path, executor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service.plan(None, "", "wait-32")
    options = {"in_flight": 4, "unit_timeout": 20.0, "quiet": False}
    run = run_chips(tmp_path, service.url, executor=with_workers(executor, 1), **options)
    assert run.counts == {"done": 12}
    told = capsys.readouterr().err
    assert "Earth Engine asks to wait: the run resumes in 3" in told
    assert "The wait that Earth Engine asked for is over" in told
    assert service.kinds["create"] == 13


def test_a_plan_that_stops_before_its_first_unit_tells_of_no_results(
    serve_briefly: Callable[..., Server], tmp_path: Path
) -> None:
    away = "No answer of the open archive has come since this server was started: files.example is not reached"
    fault = {"type": "status", "status": 400, "message": away, "on": "value:compute", "probability": 1.0}
    server = serve_briefly("--no-demo", "--rate", "none", "--workers", "1")
    requests.post(f"{server.url}/_faults", json={"faults": [fault]}, timeout=60).raise_for_status()
    with pytest.raises(
        ProjectUnavailableError, match=r"files\.example is not reached\)\. Repeat the command when that"
    ):
        eechips.sample("SRTM", total=2, roi="0,0,1,1", endpoint=server.url, out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()
