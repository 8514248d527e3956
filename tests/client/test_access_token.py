"""Authentication over time: the real google-auth and the real transport, against a token endpoint with faults."""

from __future__ import annotations

import json
import multiprocessing
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eechips.client.access.access_token import Authorizer
from eechips.client.access.credentials import find_credentials
from eechips.client.http.http_messages import Timeouts
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.errors import ConfigurationError, TransientError, UnreachableError
from local_tests.support.parameters import slow_except
from local_tests.support.token_server import TokenServer, token_server

PATIENT = RetryPolicy(retries=3, delay=0.01, max_delay=0.02, offline=3600.0)


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


class Clocked:
    """A transport whose waits move the clock of the server instead of taking time."""

    def __init__(self, server: TokenServer, credentials: Any, policy: RetryPolicy = PATIENT) -> None:
        context = multiprocessing.get_context("spawn")
        self.throttle = Throttle(context, QuotaLimits(in_flight=8, start=8), clients=1)
        quota = self.throttle.client(0)
        quota.pause = server.advance  # type: ignore[method-assign]
        timeouts = Timeouts(connect=5, read=5, total=10)
        self.transport = Transport(
            server.url, quota, policy, timeouts, credentials=credentials, clock=lambda: server.clock()
        )
        self.url = f"{server.url}/v1/projects/p/value:compute"

    def ask(self, headers: dict[str, str] | None = None) -> int:
        response, _ = self.transport.request(self.url, "POST", "{}", headers or {})
        return int(response.status)


def test_a_token_is_refreshed_before_it_expires_and_not_for_each_request(server: TokenServer) -> None:
    asking = Clocked(server, server.user())
    for _ in range(24):  # two hours
        assert asking.ask() == 200
        server.advance(300)
    assert server.refused == 0
    assert server.requests["token"] == 2


def test_tokens_of_two_minutes_are_used_for_most_of_their_time(server: TokenServer) -> None:
    server.lifetime = 120
    asking = Clocked(server, server.user())
    for _ in range(60):  # ten minutes
        assert asking.ask() == 200
        server.advance(10)
    assert server.refused == 0
    assert server.requests["token"] <= 8


def test_a_token_that_expires_while_its_request_waits_for_a_slot_is_replaced(server: TokenServer) -> None:
    asking = Clocked(server, server.user())
    assert asking.ask() == 200
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(asking.ask()))
    with ThreadPoolExecutor() as pool, asking.throttle.client(0).permit():
        permits = [asking.throttle.client(0).permit() for _ in range(7)]
        for slot in permits:
            slot.__enter__()
        waiting.start()
        pool.submit(server.advance, 3600).result()
        for slot in permits:
            slot.__exit__(None, None, None)
        waiting.join(60)
    assert answers == [200]
    assert server.refused == 0


def test_one_refused_token_is_refreshed_once_for_all_threads(server: TokenServer) -> None:
    asking = Clocked(server, server.user())
    assert asking.ask() == 200
    server.revoke()  # as after a jump of the server's clock: the client cannot know
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: asking.ask(), range(40))) == [200] * 40
    assert server.requests["token"] == 2
    assert server.refused <= 8


def test_a_stray_401_does_not_stop_the_run(server: TokenServer) -> None:
    asking = Clocked(server, server.user())
    assert asking.ask() == 200
    server.plan("service", "401")
    assert asking.ask() == 200
    assert server.requests["token"] == 2


def test_a_fresh_token_that_is_refused_ends_the_run(server: TokenServer) -> None:
    asking = Clocked(server, server.user())
    server.outages["service"] = "401"
    with pytest.raises(ConfigurationError, match="refused the credentials"):
        asking.transport.post(asking.transport.capture(asking.ask), bytes)
    assert server.requests["service"] == 2


