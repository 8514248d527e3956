"""A recorder sends the credentials of its user to Google, over https, and nothing else of them anywhere."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from google.auth.compute_engine import _metadata
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from eechips_local.cli import main
from eechips_local.protocol.peer_user import OwnUserOnly
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.protocol.source_checks import ForbiddenError
from eechips_local.recording.applications import create_recorder_app
from eechips_local.recording.google_credentials import open_upstream
from eechips_local.recording.recording_folder import create_recording
from eechips_local.recording.response_recorder import ResponseRecorder
from eechips_local.recording.upstream import HIGH_VOLUME as UPSTREAM
from eechips_local.recording.upstream import CredentialsError
from eechips_local.server import listening, run
from local_tests.support.command_server import serving_command
from local_tests.support.google_front import HIGH_VOLUME, TOKENS, GoogleFront, google_front
from local_tests.support.local_earth_engine import Server
from local_tests.support.recorders import post, sum_of
from local_tests.support.token_server import TokenServer, token_server

REFRESH = "1//the-refresh-token-of-the-user"
OF_THE_CLIENT = "ya29.of-the-client"


@dataclass(frozen=True)
class Google:
    """Google's hosts, and the home of a user who has run `earthengine authenticate`."""

    front: GoogleFront
    server: TokenServer
    home: Path


@pytest.fixture
def google(demo_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    with (
        token_server(upstream=demo_server.url) as server,
        google_front({HIGH_VOLUME: server.url, TOKENS: server.url}, tmp_path) as front,
    ):
        home = tmp_path / "home"
        stored = home / ".config" / "earthengine" / "credentials"
        stored.parent.mkdir(parents=True)
        stored.write_text(json.dumps({"refresh_token": REFRESH, "project": "my-project"}), encoding="utf-8")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(home / "gcloud"))
        monkeypatch.setenv("EECHIPS_CACHE", str(home / "cache"))
        monkeypatch.setenv("EECHIPS_PROJECT", "my-project")
        monkeypatch.setenv("NO_GCE_CHECK", "true")  # of processes; this one has read it
        monkeypatch.setattr(_metadata, "_NO_GCE_CHECK", True)
        for name, value in front.environment.items():
            monkeypatch.setenv(name, value)
        yield Google(front, server, home)


@contextmanager
def running(app: ASGIApp) -> Iterator[str]:
    """Run an application in a thread, and yield its URL."""
    urls: SimpleQueue[str] = SimpleQueue()
    end = threading.Event()
    with listening(0) as listener:
        server = threading.Thread(target=run, args=(app, listener, urls.put, end.wait))
        server.start()
        try:
            yield urls.get(timeout=60)
        finally:
            end.set()
            server.join()


@contextmanager
def recording(folder: Path) -> Iterator[str]:
    """Record Earth Engine as `eechips-local record` does, in this process."""
    upstream, account = open_upstream(UPSTREAM)
    assert account.description == "a user's, of project my-project"
    recorder = ResponseRecorder(upstream, create_recording(folder))
    try:
        with running(create_recorder_app(recorder)) as url:
            yield url
    finally:
        recorder.close()


