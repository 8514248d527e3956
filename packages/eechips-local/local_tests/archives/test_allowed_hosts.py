"""Hosts and addresses that may be asked on behalf of an archive."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3

from eechips_local.archives.archive_errors import ArchiveAwayError, ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_list import ARCHIVES
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.retry_header import parse_retry_after
from local_tests.archives.stac_server import StacServer, make_item, stac_server
from local_tests.support.range_server import range_server


@pytest.mark.parametrize(
    ("host", "url", "is_allowed"),
    [
        ("a.example", "https://a.example/b", True),
        ("a.example", "https://A.EXAMPLE./b", True),
        ("a.example", "http://a.example/b", True),
        ("a.example", "https://a.example:443/b", True),
        ("a.example", "https://a.example:8443/b", False),
        ("a.example", "https://b.a.example/b", False),
        ("a.example:8443", "https://a.example:8443/b", True),
        ("a.example:8443", "https://a.example/b", False),
        ("*.a.example", "https://b.a.example/c", True),
        ("*.a.example", "https://c.b.a.example/c", True),
        ("*.a.example", "https://a.example/c", False),
        ("*.a.example", "https://ba.example/c", False),
        ("a.example", "https://a.example@evil.example/", False),
        ("a.example", "https://evil.example#@a.example/", False),
        ("a.example", "https://a.example:99999/", False),
        ("a.example", "ftp://a.example/", False),
        ("a.example", "//a.example/", False),
        ("a.example", "https://a.example/\tb", False),
        ("127.0.0.1", "http://127.0.0.1/", False),
        ("127.0.0.1:80", "http://127.0.0.1/", True),
        ("127.0.0.1:80", "http://127.1/", False),
        ("169.254.169.254:80", "http://169.254.169.254/", False),
        ("168.63.129.16:80", "http://168.63.129.16/", False),
        ("100.100.100.200:80", "http://100.100.100.200/", False),
        ("[fd00:ec2::254]:80", "http://[fd00:ec2::254]/", False),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("[::1]", "http://[::1]/", False),
    ],
)
def test_an_address_is_of_a_host_of_the_archive(host: str, url: str, is_allowed: bool) -> None:
    hosts = pickle.loads(pickle.dumps(AllowedHosts((host,))))
    if is_allowed:
        hosts.check(url)
    else:
        with pytest.raises(ArchiveRefusedError):
            hosts.check(url)


@pytest.mark.parametrize("user", ["ann:secret", "ann", ":secret", ""])
def test_an_address_with_a_user_is_refused_as_such_without_its_password(user: str) -> None:
    with pytest.raises(ArchiveRefusedError, match="addresses with the name of a user") as caught:
        AllowedHosts(("a.example",)).check(f"https://{user}@a.example/b")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["*", "*.", "", "a b/c", "*a.example", "a.*.example", "https://a.example", "a:b:c", "u@a"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ArchiveRefusedError, match="is no host"):
        AllowedHosts((host,))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1",
        "::1", "fe80::1", "fc00::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "2002:7f00:1::", "::", "ff02::1", "198.18.0.1", "fd00:ec2::254", "::127.0.0.1", "::169.254.169.254",
        "64:ff9b:1::7f00:1", "168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::a83f:8110",
    ],
)  # fmt: skip
def test_public_names_with_private_addresses_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = AllowedHosts(("a.example",))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("93.184.216.34", 443))])
    assert hosts.resolve("a.example", 443, "https") == ("93.184.216.34",)
    answers = [(2, 1, 6, "", ("93.184.216.34", 443)), (10, 1, 6, "", (address, 443, 0, 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(ArchiveRefusedError, match="nothing was sent"):
        hosts.resolve("a.example", 443, "https")


def test_an_unknown_name_is_no_network() -> None:
    with pytest.raises(ArchiveAwayError, match="is there a network"):
        AllowedHosts(("a.invalid",)).resolve("a.invalid", 443, "https")


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda archive: archive.name)
def test_known_archives_name_public_hosts(archive: Any) -> None:
    files = AllowedHosts.of_files(archive)
    if archive.api:
        AllowedHosts.of_url(archive.api).check(archive.api)
    else:
        files.check(archive.index)


def _open(transport: HostTransport, url: str, headers: dict[str, str] | None = None) -> Any:
    return transport.open(url, headers or {}, 2.0, 5.0)


def test_files_are_read_from_the_archive_s_hosts_only(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"0123456789")
    with range_server(tmp_path) as files, range_server(tmp_path) as others:
        transport = pickle.loads(pickle.dumps(HostTransport(AllowedHosts.of_url(files.url), 2)))
        for _ in range(5):
            response = _open(transport, f"{files.url}/a.tif", {"Range": "bytes=2-4"})
            assert (response.status, response.read()) == (206, b"234")
            response.release_conn()
        for url in (f"{others.url}/a.tif", "http://169.254.169.254/", "file:///etc/passwd", "https://evil.example/a"):
            with pytest.raises(ArchiveRefusedError):
                _open(transport, url)
        assert others.bytes == {}
        (counts,) = transport.counts().values()
        assert (counts.requests, counts.received) == (5, 15)


def test_a_redirect_between_hosts_of_the_archive_carries_no_credentials() -> None:
    with stac_server([make_item(0)]) as first, stac_server([make_item(0)]) as second, stac_server() as other:
        hosts = AllowedHosts(server.url.removeprefix("http://") for server in (first, second))
        transport = HostTransport(hosts)
        first.always, first.headers = 302, {"Location": f"{second.url}/file"}
        headers = {"Authorization": "Bearer secret", "Range": "bytes=0-5", "x-amz-security-token": "secret"}
        response = _open(transport, f"{first.url}/file", headers)
        assert response.status == 200
        response.close()
        assert first.received[0]["authorization"] == "Bearer secret"
        assert second.received[0]["range"] == "bytes=0-5"
        assert "secret" not in str(second.received)
        first.headers = {"Location": other.url}
        with pytest.raises(ArchiveRefusedError):
            _open(transport, f"{first.url}/another", headers)
        assert other.paths == []


def test_a_host_that_wants_no_requests_gets_none() -> None:
    with stac_server() as server:
        transport = HostTransport(AllowedHosts.of_url(server.url))
        server.always, server.headers = 503, {"Retry-After": "3600"}
        _open(transport, server.url).close()
        with pytest.raises(ArchiveError, match="wants no requests"):
            _open(transport, server.url)
        assert len(server.paths) == 1
        url = server.url
    with pytest.raises(urllib3.exceptions.HTTPError):
        _open(HostTransport(AllowedHosts.of_url(url)), url)


BASIC = "Basic YW5uOnNlY3JldA=="
"""Of the user ann with the password secret: https://www.rfc-editor.org/rfc/rfc7617."""


