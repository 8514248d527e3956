"""Variables of modules beside the script, which its main part sets before it opens a pool."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from eechips import open_run
from eechips.scripts.module_state import module_variables, set_variables
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import files, plain, run

OPTIONS = """
import os
import sys
from pathlib import Path

import ee

YEAR = 2019
SCALES = {"bias": 0}
IMAGE = None
FOLDER = os.path.abspath("values")
PATHS = [Path.cwd() / "values"]
TERMINAL = sys.stdout
TABLE = {1: ("a", {2.5})}


class Area:
    def __init__(self, name):
        self.name = name


AREA = Area("whole")


def set_image(image):
    global IMAGE
    IMAGE = image


def save(n):
    value = ee.Number(n).add(YEAR).add(SCALES["bias"]).add(IMAGE).getInfo()
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, f"{n}.txt"), "w") as file:
        file.write(f"{value} {AREA.name} {TABLE} {PATHS[0] / str(n) == Path(FOLDER, str(n))}")
    return value
"""

SCRIPT = """
import multiprocessing

import ee

import options

ee.Initialize()


def save(n):
    return options.save(n)


if __name__ == "__main__":
    options.YEAR = 2021
    options.SCALES["bias"] = 10000
    options.AREA.name = "north"
    options.set_image(ee.Number(100000))
    with multiprocessing.Pool(1) as pool:
        print("first", pool.map(options.save, range(3)))
    options.YEAR = 1
    with multiprocessing.Pool(1) as pool:
        print("second", pool.map(save, range(3, 6)))
"""


def test_variables_are_set_where_they_differ_and_paths_of_a_call_stay_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files below the call's folder are checked and recorded, also those that libraries write without Python."""
    module = ModuleType("options_of_a_script")
    module.__file__ = str(tmp_path / "options_of_a_script.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.folder, module.bands, module.year = str(tmp_path / "run" / "chips"), ["B4"], 2021
    module.file, module.save = sys.stdout, module_variables

    sent = module_variables(tmp_path)

    bands = ["B4"]
    module.folder, module.bands, module.year = str(tmp_path / "call" / "chips"), bands, 2019
    set_variables(sent, (tmp_path / "call", tmp_path / "run"))
    assert sent == {module.__name__: {"folder": str(tmp_path / "run" / "chips"), "bands": ["B4"], "year": 2021}}
    assert module.folder == str(tmp_path / "call" / "chips")
    assert module.year == 2021
    assert module.bands is bands


@pytest.mark.exhaustive
def test_calls_have_the_variables_of_modules_as_they_are_when_the_pool_is_opened(
    demo_server: Server, tmp_path: Path
) -> None:
    """A worker that imports the module anew would have 2019, 0, None and "whole"."""
    folder = tmp_path / "script"
    folder.mkdir()
    (folder / "options.py").write_text(OPTIONS)
    script = folder / "years.py"
    script.write_text(SCRIPT)
    there, here = tmp_path / "plain", tmp_path / "here"
    there.mkdir()
    here.mkdir()

    expected = plain(script, demo_server, there)
    result = run(script, demo_server, here)

    assert expected.returncode == 0, expected.stderr
    assert result.returncode == 0, result.stderr
    assert files(here / "run") == files(there)
    assert (here / "run" / "values" / "0.txt").read_text() == "112021 north {1: ('a', {2.5})} True"
    for line in ("first [112021, 112022, 112023]", "second [110004, 110005, 110006]"):
        assert line in expected.stdout
        assert line in result.stdout
    assert sorted(open_run(here / "run").units["file"]) == [f"values/{n}.txt" for n in range(6)]
