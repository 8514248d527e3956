"""Requests to hosts of archives: redirects with more than a redirect."""

from __future__ import annotations

import pytest

from eechips.archive.downloads.host_sessions import HostSessions
from eechips.errors import TransientError
from tests.support.raw_server import message, raw_server


def test_a_redirect_with_a_response_behind_it_can_be_repeated() -> None:
    with raw_server() as server, HostSessions(4, 5.0, 5.0) as hosts:
        redirect = message(302, Location=f"{server.url}/file", Connection="keep-alive")
        server.answers["/"] = lambda number, headers: redirect + message(200, b"other")
        with (
            pytest.raises(TransientError, match="more than one response came back"),
            hosts.get(f"{server.url}/", {}, lambda url: {}),
        ):
            pass