@pytest.mark.parametrize(("prefix", "sent"), [("http://ann:secret@", BASIC), ("ann:secret@", BASIC), ("", None)])
def test_a_proxy_gets_its_user_and_needs_no_scheme(
    prefix: str, sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stac_server() as proxy:
        address = proxy.url.removeprefix("http://")
        monkeypatch.setenv("http_proxy", f"{prefix}{address}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        _open(HostTransport(AllowedHosts(("files.example",))), "http://files.example/a.tif").close()
        (received,) = proxy.received
        assert {name.lower(): value for name, value in received.items()}.get("proxy-authorization") == sent


def test_a_time_in_retry_after_is_obeyed_as_seconds_are() -> None:
    late = datetime.now(timezone.utc) + timedelta(hours=1)
    assert 3500 < parse_retry_after(format_datetime(late, usegmt=True)) <= 3600
    assert parse_retry_after(" 7 ") == 7.0
    assert parse_retry_after("soon") == 0.0


def _redirecting(first: StacServer, second: StacServer, query: str = "", **headers: str) -> None:
    first.always, first.headers = 303, {"Location": f"{second.url}/file{query}", **headers}


@pytest.mark.parametrize(
    ("query", "headers", "asked"),
    [
        ("?A=u&Expires=9999999999&Signature=s", {}, 1),
        ("?A=u&Expires=9999999999&Signature=s", {"Cache-Control": "private, max-age=2540"}, 1),
        ("?X-Amz-Date=20990101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=s", {}, 1),
        ("?se=2099-01-01T00%3A00%3A00Z&sig=s", {}, 1),
        ("", {}, 1),
        ("?A=u&Expires=1700000000&Signature=s", {}, 3),  # expired
        ("?X-Amz-Date=20200101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=s", {}, 3),
        ("?se=2020-01-01T00%3A00%3A00Z&sig=s", {"Cache-Control": "max-age=99"}, 3),
        ("?Expires=soon&Signature=s", {}, 3),
        ("", {"Cache-Control": "no-store"}, 3),
        ("", {"Cache-Control": "private, max-age=0"}, 3),
    ],
)
def test_where_a_redirect_leads_is_asked_directly_until_it_expires(
    query: str, headers: dict[str, str], asked: int
) -> None:
    with stac_server([make_item(0)]) as first, stac_server([make_item(0)]) as second:
        transport = HostTransport(AllowedHosts(server.url.removeprefix("http://") for server in (first, second)))
        _redirecting(first, second, query, **headers)
        for _ in range(3):
            response = _open(transport, f"{first.url}/file", {"Authorization": "secret", "Range": "bytes=0-5"})
            assert response.status == 200
            response.close()
        assert (len(first.paths), len(second.paths)) == (asked, 3)
        assert "secret" not in str(second.received)


def test_ranges_that_are_read_together_share_a_redirect() -> None:
    with stac_server([make_item(0)]) as first, stac_server([make_item(0)]) as second:
        transport = HostTransport(AllowedHosts(server.url.removeprefix("http://") for server in (first, second)))
        _redirecting(first, second)
        _open(transport, f"{first.url}/file").close()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: _open(transport, f"{first.url}/file").close(), range(64)))
        assert (len(first.paths), len(second.paths)) == (1, 65)


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_where_a_redirect_leads_is_asked_anew_when_it_denies_access(status: int) -> None:
    with stac_server([make_item(0)]) as first, stac_server([make_item(0)]) as second:
        transport = HostTransport(AllowedHosts(server.url.removeprefix("http://") for server in (first, second)))
        _redirecting(first, second)
        for fault, paths in (("ok", 1), (status, 2), ("ok", 2), (503, 2), ("ok", 3)):
            second.faults.append(fault)
            response = _open(transport, f"{first.url}/file")
            assert response.status == (503 if fault == 503 else 200)
            response.close()
            assert len(first.paths) == paths
