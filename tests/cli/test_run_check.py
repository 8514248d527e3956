"""``eechips run --check``: three units, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

import eechips
from eechips.builtin_recipes.recipe_check import spread
from eechips.errors import UsageError
from eechips.text.formatting import format_count
from local_tests.support.local_earth_engine import Server
from tests.support.commands import run_command

RECIPE = """
import numpy as np
from eechips import Table

def get_requests(count=1000):
    return [{"number": number} for number in range(count)]

def get_result(index, unit, bad=-1):
    assert index == unit["number"]
    if index == bad:
        return helper(unit)
    if index == 0:
        return np.zeros((4, 5), dtype="int16")
    return Table([{"number": index, "square": index**2}], name=f"tables/{index}")

def helper(unit):
    raise ValueError(f"{unit['number']} is bad")

NEEDS_SERVICE = False
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a recipe; temporary folders are made below it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "recipe.py").write_text(RECIPE)
    return tmp_path


def check(server: Server, *words: str, status: int | None = None) -> Result:
    return run_command("run", "recipe.py", "--check", "--endpoint", server.url, "--rate", "none", *words, status=status)


def left(folder: Path) -> list[str]:
    """Return files beside the recipe, without those that the processes themselves keep."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".py")


@pytest.mark.slow
def test_every_file_of_a_unit_is_shown(demo_server: Server, folder: Path) -> None:
    (folder / "recipe.py").write_text(
        "import numpy as np\nfrom eechips import Table\n"
        "def get_requests():\n    return [1]\n"
        "def get_result(index, unit):\n"
        "    return {'first': np.zeros((4, 5)), 'second': np.zeros((2, 3)), 'third': Table([{'a': 1}])}\n"
    )
    done = check(demo_server, status=0)
    shown = [line for line in done.output.splitlines() if line.startswith("  file: ")]
    assert len(shown) == 3
    assert [name in line for name, line in zip(("first", "second", "third"), shown, strict=True)] == [True] * 3


@pytest.mark.slow
def test_three_units_are_shown(demo_server: Server, folder: Path) -> None:
    done = check(demo_server, status=0)
    lines = done.output.splitlines()
    assert lines[0] == "recipe: 1,000 units; tested: 3"
    assert [line for line in lines if line.startswith("unit")] == [
        'unit 0  {"number":0}',
        'unit 500  {"number":500}',
        'unit 999  {"number":999}',
    ]
    assert "  pixels: 5x4 of int16; bands: no names" in lines
    assert "  file: tables/500.csv" in lines
    assert "  table: 1 row; columns: number, square" in lines
    assert lines[-1] == "failed     0 of 3"
    assert lines[-2].startswith("whole run  about 0 requests, ")
    assert left(folder) == []


@pytest.mark.slow
def test_failures_have_the_traceback_of_the_recipe(demo_server: Server, folder: Path) -> None:
    done = check(demo_server, "-p", "bad=999", status=1)
    shown = done.output[done.output.index("unit 999") :].splitlines()
    assert shown[1].startswith("  failed permanent: ")
    assert shown[2] == "  RecipeError: ValueError: 999 is bad"
    assert shown[3] == "    Traceback (most recent call last):"
    assert shown[4].startswith('      File "recipe.py", line 11, in get_result')
    assert "    ValueError: 999 is bad" in shown
    assert not any("eechips" in line for line in shown)
    assert shown[-1] == "failed     1 of 3"
    assert left(folder) == []


@pytest.mark.slow
def test_files_are_kept_beside_the_run_if_it_has_a_folder(demo_server: Server, folder: Path) -> None:
    done = check(demo_server, "--out", "results", "-p", "count=5", status=0)
    assert "files      kept in results/check" in done.output
    first = sorted((folder / "results" / "check" / "chips").glob("*.npy"))
    assert len(first) == 1
    assert sorted(p.name for p in (folder / "results" / "check" / "tables").iterdir()) == ["2.csv", "4.csv"]
    words = ["run", "recipe.py", "--endpoint", demo_server.url, "--out", "results", "-p", "count=5", "-q"]
    run_command(*words, status=0)
    run = eechips.open_run(folder / "results")
    assert run.verify() == []
    # The run has the same units, and gives them the same names and content.
    assert run.units["file"].iloc[0] == f"chips/{first[0].name}"
    for file in run.units["file"].iloc[[0, 2, 4]]:
        assert (run.path / file).read_bytes() == (run.path / "check" / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("count", "tried"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (4, [0, 2, 3])])
def test_plans_of_few_units_are_checked_entirely(demo_server: Server, count: int, tried: list[int]) -> None:
    found = eechips.run("recipe.py", count=count, endpoint=demo_server.url, rate=None, check=True)
    assert [each.unit["number"] for each in found.tried] == tried
    assert (found.units, found.failed, found.is_whole) == (count, 0, True)
    assert repr(found).startswith(f"recipe: {format_count(count, 'unit')};")


@given(first=st.integers(0, 100), count=st.integers(0, 1000), wanted=st.integers(1, 5))
def test_positions_are_spread(first: int, count: int, wanted: int) -> None:
    found = spread(first, first + count, wanted)
    assert found == sorted(set(found))
    assert len(found) == min(count, wanted)
    assert all(first <= position < first + count for position in found)
    if found:
        assert found[0] == first
    if len(found) > 1:
        assert found[-1] == first + count - 1


@pytest.mark.slow
def test_an_empty_plan_and_contradictions(demo_server: Server) -> None:
    done = check(demo_server, "-p", "count=0")
    assert (done.exit_code, done.output) == (
        2,
        "Error: get_requests of recipe returned no unit: there is nothing to try\n",
    )
    for words in (["--dry-run"], ["--estimate", "3"]):
        done = check(demo_server, *words, status=2)
        assert "--check takes neither --dry-run nor --estimate" in done.output


@pytest.mark.slow
def test_functions_are_checked_as_well(demo_server: Server, folder: Path) -> None:
    found = eechips.run(
        lambda: list(range(10)), lambda index, unit: 1 / 0, endpoint=demo_server.url, rate=None, check=True
    )
    assert found.failed == 3
    assert found.forecast is None
    assert "ZeroDivisionError" in repr(found)
    with pytest.raises(UsageError, match="neither `dry_run` nor `estimate`"):
        eechips.run("recipe.py", endpoint=demo_server.url, check=True, dry_run=True)  # type: ignore[call-overload]
    assert left(folder) == []


SCRIPT = """
import ee, multiprocessing, sys
ee.Initialize()

