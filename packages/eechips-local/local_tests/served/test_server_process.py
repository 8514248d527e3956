"""The process of a local Earth Engine executes nothing of the folder that it is started in, and loads what it needs."""

from __future__ import annotations

import subprocess
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


@pytest.mark.slow
def test_neither_the_server_nor_a_worker_without_archives_loads_what_only_others_need() -> None:
    program = (
        "import sys\n"
        "import eechips_local.server\n"
        "print({'numpy', 'pyarrow', 'rasterio', 'shapely'} & sys.modules.keys())\n"
        "from eechips_local.assets.table_cache import held_bytes\n"
        "from eechips_local.evaluation.service_limits import ServiceLimits\n"
        "from eechips_local.evaluation.request_processor import RequestProcessor\n"
        "from eechips_local.protocol.messages import WorkerRequest\n"
        "from eechips_local.stores import StoreConfig\n"
        "processor = RequestProcessor(StoreConfig(demo=True), ServiceLimits())\n"
        "print(processor.process(WorkerRequest('store:archives')).content.decode(), held_bytes())\n"
        "print({'pyarrow', 'eechips_local.archives.archive_summary'} & sys.modules.keys())\n"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.splitlines() == ["set()", '{"archives":[]} 0', "set()"]


@pytest.mark.slow
def test_a_fork_that_leaves_the_block_keeps_the_server() -> None:
    """The fork ended the server that its parent used."""
    program = (
        "import os, sys\n"
        "from eechips_local.server_process import server_process\n"
        "with server_process('--no-demo') as server:\n"
        "    process = os.fork()\n"
        "    if process == 0:\n"
        "        sys.exit(3)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), server.requests())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("3 []\n", "", 0)