def texts(folder: Path) -> bytes:
    """Return the names and contents of all files of a folder."""
    return b"\n".join(str(p).encode() + p.read_bytes() for p in folder.rglob("*") if p.is_file())


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("is_recorded", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_requests_of_a_run_are_authorised_and_no_file_has_a_secret(
    google: Google, tmp_path: Path, is_recorded: bool
) -> None:
    """Through a recorder, which is on this machine, the card's command itself finds no credentials."""
    words = ["sample", "--dataset", "NAIP", "--per-ecoregion", "1", "--size", "16", "--limit", "2", "--seed", "1"]
    command = [
        sys.executable,
        "-m",
        "eechips",
        "--debug",
        *words,
        "--out",
        str(tmp_path / "run"),
        "--executor",
        "processes:1",
    ]
    with serving_command("record", tmp_path / "recording") if is_recorded else nullcontext() as recorder:
        if recorder is not None:
            command += ["--endpoint", recorder.url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    sent = google.front.sent_to(HIGH_VOLUME)
    tokens = {each.headers.get("authorization", "").removeprefix("Bearer ") for each in sent}
    assert len(sent) > 5
    assert len(tokens) == 1
    assert "" not in tokens
    assert google.server.refused == 0
    assert {each.headers.get("x-goog-user-project", "my-project") for each in sent} == {"my-project"}
    assert len(google.front.sent_to(TOKENS)) == 1
    folders = (tmp_path / "recording", tmp_path / "run", google.home / "cache")
    written = b"\n".join([*map(texts, folders), ended.stdout.encode(), ended.stderr.encode()])
    for secret in (REFRESH, *tokens):
        assert secret.encode() not in written


@pytest.mark.slow
def test_a_client_with_credentials_of_its_own_is_recorded_with_those_of_the_recorder(
    google: Google, tmp_path: Path
) -> None:
    headers = {"Authorization": f"Bearer {OF_THE_CLIENT}", "Cookie": OF_THE_CLIENT, "Content-Type": "application/json"}
    with recording(tmp_path / "recording") as url:
        assert post(url, "projects/p/value:compute", sum_of(1, 2), headers=headers).json() == {"result": 3}
    (sent,) = google.front.sent_to(HIGH_VOLUME)
    assert sent.headers["authorization"].startswith("Bearer ya29.")
    assert OF_THE_CLIENT not in str(sent)
    assert OF_THE_CLIENT.encode() not in texts(tmp_path / "recording")


@pytest.mark.parametrize("target", ["@evil.example/v1", ".evil.example/v1", ":9@evil.example/v1"])
def test_no_target_of_a_request_leads_to_another_host(google: Google, target: str) -> None:
    """The server in front refuses such requests as well; the token must not depend on it."""
    upstream, _ = open_upstream(UPSTREAM)
    with pytest.raises(InvalidError, match="is no path"):
        upstream.send("GET", target, {}, b"")
    upstream.close()
    assert google.front.refused == []


@pytest.mark.slow
def test_a_client_without_a_project_is_told_to_name_one(google: Google, tmp_path: Path) -> None:
    headers = {"X-Goog-User-Project": "local", "Content-Type": "application/json"}
    with recording(tmp_path / "recording") as url:
        found = post(url, "projects/local/value:compute", sum_of(1, 2), headers=headers)
    assert found.status_code == 400
    assert "name yours, with --project or EECHIPS_PROJECT" in found.json()["error"]["message"]
    assert google.front.sent_to(HIGH_VOLUME) == []


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def connect_by_ipv6(port: int) -> socket.socket:
    connection = socket.socket(socket.AF_INET6)
    connection.connect(("::ffff:127.0.0.1", port))
    return connection


def connect_from_another_address(port: int) -> socket.socket:
    connection = socket.socket()
    connection.bind(("127.0.0.2", 0))
    connection.connect(("127.0.0.1", port))
    return connection


def ask(connection: socket.socket, header: str = "") -> int:
    """Send a request; return the status of its response."""
    with connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode())
        response = HTTPResponse(connection)
        response.begin()
        return response.status


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell users apart")


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("kind", [connect, connect_by_ipv6, connect_from_another_address])
@pytest.mark.parametrize("header", ["", "X-Forwarded-For: 192.0.2.1\r\n"])
def test_other_users_of_the_machine_are_not_answered(kind: Callable[[int], socket.socket], header: str) -> None:
    """To a server of another user, the sockets of this process are a stranger's."""
    handled: list[str] = []

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        handled.append(scope["path"])
        await Response("recorded")(scope, receive, send)

    for user, status in ((os.getuid(), 200), (os.getuid() + 1, 403)):
        with running(OwnUserOnly(respond, frozenset((user,)))) as url:
            assert ask(kind(int(url.rpartition(":")[2])), header) == status
    assert handled == ["/"]


@LINUX
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_request_whose_sender_has_gone_is_not_forwarded(is_reset: bool) -> None:
    """A closed socket has no user: older kernels say that it is root's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = listener.getsockname()
        connection = connect(server[1])
        client = connection.getsockname()
        accepted, _ = listener.accept()
        with accepted:
            OwnUserOnly(Response())._check(client, server)
            if is_reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            for sender in (client, None):  # uvicorn knows no sender after a reset
                with pytest.raises(ForbiddenError):
                    OwnUserOnly(Response())._check(sender, server)


@LINUX
@pytest.mark.parametrize("user", [os.getuid(), os.getuid() + 1])
def test_a_server_without_free_file_descriptors_answers_nobody(user: int) -> None:
    """Other users can open connections until none is free."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("answered")(scope, receive, send)

    with running(OwnUserOnly(respond, frozenset((user,)))) as url:
        port = int(url.rpartition(":")[2])
        connection = connect(port)
        ask(connect(port))  # the server accepts connections in their order
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            status = ask(connection)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert status == 503


@LINUX
@pytest.mark.skipif(os.getuid() != 0, reason="root alone becomes another user")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing: another user may not run this Python")
def test_servers_answer_their_own_user_and_root_only() -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("answered")(scope, receive, send)

    with running(respond) as url:
        assert requests.get(url, timeout=60).status_code == 200
        asking = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url]
        stranger = subprocess.run(asking, capture_output=True, text=True, check=True, user=65534, timeout=60)
    assert stranger.stdout == "403"


