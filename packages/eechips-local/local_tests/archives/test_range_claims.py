"""Processes that need the same part of a file at one time fetch it once."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.io import MemoryFile

from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.files import cog_parts
from eechips_local.archives.files.cog_parts import RasterAddress
from eechips_local.archives.files.cog_raster import RangeCogReader
from eechips_local.archives.files.range_claims import RangeClaims, _place
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.signing import Signer
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.support.object_host import object_host


def noise() -> Any:
    return np.random.default_rng(1).integers(0, 255, (1, 1024, 1024)).astype("uint8")


def deflated() -> bytes:
    """Return a raster of four blocks."""
    profile: dict[str, Any] = {"driver": "GTiff", "width": 1024, "height": 1024, "count": 1, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with MemoryFile() as memory:
        with memory.open(**profile, crs="EPSG:32613", transform=Affine.scale(10, -10)) as dataset:
            dataset.write(noise())
        return bytes(memory.getbuffer())


def open_reader(url: str, folder: Path) -> RangeCogReader:
    description = ArchiveDescription("test", "Test", hosts=(url.removeprefix("http://"),))
    transport = HostTransport(AllowedHosts.of_files(description))
    return RangeCogReader(transport, Signer(description), folder, since=time.time() - 600)


_HOLDER = """
import sys
from pathlib import Path
from eechips_local.archives.files.range_claims import RangeClaims
claims = RangeClaims(Path(sys.argv[1]))
claims.claim(sys.argv[2:])
for line in sys.stdin if print("held", flush=True) is None else ():
    claims.release([line.strip()])
    print("released", flush=True)
"""


@contextmanager
def holder(path: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    """Hold claims in another process."""
    command = [sys.executable, "-c", _HOLDER, str(path), *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def release(process: subprocess.Popen[str], name: str) -> None:
    """Make another process release a claim."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(name, file=process.stdin, flush=True)
    assert process.stdout.readline() == "released\n"


def is_free(claims: RangeClaims, name: str) -> bool:
    """Return whether no other process has a claim; take it, if so."""
    return claims._lock_byte(_place(name), fcntl.LOCK_EX)


def test_claims_are_waited_for_until_they_are_released_or_their_process_ends(tmp_path: Path) -> None:
    claims = RangeClaims(tmp_path / "new" / "claims")
    with holder(claims.path, "b", "a") as process:
        assert [is_free(claims, name) for name in "abc"] == [False, False, True]
        release(process, "a")
        assert [is_free(claims, name) for name in "ab"] == [True, False]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(claims.claim, ["b"], 60.0)
            process.kill()
            waiting.result(60.0)
        assert is_free(claims, "b")


def test_a_process_that_is_stuck_is_waited_for_once(tmp_path: Path) -> None:
    claims = RangeClaims(tmp_path / "claims")
    names = [str(number) for number in range(64)]
    with holder(claims.path, *names):
        assert claims.claim(names[:1], 0.01)
        with ThreadPoolExecutor(16) as pool:
            assert not any(pool.map(lambda name: claims.claim([name], 600.0), names, timeout=60.0))


def releasing(claims: RangeClaims, process: subprocess.Popen[str], name: str, then: Callable[[], object]) -> Any:
    """Return what takes a claim; when it cannot have one first, another process releases it."""
    lock_byte, refused = claims._lock_byte, []

    def lock(place: int, kind: int) -> bool:
        is_claimed = lock_byte(place, kind)
        if place == _place(name) and not is_claimed and not refused:
            refused.append(place)
            release(process, name)
            then()
        return is_claimed

    return lock


def test_processes_that_have_waited_go_on_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not queue where what they have waited for is not left on disk."""
    claims = RangeClaims(tmp_path / "claims")
    with holder(claims.path, "a") as process:
        monkeypatch.setattr(claims, "_lock_byte", releasing(claims, process, "a", lambda: None))
        assert claims.claim(["a"], 60.0)
        asking = """
import fcntl, sys
from pathlib import Path
from eechips_local.archives.files.range_claims import RangeClaims, _place
claims = RangeClaims(Path(sys.argv[1]))
print([claims._lock_byte(_place("a"), kind) for kind in (fcntl.LOCK_SH, fcntl.LOCK_EX)])
"""
        command = [sys.executable, "-c", asking, str(claims.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[True, False]\n"


@pytest.mark.parametrize("is_left", [False, True])
@pytest.mark.parametrize("part", ["header", "block"])
def test_what_another_process_fetches_is_not_fetched_again_unless_it_leaves_nothing_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, is_left: bool
) -> None:
    """If it leaves nothing, as on a full disk, no process is waited for again."""
    with object_host() as host:
        host.objects["a.tif"] = deflated()
        url, reader = f"{host.url}/a.tif", open_reader(host.url, tmp_path)
        name, window = url, PixelWindow(0, 0, 10, 10)
        if part == "block":
            layout = reader.parts.layout(RasterAddress(url, "c"))
            name = cog_parts._name(layout, layout.levels[0][1], 0)
        claims, other = reader.parts._claims, open_reader(host.url, tmp_path)
        fetched: list[tuple[int, int]] = []

        def leave() -> None:
            if is_left:
                other.open(url, collection="c").read([0], window, 0)
                other.parts.wait_until_kept()
            fetched.extend(host.ranges.get("a.tif", []))

        with holder(claims.path, name, "stuck") as process:
            monkeypatch.setattr(claims, "_lock_byte", releasing(claims, process, name, leave))
            reader.open(url, collection="c").read([0], window, 0)
            assert (host.ranges["a.tif"] == fetched) is is_left
            assert claims.claim(["stuck"], 0.01) is is_left


def test_nobody_waits_where_claims_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    claims = RangeClaims(tmp_path / "file" / "claims")
    with claims.hold("a"):
        claims.claim(["a"])
    claims.release(["a"])
