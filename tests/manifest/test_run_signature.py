"""Signatures of run.json: whether this user wrote it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from eechips.manifest.run_signature import SIGNATURE, is_own, sign

INFO = {"command": "eechips run r.py", "directory": "/d", "endpoint": "https://e", "project": "p", "started": "now"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_runs_signed_by_this_user_are_recognised_and_the_key_is_private(cache: Path) -> None:
    signed = {**INFO, SIGNATURE: sign(INFO)}
    assert is_own(signed)
    assert is_own({**signed, "finished": "later"})
    (key,) = cache.iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["command", "directory", "endpoint", "project"])
def test_a_changed_field_invalidates_the_signature(name: str) -> None:
    signed = {**INFO, SIGNATURE: sign(INFO)}
    assert not is_own({**signed, name: "another"})
    assert not is_own({key: value for key, value in signed.items() if key != name})


def test_runs_signed_by_another_user_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = {**INFO, SIGNATURE: sign(INFO)}
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "another"))
    assert not is_own(signed)
    sign(INFO)
    assert not is_own(signed)


def test_without_a_writable_key_folder_nothing_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "file" / "cache"))
    assert sign(INFO) is None
    assert not is_own({**INFO, SIGNATURE: None})
