"""Notebooks, and scripts that nbconvert made of them."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from eechips import open_run
from eechips.errors import UsageError
from eechips.scripts.script_source import read_source
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import run

CELLS = [
    "%matplotlib inline\nimport ee, os, json\nfrom multiprocessing import Pool\n!pip install geemap\nee.Initialize()",
    "%%time\n%env SUFFIX=txt\ndef work(n):\n    found = ee.Number(n).add(1).getInfo()\n"
    "    with open(f'{n}.{SUFFIX}', 'w') as f:\n        f.write(str(found))\n    return found",
    "%%capture\nSUFFIX = os.environ['SUFFIX']",
    "os.makedirs('whole', exist_ok=True)\n%time found = Pool(2).map(work, range(3))\nassert found",
    "%cd whole\n%timeit -n 1 json.dump(found, open('found.json', 'w'))\n",
]


def notebook(path: Path, cells: list[str], **metadata: Any) -> Path:
    """Write a notebook, with what Jupyter leaves beside the code."""
    shown = [{"output_type": "stream", "name": "stdout", "text": ["null\n"]}]
    code = [
        {
            "cell_type": "code",
            "source": cell.splitlines(True),
            "outputs": shown,
            "execution_count": None,
            "metadata": {},
        }
        for cell in cells
    ]
    first = {"cell_type": "markdown", "source": "# A title\nwith `code`", "metadata": {}}
    path.write_text(json.dumps({"cells": [first, *code], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


def executed(text: str, tmp_path: Path) -> dict[str, Any]:
    """The variables after a script has been executed."""
    script = tmp_path / "script.py"
    script.write_text(text)
    names: dict[str, Any] = {}
    exec(compile(read_source(script).tree, "script", "exec"), names)
    return names


@pytest.mark.slow
def test_a_notebook_runs_cell_after_cell(demo_server: Server, tmp_path: Path) -> None:
    result = run(notebook(tmp_path / "chips.ipynb", CELLS), demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "!pip install geemap" in result.stderr
    made = open_run(tmp_path / "run")
    assert list(made.units["file"]) == ["0.txt", "1.txt", "2.txt"]
    assert json.loads((tmp_path / "run" / "whole" / "found.json").read_text()) == [1, 2, 3]


AWAITED = [
    "from google.colab import auth, drive\nauth.authenticate_user()\ndrive.mount('/content/drive')\nimport sys\n"
    "assert 'google.colab' not in sys.modules  # geemap takes it for Colab",
    "import asyncio, ee\nee.Initialize()\nasync def save(n):\n"
    "    found = await asyncio.to_thread(ee.Number(n).add(1).getInfo)\n"
    "    with open(f'{n}.txt', 'w') as file:\n        file.write(str(found))\n    return found",
    "found = await asyncio.gather(*map(save, range(3)))\nassert found == [1, 2, 3]",
    "await save(3)",
]


@pytest.mark.slow
def test_cells_of_colab_may_await(demo_server: Server, tmp_path: Path) -> None:
    """Jupyter has an event loop for its cells; they were a syntax error."""
    result = run(notebook(tmp_path / "awaits.ipynb", AWAITED), demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert [(tmp_path / "run" / f"{n}.txt").read_text() for n in range(4)] == ["1", "2", "3", "4"]


def test_cells_that_await_are_refused_within_an_event_loop(tmp_path: Path) -> None:
    """In Jupyter, one runs in the thread of each cell; nothing said what to do, and the cells were not executed."""
    awaits = read_source(notebook(tmp_path / "awaits.ipynb", ["x = 1", "import asyncio\nawait asyncio.sleep(0)"]))
    plain = read_source(notebook(tmp_path / "plain.ipynb", ["x = 1"]))
    variables: dict[str, Any] = {}

    async def cell() -> None:
        with pytest.raises(UsageError, match=r"from the command line, eechips run awaits\.ipynb"):
            awaits.execute(variables)
        assert "x" not in variables
        plain.execute(variables)

    asyncio.run(cell())
    assert variables.pop("x") == 1
    awaits.execute(variables)
    assert variables["x"] == 1


@pytest.mark.slow
def test_an_error_in_a_notebook_is_reported_with_its_line(demo_server: Server, tmp_path: Path) -> None:
    result = run(notebook(tmp_path / "chips.ipynb", ["import ee", "x = 1\nundefined"]), demo_server, tmp_path)
    assert result.returncode == 2
    assert "chips.ipynb, line 5 of its code cells: NameError: name 'undefined' is not defined" in result.stderr


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"cells": 3}', '{"cells": [{}]}', '{"worksheets": []}', "x = 1"])
def test_invalid_notebooks_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.ipynb"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"odd\.ipynb is not a notebook"):
        read_source(path)


def test_a_notebook_of_another_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a notebook of R, not of Python"):
        read_source(notebook(tmp_path / "r.ipynb", ["x <- 1"], kernelspec={"language": "R", "name": "ir"}))


def test_notebooks_of_version_3_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cells = [{"cell_type": "code", "input": ["x = 1\n", "y = 2"]}, {"cell_type": "heading", "source": "no"}]
    path.write_text(json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3}))
    assert ast.unparse(read_source(path).tree) == "x = 1\ny = 2"


@pytest.mark.parametrize(
    "text",
    [
        "get_ipython().run_cell_magic('time', '', 'x = 3\\ny = x\\n')",
        "get_ipython().run_cell_magic('capture', 'out', '%matplotlib inline\\nx = 3\\n!ls\\ny = x')",
        "get_ipython().run_line_magic('time', 'x = y = 3')",
        "get_ipython().magic('time x = y = 3')",
        "get_ipython().magic('%time x = y = 3')",
        "x = get_ipython().run_line_magic('time', '1 + 2')\ny = x",
        "def f():\n    get_ipython().run_cell_magic('time', '', 'x = 3\\ny = 3\\n')\n    return x\nx = y = f()",
        "%time x = 3\n%timeit -n 1 -r 1 y = x",
        "x = %time 1 + 2\ny = x",
        "%%time\nx = 3\ny = x",
        "# %%\n%%timeit -n 2\nx = 3\ny = x",
        "get_ipython().run_cell_magic('time', '', \"get_ipython().run_line_magic('time', 'x = y = 3')\")",
    ],
)
def test_python_below_a_magic_is_executed(text: str, tmp_path: Path) -> None:
    names = executed(text, tmp_path)
    assert (names["x"], names["y"]) == (3, 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("get_ipython().system('pip install x')", "!pip install x"),
        ("get_ipython().run_line_magic('matplotlib', 'inline')", "%matplotlib inline"),
        ("get_ipython().magic('matplotlib inline')", "matplotlib inline"),
        ("get_ipython().run_cell_magic('bash', '', 'ls\\n')", "%%bash "),
        ("files = get_ipython().getoutput('ls')", "!ls"),
        ("%load_ext autoreload", "%load_ext autoreload"),
        ("files = !ls", "files = !ls"),
        ("ee.Image?", "ee.Image?"),
        ("?print", "?print"),
    ],
)
def test_notebook_commands_are_ignored_with_a_note(line: str, said: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"x = 1\n{line}\n")
    source = read_source(script)
    assert source.ignored == (said,)
    assert executed(f"x = 1\n{line}\n", tmp_path)["x"] == 1


def test_a_remainder_at_the_beginning_of_a_line_is_no_magic(tmp_path: Path) -> None:
    assert executed("%matplotlib inline\nx = ('%s'\n  % (3))\ny = (7\n  % 4)", tmp_path)["x"] == "3"


def test_a_pool_below_a_magic_makes_a_file_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import multiprocessing\nget_ipython().run_cell_magic('time', '', 'multiprocessing.Pool(2)\\n')")
    source = read_source(script)
    assert source.is_script
    assert source.ignored == ()
