"""Processes that are started in the folder of somebody else import no module of that folder."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eechips.processes.child_processes import hide_main, module_command
from tests.support.programs import run_program

OF_PYTHON = ("json", "multiprocessing", "runpy", "signal", "socket", "tempfile", "threading")
OF_OTHERS = ("eechips", "eechips_local", "numpy", "rasterio")
SAFE = pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python has no PYTHONSAFEPATH")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder of this test; its modules tell when they are imported."""
    for name in OF_PYTHON + OF_OTHERS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "executed"


def test_a_command_of_a_module_is_that_of_python_without_the_working_folder(hostile: Path) -> None:
    asked = '{"a": 1}'
    given, expected = (
        run_program(*command, "--compact", input=asked, status=0, cwd=folder)
        for command, folder in ((module_command("json.tool"), "."), ([sys.executable, "-m", "json.tool"], "/"))
    )
    assert given.stdout == expected.stdout == '{"a":1}\n'
    assert not hostile.exists()


@SAFE
@pytest.mark.parametrize("own", ["", "of the user"])
def test_a_process_of_multiprocessing_imports_nothing_of_the_working_folder(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    """Its own programs, and those that other threads start meanwhile, have the environment of the user."""
    monkeypatch.setenv("PYTHONSAFEPATH", own)
    before = dict(os.environ)
    process = multiprocessing.get_context("spawn").Process(target=os.system, args=("echo $PYTHONSAFEPATH > own",))
    with hide_main():
        process.start()
        assert dict(os.environ) == before
    process.join()
    assert process.exitcode == 0
    assert not hostile.exists()
    assert dict(os.environ) == before
    assert hostile.with_name("own").read_text() == f"{own}\n"


@SAFE
@pytest.mark.exhaustive
def test_a_run_in_the_folder_of_somebody_else_executes_nothing_of_it(hostile: Path, tmp_path: Path) -> None:
    """The server, its workers and the workers of the run; a recipe's own programs find modules as always."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "helper.py").write_text("print('helped')\n")
    (tmp_path / "own" / "program.py").write_text("import helper\n")
    (tmp_path / "own" / "recipe.py").write_text(
        "import subprocess, sys\nfrom pathlib import Path\nfrom eechips import Table\nNEEDS_SERVICE = False\n"
        "def get_requests():\n    return [1, 2]\n"
        "def get_result(index, number):\n"
        "    program = str(Path(__file__).with_name('program.py'))\n"
        "    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)\n"
        "    return Table([{'number': number, 'said': done.stdout.strip()}])\n"
    )
    command = Path(sys.executable).with_name("eechips")
    sampling = ("sample", "--dataset", "NAIP", "--total", "2", "--roi=-105.1,39.5,-105,39.6", "--size", "16", "--local")
    for words in (sampling, ("run", "own/recipe.py", "--executor", "processes:2")):
        done = subprocess.run(
            [command, *words, "--out", f"out-{words[0]}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not hostile.exists()
    tables = b"".join(path.read_bytes() for path in (tmp_path / "out-run").rglob("*.csv"))
    assert tables.count(b"helped") >= 2


@pytest.mark.slow
@pytest.mark.parametrize("most", [12, 24, 63])
def test_too_few_open_files_are_one_sentence(most: int, tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text(
        "def get_requests():\n    return [1]\ndef get_result(index, unit):\n    return b''\n"
    )
    words = [*module_command("eechips"), "run", "recipe.py", "--local", "--out", "run"]
    limited = ["bash", "-c", f'ulimit -n {most}; exec "$@"', "limited", *words]
    ended = run_program(*limited, status=2, cwd=tmp_path)
    assert ended.stderr.splitlines() == [
        f"Error: a process may open {most} files here, too few for a run: allow more with `ulimit -n 1024`, and repeat"
        " the command"
    ]
    assert not (tmp_path / "run").exists()
