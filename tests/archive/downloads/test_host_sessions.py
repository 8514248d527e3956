"""Requests to hosts of archives: redirects with more than a redirect."""

from __future__ import annotations

import pytest

from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.signers import HeaderSigner
from eechips.errors import PermanentError, TransientError
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


@pytest.mark.parametrize("is_redirect", [False, True])
def test_a_host_that_programs_read_differently_gets_no_secret(is_redirect: bool) -> None:
    """urllib.parse takes what follows the backslash and @ for the host, urllib3 what is before them."""
    with raw_server() as server, raw_server() as other, HostSessions(4, 5.0, 5.0) as hosts:
        port = server.url.rpartition(":")[2]
        signer = HeaderSigner([f"localhost:{port}"], "secret")
        url = f"{other.url}\\@localhost:{port}/x"
        server.answers["/"] = lambda number, headers: message(302, Location=url)
        with (
            pytest.raises(PermanentError, match=r"not an http\(s\) URL|redirects to a malformed URL"),
            hosts.get(f"http://localhost:{port}/" if is_redirect else url, {}, signer.headers),
        ):
            pass
        assert not other.asked
