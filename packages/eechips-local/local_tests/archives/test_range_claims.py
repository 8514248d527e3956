"""Processes that need the same part of a file at one time fetch it once."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.io import MemoryFile

from eechips_local.archives.allowed_hosts import AllowedHosts
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.checked_connections import HostTransport
from eechips_local.archives.cog_raster import RangeCogReader
from eechips_local.archives.range_claims import RangeClaims
from eechips_local.archives.signing import Signer
from eechips_local.evaluation.model import PixelWindow
from local_tests.support.object_host import object_host

_HOLDER = """
import sys
from pathlib import Path
from eechips_local.archives.range_claims import RangeClaims
claims = RangeClaims(Path(sys.argv[1]))
claims.claim(["b", "a"])
for line in sys.stdin if print("held", flush=True) is None else ():
    claims.release([line.strip()])
    print("released", flush=True)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold the claims of "a" and "b" in another process."""
    command = [sys.executable, "-c", _HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def is_free(claims: RangeClaims, name: str) -> bool:
    """Return whether a claim takes no time, of a tenth of a second at most."""
    begin = time.monotonic()
    claims.claim([name], 0.1)
    return time.monotonic() - begin < 0.1


def test_claims_are_waited_for_until_they_are_released_or_their_process_ends(tmp_path: Path) -> None:
    claims = RangeClaims(tmp_path / "new" / "claims")
    with holder(claims.path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert [is_free(claims, name) for name in "abc"] == [False, False, True]
        print("a", file=process.stdin, flush=True)
        assert process.stdout.readline() == "released\n"
        assert [is_free(claims, name) for name in "ab"] == [True, False]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(claims.claim, ["b"], 60.0)
            process.kill()
            waiting.result(30.0)


def test_nobody_waits_where_claims_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    claims = RangeClaims(tmp_path / "file" / "claims")
    with claims.hold("a"):
        claims.claim(["a"])
    claims.release(["a"])


_started: list[Any] = []  # in the processes of the pool


def _start(barrier: Any) -> None:
    _started.append(barrier)


def _read(url: str, folder: Path) -> Any:
    description = ArchiveDescription("test", "Test", hosts=(url.removeprefix("http://"),))
    reader = RangeCogReader(
        HostTransport(AllowedHosts.of_files(description)), Signer(description), folder, since=time.time() - 600
    )
    _started[0].wait(60.0)
    return reader.open(f"{url}/a.tif", collection="c").read([0], PixelWindow(5, 7, 600, 500), 0)[0]


@pytest.mark.slow
def test_processes_fetch_headers_and_blocks_once(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 255, (1, 1024, 1024)).astype("uint8")
    profile: dict[str, Any] = {"driver": "GTiff", "width": 1024, "height": 1024, "count": 1, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with MemoryFile() as memory:
        with memory.open(**profile, crs="EPSG:32613", transform=Affine.scale(10, -10)) as dataset:
            dataset.write(values)
        content = bytes(memory.getbuffer())
    context = multiprocessing.get_context("spawn")
    with object_host() as host, context.Pool(3, _start, (context.Barrier(3),)) as pool:
        host.objects["a.tif"] = content
        host.gate.clear()
        results = [pool.apply_async(_read, (host.url, tmp_path)) for _ in range(3)]
        end = time.monotonic() + 60.0
        while not host.busy:
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.5)  # for those that ask, although another has
        host.gate.set()
        for result in results:
            np.testing.assert_array_equal(result.get(60.0), values[:, 7:507, 5:605])
    ranges = sorted(host.ranges["a.tif"])
    assert all(last < first for (_, last), (first, _) in pairwise(ranges[1:])), ranges  # behind the header
    assert [first for first, _ in ranges].count(0) == 1
