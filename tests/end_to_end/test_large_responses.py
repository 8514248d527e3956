"""Responses that unpack to gigabytes, or exceed their expected size, are refused within bounds of memory."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from eechips.archive.downloads.document_reader import LARGEST_DOCUMENT
from eechips.archive.downloads.partial_files import PARTIAL
from eechips.errors import EechipsError, StorageError
from tests.archive.scenes.test_transfers import served
from tests.support.programs import run_program
from tests.support.raw_server import RawAnswer, chunked, message, raw_server
from tests.support.scene_runs import fetch, write

WITHIN = """
import json, resource, sys
from eechips.archive.catalogs.ingestion.fetch import FetchConfig, ItemFetcher
from eechips.client.retry import RetryPolicy
from eechips.archive.downloads.host_sessions import HostSessions
from eechips.archive.downloads.document_reader import DocumentReader
from eechips.archive.downloads.signers import Secrets
from eechips.archive.downloads.token_signers import Auth, make_signer
from eechips.errors import EechipsError

def used():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

url, folder = sys.argv[1:3]
fetcher = ItemFetcher(FetchConfig(retries=0, in_flight=2))
warm = fetcher.fetch([f"{url}/small"])
assert warm.failures == [], warm.failures
resource.setrlimit(resource.RLIMIT_AS, (used() + (400 << 20),) * 2)
found = {}
with HostSessions(2, 5.0, 5.0) as hosts:
    reader = DocumentReader(hosts, make_signer(Auth(), Secrets({}), hosts), RetryPolicy(retries=0, delay=0.01))
    for name in sys.argv[3:]:
        for what, ask in (
            ("document", lambda: reader.read(f"{url}/{name}")),
            ("token", lambda: hosts.request_json("GET", f"{url}/{name}", {})),
        ):
            try:
                ask()
            except EechipsError as error:
                found[f"{what} {name}"] = str(error)
        done = fetcher.fetch([f"{url}/{name}"])
        found[f"item {name}"] = done.failures[0][1] if done.failures else f"{len(done.bodies[0])} bytes"
print(json.dumps(found))
"""
BLOCK = 64 << 20


def zstandard() -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(b" " * BLOCK) * 16


def answer(body: bytes, **headers: Any) -> RawAnswer:
    return lambda number, asked: message(200, body, **headers)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how much memory is used")
def test_a_gigabyte_in_a_kilobyte_is_refused_within_400_mib(tmp_path: Path) -> None:
    gib = gzip.compress(b" " * BLOCK) * 16  # members of gzip, one after the other
    answers = {
        "/small": answer(b"{}"),
        "/gzip": answer(gib, Content_Encoding="gzip"),
        "/file": answer(gib),
        "/zstd": answer(zstandard(), Content_Encoding="zstd"),
        "/long": lambda *_: message(200, chunked(b" " * (LARGEST_DOCUMENT + 1)), Content_Length=None,
                                    Transfer_Encoding="chunked"),
        "/error": lambda *_: message(404, gib, Content_Encoding="gzip"),
        "/nested": answer(gzip.compress(gzip.compress(gib)), Content_Encoding="gzip, gzip, gzip"),
    }  # fmt: skip
    with raw_server() as server:
        server.answers.update(answers)
        names = ("gzip", "file", "zstd", "long", "error", "nested")
        words = [sys.executable, "-c", WITHIN, server.url, str(tmp_path), *names]
        done = run_program(*words, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {f"{what} {name}" for what in ("document", "token", "item") for name in names}
    for name in ("gzip", "long", "nested"):  # zstd is decoded where its package is installed
        assert "sends more than the 67.1 MB" in found[f"document {name}"], found
        assert "sends more than the 1.0 MB" in found[f"token {name}"], found
    assert "HTTP 404" in found["document error"]
    assert {found[f"item {name}"] for name in ("gzip", "file", "long")} == {"refused"}
    assert found["item error"] == "HTTP 404"


@pytest.mark.slow
def test_a_file_that_is_longer_than_its_catalogue_says_is_stopped_there(tmp_path: Path) -> None:
    size = write(tmp_path / "a.tif", 1).stat().st_size
    endless = gzip.compress(bytes(BLOCK)) * 4
    asked: list[int] = []

    def bomb(number: int, headers: Mapping[str, str]) -> bytes:
        asked.append(number)
        return message(200, endless, Content_Encoding="gzip")

    with raw_server() as server:
        listed, _ = served(server, tmp_path, {"/a.tif": bomb}, **{"file:size": size})
        run = fetch(listed, tmp_path / "out", retry_delay=0.01)
    (unit,) = run.units.to_dict("records")
    assert unit["error_class"] == "QuarantinedError"
    assert f"more than the expected {size:,} bytes" in unit["error"]
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix not in (".sqlite", "")]
    assert max(path.stat().st_size for path in kept) < 2 * size + (17 << 20)
    assert len(asked) == 3


@pytest.mark.slow
def test_a_file_of_unknown_size_leaves_the_disk_some_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", 1)
    usage, out = shutil.disk_usage(tmp_path), tmp_path / "out"

    def received() -> int:
        return sum(path.stat().st_size for path in (out / PARTIAL).rglob("*.data"))

    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=70_000_000 - received()))
    body = chunked(bytes(BLOCK))
    with raw_server() as server:
        whole = message(200, body, Content_Length=None, Transfer_Encoding="chunked")
        listed, _ = served(server, tmp_path, {"/a.tif": lambda number, headers: whole})
        with pytest.raises(StorageError, match="must stay free"):
            fetch(listed, out)
    assert 4_000_000 < received() < 12_000_000


@pytest.mark.parametrize("name", ["pipe", "device", "folder"])
def test_a_document_that_is_no_file_is_not_read(tmp_path: Path, name: str) -> None:
    place = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[name]
    if name == "pipe":
        os.mkfifo(place)
    (tmp_path / "catalog.json").write_text(
        json.dumps({
            "type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "",
            "links": [{"rel": "item", "href": str(place)}],
        })
    )  # fmt: skip
    with pytest.raises(EechipsError, match=r"could not be read|not a document"):
        fetch(tmp_path / "catalog.json", tmp_path / "out", dry_run=True)
