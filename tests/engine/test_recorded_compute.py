"""The measured compute of earlier runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips.engine.costs.compute_sample import (
    FOLDER,
    ComputeSample,
    RecordedCompute,
    load_recorded_compute,
    save_recorded_compute,
)
from eechips.files.local_paths import CACHE_VARIABLE

SERVICE = "https://earthengine-highvolume.googleapis.com"
RECORDED = RecordedCompute(ComputeSample().add(1, 2.0).add(1, 2.0), 1024, "2026-11-23T09:00:00Z")


def test_it_is_kept_by_service_and_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert load_recorded_compute(SERVICE, "sample NAIP") is None
    assert save_recorded_compute(SERVICE, "sample NAIP", RECORDED)
    assert load_recorded_compute(SERVICE, "sample NAIP") == RECORDED
    assert load_recorded_compute(SERVICE, "sample S2") is None
    assert load_recorded_compute("http://127.0.0.1:1", "sample NAIP") is None


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    save_recorded_compute(SERVICE, "sample NAIP", RECORDED)
    (file,) = (tmp_path / FOLDER).iterdir()
    whole = file.read_bytes()
    for content in (
        b"",
        b"[]",
        whole.replace(b"2.0", b"NaN"),
        whole.replace(b"2.0", b"1e999"),
        b'{"sample": {"assignments": "many"}, "pixels": 0}',
        b'{"sample": {"no": 1}}',
    ):
        file.write_bytes(content)
        assert load_recorded_compute(SERVICE, "sample NAIP") is None


def test_servers_on_loopback_are_not_recorded_for_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not save_recorded_compute("http://127.0.0.1:8080", "sample NAIP", RECORDED)


def test_the_range_is_wide_and_wider_for_other_sizes() -> None:
    same = RECORDED.estimate(100, 1024)
    assert same is not None
    assert (same.low, same.seconds, same.high) == (100.0, 200.0, 400.0)
    larger = RECORDED.estimate(100, 4096)
    assert larger is not None
    assert (larger.low, larger.seconds, larger.high) == (100.0, 400.0, 1600.0)
    assert RecordedCompute(ComputeSample(), 0, "").estimate(1, 0) is None
