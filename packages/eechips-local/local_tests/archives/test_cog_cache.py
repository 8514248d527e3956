"""What is kept of rasters: for other readers, threads and processes, and within bounds."""

from __future__ import annotations

import pickle
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from urllib3.exceptions import SSLError

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription
from eechips_local.archives.files.cog_parts import CogParts
from eechips_local.archives.files.cog_raster import RangeCogReader, ReadsAhead
from eechips_local.archives.files.range_cache import RangeCache
from eechips_local.archives.hosts.allowed_hosts import AllowedHosts
from eechips_local.archives.hosts.checked_connections import HostTransport
from eechips_local.archives.hosts.signing import Signer
from eechips_local.evaluation.asset_model import PixelWindow
from local_tests.archives.cog_files import check, raster, reader_of, tiff
from local_tests.support.object_host import ObjectHost
from local_tests.support.stopped_clock import StoppedClock


@pytest.mark.slow
def test_header_and_blocks_are_kept_for_other_readers(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(2000, 2000, tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    host.objects["a.tif"] = content
    area, since = PixelWindow(300, 300, 400, 100), time.time()
    check(content, raster(host, tmp_path, since=since), [0], area)
    assert host.requests() == 2  # the header, and two adjacent blocks
    check(content, raster(host, tmp_path, since=since), [0], area)
    assert host.requests() == 2
    check(content, raster(host, tmp_path, since=since), [0], PixelWindow(300, 300, 400, 400))
    assert host.requests() == 3


def test_what_is_kept_is_checked_once_by_the_processes_of_a_later_server(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True)
    host.objects["a.tif"] = content
    area = PixelWindow(10, 10, 20, 20)
    check(content, raster(host, tmp_path), [0], area)
    host.ranges.clear()
    reader = reader_of(host, tmp_path)
    for each in (reader, pickle.loads(pickle.dumps(reader)), reader):
        check(content, each.open(f"{host.url}/a.tif", collection="c"), [0], area)
    assert host.ranges == {"a.tif": [(0, 0)]}


@pytest.mark.parametrize("has_etags", [True, False])
def test_file_that_changes_between_servers_is_read_anew(has_etags: bool, host: ObjectHost, tmp_path: Path) -> None:
    host.has_etags = has_etags
    area = PixelWindow(10, 10, 20, 20)
    host.objects["a.tif"] = tiff(1000, 1000, tiled=True)
    before = raster(host, tmp_path)
    before.read([0], area, 0)
    host.objects["a.tif"] = changed = tiff(1000, 1300, tiled=True)
    after = raster(host, tmp_path)
    check(changed, after, [0], area)
    assert after.header.version != before.header.version


def test_file_is_asked_for_its_version_again_after_an_hour(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    area, clock = PixelWindow(10, 10, 20, 20), StoppedClock()
    found = raster(host, tmp_path, clock=clock)
    check(content, found, [0], area)
    clock.advance(3599)
    check(content, found, [0], area)
    assert host.requests() == 2
    clock.advance(2)
    check(content, found, [0], area)
    assert host.requests() == 3
    host.objects["a.tif"] = tiff(1000, 1300, tiled=True)
    clock.advance(3699)
    with pytest.raises(ArchiveRefusedError, match="has changed since it was first read"):
        found.read([0], area, 0)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("socket.getaddrinfo", socket.gaierror(socket.EAI_AGAIN, "no network")),
        ("urllib3.PoolManager.request", SSLError(ssl.SSLCertVerificationError("of a login page"))),
    ],
)
def test_what_is_kept_is_used_without_a_network(
    place: str, error: Exception, host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    host.url = host.url.replace("127.0.0.1", "localhost")
    area = PixelWindow(10, 10, 20, 20)
    check(content, raster(host, tmp_path), [0], area)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(place, fail)
    check(content, raster(host, tmp_path, clock=StoppedClock()), [0], area)
    assert host.requests() == 2


def test_what_is_not_kept_waits_for_a_network(
    tmp_path: Path, host: ObjectHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.objects["a.tif"] = tiff(1000, 1000, tiled=True)
    host.url = host.url.replace("127.0.0.1", "localhost")

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "no network")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    clock = StoppedClock()
    with pytest.raises(ArchiveError, match="is there a network"):
        raster(host, tmp_path, clock=clock).read([0], PixelWindow(900, 900, 10, 10), 0)
    assert host.requests() == 0
    assert clock.monotonic() >= 0.5 * (0.25 + 0.5 + 1.0 + 2.0 + 4.0)


def test_window_read_ahead_of_another_version_is_not_taken(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = tiff(1000, 1000, tiled=True)
    area = PixelWindow(10, 10, 20, 20)
    found = raster(host, tmp_path)
    found.prefetch([0], area, 0)
    while host.requests() < 2:
        time.sleep(0.01)
    host.objects["a.tif"] = changed = tiff(1000, 1300, tiled=True)
    with pytest.raises(ArchiveRefusedError, match="has changed"):
        found.read([0], PixelWindow(900, 900, 10, 10), 0)
    check(changed, raster(host, tmp_path), [0], area)


@pytest.mark.parametrize("has_etags", [True, False])
def test_file_that_changes_is_refused_by_all_processes_of_a_server(
    has_etags: bool, host: ObjectHost, tmp_path: Path
) -> None:
    host.has_etags = has_etags
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    found, corner, later = raster(host, tmp_path), PixelWindow(0, 0, 10, 10), PixelWindow(900, 900, 10, 10)
    found.read([0], corner, 0)
    host.objects["a.tif"] = changed = tiff(1000, 1300, tiled=True)
    for process in (found, pickle.loads(pickle.dumps(found))):
        for asked in (1, 0):  # once by each process
            before = host.requests()
            with pytest.raises(ArchiveRefusedError, match="has changed since it was first read"):
                process.read([0], later, 0)
            assert host.requests() - before == asked
            check(content, process, [0], corner)  # what was read before
    check(changed, raster(host, tmp_path), [0], later)


def test_file_that_changes_between_two_processes_that_read_its_header_is_refused(
    host: ObjectHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.objects["a.tif"] = tiff(1000, 1000, tiled=True)
    first = raster(host, tmp_path)
    second = pickle.loads(pickle.dumps(first))
    with monkeypatch.context() as patch:  # neither finds what the other keeps when it begins
        patch.setattr(CogParts, "_kept_header", lambda *_: (None, False))
        first.read([0], PixelWindow(0, 0, 10, 10), 0)
        host.objects["a.tif"] = tiff(1000, 1300, tiled=True)
        with pytest.raises(ArchiveRefusedError, match="has changed"):
            second.read([0], PixelWindow(0, 0, 10, 10), 0)


def test_window_that_could_not_be_read_ahead_is_read_when_it_is_needed() -> None:
    ahead = ReadsAhead(1000)
    ended = threading.Semaphore(0)

    def fail() -> None:
        raise ArchiveError("busy")

    def read() -> int:
        ended.release()
        return 7

    for key in "abc":
        ahead.begin(key, 500, fail)
    for key in "de":  # both have room only when the bytes of what failed are free again
        ahead.begin(key, 500, read)
    assert ended.acquire(timeout=60)
    assert ended.acquire(timeout=60)
    assert all(ahead.take(key) is None for key in "abc")
    found = ahead.take("d")
    assert found is not None
    assert found.result(10) == 7
    ahead.begin("a", 500, read)
    found = ahead.take("a")
    assert found is not None
    assert found.result(10) == 7


def test_file_with_damaged_blocks_is_refused_until_it_is_mended(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True, compress="deflate")
    host.has_etags = False  # so that both files are one version
    host.objects["a.tif"] = content[:-20_000] + bytes(20_000)
    area = PixelWindow(900, 900, 100, 100)
    found = raster(host, tmp_path)
    with pytest.raises(ArchiveRefusedError, match=r"a\.tif: its pixels cannot be decoded.* fetched twice"):
        found.read([0], area, 0)
    assert host.requests() == 3  # the header, and the blocks twice
    host.objects["a.tif"] = content
    check(content, found, [0], area)


def test_blocks_that_are_damaged_on_their_way_are_fetched_again(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True, compress="deflate")
    host.faults = [None, "damage"]
    area = PixelWindow(900, 900, 100, 100)
    check(content, raster(host, tmp_path), [0], area)
    check(content, raster(host, tmp_path), [0], area)


def test_prefetched_windows_are_fetched_together(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True, compress="deflate")
    names = [f"{i}.tif" for i in range(6)]
    host.objects = dict.fromkeys(names, content)
    reader = reader_of(host, tmp_path)
    files = [reader.open(f"{host.url}/{name}", collection="c") for name in names]
    host.gate.clear()
    for file in files:
        file.prefetch_header()
    while host.busy < len(files):
        assert host.most_busy <= len(files)
    host.gate.set()
    area = PixelWindow(500, 500, 300, 300)
    for file in files:
        file.prefetch([0], area, 0)
    for file in files:
        check(content, file, [0], area)
    assert host.most_busy >= len(files)
    for ranges in host.ranges.values():
        assert len(ranges) == len(set(ranges))


def test_kept_blocks_are_bounded_and_damaged_ones_are_fetched_again(host: ObjectHost, tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "kept", 100_000)
    for number in range(40):
        cache.put(f"part {number}", bytes([number]) * 10_000)
    files = [path for path in (tmp_path / "kept").glob("*/*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 110_100
    assert cache.get("part 39") == bytes([39]) * 10_000
    assert cache.get("part 0") is None
    content = tiff(1000, 1000, tiled=True)
    host.objects["a.tif"] = content
    area = PixelWindow(10, 10, 600, 300)
    check(content, raster(host, tmp_path), [0], area)
    for path in (tmp_path / "blocks").glob("*/*"):
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
    check(content, raster(host, tmp_path), [0], area)


def test_part_under_the_name_of_another_counts_as_missing(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 100_000)
    cache.put("a", b"1" * 100)
    (first,) = tmp_path.glob("*/*")
    cache.put("b", b"2" * 100)
    (second,) = (path for path in tmp_path.glob("*/*") if path != first)
    second.write_bytes(first.read_bytes())
    assert cache.get("a") == b"1" * 100
    assert cache.get("b") is None


def test_kept_blocks_are_bounded_over_short_runs(tmp_path: Path) -> None:
    for number in range(40):
        cache = RangeCache(tmp_path, 100_000)  # as in a process of its own
        cache.put(f"part {number}", bytes(4_000))
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 100_000
    assert cache.get("part 39") == bytes(4_000)


@pytest.mark.slow
def test_threads_share_what_they_fetch(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(2000, 1000, tiled=True, compress="deflate")
    host.objects["a.tif"] = content
    area = PixelWindow(500, 500, 300, 300)
    reader_of(host, tmp_path / "alone").open(f"{host.url}/a.tif", collection="c").read([0], area, 0)
    alone = sorted(host.ranges.pop("a.tif"))
    assert len(alone) == 4  # the header, and three rows of blocks
    found, start = raster(host, tmp_path), threading.Barrier(8)

    def read(number: int) -> None:
        start.wait(30)
        check(content, found, [0], area)
        found.prefetch([0], area, 0)
        check(content, found, [0], area)

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(read, range(8)))) == 8
    assert sorted(host.ranges["a.tif"]) == alone


def test_threads_share_the_error_of_what_they_fetch(host: ObjectHost, tmp_path: Path) -> None:
    host.gate.clear()
    found = raster(host, tmp_path)
    waiting = found.reader.parts.prefetch_layout(found.address)
    others = [found.reader.parts.prefetch_layout(found.address) for _ in range(5)]
    assert all(other is waiting for other in others)
    host.gate.set()
    with pytest.raises(ArchiveRefusedError, match="HTTP 404"):
        waiting.result(30)
    host.objects["a.tif"] = content = tiff()
    check(content, found, [0], PixelWindow(0, 0, 9, 9))


def test_threads_do_not_wait_for_what_nobody_fetches(host: ObjectHost, tmp_path: Path) -> None:
    found = raster(host, tmp_path)
    host.objects["a.tif"] = tiff()
    found.prefetch_header()
    found.read([0], PixelWindow(0, 0, 9, 9), 0)
    with ThreadPoolExecutor(1) as ended:
        found.reader.parts._pool, pool = ended, found.reader.parts._pool
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shutdown"):
            found.read([0], PixelWindow(0, 190, 9, 9), 0)
    found.reader.parts._pool = pool
    found.read([0], PixelWindow(0, 190, 9, 9), 0)


def test_pixels_are_read_where_nothing_can_be_kept(host: ObjectHost, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "kept"  # no folder can be made here, by whichever user
    content = tiff(1000, 1000, tiled=True)
    host.objects = {f"{i}.tif": content for i in range(8)}
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    transport = HostTransport(AllowedHosts.of_files(description))
    reader = pickle.loads(pickle.dumps(RangeCogReader(transport, Signer(description), folder, connections=2)))
    files = [reader.open(f"{host.url}/{name}", collection="c") for name in host.objects]
    host.gate.clear()
    for file in files:
        file.prefetch_header()
    while host.busy < 2:
        assert host.most_busy <= 2
    host.gate.set()
    for file in files:
        check(content, file, [0], PixelWindow(10, 10, 20, 20))
    assert host.most_busy == 2


@pytest.mark.slow
def test_processes_share_the_connections_of_a_host(host: ObjectHost, tmp_path: Path) -> None:
    content = tiff(1000, 1000, tiled=True)
    host.objects = {f"{i}.tif": content for i in range(24)}
    description = ArchiveDescription("test", "Test", hosts=(host.url.removeprefix("http://"),))
    readers = [
        RangeCogReader(
            HostTransport(AllowedHosts.of_files(description)), Signer(description), tmp_path / "kept", connections=3
        )
        for _ in range(3)  # as in three processes: locks belong to opened files
    ]
    files = [readers[i % 3].open(f"{host.url}/{i}.tif", collection="c") for i in range(24)]
    host.gate.clear()
    for file in files:
        file.prefetch_header()
    while host.busy < 3:
        assert host.most_busy <= 3
    host.gate.set()
    for file in files:
        check(content, file, [0], PixelWindow(10, 10, 20, 20))
    assert host.most_busy == 3


def test_clock_that_is_set_back_costs_one_request_a_file(host: ObjectHost, tmp_path: Path) -> None:
    host.objects["a.tif"] = content = tiff(1000, 1000, tiled=True)
    area, clock = PixelWindow(10, 10, 20, 20), StoppedClock()
    found = raster(host, tmp_path, clock=clock)
    clock.advance(10)
    check(content, found, [0], area)
    clock.start -= 7200.0
    before = host.requests()
    for _ in range(4):
        check(content, found, [0], area)
    assert host.requests() == before + 1
    host.objects["a.tif"] = tiff(1000, 1300, tiled=True)
    with pytest.raises(ArchiveRefusedError, match="has changed since it was first read"):
        found.read([0], PixelWindow(900, 900, 20, 20), 0)
