"""Signatures of run.json and others: whether this user wrote it, as it is and where it is."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from eechips.manifest.run_signature import FOLDER, SIGNATURE, is_own, is_signed, sign, sign_run

INFO: dict[str, Any] = {
    "command": "eechips run r.py",
    "directory": "/d",
    "recipe": "r",
    "identity": "0" * 64,
    "parameters": {"a": 1, "b": [1.5, "é"]},
    "call": {"command": "run", "options": {"path": "r.py"}},
    "name": "{id}",
    "source": "https://e",
    "results": None,
    "endpoint": "https://e",
    "project": "p",
    "started": "now",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def signed(folder: Path) -> dict[str, Any]:
    info = {**INFO, FOLDER: str(folder)}
    return {**info, SIGNATURE: sign_run(info)}


def test_runs_signed_by_this_user_are_recognised_and_the_key_is_private(cache: Path, tmp_path: Path) -> None:
    info = signed(tmp_path)
    assert is_own(info, tmp_path)
    assert is_own({**info, "finished": "later"}, tmp_path)
    assert is_own(json.loads(json.dumps(dict(reversed(info.items())))), tmp_path)  # the order of keys means nothing
    (key,) = cache.iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no such owner")
def test_a_key_that_another_user_has_put_into_the_cache_signs_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = signed(tmp_path)
    (key,) = cache.iterdir()
    if os.getuid() == 0:
        os.chown(key, 1002, 1002)
    owner = key.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    assert is_own(info, tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert not is_own(info, tmp_path)
    assert sign_run(info) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_key_that_lies_elsewhere_signs_nothing(cache: Path, tmp_path: Path) -> None:
    """Who may write in the cache can lead the name to any file of this user that is known, or to a pipe."""
    info = signed(tmp_path)
    (key,) = cache.iterdir()
    known = key.rename(tmp_path / "known")
    key.symlink_to(known)
    assert not is_own(info, tmp_path)
    assert sign_run(info) is None
    key.unlink()
    os.mkfifo(key)
    assert sign_run(info) is None
    key.unlink()
    known.rename(key)
    assert is_own(info, tmp_path)


@pytest.mark.parametrize("name", [*(name for name in INFO if name not in ("started", "results")), FOLDER])
def test_a_changed_field_invalidates_the_signature(name: str, tmp_path: Path) -> None:
    info = signed(tmp_path)
    assert not is_own({**info, name: "another"}, tmp_path)
    assert not is_own({key: value for key, value in info.items() if key != name}, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"a": 1, "b": ["é", 1.5]}},
        {"parameters": {"a": "1", "b": [1.5, "é"]}},
        {"command": "eechips run r.py", "directory": "eechips run r.py"},
        {"results": "s3://another/place"},
        {"call": {"command": "run", "options": {"path": "other.py"}}},
    ],
)
def test_the_order_of_values_and_their_types_are_signed(change: dict[str, Any], tmp_path: Path) -> None:
    assert not is_own({**signed(tmp_path), **change}, tmp_path)


def test_a_copy_in_another_folder_of_the_same_name_is_another_s(tmp_path: Path) -> None:
    here, there = tmp_path / "a" / "run", tmp_path / "b" / "run"
    here.mkdir(parents=True)
    shutil.copytree(here, there)
    assert is_own(signed(here), here)
    assert not is_own(signed(here), there)
    assert not is_own({**signed(here), FOLDER: str(there)}, there)
    (tmp_path / "link").symlink_to(here)
    assert is_own(signed(here), tmp_path / "link")


@pytest.mark.parametrize("kind", ["unit", "lockfile"])
def test_a_signature_of_another_kind_is_refused(kind: Any) -> None:
    assert is_signed(kind, INFO, sign(kind, INFO))
    assert not is_signed(kind, INFO, sign("run", INFO))
    assert not is_signed("run", INFO, sign(kind, INFO))


def test_runs_signed_by_another_user_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = signed(tmp_path)
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "another"))
    assert not is_own(info, tmp_path)
    sign_run(INFO)
    assert not is_own(info, tmp_path)


@pytest.mark.parametrize("signature", [None, "", "é", 7, "0" * 64, ["0" * 64]])
def test_anything_else_is_no_signature(signature: Any, tmp_path: Path) -> None:
    sign_run(INFO)
    assert not is_own({**INFO, FOLDER: str(tmp_path), SIGNATURE: signature}, tmp_path)


def test_without_a_writable_key_folder_nothing_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "file" / "cache"))
    assert sign_run(INFO) is None
    assert not is_own({**INFO, FOLDER: str(tmp_path), SIGNATURE: None}, tmp_path)
