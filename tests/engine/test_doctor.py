"""The checks of `eechips doctor`, one by one and together, over real HTTP."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import credentials as user_credentials

from eechips.client.access.credentials import describe_credentials
from eechips.client.quota.stored_limits import LearnedLimit, save_learned_limit
from eechips.engine.config import RunConfig
from eechips.engine.costs.cost_descriptions import describe_month
from eechips.engine.service.doctor import Finding, check_disk, check_packages, check_python, examine
from eechips.files.local_paths import CACHE_VARIABLE
from eechips.web.urls import is_loopback
from tests.support.doctor_findings import NAMES
from tests.support.engine_service import Service
from tests.support.programs import run_program

TOKEN = "ya29.this-is-the-secret-token"


def findings(out: Path, url: str, **options: Any) -> dict[str, Finding]:
    found = examine(RunConfig(out=out, endpoint=url, **options))
    assert [finding.name for finding in found] == NAMES
    assert all(finding.advice for finding in found if finding.state in ("warning", "failed"))
    return {finding.name: finding for finding in found}


def states(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.state for name, finding in found.items() if finding.state != "ok"}


def test_all_checks_pass(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    found = findings(tmp_path / "not" / "there", service.url, project="mine")
    assert states(found) == {}
    assert found["credentials"].detail == f"none are sent to {service.url}: it is this machine"
    assert found["project"].detail == "mine, which may use Earth Engine"
    assert re.fullmatch(rf"{service.url} answers in \d+ ms \(median of 3\)", found["endpoint"].detail)
    assert found["quota"].detail == "not measured yet: the first run measures it"
    assert "the service does not name the project's tier" in found["compute"].detail
    assert "150 (community), 1,000 (contributor), 100,000 (partner)" in found["compute"].detail
    assert service.kinds == {"value": 3}
    assert not (tmp_path / "not").exists()
    assert save_learned_limit(service.url, "mine", LearnedLimit(17, True, "2026-01-01T00:00:00.000Z"))
    found = findings(tmp_path, service.url, project="mine")
    assert found["quota"].detail == "17 requests in flight, learned 2026-01-01T00:00:00.000Z, in restricted mode"


def test_an_unregistered_project_is_reported(service: Service, tmp_path: Path) -> None:
    service.plan(None, "403")
    found = findings(tmp_path, service.url)
    assert states(found) == {"project": "failed"}
    assert found["project"].detail.startswith("Project nobody is not registered to use Earth Engine")
    assert "https://code.earthengine.google.com/register" in found["project"].advice
    assert service.kinds == {"value": 1}


def test_refused_credentials_are_reported(service: Service, tmp_path: Path) -> None:
    service.plan(None, "401")
    found = findings(tmp_path, service.url)
    assert states(found) == {"credentials": "failed", "project": "skipped"}
    assert "earthengine authenticate" in found["credentials"].advice


def test_another_kind_of_server_is_reported(service: Service, tmp_path: Path) -> None:
    service.plan(None, "html")
    found = findings(tmp_path, service.url)
    assert states(found) == {"project": "skipped", "endpoint": "failed"}
    assert "is not Earth Engine: an answer it cannot have written: '<html>" in found["endpoint"].detail
    service.plan(None, "302")
    assert states(findings(tmp_path, service.url)) == {"project": "skipped", "endpoint": "failed"}
    assert states(findings(tmp_path, f"{service.url}/elsewhere")) == {"project": "skipped", "endpoint": "failed"}


@pytest.mark.parametrize("fault", ["429", "503"])
def test_transient_trouble_is_a_warning(service: Service, tmp_path: Path, fault: str) -> None:
    service.plan(None, fault)
    assert states(findings(tmp_path, service.url)) == {"project": "skipped", "endpoint": "warning"}


def test_an_unreachable_endpoint_is_reported(tmp_path: Path) -> None:
    found = findings(tmp_path, "http://127.0.0.1:1")
    assert states(found) == {"project": "skipped", "endpoint": "failed", "clock": "skipped", "mode": "skipped"}
    assert found["endpoint"].detail.startswith("cannot reach http://127.0.0.1:1: connection failed: ")


@pytest.mark.parametrize(
    ("seconds", "state", "detail"),
    [
        (0, "ok", "within 10 s of the server's"),
        (-60, "warning", r"(59|60|61) s behind the server's"),
        (4000, "failed", r"(3,999|4,000|4,001) s ahead of the server's"),
    ],
)
def test_clock_differences_are_reported(
    service: Service, tmp_path: Path, seconds: float, state: str, detail: str
) -> None:
    config = RunConfig(out=tmp_path, endpoint=service.url)
    found = examine(config, now=lambda: datetime.now(timezone.utc) + timedelta(seconds=seconds))[NAMES.index("clock")]
    assert found.state == state
    assert re.fullmatch(detail, found.detail)


def test_missing_project_and_credentials_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At an address that is not Google's, and leads nowhere: no request leaves this machine."""
    for name in ("EECHIPS_PROJECT", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    found = findings(tmp_path, "http://127.0.0.2:1")
    assert (
        found["credentials"].detail == "none are sent to http://127.0.0.2:1: it is not https at one of Google's hosts"
    )
    assert states(found)["project"] == "failed"
    assert found["project"].detail == "no Google Cloud project"
    found = findings(tmp_path, "http://127.0.0.2:1", credentials=tmp_path / "key.json")
    assert found["credentials"].detail == "refused to send credentials to http://127.0.0.2:1"
    assert found["credentials"].advice == "it is not https at *.googleapis.com; `send_credentials` allows it"


class _Google(BaseHTTPRequestHandler):
    """Gives tokens, and answers who shows one."""

    seen: list[dict[str, str]]
    refuse: bool

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            status, body = 200, {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            if self.refuse:
                status, body = 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        else:
            self.seen.append({name.lower(): value for name, value in self.headers.items()})
            status, body = 200, {"result": 1}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-earth-engine-quota-status", "parallelism_restricted=true")
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.2")
    handler = type("Handler", (_Google,), {"seen": [], "refuse": False})
    try:
        server = ThreadingHTTPServer(("127.0.0.2", 0), handler)
    except OSError:
        pytest.skip("this system has no loopback address beside 127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02})
    thread.start()
    handler.url = f"http://127.0.0.2:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def key_file(google: Any, tmp_path: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    content = {
        "type": "service_account",
        "project_id": "robots",
        "private_key": pem.decode(),
        "client_email": "robot@robots.iam.gserviceaccount.com",
        "token_uri": f"{google.url}/token",
    }
    path = tmp_path / "key.json"
    path.write_text(json.dumps(content))
    return path


def test_a_service_account_is_described(
    google: Any, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may ask, its project is used, and nothing secret is told."""
    monkeypatch.delenv("EECHIPS_PROJECT", raising=False)
    (tmp_path / ".netrc").write_text("machine 127.0.0.2 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert not is_loopback(google.url)
    found = findings(tmp_path, google.url, credentials=key_file, send_credentials=True)
    assert found["credentials"].detail == "service account robot@robots.iam.gserviceaccount.com, of project robots"
    assert states(found) == {"mode": "warning"}
    assert "noncommercial_tiers" in found["mode"].advice
    assert len(google.seen) == 3
    assert {headers["authorization"] for headers in google.seen} == {f"Bearer {TOKEN}"}
    assert {headers["x-goog-user-project"] for headers in google.seen} == {"robots"}
    text = repr(found)
    assert TOKEN not in text
    assert "PRIVATE KEY" not in text
    google.refuse = True
    found = findings(tmp_path, google.url, credentials=key_file, send_credentials=True)
    assert states(found)["credentials"] == "failed"
    assert found["credentials"].detail == "the credentials do not work (invalid_grant: Invalid JWT Signature)."
    assert found["credentials"].advice.startswith("make another key of the service account")
    assert len(google.seen) == 3


def test_users_are_described_without_their_secrets() -> None:
    secret = "1//0abcdefghijklmnopqrstuvwxyz"
    user = user_credentials.Credentials(
        TOKEN, refresh_token=secret, client_id="id", client_secret="hush", quota_project_id="fields"
    )
    text = describe_credentials(user, "https://earthengine-highvolume.googleapis.com")
    assert text == "a user's, application-default, of project fields"


def test_versions_of_python_and_packages_are_listed() -> None:
    assert check_python().state == "ok"
    found = check_packages(local=True)
    assert found.state == "ok"
    for package in ("earthengine-api", "pandas", "starlette"):
        assert f"{package} {version(package)}" in found.detail
    assert "starlette" not in check_packages(local=False).detail
    assert "pytest" not in found.detail


@pytest.mark.slow
def test_missing_and_old_packages_are_reported(tmp_path: Path) -> None:
    """With package metadata that asks for what nobody has, in a process of its own."""
    info = tmp_path / "eechips-9.9.dist-info"
    info.mkdir()
    lines = ["Name: eechips", "Version: 9.9", "Requires-Python: >=3.99", "Requires-Dist: click>=99.1"]
    lines += ["Requires-Dist: nobody-has-this>=1", "Requires-Dist: numpy", 'Requires-Dist: nor-this; extra == "dev"']
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
    code = (
        "from eechips.engine.service.doctor import check_packages, check_python;"
        "print(check_python().state); found = check_packages(local=False); print(found.state); print(found.detail)"
    )
    done = run_program(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}", status=0)
    old = f"click is {version('click')}, older than 99.1; nobody-has-this is missing"
    assert done.stdout.splitlines() == ["failed", "failed", old]


def test_disk_problems_are_reported(tmp_path: Path) -> None:
    found = check_disk(tmp_path / "a" / "b")
    assert found.state in ("ok", "warning")
    assert found.detail.endswith(f"GB free in {tmp_path}")
    (tmp_path / "file").write_text("")
    found = check_disk(tmp_path / "file" / "below")
    assert (found.state, found.advice) == ("failed", "choose another folder with `out`")


@pytest.mark.parametrize(
    ("now", "renewed"), [("2026-11-22T12:00", "2026-12-01 08:00"), ("2026-07-01T06:59", "2026-07-01 07:00")]
)
def test_the_compute_of_a_month_is_renewed_at_midnight_pacific_time(now: str, renewed: str) -> None:
    found = describe_month(datetime.fromisoformat(f"{now}+00:00"))
    assert found.endswith(f"150 (community), 1,000 (contributor), 100,000 (partner); renewed on {renewed} UTC")
