"""URLs from the public internet do not lead into private networks; URLs from a private network may.

The public internet is behind a proxy on loopback: its names are known to nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.adapters import HTTPAdapter

from eechips.archive.catalogs.ingestion.fetch import FetchConfig
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.windows.locations import RasterLocation
from eechips.archive.windows.versions import read_version
from eechips.client.http.http_messages import Timeouts
from eechips.client.http.http_sessions import open_session
from eechips.errors import PermanentError
from eechips.web.network import is_private_address, is_private_host, is_public_host
from tests.support.catalog_lists import fetch
from tests.support.raw_server import RawServer, message, raw_server
from tests.support.scene_runs import fetch as fetch_scenes
from tests.support.scene_servers import item

PUBLIC = "http://catalog.example.org"
NAMED = ["http://10.1.2.3/x", "http://127.0.0.1:1/x", "http://[::1]/x", "http://[::ffff:192.168.0.1]/x", "http://0x7f.1/x",
         "http://localhost:1/x", "http://nas.local/x", "http://intranet/x", "http://100.64.0.1/x", "http://[fd00::1]/x",
         "http://[64:ff9b::a00:1]/x"]  # fmt: skip


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """A proxy that answers for every host."""
    with raw_server() as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        yield server


def moved(target: str) -> Any:
    return lambda number, headers: message(302, Location=target)


@pytest.mark.parametrize("target", NAMED)
def test_no_public_host_redirects_into_a_private_network(target: str, public: RawServer) -> None:
    public.answers[f"{PUBLIC}/a.tif"] = moved(target)
    with (
        HostSessions(1, 2.0, 2.0) as hosts,
        pytest.raises(PermanentError, match="private network"),
        hosts.get(f"{PUBLIC}/a.tif", {}, lambda _: {}),
    ):
        pass
    with pytest.raises(PermanentError, match="private network"):
        read_version(RasterLocation(f"/vsicurl/{PUBLIC}/a.tif", "http", f"{PUBLIC}/a.tif"), Timeouts())
    found = fetch([f"{PUBLIC}/a.tif"], FetchConfig(retries=0))
    assert [kind for _, kind, _ in found.failures] == ["refused"]
    assert set(public.asked) == {f"{PUBLIC}/a.tif"}


@pytest.mark.slow
def test_public_hosts_redirect_to_each_other_and_private_ones_anywhere(public: RawServer) -> None:
    public.answers[f"{PUBLIC}/a"] = moved("http://data.example.com/a")
    public.answers["http://data.example.com/a"] = lambda number, headers: message(200, b"{}")
    with raw_server() as inner:
        inner.answers["/to-public"] = moved(f"{PUBLIC}/a")
        inner.answers["/to-private"] = moved(f"{inner.url}/b")
        inner.answers["/b"] = lambda number, headers: message(200, b"{}")
        for url in (f"{PUBLIC}/a", f"{inner.url}/to-public", f"{inner.url}/to-private"):
            with HostSessions(1, 2.0, 2.0) as hosts, hosts.get(url, {}, lambda _: {}) as response:
                assert response.content == b"{}"
            assert fetch([url], FetchConfig(retries=0)).bodies == [b"{}"]


def test_a_public_catalogue_names_no_files_of_a_private_network(public: RawServer, tmp_path: Path) -> None:
    with raw_server() as inner:
        inner.answers["/a.csv"] = lambda number, headers: message(200, b"a,b\n1,2\n")
        listed = {"type": "FeatureCollection", "features": [item("a", {"data": {"href": f"{inner.url}/a.csv"}})]}
        public.answers[f"{PUBLIC}/items.json"] = lambda number, headers: message(200, json.dumps(listed).encode())
        refused = fetch_scenes(f"{PUBLIC}/items.json", tmp_path / "refused", retry_delay=0.01)
        assert refused.counts == {"failed_permanent": 1}
        assert "named by a host of the public internet" in refused.units["error"][0]
        assert not inner.asked
        (tmp_path / "items.json").write_text(json.dumps(listed))
        assert fetch_scenes(tmp_path / "items.json", tmp_path / "named").counts == {"done": 1}


def test_the_connected_address_is_checked() -> None:
    with raw_server() as inner, open_session("http://x", is_public=True) as session:
        adapter = session.get_adapter(inner.url)
        assert isinstance(adapter, HTTPAdapter)
        pool = adapter.poolmanager.connection_from_url(inner.url.replace("127.0.0.1", "localhost"))
        with pytest.raises(PermanentError, match="private network"):
            pool.urlopen("GET", "/", retries=False)
        assert not inner.asked


@pytest.mark.parametrize(
    ("address", "expected"),
    [("8.8.8.8", False), ("2001:4860:4860::8888", False), ("::ffff:8.8.8.8", False), ("64:ff9b::808:808", False),
     ("10.0.0.1", True), ("172.16.0.1", True), ("192.168.1.1", True), ("127.0.0.1", True), ("169.254.1.1", True),
     ("100.64.0.1", True), ("0.0.0.0", True), ("::1", True), ("::", True), ("fe80::1%eth0", True), ("fd00::1", True),
     ("::ffff:10.0.0.1", True), ("2002:a00:1::", True), ("64:ff9b::7f00:1", True)],
)  # fmt: skip
def test_private_addresses_are_recognised(address: str, expected: bool) -> None:
    assert is_private_address(address) is expected
    assert is_private_host(address.partition("%")[0]) is expected
    assert is_public_host(address.partition("%")[0]) is not expected