@pytest.mark.slow
def test_a_token_that_expires_while_recording_is_replaced(google: Google, tmp_path: Path) -> None:
    with recording(tmp_path / "recording") as url:
        assert post(url, "projects/p/value:compute", sum_of(1, 2)).json() == {"result": 3}
        google.server.revoke()
        assert post(url, "projects/p/value:compute", sum_of(2, 2)).json() == {"result": 4}
        google.server.revoke()
        google.server.outages["token"] = "400 invalid_grant"
        found = post(url, "projects/p/value:compute", sum_of(3, 2))
        report = requests.get(f"{url}/_recording", timeout=60).json()
    assert found.status_code == 401
    message = found.json()["error"]["message"]
    assert message.startswith("The recorder sent no request: the credentials do not work (invalid_grant")
    assert "earthengine authenticate" in message
    assert report["kept"] == 2


def test_a_response_that_repeats_the_token_of_the_recorder_is_kept_without_it(google: Google, tmp_path: Path) -> None:
    google.server.upstream = None
    google.server.answer = lambda headers: {"result": headers["authorization"]}
    with recording(tmp_path / "recording") as url:
        found = post(url, "projects/p/value:compute", sum_of(1, 2)).json()
    assert found == {"result": "Bearer ***"}
    assert b"ya29." not in texts(tmp_path / "recording")


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--send-credentials",)])
def test_a_service_that_is_not_googles_gets_credentials_with_consent_only(
    google: Google, tmp_path: Path, options: tuple[str, ...]
) -> None:
    upstream = google.server.url
    with serving_command("record", tmp_path / "recording", "--upstream", upstream, *options) as recorder:
        found = post(recorder.url, "projects/p/value:compute", sum_of(1, 2))
    assert found.status_code == (200 if options else 401)
    assert len(google.front.sent_to(TOKENS)) == len(options)


@pytest.mark.parametrize(
    ("stored", "message"),
    [(False, "no Earth Engine credentials found"), (True, "the credentials do not work (invalid_grant")],
)
def test_a_recorder_without_working_credentials_ends_with_one_sentence(
    google: Google, tmp_path: Path, stored: bool, message: str
) -> None:
    if stored:
        google.server.outages["token"] = "400 invalid_grant"
    else:
        (google.home / ".config" / "earthengine" / "credentials").unlink()
    ended = CliRunner().invoke(main, ["record", str(tmp_path / "recording"), "--port", "0"])
    assert ended.exit_code == 2
    assert message in " ".join(ended.stderr.split())
    assert "`earthengine authenticate" in ended.stderr
    assert google.front.sent_to(HIGH_VOLUME) == []
    assert not (tmp_path / "recording").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example\\@x.googleapis.com/token",
        "https://evil.example\\.googleapis.com/token",
        "https://me@oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com.evil.example/token",
        "http://oauth2.googleapis.com/token",
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_a_file_that_sends_its_secrets_elsewhere_is_refused(tmp_path: Path, address: str, nested: bool) -> None:
    content: dict[str, Any] = {"type": "service_account", "token_uri": address}
    if nested:
        content = {"type": "impersonated_service_account", "source_credentials": content}
    (tmp_path / "key.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CredentialsError, match="which is not Google's"):
        open_upstream(UPSTREAM, tmp_path / "key.json")
