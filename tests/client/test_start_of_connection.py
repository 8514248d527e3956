"""Start of a run: short outages of the token endpoint are waited for, longer ones end it with what to do."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eechips.client.access.connection import ServiceTarget, connect
from eechips.client.http.http_messages import Timeouts
from eechips.client.http.transport import Transport
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import QuotaClient, Throttle
from eechips.client.retry import RetryPolicy, call
from eechips.errors import ConfigurationError, UnreachableError
from local_tests.support.local_earth_engine import Server, initialize
from local_tests.support.token_server import TokenServer, token_server
from tests.support.engine_service import Service


class ClockedTarget(ServiceTarget):
    """A service whose clock is that of a token server."""

    server: TokenServer

    def transport(self, *options: Any) -> Transport:
        clock: Callable[[], float] = lambda: self.server.clock()  # noqa: E731 - read anew each time
        return Transport(self.endpoint, *options[:3], project="p", credentials=self.credentials, clock=clock)


@pytest.fixture
def server(service: Service) -> Iterator[TokenServer]:
    with token_server(upstream=service.url) as server:
        yield server


def start(server: TokenServer, **options: Any) -> None:
    """Connect, with waits that move the clock of the server instead of taking time."""
    throttle = Throttle(multiprocessing.get_context("spawn"), QuotaLimits(in_flight=2, start=2), clients=1)
    quota: QuotaClient = throttle.client(0)
    quota.pause = server.advance  # type: ignore[method-assign]
    target = type("Target", (ClockedTarget,), {"server": server})(server.url, "p", server.user(**options))
    with connect(target, quota, RetryPolicy(), Timeouts(connect=5, read=5, total=10)):
        pass


@pytest.mark.parametrize("fault", ["502 html", "reset", "503 backend", "truncated"])
def test_a_token_endpoint_that_fails_a_few_times_delays_the_start(server: TokenServer, fault: str) -> None:
    server.plan("token", *[fault] * 4)
    start(server)
    assert server.requests["token"] == 5
    assert 10 <= server.clock() <= 40


@pytest.mark.parametrize("is_down", [False, True])
def test_a_longer_outage_ends_the_start_within_a_minute_and_says_what_to_do(server: TokenServer, is_down: bool) -> None:
    server.outages["token"] = "502 html"
    told = r"got no access token in several tries: could not refresh the credentials: .*To resume: check the network"
    with pytest.raises(ConfigurationError, match=told):
        start(server, **({"token_uri": "http://127.0.0.1:9/token"} if is_down else {}))
    assert server.requests["token"] in ((0,) if is_down else (4, 5, 6))
    assert 20 <= server.clock() <= 60


def test_revoked_credentials_end_the_start_at_once(server: TokenServer) -> None:
    server.outages["token"] = "400 invalid_grant"
    with pytest.raises(ConfigurationError, match="credentials do not work"):
        start(server)
    assert server.clock() == 0


@pytest.mark.parametrize(("retry_after", "waited"), [(None, 3.5), (7.0, 21.0)])
def test_an_unreachable_host_is_tried_again_after_waits_within_the_bounds(
    retry_after: float | None, waited: float
) -> None:
    """If the policy does not wait for the network, as that of single hosts of archives."""
    waits: list[float] = []

    def attempt() -> None:
        raise UnreachableError("connection failed", retry_after=retry_after)

    policy = RetryPolicy(retries=3, delay=0.5, max_delay=4.0, total=20.0)
    with pytest.raises(UnreachableError):
        call(attempt, policy, pause=waits.append, clock=lambda: sum(waits))
    assert len(waits) == 3
    assert sum(waits) == pytest.approx(waited, rel=0.6)
    waits.clear()
    with pytest.raises(UnreachableError):
        call(attempt, RetryPolicy(retries=10**6, total=20.0), pause=waits.append, clock=lambda: sum(waits))
    assert 20.0 <= sum(waits) < 50.0


def test_the_client_has_the_functions_of_the_server_that_it_is_connected_to(
    demo_server: Server, service: Service
) -> None:
    few = initialize(Server(service.url)).ApiFunction.allSignatures().keys()
    for _ in range(2):
        assert "TemporalSegmentation.C2c" in initialize(demo_server).ApiFunction.allSignatures()
        assert initialize(Server(service.url)).ApiFunction.allSignatures().keys() == few
    assert "TemporalSegmentation.C2c" not in few
