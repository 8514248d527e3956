"""Bytes of scenes that are fetched twice, counted by the server."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import eechips
from tests.support.scene_runs import assert_same, catalogue, items, write
from tests.support.scene_servers import Body, Faults, FileServer, sent_twice

pytest.importorskip("pystac_client")

_KILLED_BEFORE_THE_LEDGER = """
import os, signal, sys
import eechips
from eechips.manifest.sqlite.ledger import Ledger

Ledger.record = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
eechips.scenes(sys.argv[1], out=sys.argv[2], quiet=True)
"""


def twice(server: FileServer) -> Counter[str]:
    """Return the bytes that a server sent again, by reason."""
    found: Counter[str] = Counter()
    for bodies in server.bodies.values():
        found.update(sent_twice(bodies))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six files to serve, of 1 MB each."""
    for number in range(6):
        write(tmp_path / "files" / f"s{number}.tif", number, count=8)
    return tmp_path / "files"


def test_bytes_sent_twice_are_counted() -> None:
    assert sent_twice([Body(0, 0, 50, "cut"), Body(0, 50, 100, "whole")]) == {}
    assert sent_twice([Body(0, 0, 50, "left"), Body(0, 30, 100, "whole")]) == {"left": 20}
    assert sent_twice([Body(0, 0, 50, "cut"), Body(1, 0, 60, "cut"), Body(1, 55, 100, "whole")]) == {
        "replaced": 50,
        "cut": 5,
    }
    assert sent_twice([Body(0, 0, 100, "whole"), Body(0, 0, 100, "whole")]) == {"whole": 100}
    assert sent_twice([Body(0, 0, 100, "whole"), Body(0, 90, 100, "whole")]) == {"left": 10}


@pytest.mark.slow
def test_received_bytes_are_not_requested_again(folder: Path, tmp_path: Path) -> None:
    with FileServer(folder, Faults(cuts=0.6, lifetime=0.5, busy=0.1)) as server:
        options = {"auth": "sas", "token_url": f"{server.url}/sign", "retry_delay": 0.05}
        run = eechips.scenes(str(catalogue(tmp_path, items(server))), out=tmp_path / "out", quiet=True, **options)
        assert_same(run, folder)
        assert server.statuses[206] > 0
        assert twice(server) == {}
        assert sum(server.sent.values()) == sum(path.stat().st_size for path in folder.glob("*.tif"))


def test_a_replaced_file_repeats_only_the_bytes_of_the_old_version(folder: Path, tmp_path: Path) -> None:
    new = write(folder / "s1.tif.new", 77, count=8)
    size = new.stat().st_size
    with FileServer(folder, Faults(replaced=("s1.tif",))) as server:
        found = items(server)
        for name in ("file:checksum", "file:size", "proj:shape", "proj:code"):
            del found[1]["assets"]["B04"][name]
        run = eechips.scenes(str(catalogue(tmp_path, found)), out=tmp_path / "out", quiet=True, retry_delay=0.01)
        assert_same(run, folder)
        assert twice(server) == {"replaced": size // 2}


@pytest.mark.slow
def test_a_file_that_has_its_name_but_is_not_in_the_ledger_is_not_fetched_again(folder: Path, tmp_path: Path) -> None:
    with FileServer(folder) as server:
        stac, out = catalogue(tmp_path, items(server)), tmp_path / "out"
        line = [sys.executable, "-c", _KILLED_BEFORE_THE_LEDGER, str(stac), str(out)]
        assert subprocess.run(line, check=False).returncode == -9
        named = list((out / "scenes").rglob("*.tif"))
        assert named
        # Also what is whole, and has no name yet; not what the server has sent, and nobody has read.
        came = {path.read_bytes() for path in out.rglob("*") if path.is_file()}
        whole = [path.name for path in folder.glob("*.tif") if path.read_bytes() in came]
        assert {f"{path.parent.name}.tif" for path in named} <= set(whole)
        requests = dict(server.requests)
        run = eechips.scenes(str(stac), out=out, quiet=True)
        assert_same(run, folder)
        assert {name: server.requests[name] for name in whole} == {name: requests[name] for name in whole}
        assert sum(sent_twice(server.bodies[name])["whole"] for name in whole) == 0
    assert not list(out.rglob("*.part"))
