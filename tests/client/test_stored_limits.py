"""Learned quotas: complete, shared by processes, and optional."""

from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips.client.quota.stored_limits import FOLDER, LearnedLimit, load_learned_limit, save_learned_limit
from eechips.files.local_paths import CACHE_VARIABLE, cache_folder

SERVICE = "https://earthengine-highvolume.googleapis.com"
LOOPBACK = "http://127.0.0.1:43210"
FORTY = LearnedLimit(40, False, "2026-01-02T03:04:05.678Z")
FOUR = LearnedLimit(4, True, "2026-02-02T03:04:05.678Z")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "not" / "there" / "yet"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def _stored(cache: Path) -> Path:
    """Return the file of the only limit that is stored."""
    (path,) = (cache / FOLDER).iterdir()
    return path


def test_the_last_learned_limit_is_loaded(cache: Path) -> None:
    assert load_learned_limit(SERVICE, "mine") is None
    assert save_learned_limit(SERVICE, "mine", FORTY)
    assert save_learned_limit(SERVICE, "other", FOUR)
    assert save_learned_limit(LOOPBACK, "mine", FOUR)
    assert load_learned_limit(SERVICE, "mine") == FORTY
    assert save_learned_limit(SERVICE, "mine", FOUR)
    for endpoint, project in ((SERVICE, "mine"), (SERVICE, "other"), (LOOPBACK, "mine")):
        assert load_learned_limit(endpoint, project) == FOUR
    assert load_learned_limit(LOOPBACK, "other") is None


@pytest.mark.parametrize(
    "damaged",
    [
        b"", b"{", b"\xff\xfe", b"null", b"[1]", b"[" * 100_000, b"3",
        b'{"in_flight": 40}',
        b'{"in_flight": 0, "restricted": false, "seen": ""}',
        b'{"in_flight": true, "restricted": false, "seen": ""}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_ignored_and_rewritten(cache: Path, damaged: bytes) -> None:
    assert save_learned_limit(SERVICE, "mine", FOUR)
    _stored(cache).write_bytes(damaged)
    assert load_learned_limit(SERVICE, "mine") is None
    assert save_learned_limit(SERVICE, "mine", FORTY)
    assert load_learned_limit(SERVICE, "mine") == FORTY


@pytest.mark.slow
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["a", "in_flight", "restricted", "seen"]), inner)
        ),
        max_leaves=20,
    )
)
def test_any_json_is_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        assert save_learned_limit("a", "a", FOUR)
        _stored(folder).write_text(json.dumps(content))
        found = load_learned_limit("a", "a")
    assert found is None or found.in_flight >= 1


def test_fields_of_a_newer_version_are_ignored(cache: Path) -> None:
    assert save_learned_limit(SERVICE, "mine", FORTY)
    path = _stored(cache)
    path.write_text(json.dumps({**json.loads(path.read_text()), "of a newer version": 1}))
    assert load_learned_limit(SERVICE, "mine") == FORTY


def test_an_unwritable_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "folder"))
    assert not save_learned_limit(SERVICE, "mine", FORTY)
    assert load_learned_limit(SERVICE, "mine") is None
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert save_learned_limit(SERVICE, "mine", FORTY)
    path = _stored(tmp_path)
    path.unlink()
    path.mkdir()
    assert not save_learned_limit(SERVICE, "mine", FORTY)


def test_loopback_is_remembered_only_where_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert not save_learned_limit(LOOPBACK, "local", FORTY)
    assert not (tmp_path / "xdg").exists()
    assert save_learned_limit(SERVICE, "mine", FORTY)
    assert load_learned_limit(SERVICE, "mine") == FORTY
    assert _stored(tmp_path / "xdg" / "eechips").is_file()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "named"))
    assert load_learned_limit(SERVICE, "mine") is None
    assert save_learned_limit(LOOPBACK, "local", FOUR)
    assert load_learned_limit(LOOPBACK, "local") == FOUR


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for relative in ("", "cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_folder() == tmp_path / ".cache" / "eechips"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "eechips"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def _write_many(writer: int) -> None:
    for n in range(10):
        assert save_learned_limit(SERVICE, f"project-{writer}-{n}", FORTY)
        assert save_learned_limit(SERVICE, "of all", FORTY)


@pytest.mark.slow
def test_concurrent_processes_and_threads_keep_all_limits(cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(number,)) for number in range(3)]
    threads = [threading.Thread(target=_write_many, args=(10 + number,)) for number in range(3)]
    for process in processes:
        process.start()
    for thread in threads:
        thread.start()
    for worker in [*processes, *threads]:
        worker.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list((cache / FOLDER).iterdir())) == 61
    assert load_learned_limit(SERVICE, "of all") == FORTY
