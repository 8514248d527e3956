"""The process of a local Earth Engine executes nothing of the folder that it is started in."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips_local.server_process import server_process


@pytest.mark.parametrize("name", ["eechips_local", "json", "runpy", "multiprocessing"])
def test_no_module_of_the_working_folder_is_executed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "executed"
    (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\nraise ImportError('of the folder')\n")
    monkeypatch.chdir(tmp_path)
    with server_process("--demo") as server:
        assert server.url.startswith("http://127.0.0.1:")
    assert not mark.exists()
