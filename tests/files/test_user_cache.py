"""The folder in which eechips caches data of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips.errors import UsageError
from eechips.files.local_paths import CACHE_VARIABLE, cache_folder


def test_a_cache_that_is_an_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "nope://b")
    with pytest.raises(UsageError, match="EECHIPS_CACHE: 'nope://b' is an address"):
        cache_folder()


def test_the_home_folder_of_a_cache_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As of a variable in a file of systemd or Docker, which no shell reads."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, "~/cache")
    assert cache_folder() == tmp_path / "cache"