def work(number):
    with open(f"result_{number}.txt", "w") as file:
        file.write(str(number * int(sys.argv[1])))
    return number

if __name__ == "__main__":
    with multiprocessing.Pool(4) as pool:
        print("sum", sum(pool.map(work, range(100))))
"""


def test_a_check_stores_nothing_in_an_object_store(folder: Path) -> None:
    """A check keeps nothing there; a run shows what is there."""
    options: dict[str, Any] = {"out": f"file://{folder}/bucket", "ledger": folder / "ledger"}
    options |= {"executor": "threads", "quiet": True}
    found = eechips.run("recipe.py", count=3, check=True, **options)
    assert (found.failed, found.kept) == (0, None)
    assert left(folder) == []
    for name in ("chips", "tables"):  # real stores have no folders
        (folder / "bucket" / name).mkdir(parents=True)
    shown = eechips.run("recipe.py", count=3, **options)._repr_html_()
    assert f"in <code>file://{folder}/bucket</code>" in shown
    assert "data:image/png;base64," in shown
    assert "<th>square</th>" in shown


@pytest.mark.slow
def test_scripts_with_a_pool_are_checked(demo_server: Server, folder: Path) -> None:
    """Of what a script gives its pool, three calls are made; then it is stopped."""
    (folder / "script.py").write_text(SCRIPT)
    words = ["run", "script.py", "--check", "--endpoint", demo_server.url, "--out", "kept", "--", "7"]
    done = run_command(*words, status=0)
    assert "script: 100 units so far (it plans as it goes); tested: 3" in done.output
    assert "sum" not in done.output
    kept = {path.name: path.read_text() for path in (folder / "kept" / "check").iterdir()}
    assert kept == {"result_0.txt": "0", "result_50.txt": "350", "result_99.txt": "693"}
    assert [name for name in left(folder) if not name.startswith("kept/check/")] == []


def test_a_dry_run_of_a_script_names_the_check(folder: Path) -> None:
    """A script has no plan before it runs, so that nothing is started and no folder is made."""
    (folder / "script.py").write_text(SCRIPT)
    done = run_command("run", "script.py", "--local", "--dry-run", "--", "2", status=2)
    assert "script is a script, whose units are unknown before it runs: --check makes three" in done.output
    assert not (folder / "outputs").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_interrupt_leaves_nothing(demo_server: Server, folder: Path) -> None:
    text = RECIPE.replace(
        "    if index == 0:", '    open("begun", "w").close()\n    __import__("time").sleep(60)\n    if index == 0:'
    )
    (folder / "recipe.py").write_text(text)
    command = [sys.executable, "-m", "eechips", "run", "recipe.py", "--check", "--endpoint", demo_server.url]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    with process:
        while not (folder / "begun").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        while not any('"interrupted"' in log.read_text() for log in (folder / "tmp").glob("*/run.log")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # the second stops at once
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (out, err) == ("", "")
    assert left(folder) == ["begun"]
