"""`eechips trust`: the run of another user is used like an own run after permission."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from tests.support.commands import run_command
from tests.support.finished_run import move_results, pictures, write_run


def test_results_at_an_address_are_used_once_the_run_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "theirs"))
    run = write_run(tmp_path / "run", pictures(3))
    files = fsspec.filesystem("memory")
    for name in run.units["file"]:
        files.pipe_file(f"/trusted/{name}", (run.path / name).read_bytes())
    move_results(run, "memory://trusted")
    run_command("verify", run.path, status=0)
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "mine"))
    assert "eechips trust" in run_command("verify", run.path).output
    asked = run_command("trust", run.path)
    assert (asked.exit_code, "memory://trusted" in asked.output) == (2, True)
    run_command("verify", run.path, status=2)
    run_command("trust", run.path, "--yes", status=0)
    assert "all present and intact" in run_command("verify", run.path).output
    assert "is yours already" in run_command("trust", run.path).output
    files.rm("trusted", recursive=True)


def test_trust_requires_a_writable_key_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "file" / "cache"))
    run = write_run(tmp_path / "run", pictures(1), command="eechips run x.py")
    result = run_command("trust", run.path, "--yes")
    assert (result.exit_code, "EECHIPS_CACHE" in result.output) == (2, True)
