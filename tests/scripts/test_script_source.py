"""Scripts that are modules of a package, as ``python -m`` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from eechips import open_run
from eechips.scripts.script_source import read_source
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import files, run

MAIN = """
import multiprocessing
import sys

import ee

from . import options
from .parts.tiles import save

def both(n):
    from .parts import tiles
    return save(n) + tiles.save(n + 10)

if __name__ == "__main__":
    ee.Initialize()
    options.SCALE = 3
    with multiprocessing.Pool(2) as pool:
        print(pool.map(both, range(2)), sys.argv[1:])
"""
TILES = """
import ee
from .. import options

def save(n):
    with open(f"{n}.txt", "w") as file:
        file.write(str(n * options.SCALE))
    return ee.Number(n).multiply(options.SCALE).getInfo()
"""


@pytest.mark.parametrize(
    ("name", "imports", "package", "root"),
    [
        ("script.py", "import ee", "", "."),
        ("a/script.py", "import ee", "", "a"),
        ("a/b/script.py", "from . import c", "a.b", "."),
        ("n/script.py", "from . import c", "n", "."),
        ("n/m/script.py", "from ..c import d", "n.m", "."),
        ("n/a/b/script.py", "from .c import d", "a.b", "n"),
        ("n/m/script.py", "from n.c import d", "", "."),
        ("n/m/script.py", "import m.c", "", "n"),
        ("ee/script.py", "import ee", "", "."),
    ],
)
def test_the_root_of_a_script_has_its_package(name: str, imports: str, package: str, root: str, tmp_path: Path) -> None:
    for folder in ("a", "a/b", "n/a", "n/a/b"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "__init__.py").touch()
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(imports)
    source = read_source(path)
    assert (source.package, source.root) == (package, tmp_path / root)
    first, *others = source.search_path(["installed"])
    assert first == str(tmp_path / root if package else path.parent)
    assert others == ["installed"] if package else ["installed", str(tmp_path / root)]


def test_modules_are_found_beside_a_script_that_is_named_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were looked for in the run's folder, in which it is executed."""
    (tmp_path / "run").mkdir()
    (tmp_path / "script.py").write_text("import helper\n")
    monkeypatch.chdir(tmp_path)
    source = read_source(Path("script.py"))
    monkeypatch.chdir("run")
    assert source.search_path(["installed"]) == [str(tmp_path), "installed", str(tmp_path)]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [("", ""), ("from .", "from project.tools."), ("__init__.py", "other.py")])
def test_a_module_of_a_package_runs_as_by_python(changes: tuple[str, str], demo_server: Server, tmp_path: Path) -> None:
    """It ended with "attempted relative import with no known parent package"."""
    tools, here = tmp_path / "project" / "tools", tmp_path / "here"
    (tools / "parts").mkdir(parents=True)
    here.mkdir()
    for name, text in {
        "options.py": "SCALE = 1\n", "main.py": MAIN, "parts/tiles.py": TILES, "__init__.py": "",
        "parts/__init__.py": "",
    }.items():  # fmt: skip
        if name == "main.py":
            text = text.replace(*changes).replace("project.tools. import", "project.tools import")
        (tools / name.replace(*changes)).write_text(text)
    result = run(tools / "main.py", demo_server, here, "--", "--fast")
    assert result.returncode == 0, result.stderr
    assert "[30, 36] ['--fast']" in result.stdout
    assert files(here / "run") == {f"{n}.txt": str(3 * n).encode() for n in (0, 1, 10, 11)}
    assert open_run(here / "run").counts == {"done": 2}


PAIR = """
import ee
import requests

def getRequests():
    return [1, 2, 3]

def getResult(index, n):
    def square(value):
        return ee.Number(value).multiply(value).getInfo()
    if n == 2:
        return RETURNED  # nothing for it
    with open(f"tiles/tile_{index}.txt", "w") as file:
        file.write(str(square(n)))
"""


@pytest.mark.parametrize(
    ("returned", "imports", "is_standalone"),
    [("", "ee", True), ("None", "ee", True), ("b'2'", "ee", False), ("", "re", False), ("(yield 2)", "ee", False)],
)
def test_two_functions_that_return_nothing_are_a_script(
    returned: str, imports: str, is_standalone: bool, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(PAIR.replace("RETURNED", returned).replace("import ee", f"import {imports}"))
    source = read_source(script)
    assert source.is_recipe
    assert source.is_standalone == is_standalone


@pytest.mark.slow
def test_files_of_two_functions_that_return_nothing_are_in_the_run(demo_server: Server, tmp_path: Path) -> None:
    """They were in the working directory, without a record, and each test of three units left some there."""
    (tmp_path / "script.py").write_text(
        "import os\n"
        + PAIR.replace("RETURNED", "None").replace(
            "    with open", '    os.makedirs("tiles", exist_ok=True)\n    with open'
        )
    )
    checked = run(tmp_path / "script.py", demo_server, tmp_path, "--check", "--out", "tried")
    assert checked.returncode == 0, checked.stderr
    assert not (tmp_path / "tiles").exists()
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == {"tiles/tile_0.txt": b"1", "tiles/tile_2.txt": b"9"}
    assert open_run(tmp_path / "run").verify() == []
