"""The folder in which eechips caches data of a user."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eechips.client.quota.quota_folder import QuotaFolder, default_quota_folder
from eechips.client.quota.stored_limits import LearnedLimit, save_learned_limit
from eechips.errors import UsageError
from eechips.files.local_paths import CACHE_VARIABLE, cache_folder
from eechips.manifest.run_signature import sealing_key
from local_tests.support.captured_log import CapturedLog


def test_a_cache_that_is_an_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "nope://b")
    with pytest.raises(UsageError, match="EECHIPS_CACHE: 'nope://b' is an address"):
        cache_folder()


def test_the_home_folder_of_a_cache_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As of a variable in a file of systemd or Docker, which no shell reads."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, "~/cache")
    assert cache_folder() == tmp_path / "cache"


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def write_limit() -> None:
    assert save_learned_limit("https://service", "project", LearnedLimit(40, False, "2026-01-01T00:00:00Z"))


def write_quota() -> None:
    place = default_quota_folder()
    assert place is not None
    QuotaFolder(place, "https://service", "project").prepare()


@pytest.mark.parametrize("write", [write_limit, write_quota, lambda: sealing_key("run")])
@pytest.mark.usefixtures("no_umask")
def test_no_other_user_can_put_a_file_into_the_cache(
    write: Callable[[], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What lies there is believed when it is read: limits, quotas, the key of signatures."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "new" / "cache"))
    write()
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert tmp_path / "new" / "cache" in folders
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_a_cache_that_every_user_may_write_is_named_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: CapturedLog
) -> None:
    for name, mode in (("own", 0o755), ("sticky", 0o1777), ("open", 0o777)):  # as /tmp is sticky
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / name))
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        write_limit()
        write_quota()
    assert caplog.messages == [
        f"every user may replace the files in {tmp_path / 'open'}, which eechips trusts: chmod o-w it"
    ]
