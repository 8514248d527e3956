"""A user records the service under Google's names; someone else replays it with nothing but the file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eechips_local.probes.probe import ProbeOutcome
from eechips_local.probes.probe_run import MOST_EECU_SECONDS, select_probes
from eechips_local.probes.results_file import RESULTS
from local_tests.support.google_front import HIGH_VOLUME, TOKENS, GoogleFront, google_front
from local_tests.support.local_earth_engine import Server, wait_until
from local_tests.support.service_results import find_differences, list_replayed, read_archive, replayed
from local_tests.support.token_server import TokenServer, token_server

PROJECT = "my-secret-project"
REFRESH = "1//the-refresh-token-of-the-user"
MAIL = "jane.doe@secret.example"
BOUND = 3_000_000  # bytes of an archive


@dataclass(frozen=True)
class Google:
    """Google's hosts, and the environment of a user who has run `earthengine authenticate`."""

    front: GoogleFront
    server: TokenServer
    environment: dict[str, str]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ``eechips-local record-service`` to its end."""
        command = [sys.executable, "-m", "eechips_local", "record-service", *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture
def google(demo_server: Server, tmp_path: Path) -> Iterator[Google]:
    with (
        token_server(upstream=demo_server.url) as server,
        google_front({HIGH_VOLUME: server.url, TOKENS: server.url}, tmp_path) as front,
    ):
        home = tmp_path / "home-of-jane"
        stored = home / ".config" / "earthengine" / "credentials"
        stored.parent.mkdir(parents=True)
        stored.write_text(json.dumps({"refresh_token": REFRESH, "project": PROJECT, "account": MAIL}))
        own = {"HOME": str(home), "CLOUDSDK_CONFIG": str(home / "gcloud")}
        environment = {**os.environ, **front.environment, **own, "NO_GCE_CHECK": "true", "EECHIPS_PROJECT": PROJECT}
        yield Google(front, server, environment)


def check(google: Google, archive: Path, out: Path) -> None:
    """Check that an archive has no secret, and that a stranger receives the same results from it."""
    tokens = {each.headers.get("authorization", "").rpartition(" ")[2] for each in google.front.sent_to(HIGH_VOLUME)}
    assert len(tokens - {""}) == 1, tokens
    with zipfile.ZipFile(archive) as packed:
        content = b"\n".join(packed.read(name) for name in packed.namelist())
    secrets = {PROJECT, REFRESH, MAIL, "home-of-jane", str(out), *(tokens - {""})}
    assert [each for each in secrets if each.encode() in content] == []
    assert re.findall(rb"[\w.]+@[\w]+\.[\w.]+", content.partition(b"\x89PNG")[0]) == []
    found = read_archive(archive)
    probes = list_replayed(found)
    assert len(probes) > 15
    with replayed(archive) as client:
        assert find_differences(client, found, probes) == {}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_recording_is_replayed_by_someone_with_only_the_file(google: Google, tmp_path: Path) -> None:
    out = tmp_path / "recording"
    done = google.run("--yes", "--groups", "requests,bands,assets", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "without credentials, names and e-mail addresses" in done.stdout
    archive = out.with_suffix(".zip")
    assert archive.stat().st_size < BOUND
    found = read_archive(archive)
    assert found.service == HIGH_VOLUME
    assert {each.outcome for each in found.results.values()} == {ProbeOutcome.VALUE, ProbeOutcome.ERROR}
    assert found.results["requests/algorithms"].value["gone"] == []
    assert 0 < found.eecu_seconds < MOST_EECU_SECONDS
    check(google, archive, out)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_results_of_all_kinds_are_recorded_within_the_bounds(google: Google, tmp_path: Path) -> None:
    groups = ("encodings", "types", "files")
    out = tmp_path / "recording"
    done = google.run("--yes", "--groups", ",".join(groups), "--out", out)
    assert done.returncode == 0, done.stderr
    archive = out.with_suffix(".zip")
    found = read_archive(archive)
    assert found.results.keys() == {each.name for each in select_probes(groups)}
    assert {name for name, each in found.results.items() if each.outcome is ProbeOutcome.UNANSWERED} == set()
    assert found.eecu_seconds < MOST_EECU_SECONDS
    assert archive.stat().st_size < BOUND
    check(google, archive, out)


@pytest.mark.slow
def test_nothing_is_sent_without_consent(google: Google, tmp_path: Path) -> None:
    done = google.run("--groups", "bands", "--out", tmp_path / "recording")  # its standard input is empty
    assert done.returncode != 0
    assert "at most 0.1 EECU-hours" in done.stdout
    assert google.front.sent_to(HIGH_VOLUME) == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_recording_that_was_stopped_resumes(google: Google, tmp_path: Path) -> None:
    out = tmp_path / "recording"
    words = ["--yes", "--groups", "bands,types", "--out", str(out)]
    command = [sys.executable, "-m", "eechips_local", "record-service", *words]
    with subprocess.Popen(command, env=google.environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: (out / RESULTS).exists() and len(read_archive(out).results) > 3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command resumes" in errors
    assert not out.with_suffix(".zip").exists()
    known = read_archive(out).results
    done = google.run(*words)
    assert done.returncode == 0, done.stderr
    assert f"Answered already: {len(known)}." in done.stdout
    found = read_archive(out.with_suffix(".zip")).results
    assert found.keys() == {each.name for each in select_probes(("bands", "types"))}
    assert {name: found[name] for name in known} == known


@pytest.mark.exhaustive
@pytest.mark.slow
def test_nothing_is_asked_once_the_bound_of_compute_is_reached(google: Google, tmp_path: Path) -> None:
    out = tmp_path / "recording"
    assert google.run("--yes", "--groups", "assets", "--out", out).returncode == 0
    content = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    content["results"]["assets/naip"]["eecu_seconds"] = MOST_EECU_SECONDS
    (out / RESULTS).write_text(json.dumps(content), encoding="utf-8")
    done = google.run("--yes", "--groups", "bands", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "questions that were not asked: 17." in done.stdout


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_recording_with_a_secret_is_not_packed(google: Google, tmp_path: Path) -> None:
    out = tmp_path / "recording"
    assert google.run("--yes", "--groups", "exports", "--out", out).returncode == 0
    out.with_suffix(".zip").unlink()
    (out / "payloads").mkdir(exist_ok=True)
    (out / "payloads" / f"{'0' * 64}.csv").write_text(f"owner\n{MAIL}\n")
    done = google.run("--yes", "--groups", "exports", "--out", out)
    assert done.returncode == 2
    assert "an e-mail address" in done.stderr
    assert MAIL not in done.stderr
    assert not out.with_suffix(".zip").exists()


@pytest.mark.slow
def test_a_project_that_is_refused_is_said(google: Google, tmp_path: Path) -> None:
    google.server.outages["service"] = "403"
    done = google.run("--yes", "--groups", "bands", "--out", tmp_path / "recording")
    assert done.returncode == 2
    assert "refuses the account or the project" in done.stderr
