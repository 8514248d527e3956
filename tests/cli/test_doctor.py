"""`eechips doctor` as it is typed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from eechips.cli.setup_commands import doctor_command
from eechips.engine.service.doctor import doctor
from local_tests.support.local_earth_engine import Server
from tests.cli.test_commands import eechips, one_sentence
from tests.support.doctor_findings import NAMES
from tests.support.engine_service import serving


@pytest.mark.slow
def test_doctor_passes_on_a_machine_ready_for_local_runs(tmp_path: Path) -> None:
    result = eechips("doctor", "--local", cwd=tmp_path, EECHIPS_ENDPOINT="http://127.0.0.1:1")
    assert result.returncode == 0, result.stdout + result.stderr
    *lines, last = result.stdout.splitlines()
    assert last == "A run would work."
    heads = [line.split()[:2] for line in lines if not line.startswith(" ")]
    assert heads == [["ok", name] for name in NAMES]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_doctor_finds_what_would_stop_a_run(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = eechips("doctor", "--endpoint", url, "--json", cwd=tmp_path)
        text = eechips("doctor", "--endpoint", url, cwd=tmp_path, COLUMNS="60").stdout
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert found["ok"] is False
    assert [f["name"] for f in found["findings"] if f["state"] == "failed"] == ["endpoint"]
    assert "\n                      To do: check the network" in text
    assert f"\nA run would not work now: cannot reach {url}: " in text
    assert "http or https" in one_sentence(eechips("doctor", "--endpoint", "ftp://x", cwd=tmp_path))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_doctor_reports_restricted_mode(serve: Callable[..., Server], tmp_path: Path) -> None:
    plan = tmp_path / "faults.json"
    plan.write_text(json.dumps({"faults": [{"type": "restricted"}]}))
    server = serve("--faults", str(plan))
    result = eechips("doctor", "--json", cwd=tmp_path, EECHIPS_ENDPOINT=server.url, EECHIPS_PROJECT="fields")
    assert result.returncode == 0, result.stderr
    found = {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert found["mode"]["state"] == "warning"
    assert found["project"]["detail"] == "fields, which may use Earth Engine"


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("daily-429", "The project's compute of the day is used up (Your usage exceeded"),
        ("daily-400", "The project's compute of the day is used up (Your usage exceeded"),
        ("409", "refuses requests (HTTP 409: Oh.)"),
        ("wait-86400", "asks to wait 24.0 h (Too Many Requests"),
    ],
)
def test_doctor_reports_a_project_that_cannot_compute(tmp_path: Path, fault: str, what: str) -> None:
    with serving() as service:
        service.plan(None, fault)
        result = CliRunner().invoke(
            doctor_command, ["--endpoint", service.url, "--project", "mine", "--out", str(tmp_path)]
        )
    assert result.exit_code == 1
    last = result.output.splitlines()[-1]
    assert last.startswith("A run would not work now: ")
    assert what in last
    assert "The run stops" not in result.output


def test_advice_names_parameters_in_python_and_options_on_the_command_line(tmp_path: Path) -> None:
    where = {"out": str(tmp_path), "endpoint": "http://127.0.0.1:9", "project": "mine"}
    advice = " ".join(finding.advice for finding in doctor(**where))
    assert "`endpoint`" in advice
    assert "--" not in advice
    words = [word for name, value in where.items() for word in (f"--{name}", value)]
    for format_words in ([], ["--json"]):
        output = CliRunner().invoke(doctor_command, [*words, *format_words]).output
        assert "--endpoint" in output
        assert "`" not in output
