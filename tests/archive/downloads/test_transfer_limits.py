"""Limits of transfers: bandwidth, time, disk."""

from __future__ import annotations

import contextlib
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.archive.downloads.transfer_limits import BandwidthLimiter, check_free, read_with_timeout
from eechips.errors import StorageError, TransientError


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=50), st.floats(1e5, 1e7))
def test_the_rate_is_kept(counts: list[int], rate: float) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    bucket = BandwidthLimiter(rate, clock=lambda: now[0], sleep=sleep)
    for count in counts:
        bucket.consume(count)
    assert now[0] >= sum(counts) / rate - 0.25 - 1e-6
    assert now[0] <= sum(counts) / rate + 1e-6


def test_without_a_rate_limit_no_read_waits() -> None:
    bucket = BandwidthLimiter(None, sleep=lambda seconds: pytest.fail("waited"))
    bucket.consume(10**12)
    assert bucket.read_size(1 << 19) == 1 << 19
    assert BandwidthLimiter(1e5).read_size(1 << 19) == 25_000


@pytest.mark.parametrize(("piece", "is_slow"), [(1, True), (5_000, True), (30_000, False)])
def test_a_host_that_trickles_bytes_times_out(piece: int, is_slow: bool) -> None:
    """Each piece takes 20 s to come, and 1,000 s to be written; 64 KiB must come in 60 s."""
    now = [0.0]
    body = BytesIO(bytes(250_000))

    def read() -> bytes:
        now[0] += 20.0
        return body.read(piece)

    came = 0
    with pytest.raises(TransientError, match="bytes arrived in") if is_slow else contextlib.nullcontext():
        for data in read_with_timeout(read, 60.0, lambda: now[0]):
            came += len(data)
            now[0] += 1000.0
    assert came == (4 * piece if is_slow else 250_000)


def test_a_download_larger_than_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    check_free(tmp_path)
    check_free(tmp_path, 930_000_000)
    with pytest.raises(StorageError, match=r"1\.0 GB left: 940\.0 MB are needed, and 64\.0 MB must stay free"):
        check_free(tmp_path, 940_000_000)