@pytest.mark.parametrize("is_public", [False, True])
def test_a_refused_token_that_was_accepted_is_tried_again_and_the_advice_is_to_sign_in(
    server: TokenServer, is_public: bool
) -> None:
    """That the public description of the API was sent with it shows nothing of a token."""
    authorizer = Authorizer(server.user(), clock=lambda: server.clock())
    assert authorizer.should_resend(authorizer.authorize({}), 401, 0)
    token = authorizer.authorize({})
    assert not authorizer.should_resend(token, 200, 0, is_public=is_public)
    if is_public:
        assert not authorizer.should_resend(token, 401, 1)
        return
    with pytest.raises(TransientError, match="if that goes on, sign in again with `earthengine authenticate --force`"):
        authorizer.should_resend(token, 401, 1)


def test_an_outage_of_the_token_endpoint_costs_no_attempt(server: TokenServer) -> None:
    asking = Clocked(server, server.user(), RetryPolicy(retries=0, delay=0.01, offline=3600.0))
    assert asking.ask() == 200
    server.advance(3600)
    server.plan("token", *["503 backend"] * 7)
    with asking.transport.metered() as usage:
        assert asking.ask() == 200
    assert usage.requests == 1
    assert asking.throttle.sent == 2  # what was never sent does not count against a budget


@pytest.mark.parametrize("fault", slow_except(["reset", "503 backend", "html", "empty"], "reset"))
def test_an_outage_that_is_over_before_the_token_expires_delays_no_request(server: TokenServer, fault: str) -> None:
    asking = Clocked(server, server.user())
    assert asking.ask() == 200
    server.advance(3600 - 200)  # the token is about to be replaced
    server.outages["token"] = fault
    for _ in range(120):  # two minutes
        before = server.clock()
        assert asking.ask() == 200
        assert server.clock() == before  # nothing was waited for
        server.advance(1)
    assert server.requests["token"] <= 12
    server.outages.clear()
    server.advance(79)
    assert asking.ask() == 200
    assert server.refused == 0


def test_a_token_that_expires_in_an_outage_is_waited_for(server: TokenServer) -> None:
    asking = Clocked(server, server.user())
    assert asking.ask() == 200
    server.advance(3600 - 10)
    server.plan("token", *["503 backend"] * 5)
    server.advance(9)
    assert asking.ask() == 200
    server.advance(2)
    assert asking.ask() == 200
    assert server.refused == 0


def test_a_token_endpoint_that_hangs_holds_up_no_request_with_a_valid_token(server: TokenServer) -> None:
    credentials = server.user()
    authorizer = Authorizer(credentials, clock=lambda: server.clock())
    token = authorizer.authorize({})
    server.advance(3600 - 200)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        credentials._token_uri = f"http://127.0.0.1:{silent.getsockname()[1]}/token"
        first = pool.submit(authorizer.authorize, {})
        connection, _ = silent.accept()  # the first has asked, and waits
        assert authorizer.authorize({}) == token
        connection.close()
        assert first.result() == token


@pytest.mark.parametrize(
    "fault",
    ["reset", "503 x", "429 x", "400 temporarily_unavailable", "html", "403 html", "407 html", "empty", "truncated"],
)
def test_transient_errors_of_the_token_endpoint_are_retried(server: TokenServer, fault: str) -> None:
    asking = Clocked(server, server.user())
    server.plan("token", fault, fault)
    assert asking.ask() == 200


@pytest.mark.parametrize("fault", ["400 invalid_grant", "401 invalid_client", "403 access_denied"])
def test_permanent_errors_of_the_token_endpoint_are_raised_at_once(server: TokenServer, fault: str) -> None:
    asking = Clocked(server, server.user())
    server.outages["token"] = fault
    with pytest.raises(ConfigurationError, match="credentials do not work"):
        asking.ask()
    assert server.requests["token"] == 1


def test_an_unreachable_token_endpoint_is_retried_like_a_lost_network(server: TokenServer) -> None:
    asking = Clocked(server, server.user(token_uri="http://127.0.0.1:9/token"))
    with pytest.raises(UnreachableError, match="could not refresh the credentials"):
        asking.ask()
    assert server.clock() >= 3600


