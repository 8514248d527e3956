"""No other user can put a file into a cache, whatever the umask is: what lies there is believed when it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from eechips_local.archives.archive_list import AEF, EARTH_SEARCH
from eechips_local.archives.archive_opening import open_archive
from eechips_local.demo.painting import drawing_cache
from local_tests.support.captured_log import CapturedLog


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize(
    "write",
    [
        lambda: open_archive(EARTH_SEARCH),
        lambda: open_archive(AEF),
        lambda: drawing_cache.kept("x", lambda: {"a": np.zeros(3)}),
    ],
)
@pytest.mark.usefixtures("no_umask")
def test_caches_are_the_user_s_alone(
    write: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    monkeypatch.delenv("EECHIPS_CACHE", raising=False)
    write()
    top, *inner = sorted(path for path in tmp_path.rglob("*") if path.is_dir())
    assert inner
    assert [path.stat().st_mode & 0o777 for path in (top, inner[0])] == [0o700, 0o700]


def test_a_cache_that_every_user_may_write_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: CapturedLog
) -> None:
    folder = tmp_path / "eechips-local" / "archives"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    open_archive(EARTH_SEARCH)
    open_archive(EARTH_SEARCH)
    assert caplog.messages == [f"Every user may replace the files in {folder}, which are trusted: chmod o-w it."]
