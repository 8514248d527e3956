"""Requests are repeated only where the same request may succeed later."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from eechips_local.archives.archive_errors import ArchiveAwayError, ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_model import ItemQuery
from eechips_local.archives.files.file_ranges import AddressSigner, FileRanges, RangeTransport, SignedAddress
from eechips_local.archives.files.folder_transport import FileResponse, FolderTransport
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.archive_session import ArchiveRequest, ArchiveSession
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.host_pauses import HostPauses
from eechips_local.archives.hosts.host_permits import HostPermits
from eechips_local.archives.hosts.host_throttle import HostThrottles
from eechips_local.archives.items.item_search import ApiSearch
from local_tests.archives.cog_files import NumberedSigner
from local_tests.archives.stac_server import make_item, stac_server
from local_tests.support.google_front import make_certificate
from local_tests.support.loopback import QuietServer, serving
from local_tests.support.stopped_clock import StoppedClock

HREF = "https://files.example/a.tif"


class Answer(FileResponse):
    """A response without a body."""

    def read1(self, amount: int) -> bytes:
        return self.read(amount)


class CountingTransport:
    """Answers with one status, or as another transport does; counts requests.

    Attributes:
        urls: addresses of the requests.
    """

    def __init__(self, status: int = 200, others: RangeTransport | None = None) -> None:
        self._status, self._others = status, others
        self.urls: list[str] = []

    def open(self, url: str, headers: Mapping[str, str], connect: float, silence: float) -> object:
        self.urls.append(url)
        if self._others is not None:
            return self._others.open(url, headers, connect, silence)
        return Answer(self._status, {}, b"")


class Unsigned:
    """Signs nothing."""

    def sign(self, href: str, collection: str, refused: SignedAddress | None = None) -> SignedAddress:
        return SignedAddress(href)


def read(
    transport: RangeTransport, folder: Path, clock: StoppedClock, href: str = HREF, signer: AddressSigner | None = None
) -> None:
    """Read the first bytes of a file."""
    pauses, permits = HostPauses(folder / "pauses", clock=clock), HostPermits(folder / "permits", 1)
    FileRanges(transport, signer or Unsigned(), permits, pauses).read(href, "c", 0, 10)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 406, 410, 412, 416, 451])
def test_a_status_that_stays_is_asked_for_once(status: int, tmp_path: Path) -> None:
    transport, clock = CountingTransport(status), StoppedClock()
    with pytest.raises(ArchiveRefusedError, match=f"HTTP {status}|it ends before byte"):
        read(transport, tmp_path, clock)
    assert len(transport.urls) == 1
    assert clock.waits == []


@pytest.mark.parametrize(
    ("status", "requests"), [(407, 6), (408, 6), (425, 6), (429, 6), (500, 6), (503, 6), (204, 3), (300, 3), (302, 3)]
)
def test_a_status_that_may_pass_is_asked_for_again_after_longer_and_longer_pauses(
    status: int, requests: int, tmp_path: Path
) -> None:
    """What a proxy may have sent in place of a file is believed the third time."""
    transport, clock = CountingTransport(status), StoppedClock()
    with pytest.raises(ArchiveError if requests == 6 else ArchiveRefusedError):
        read(transport, tmp_path, clock)
    assert len(transport.urls) == requests
    for pause, longest in zip(clock.waits, [0.25, 0.5, 1.0, 2.0, 4.0][: requests - 1], strict=True):
        assert 0.5 * longest <= pause <= longest


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("greatest", "requests", "pauses"), [(1, 1, 0), (2, 2, 0), (9, 3, 1)])
def test_a_host_that_denies_access_is_asked_again_with_newer_signatures_only(
    status: int, greatest: int, requests: int, pauses: int, tmp_path: Path
) -> None:
    transport, clock = CountingTransport(status), StoppedClock()
    with pytest.raises(ArchiveRefusedError, match="denies access") as caught:
        read(transport, tmp_path, clock, signer=NumberedSigner(greatest))
    assert len(clock.waits) == pauses
    assert transport.urls == [f"{HREF}?token={number + 1}" for number in range(requests)]
    assert ("after a renewal of its signature" in str(caught.value)) == (requests > 1)


@pytest.mark.parametrize("href", ["../a.tif", "/etc/passwd", "none.tif", f"{'a' * 300}.tif", "beside.tif", "folder"])
def test_a_file_of_this_machine_that_cannot_be_read_is_opened_once(href: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "beside.tif").touch()
    (tmp_path / "beside.tif.msk").touch()
    transport = CountingTransport(others=FolderTransport(tmp_path / "items.json", CountingTransport()))
    with pytest.raises(ArchiveRefusedError):
        read(transport, tmp_path, StoppedClock(), href if href.startswith("/") else f"file://{tmp_path}/{href}")
    assert len(transport.urls) == 1


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, ArchiveError), (errno.ESTALE, ArchiveError), (errno.EACCES, ArchiveRefusedError),
        (errno.EIO, ArchiveRefusedError),
    ],
)  # fmt: skip
def test_an_error_of_a_file_of_this_machine_has_clients_repeat_requests_where_it_may_pass(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "a.tif").touch()
    transport, clock = FolderTransport(tmp_path / "items.json", CountingTransport()), StoppedClock()
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(kind, match=os.strerror(number)):
        read(transport, tmp_path, clock, f"file://{tmp_path}/a.tif")
    assert clock.waits == []


@pytest.mark.parametrize(
    "href", ["https://others.example/a.tif", "http://10.0.0.1/a.tif", f"https://{'a' * 64}.files.example/a.tif"]
)
def test_an_address_that_is_not_allowed_is_tried_once(href: str, tmp_path: Path) -> None:
    hosts = AllowedHosts(("*.files.example", "10.0.0.1"))
    transport = CountingTransport(others=HostTransport(hosts))
    with pytest.raises(ArchiveRefusedError):
        read(transport, tmp_path, StoppedClock(), href)
    assert len(transport.urls) == 1


@pytest.mark.parametrize("proxy", ["http:///", "ftp://proxy.example", "http://proxy.example:port"])
def test_a_proxy_that_is_no_address_is_told_of_at_once(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    hosts = AllowedHosts(("files.example",))
    transport = CountingTransport(others=HostTransport(hosts))
    with pytest.raises(ArchiveRefusedError, match="is the proxy that HTTPS_PROXY"):
        read(transport, tmp_path, StoppedClock())
    assert len(transport.urls) == 1
    session = ArchiveSession(hosts, HostThrottles(clock=StoppedClock()))
    with pytest.raises(ArchiveRefusedError, match="is the proxy that HTTPS_PROXY"):
        session.fetch(ArchiveRequest("GET", HREF))
    (counts,) = session.throttles.counts().values()
    assert counts.requests == 1


@pytest.mark.parametrize("kind", ["of an unknown authority", "of another name"])
def test_an_untrusted_certificate_is_told_of_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encryption, authority = make_certificate(("files.example",), tmp_path)
    if kind == "of another name":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with QuietServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = encryption.wrap_socket(server.socket, server_side=True)
        with serving(server):
            host = f"127.0.0.1:{server.server_address[1]}"
            hosts, clock = AllowedHosts((host,)), StoppedClock()
            transport = CountingTransport(others=HostTransport(hosts))
            with pytest.raises(ArchiveRefusedError, match=f"certificate of {host} is not trusted .*nothing was sent"):
                read(transport, tmp_path, clock, f"https://{host}/a.tif")
            session = ArchiveSession(hosts, HostThrottles(clock=clock))
            with pytest.raises(ArchiveRefusedError, match=f"certificate of {host} is not trusted"):
                session.fetch(ArchiveRequest("GET", f"https://{host}/search"))
    assert len(transport.urls) == 1
    assert [counts.requests for counts in session.throttles.counts().values()] == [1]
    assert clock.waits == []


def test_a_kept_answer_serves_where_a_login_page_answers_for_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encryption, authority = make_certificate(("localhost",), tmp_path)
    clock = StoppedClock()
    with stac_server([make_item(1)], encryption) as server:
        search = ApiSearch(server.describe(), tmp_path / "kept", clock=clock)
        with monkeypatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", str(authority))
            assert len(list(search.items("s2", ItemQuery()))) == 1
        clock.advance(7200.0)
        again = ApiSearch(server.describe(), tmp_path / "kept", clock=clock)
        assert len(list(again.items("s2", ItemQuery()))) == 1
        with pytest.raises(ArchiveRefusedError, match="is not trusted"):
            list(again.items("others", ItemQuery()))
        assert server.paths == ["POST /search"]


@pytest.mark.parametrize("status", [401, 403, 404, 406, 410, 413, 451])
def test_searches_and_lists_that_an_archive_refuses_are_final(status: int) -> None:
    with stac_server([make_item(1)]) as server:
        server.always = status
        search = ApiSearch(server.describe(page_items=1), None, clock=StoppedClock())
        with pytest.raises(ArchiveRefusedError, match=f"refuses the search of s2: .* HTTP {status}"):
            list(search.items("s2", ItemQuery()))
        with pytest.raises(ArchiveRefusedError, match=f"refuses the list of its collections: .* HTTP {status}"):
            search.collections()
        asked = ["POST /search", *(["GET /search"] if status == 404 else []), "GET /collections"]
        assert server.paths == asked


def test_errors_tell_clients_whether_to_repeat_a_request() -> None:
    assert (ArchiveError("").code, ArchiveAwayError("").code, ArchiveRefusedError("").code) == (503, 503, 400)