def test_failed_refreshes_back_off(server: TokenServer) -> None:
    server.outages["token"] = "400 temporarily_unavailable"
    authorizer = Authorizer(server.user(), clock=lambda: server.clock())
    for _ in range(600):  # ten minutes, from many threads
        with pytest.raises(UnreachableError):
            authorizer.authorize({})
        server.advance(1)
    assert server.requests["token"] <= 25


def test_one_quota_project_is_sent_and_it_is_that_of_the_request(server: TokenServer) -> None:
    asking = Clocked(server, server.user(quota_project_id="stored"))
    assert asking.ask({"X-Goog-User-Project": "chosen"}) == 200
    assert asking.ask() == 200
    assert [found.get("x-goog-user-project") for found in server.headers] == ["chosen", None]


def test_a_token_without_the_means_to_refresh_it_is_used_until_it_is_refused(server: TokenServer) -> None:
    from google.oauth2.credentials import Credentials

    issued, _ = server._issue()
    make: Any = Credentials
    asking = Clocked(server, make(issued))
    assert asking.ask() == 200
    server.revoke()
    with pytest.raises(ConfigurationError, match="credentials do not work"):
        asking.ask()


def test_a_service_account_signs_for_its_tokens_and_survives_the_loss_of_its_key_file(
    server: TokenServer, tmp_path: Path
) -> None:
    path = server.key(tmp_path / "key.json")
    asking = Clocked(server, find_credentials("https://earthengine.googleapis.com", path))
    assert asking.ask() == 200
    path.write_text("{")
    server.advance(3600)
    assert asking.ask() == 200
    assert {grant["grant_type"] for grant in server.grants} == {"urn:ietf:params:oauth:grant-type:jwt-bearer"}


def test_the_key_that_the_environment_names_asks_for_scopes(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.key(tmp_path / "key.json")))
    asking = Clocked(server, find_credentials("https://earthengine.googleapis.com", None))
    assert asking.ask() == 200
    payload = server.grants[0]["assertion"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert "https://www.googleapis.com/auth/earthengine" in claims["scope"].split()


def test_a_damaged_key_that_the_environment_names_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.json"
    path.write_text('{"type": "service_acc')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        find_credentials("https://earthengine.googleapis.com", None)


@pytest.mark.parametrize("impersonates", [False, True])
def test_an_external_account_survives_transient_errors_of_each_party(
    server: TokenServer, tmp_path: Path, impersonates: bool
) -> None:
    from google.auth import identity_pool

    subject = tmp_path / "subject"
    subject.write_text("jwt")
    make: Any = identity_pool.Credentials.from_info
    asking = Clocked(server, make(server.external_account(subject, impersonates=impersonates), scopes=["s"]))
    assert asking.ask() == 200
    for party in ("sts", "impersonate"):
        server.advance(3700)
        server.plan(party, "503", "reset")
        assert asking.ask() == 200
    if impersonates:
        return  # by its own clock, google.auth has a valid token of the subject still
    server.advance(3700)
    subject.unlink()
    with pytest.raises(TransientError, match="was not found"):  # it may be about to be replaced
        asking.ask()
    subject.write_text("jwt")
    assert asking.ask() == 200


def test_transient_errors_of_the_metadata_server_are_retried(
    server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.compute_engine import Credentials, _metadata

    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", server.host)  # read from GCE_METADATA_HOST at import
    make: Any = Credentials
    asking = Clocked(server, make())
    assert asking.ask() == 200
    server.advance(3600)
    server.plan("metadata", "503", "reset", "html")
    assert asking.ask() == 200
    server.advance(3600)
    server.plan("metadata", "404")
    with pytest.raises(ConfigurationError):
        asking.ask()


def test_a_worker_that_inherits_a_token_asks_for_none(server: TokenServer) -> None:
    import pickle

    credentials = server.user()
    assert Clocked(server, credentials).ask() == 200
    for _ in range(3):
        assert Clocked(server, pickle.loads(pickle.dumps(credentials))).ask() == 200
    assert server.requests["token"] == 1
