"""Objects that threads of a script share, and whose changes a run cannot carry over."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from eechips.scripts.pooling.call_folder import Call
from eechips.scripts.pooling.changed_objects import changed_argument, lost_change
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import plain, run

_FUNCTIONS = """
import array
import functools
import io
import os
import shutil
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

canvas, text, numbers = Image.new("L", (4, 4)), io.StringIO(), array.array("d", [0, 0])
cube, series, rows, todo, seen = xr.DataArray(np.zeros(3)), pd.Series([0, 0]), [], [1, 2], {}
log, DONE, FOLDER = print, "done.json", Path("folder")

def pastes(n):
    canvas.paste(n, (0, 0, 1, 1))

def prints(n):
    print(n, file=text)

def sets(n):
    numbers[n] += 1

def labels(n):
    cube.loc[{"dim_0": n}] = n

def writes_series(n):
    series[n] = n

def takes(n):
    return todo.pop()

def deletes(n):
    del seen[n]

def twice(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)
    return wrapper

@twice
@functools.lru_cache
def decorated(n):
    canvas.putpixel((n, 0), n)

class Mosaic:
    def __init__(self):
        self.canvas, self.sizes = Image.new("L", (4, 4)), {}

    def __call__(self, n):
        self.canvas.paste(n, (0, 0, 1, 1))

    def measures(self, n):
        self.sizes[n] = self.canvas.size

def given(n, picture):
    picture.paste(n, (0, 0, 1, 1))

def appends(n):
    rows.append(n)
    log(n)
    seen[n] = canvas.size

def checkpoint():
    with open(DONE, "w") as file:
        file.write(str(rows))

def saves_state(n):
    rows.append(n)
    checkpoint()

def saves_beside(n):
    temporary = DONE + ".part"
    with open(temporary, mode="w") as file:
        file.write(str(rows))
    os.replace(temporary, DONE)

def saves_by_path(n):
    (FOLDER / "done.json").write_text(str(rows))

def opens_path(n):
    with (FOLDER / "done.json").open("w") as file:
        file.write(str(rows))

def has_a_temporary_file(n):
    part, other = FOLDER / "part", "other.zip"
    with open(part, "wb") as file, open("third.zip", "w") as third, open(other, "w"):
        file.write(b"x")
    part.rename(FOLDER / f"{n}.tif")
    os.remove("third.zip")
    shutil.move(other, str(n))

def saves_once(n):
    if not os.path.exists(DONE):
        with open(DONE, "w") as file:
            file.write("legend")

def saves_its_own(n):
    path = f"{n}.txt"
    with open(path, "w") as file, open(DONE) as done:
        file.write(done.read())
    (FOLDER / path).write_text((FOLDER / "done.json").open().read())
    (FOLDER / uuid.uuid4().hex).write_text(path)

def pastes_by_another(n):
    return pastes(n)

def uses_its_own(n):
    text, todo = io.StringIO(), [n]
    text.write(str(n))
    return todo.pop(), canvas.resize((n, n))

def changes_its_row(row):
    row["value"] = 1
    row.pop("geometry")
    return row
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("script") / "shared_by_threads.py"
    path.write_text(_FUNCTIONS)
    spec = importlib.util.spec_from_file_location("shared_by_threads", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("pastes", "canvas"), ("prints", "text"), ("sets", "numbers"), ("labels", "cube"), ("writes_series", "series"),
        ("takes", "todo"), ("deletes", "seen"), ("decorated", "canvas"), ("appends", ""), ("uses_its_own", ""),
        ("pastes_by_another", "canvas"), ("saves_its_own", ""), ("has_a_temporary_file", ""), ("given", ""),
        ("saves_once", ""),
        ("changes_its_row", ""),
    ],
)  # fmt: skip
def test_changes_that_a_copy_would_lose_are_found(name: str, lost: str, script: Any) -> None:
    obstacle = lost_change(functools.partial(getattr(script, name)))
    assert (f"a copy of {lost}," in obstacle) if lost else not obstacle


def test_changes_of_fields_and_arguments_are_found(script: Any) -> None:
    mosaic = script.Mosaic()
    assert "a copy of self.canvas," in lost_change(mosaic)
    assert not lost_change(mosaic.measures)
    assert "a copy of picture," in changed_argument(Call(script.given, (1, mosaic.canvas)))
    assert not changed_argument(Call(script.given, (1,)))
    for row in (script.series, {"geometry": 1}):
        assert not changed_argument(Call(script.changes_its_row, (row,)))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("saves_state", "DONE"), ("saves_beside", "temporary"), ("saves_by_path", "FOLDER / 'done.json'"),
        ("opens_path", "FOLDER / 'done.json'"),
    ],
)  # fmt: skip
def test_files_that_each_call_writes_again_are_found(name: str, path: str, script: Any) -> None:
    assert f"each would write {path} with its own values only" in lost_change(getattr(script, name))


_SCRIPT = """
import json
from concurrent.futures import ThreadPoolExecutor

import ee
import numpy as np
from PIL import Image

ee.Initialize()
canvas, left, done = Image.new("L", (8, 2)), set(range(4)), []


def paste(n):
    canvas.paste(ee.Number(n).add(1).getInfo(), (2 * n, 0, 2 * n + 2, 2))
    left.discard(n)


with ThreadPoolExecutor(2) as pool:
    list(pool.map(paste, range(4)))
with open("pixels.json", "w") as file:
    json.dump([np.asarray(canvas).tolist(), sorted(left)], file)
"""


@pytest.mark.slow
def test_a_picture_that_threads_paste_into_is_whole(demo_server: Server, tmp_path: Path) -> None:
    """It was black, without a word, and the set still had what the calls had removed."""
    (tmp_path / "script.py").write_text(_SCRIPT)
    (tmp_path / "plain").mkdir()
    assert plain(tmp_path / "script.py", demo_server, tmp_path / "plain").returncode == 0
    result = run(tmp_path / "script.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    pixels = json.loads((tmp_path / "run" / "pixels.json").read_text())
    assert (
        pixels == json.loads((tmp_path / "plain" / "pixels.json").read_text()) == [[[1, 1, 2, 2, 3, 3, 4, 4]] * 2, []]
    )
    assert "4 calls of paste(), made in the script's own threads" in result.stderr
