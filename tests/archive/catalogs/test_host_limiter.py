"""Concurrent requests to a host of items, and their timeouts."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from eechips.archive.catalogs.ingestion.fetch import FetchConfig
from eechips.errors import UsageError
from local_tests.support.local_earth_engine import wait_until
from tests.support.catalog_lists import HostLimiter, fetch


@pytest.mark.slow
def test_requests_to_a_host_stay_within_its_limit(tmp_path: Path) -> None:
    host = HostLimiter(delay=0.02)
    try:
        urls = [f"{host.url}/{n}.json" for n in range(80)]
        found = fetch(urls, FetchConfig(in_flight=40, per_host=7))
        assert found.failures == []
        assert [json.loads(body or b"")["id"] for body in found.bodies] == [f"scene-{n}" for n in range(80)]
        assert 2 <= host.most <= 7
    finally:
        host.close()


@pytest.mark.slow
def test_connections_are_opened_as_fast_as_the_host_answers() -> None:
    """A server with a backlog of five may drop concurrent connections for half a minute."""
    host = HostLimiter(delay=0.1)
    at_once: list[int] = []
    asked = host.answer

    def answer(handler: BaseHTTPRequestHandler, times: int) -> None:
        at_once.append(host.most)  # so far
        asked(handler, times)

    host.answer = answer  # type: ignore[method-assign]
    try:
        found = fetch([f"{host.url}/{n}.json" for n in range(300)], FetchConfig())
    finally:
        host.close()
    assert found.failures == []
    assert all(most <= 4 + ended for ended, most in enumerate(at_once))
    assert at_once[-1] > 16


@pytest.mark.slow
def test_an_unresponsive_host_is_given_up(tmp_path: Path) -> None:
    host = HostLimiter(delay=2.0)
    try:
        config = FetchConfig(timeout=0.2, retries=1, first_wait=0.01)
        found = fetch([f"{host.url}/1.json", "http://127.0.0.1:9/x.json"], config)
        assert [(number, kind) for number, kind, _ in found.failures] == [(0, "time-out"), (1, "connection")]
        wait_until(lambda: host.asked["/1.json"] == 2)  # the second is given up before the host has read it, perhaps
    finally:
        host.close()


def test_invalid_rates_are_refused() -> None:
    for wrong in ({"in_flight": 0}, {"per_host": 0}, {"retries": -1}, {"timeout": 0.0}):
        with pytest.raises(UsageError, match="must be positive"):
            FetchConfig(**wrong)  # type: ignore[arg-type]


def test_fetching_works_inside_a_running_event_loop(host: HostLimiter) -> None:
    import asyncio

    async def cell() -> list[bytes | None]:
        return fetch([f"{host.url}/1.json"], FetchConfig()).bodies

    (body,) = asyncio.run(cell())
    assert json.loads(body or b"")["id"] == "scene-1"
