"""The process of a local Earth Engine executes nothing of the folder that it is started in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from eechips_local.server_process import server_process


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="the fork server of this Python has no PYTHONSAFEPATH")
def test_no_module_of_the_working_folder_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "executed"
    for name in ("eechips_local", "json", "runpy", "multiprocessing"):
        text = f"open({str(mark)!r}, 'a').write({name!r})\nraise ImportError('of the folder')\n"
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    with server_process("--demo") as server:
        assert server.url.startswith("http://127.0.0.1:")
    assert not mark.exists(), mark.read_text()
