"""Each state in which a user's credentials may be, against Google's hosts on loopback: what works, or what cures it."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ee
import pytest

from eechips.client.access.connection import ServiceTarget, connect
from eechips.client.access.endpoint import HIGH_VOLUME_ENDPOINT
from eechips.client.http.http_messages import HttpRequest, Timeouts
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.engine.config import RunConfig
from eechips.engine.service.session import find_target
from eechips.errors import ConfigurationError
from local_tests.support.google_front import HIGH_VOLUME, SECURITY_TOKENS, TOKENS, GoogleFront, google_front
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.parameters import slow_except
from local_tests.support.token_server import TokenServer, token_server
from tests.support.engine_service import DISCOVERY, serving

REFRESH, CLIENT_SECRET, SUBJECT = "1//a-refresh-token-that-is-secret", "a-client-secret", "a-subject-token"
GCLOUD_CLIENT = "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com"
OWN_CLIENT = "123456789012-abc.apps.googleusercontent.com"
USER = {"refresh_token": REFRESH, "client_id": GCLOUD_CLIENT, "client_secret": CLIENT_SECRET}
AUTHORIZED = {"type": "authorized_user", **USER}
OWN = {**USER, "client_id": OWN_CLIENT}
POLICY = RetryPolicy(retries=0, delay=0.01, offline=0.1)


@dataclass(frozen=True)
class World:
    """A user's home and Google's hosts."""

    server: TokenServer
    front: GoogleFront
    home: Path

    def stored(self, **content: Any) -> None:
        """Write what `earthengine authenticate` and `earthengine set_project` write."""
        write(self.home / ".config" / "earthengine" / "credentials", content)

    def gcloud(self, **content: Any) -> None:
        """Write what `gcloud auth application-default login` writes."""
        write(self.home / "gcloud" / "application_default_credentials.json", content)

    def key(self, name: str = "key.json", **fields: str) -> Path:
        """Write the key of a service account."""
        return self.server.key(self.home / name, token_uri=f"https://{TOKENS}/token", **fields)

    def pool(self, address: str = f"https://{SECURITY_TOKENS}/v1/token") -> Path:
        """Write the file of a workload identity pool."""
        (self.home / "subject").write_text(SUBJECT)
        found = self.server.external_account(self.home / "subject")
        return write(self.home / "pool.json", {**found, "token_url": address})

    def attempt(self, **options: Any) -> str:
        """Return the project with which a request is answered, or the sentence of the error."""
        throttle = Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=2, start=2), clients=1)
        try:
            target = find_target(RunConfig(out=self.home / "out", **options), HIGH_VOLUME_ENDPOINT)
            timeouts = Timeouts(connect=5, read=5, total=10)
            transport = Transport(target.endpoint, throttle.client(0), POLICY, timeouts, credentials=target.credentials)
            url = f"{target.endpoint}/v1/projects/{target.project}/value:compute"
            transport.post(HttpRequest("POST", url, "{}", {"X-Goog-User-Project": target.project}), bytes)
            transport.close()
        except ConfigurationError as error:
            told = str(error)
        else:
            return self._check_sent(target.project)
        assert not any(secret in told for secret in (REFRESH, CLIENT_SECRET, SUBJECT, "PRIVATE KEY", "ya29."))
        return told.replace(str(self.home), "HOME")

    def _check_sent(self, project: str) -> str:
        (sent,) = self.front.sent_to(HIGH_VOLUME)
        assert sent.headers["authorization"].startswith("Bearer ya29.")
        assert sent.headers["x-goog-user-project"] == project
        return project


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    from google.auth.compute_engine import _metadata

    with token_server() as server:
        hosts = {HIGH_VOLUME: server.url, TOKENS: server.url, SECURITY_TOKENS: f"{server.url}/sts"}
        with google_front(hosts, tmp_path) as front:
            for name in ("EECHIPS_PROJECT", "GOOGLE_CLOUD_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS"):
                monkeypatch.delenv(name, raising=False)
            for name, value in front.environment.items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("HOME", str(tmp_path))
            monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
            monkeypatch.setattr(_metadata, "_NO_GCE_CHECK", True)  # NO_GCE_CHECK, which is read at import
            yield World(server, front, tmp_path)


NO_PROJECT = (
    "no Google Cloud project: name one that is registered for Earth Engine (`project`, EECHIPS_PROJECT, or"
    " `earthengine set_project ID`), or run without an account (`local`)"
)
AUTHENTICATE = "sign in again with `earthengine authenticate --force`"
LOGIN = "sign in again with `gcloud auth application-default login`"
ANOTHER_KEY = (
    "make another key of the service account at https://console.cloud.google.com/iam-admin/serviceaccounts, and name"
    " its file (`credentials`)"
)
KEYS = "; for the key of a service account, see https://console.cloud.google.com/iam-admin/serviceaccounts"
REVOKED = '400 {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}'
REAUTH = '400 {"error": "invalid_grant", "error_subtype": "invalid_rapt", "error_description": "reauth related error"}'
SIGNATURE = '400 {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'
CLOCK = (
    '400 {"error": "invalid_grant", "error_description": "Invalid JWT: Token must be a short-lived token (60 minutes)'
    ' and in a reasonable timeframe. Check your iat and exp values in the JWT claim."}'
)


@dataclass(frozen=True)
class State:
    """A state of credentials.

    Attributes:
        make: writes the files.
        result: the project with which requests are answered, or the one sentence of the error.
        options: options of the run; of ``credentials`` a path below the home.
        environment: variables; paths below the home.
        fault: fault of the token endpoint.
    """

    make: Callable[[World], object]
    result: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def nothing(_: World) -> None:
    pass


def with_set_project(world: World) -> None:
    world.gcloud(**AUTHORIZED, quota_project_id="quota")
    world.stored(project="set")


STATES = {
    "none": State(
        nothing,
        "no Earth Engine credentials found: run `earthengine authenticate` (in a notebook: ee.Authenticate()), name a"
        " file of credentials (`credentials`), or run without an account (`local`)",
    ),
    "stored, of the client's own OAuth client, without a project": State(
        lambda w: w.stored(refresh_token=REFRESH, scopes=["s"]), NO_PROJECT
    ),
    "stored, and a project": State(lambda w: w.stored(refresh_token=REFRESH), "mine", {"project": "mine"}),
    "stored, by set_project": State(lambda w: w.stored(refresh_token=REFRESH, project="set"), "set"),
    "stored, of an own OAuth client": State(lambda w: w.stored(**OWN), "123456789012"),
    "stored, of gcloud's OAuth client": State(lambda w: w.stored(**USER), NO_PROJECT),
    "the variable of eechips before the stored project": State(
        lambda w: w.stored(**OWN, project="set"), "ours", environment={"EECHIPS_PROJECT": "ours"}
    ),
    "the stored project before Google's variable": State(
        lambda w: w.stored(**OWN, project="set"), "set", environment={"GOOGLE_CLOUD_PROJECT": "theirs"}
    ),
    "Google's variable before the project of an OAuth client": State(
        lambda w: w.stored(**OWN), "theirs", environment={"GOOGLE_CLOUD_PROJECT": "theirs"}
    ),
    "stored, damaged": State(
        lambda w: write(w.home / ".config" / "earthengine" / "credentials", '{"refresh'),
        "HOME/.config/earthengine/credentials has no credentials: it is not JSON; write it anew with"
        " `earthengine authenticate`",
    ),
    "stored, revoked": State(
        lambda w: w.stored(refresh_token=REFRESH, project="set"),
        f"the credentials do not work (invalid_grant: Token has been expired or revoked). To resume: {AUTHENTICATE}.",
        fault=REVOKED,
    ),
    "stored, reauthentication": State(
        lambda w: w.stored(refresh_token=REFRESH, project="set"),
        f"the credentials do not work (Reauthentication is needed). To resume: {AUTHENTICATE}.",
        fault=REAUTH,
    ),
    "gcloud's, with a quota project": State(lambda w: w.gcloud(**AUTHORIZED, quota_project_id="quota"), "quota"),
    "gcloud's, without (as in Colab)": State(lambda w: w.gcloud(**AUTHORIZED), NO_PROJECT),
    "gcloud's, and set_project": State(with_set_project, "set"),
    "gcloud's, reauthentication": State(
        lambda w: w.gcloud(**AUTHORIZED, quota_project_id="quota"),
        f"the credentials do not work (Reauthentication is needed). To resume: {LOGIN}.",
        fault=REAUTH,
    ),
    "gcloud's, damaged": State(
        lambda w: w.gcloud(type="authorized_user"),
        "HOME/gcloud/application_default_credentials.json is incomplete or damaged, as credentials of authorized_user;"
        " write it anew with `gcloud auth application-default login`",
    ),
    "a key": State(World.key, "my-project", {"credentials": "key.json"}),
    "a key, in the variable": State(
        World.key, "my-project", environment={"GOOGLE_APPLICATION_CREDENTIALS": "key.json"}
    ),
    "a key, and Google's variable": State(
        World.key, "theirs", {"credentials": "key.json"}, {"GOOGLE_CLOUD_PROJECT": "theirs"}
    ),
    "a key, deleted": State(
        World.key,
        f"the credentials do not work (invalid_grant: Invalid JWT Signature). To resume: {ANOTHER_KEY}.",
        {"credentials": "key.json"},
        fault=SIGNATURE,
    ),
    "a key, and a wrong clock": State(
        World.key,
        "the credentials do not work (invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in"
        " a reasonable timeframe. Check your iat and exp values in the JWT claim). To resume: set the clock of this"
        " machine.",
        {"credentials": "key.json"},
        fault=CLOCK,
    ),
    "a key, and a clock that is behind": State(
        World.key,
        "the credentials do not work (invalid_grant: Token used too early, 1 < 2). To resume: set the clock of this"
        " machine.",
        {"credentials": "key.json"},
        fault='400 {"error": "invalid_grant", "error_description": "Token used too early, 1 < 2"}',
    ),
    "a key that is not there": State(
        nothing,
        "GOOGLE_APPLICATION_CREDENTIALS does not work: cannot read the credentials HOME/key.json: No such file or"
        " directory",
        environment={"GOOGLE_APPLICATION_CREDENTIALS": "key.json"},
    ),
    "a key, incomplete": State(
        lambda w: write(w.home / "key.json", {"type": "service_account", "private_key": CLIENT_SECRET}),
        f"HOME/key.json is incomplete or damaged, as credentials of service_account{KEYS}",
        {"credentials": "key.json"},
    ),
    "a file of another kind": State(
        lambda w: write(w.home / "key.json", {"installed": {"client_secret": CLIENT_SECRET}}),
        f"HOME/key.json has no credentials: it names no type{KEYS}",
        {"credentials": "key.json"},
    ),
    "a user's, named": State(
        lambda w: write(w.home / "user.json", AUTHORIZED), "mine", {"credentials": "user.json", "project": "mine"}
    ),
    "the client's own file, named": State(
        lambda w: write(w.home / "copied", {"refresh_token": REFRESH, "project": "set"}),
        "set",
        {"credentials": "copied"},
    ),
    "workload identity, named": State(World.pool, "mine", {"credentials": "pool.json", "project": "mine"}),
    "workload identity, without a project": State(World.pool, NO_PROJECT, {"credentials": "pool.json"}),
    "workload identity, in the variable": State(
        World.pool, "mine", {"project": "mine"}, {"GOOGLE_APPLICATION_CREDENTIALS": "pool.json"}
    ),
    "workload identity of somebody else": State(
        lambda w: w.pool("https://sts.evil.example/v1/token"),
        "HOME/pool.json exchanges its tokens at sts.evil.example, which is not Google's: if you trust the file, set"
        " GOOGLE_APPLICATION_CREDENTIALS to its path instead of `credentials`",
        {"credentials": "pool.json"},
    ),
    "workload identity at a host that programs read differently": State(
        lambda w: w.pool("https://sts.evil.example\\@sts.googleapis.com/v1/token"),
        "HOME/pool.json exchanges its tokens at what is no address, which is not Google's: if you trust the file, set"
        " GOOGLE_APPLICATION_CREDENTIALS to its path instead of `credentials`",
        {"credentials": "pool.json"},
    ),
    "workload identity, refused": State(
        World.pool,
        "the credentials do not work (Error code invalid_grant: The audience is wrong). To resume: correct the file of"
        " the credentials, and what it names: source, pool, service account.",
        {"credentials": "pool.json", "project": "mine"},
        fault='400 {"error": "invalid_grant", "error_description": "The audience is wrong"}',
    ),
}
"""Each state, and the one sentence that cures it; ``docs/how-to/credentials.md`` has the table for readers."""


@pytest.mark.parametrize("name", slow_except(STATES, *list(STATES)[::2]))
def test_a_state_works_or_is_cured_by_one_sentence(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = STATES[name]
    state.make(world)
    options = dict(state.options)
    if "credentials" in options:
        options["credentials"] = world.home / options["credentials"]
    for variable, value in state.environment.items():
        monkeypatch.setenv(variable, str(world.home / value) if value.endswith(".json") else value)
    if state.fault:
        world.server.outages |= {"token": state.fault, "sts": state.fault}
    assert world.attempt(**options) == state.result
    assert world.front.refused == []


def test_a_machine_of_google_cloud_names_its_project(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.auth.compute_engine import _metadata

    monkeypatch.setattr(_metadata, "_NO_GCE_CHECK", False)
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", world.server.host)  # GCE_METADATA_HOST
    monkeypatch.setenv("GCE_METADATA_IP", world.server.host)
    assert world.attempt() == "machine-project"
    world.server.outages["metadata"] = '404 {"error": "no service account"}'
    assert world.attempt().endswith(
        "To resume: give the machine a service account that may use Earth Engine, with the scope cloud-platform."
    )


@pytest.mark.parametrize(
    ("reason", "message", "cure"),
    [
        (
            "SERVICE_DISABLED",
            "Google Earth Engine API has not been used in project 517222506229 before or it is disabled.",
            "name another one (`project` or EECHIPS_PROJECT)",
        ),
        ("", "Project mine is not registered to use Earth Engine.", "code.earthengine.google.com/register"),
        (
            "USER_PROJECT_DENIED",
            "Caller does not have required permission to use project mine. Grant the caller the"
            " roles/serviceusage.serviceUsageConsumer role.",
            "ask the project's owner for the roles Service Usage Consumer",
        ),
    ],
)
def test_a_project_that_the_service_refuses_is_cured_by_one_sentence(
    world: World, reason: str, message: str, cure: str
) -> None:
    world.stored(refresh_token=REFRESH)
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    error = {"code": 403, "message": message, "status": "PERMISSION_DENIED", "details": details}
    world.server.outages["service"] = f"403 {json.dumps({'error': error})}"
    sentence = world.attempt(project="mine")
    assert sentence.startswith(f"{message} To resume: ")
    assert cure in sentence


def connecting(world: World, project: str) -> str:
    """Return the sentence of the error with which the client is initialised."""
    throttle = Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=2, start=2), clients=1)
    target = find_target(RunConfig(out=world.home / "out", project=project), HIGH_VOLUME_ENDPOINT)
    assert isinstance(target, ServiceTarget)
    with (
        pytest.raises(ConfigurationError) as caught,
        connect(target, throttle.client(0), POLICY, Timeouts(connect=5, read=5, total=10)),
    ):
        pass
    return str(caught.value)


def test_a_401_after_the_public_description_says_what_to_do(world: World) -> None:
    """The description of the API answers anybody: that its request had a token shows nothing of it."""
    world.stored(refresh_token=REFRESH)
    world.server.answer = lambda _: json.loads(DISCOVERY)
    world.server.public = ("/$discovery/",)
    world.server.outages["service"] = "401"
    ee.Reset()
    sentence = connecting(world, "mine")
    assert sentence.startswith("Earth Engine refused the credentials (Request had invalid authentication credentials.")
    assert "To resume: run `earthengine authenticate --force`" in sentence
    assert world.server.requests["token"] == 2


@pytest.mark.parametrize("is_first", slow_except([True, False], True))
@pytest.mark.parametrize(
    ("project", "message"),
    [
        ("764086051850", "not sent"),
        ("mine", "Google Earth Engine API has not been used in project 764086051850 before or it is disabled."),
        ("517222506229", "Caller does not have required permission to use project 517222506229. Grant the caller"),
        ("mine", "Your application is authenticating by using local Application Default Credentials. The ... requires"),
    ],
)
def test_a_project_of_googles_own_tools_is_no_project(world: World, project: str, message: str, is_first: bool) -> None:
    """The client hides the answer, unless it has been initialised before in this process."""
    world.stored(refresh_token=REFRESH)
    world.server.answer = lambda _: json.loads(DISCOVERY)
    world.server.public = ("/$discovery/",)
    ee.Reset()
    if not is_first:
        with serving() as service:
            initialize(Server(service.url))
    error = {"code": 403, "message": message, "status": "PERMISSION_DENIED"}
    world.server.outages["service"] = f"403 {json.dumps({'error': error})}"
    assert connecting(world, project) == (
        f"Earth Engine takes no requests for the project {project}: name one that is registered for Earth Engine"
        " (`project`, EECHIPS_PROJECT, or `earthengine set_project ID`), or run without an account (`local`)"
    )
