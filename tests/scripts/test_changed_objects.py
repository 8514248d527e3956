"""Objects that threads of a script share, and whose changes a run cannot carry over."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eechips.scripts.pooling.call_variables import Call
from eechips.scripts.pooling.changed_objects import changed_argument, lost_changes
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import plain, run

_FUNCTIONS = """
import array
import collections
import functools
import gzip
import heapq
import io
import json
import os
import shutil
import tarfile
import uuid
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from PIL import Image

canvas, text, numbers = Image.new("L", (4, 4)), io.StringIO(), array.array("d", [0, 0])
cube, series, rows, todo, seen = xr.DataArray(np.zeros(3)), pd.Series([0, 0]), [], [1, 2], {}
stats = {}
best, most, words, counts = (0, None), 0, "", {"done": 0}
large, table = np.zeros(3_000_000), pd.DataFrame({"n": np.zeros(3_000_000)})
many, states, bands = [None] * 200_000, {n: {"done": False} for n in range(20_000)}, {"red": [large]}
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

def fills(n):
    large[n] = n

def fills_in_a_dict(n):
    bands["red"][0][n] = n

def fills_cells(n):
    table.loc[n, "n"] = n

def fills_a_long_list(n):
    many[n] = n

def sets_one_of_many(n):
    states[n]["done"] = True

def reads_large_ones(n):
    rows.append(large[n] + table.n[n] + len(states))

def keeps_the_best(n):
    global best
    if n > best[0]:
        best = n, str(n)

def keeps_the_most(n):
    global most
    most = max(most, n)

def keeps_the_most_in_a_dict(n):
    counts["most"] = max(n, counts["most"])

def counts_by_get(n):
    counts[n % 2] = counts.get(n % 2, 0) + 1

def counts_from_the_first(n):
    if n % 2 not in counts:
        counts[n % 2] = 0
    counts[n % 2] += 1

def pushes(n):
    heapq.heappush(rows, n)

def inserts(n):
    rows.insert(0, n)

def writes_text(n):
    global words
    words += str(n)

COLLECTION, BBOX, ORDER, OUT, FIRST = "COPERNICUS/S2", [0, 1], [2, 1], "out.tif", (0, [])
last, next_print, buffer, waiting = 0.0, 0.0, np.zeros(3_000_000), collections.deque()
images, options = Exception(), {"images": Exception(), "size": 9}

def chooses_an_image(n):
    first = ee.ImageCollection(COLLECTION).filterBounds(ee.Geometry.Point(BBOX)).sort("CLOUDY_PIXEL_PERCENTAGE").first()
    second = images.filterDate(OUT, COLLECTION).sort("date", False).first()
    return first, second, images.sort("date"), options["images"].sort("date"), images.filterBounds(images).reverse()

def orders_copies(n):
    coordinates = ee.List(list(BBOX)).reverse()
    random.shuffle(list(ORDER))
    data = images.shuffle(options["size"])
    return coordinates, data, ORDER[:].sort(), sorted(ORDER).reverse()

def shuffles(n):
    random.shuffle(ORDER)

def sorts(n):
    ORDER.sort(key=str)

def rotates(n):
    waiting.rotate(1)

def saves_with_keywords(n):
    save(n, file=OUT)
    written = save(n, out=OUT)

def adds_to_a_list_in_a_tuple(n):
    FIRST[1].append(n)

def adds_to_a_tuple(n):
    global FIRST
    FIRST += (n,)

def prints_at_times(n):
    global last, next_print
    now = time.time()
    if time.time() - last > 1:
        last = time.time()
    if now - last > 1:
        last = now
    if (datetime.now() - last).total_seconds() > 5:
        last = datetime.now()
    if now > next_print:
        next_print = now + 5
    if most >= 100:
        counts["printed"] = n

def keeps_what_is_measured(n):
    global most
    if len(str(n)) + 1 > most:
        most = len(str(n)) + 1

def empties_at_times(n):
    global rows
    rows.append(n)
    if len(rows) >= 100:
        rows = []

def empties_otherwise(n):
    global rows
    if len(rows) >= 100:
        rows, counted = list(), 0

def keeps_what_is_better(n):
    global most
    if n > most + 0.01:
        most = n

def keeps_a_product(n):
    global most
    if n > most:
        most = n * 1.0

def chooses_in_a_line(n):
    global most
    most = n if n > most else most

def keeps_the_maximum(n):
    global most
    most = np.maximum(most, n)

def adds_to_text(n):
    global words
    words = words + str(n)

def inserts_into_an_item(n):
    bands["red"].insert(0, n)

def pushes_into_an_item(n):
    heapq.heappush(bands["red"], n)

def adds_into_a_buffer(n):
    return np.add(buffer, n, out=buffer)

def counts_what_is_there(n):
    global most
    most += 1
    counts["done"] += 1
    counts["last"] = n
    if n > 3:
        stats[n] = max(n, 5)
    if large[n] < 1:
        seen[n] = 1

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

def saves_progress(n):
    done = json.load(open(DONE)) if os.path.exists(DONE) else {}
    done[n] = n
    with open(DONE, "w") as file:
        json.dump(done, file)

def saves_progress_by_path(n):
    path = FOLDER / "done.json"
    done = path.read_text() if path.exists() else ""
    path.write_text(done + str(n))

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

def reads_by_modules(n):
    with rasterio.open("snow.tif") as file, gzip.open("raw.gz") as raw, Image.open("view.png") as view:
        return file.read(), raw.read(), view.size, open("raw", "rb").read()

def writes_its_own_by_modules(n):
    with rasterio.open(f"{n}.tif", mode="w"), gzip.open(f"{n}.gz", "wt"), tarfile.open(name=f"{n}.tar", mode="w"):
        pass
    with zipfile.ZipFile(f"{n}.zip", "w") as archive, archive.open("part.txt", "w") as part:
        part.write(b"x")

def saves_by_rasterio(n):
    import rasterio
    with rasterio.open("all.tif", "w") as file:
        file.write(n)

def saves_by_tarfile(n):
    with tarfile.open("all.tar", mode="w:gz") as file:
        file.add(n)

def opens_path_by_keyword(n):
    with (FOLDER / "done.json").open(mode="w", encoding="utf-8") as file:
        file.write(str(rows))

def saves_by_inner_functions(n):
    def save(name):
        with open(name, "w") as file:
            file.write("x")
    part = "part"
    again = lambda part: open(part, "w")
    save(f"{n}.txt")
    again(f"{n}.csv").close()
    return [Path(p).write_text("x") for p in (f"{n}.a", f"{n}.b")]

def saves_one_by_an_inner_function(n):
    def save(name):
        path = "done.json"
        Path(path).write_text(name)
    save(n)

def takes_of_its_own(n):
    def take(todo):
        return todo.pop()
    return take([n]), [stats.pop("n") for stats in ({"n": 1}, {"n": 2})], list(seen.pop(0) for seen in ([1], [2]))
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("script") / "shared_by_threads.py"
    return _executed(path, _FUNCTIONS)


def _executed(path: Path, text: str) -> SimpleNamespace:
    path.write_text(text)
    variables: dict[str, Any] = {"__name__": "shared_by_threads"}
    exec(compile(text, path, "exec"), variables)
    return SimpleNamespace(**variables)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("pastes", "canvas"), ("prints", "text"), ("sets", "numbers"), ("labels", "cube"), ("writes_series", "series"),
        ("takes", "todo"), ("deletes", "seen"), ("decorated", "canvas"), ("appends", ""), ("uses_its_own", ""),
        ("pastes_by_another", "canvas"), ("saves_its_own", ""), ("has_a_temporary_file", ""), ("given", ""),
        ("saves_once", ""), ("reads_by_modules", ""), ("writes_its_own_by_modules", ""),
        ("keeps_the_best", "best"), ("keeps_the_most", "most"), ("keeps_the_most_in_a_dict", "counts"),
        ("counts_by_get", "counts"), ("counts_from_the_first", "counts"), ("pushes", "rows"), ("inserts", "rows"),
        ("writes_text", "words"), ("counts_what_is_there", ""),
        ("chooses_an_image", ""), ("orders_copies", ""), ("shuffles", "ORDER"), ("sorts", "ORDER"),
        ("rotates", "waiting"), ("saves_with_keywords", ""), ("adds_to_a_list_in_a_tuple", ""),
        ("adds_to_a_tuple", "FIRST"), ("prints_at_times", "last"), ("keeps_what_is_measured", "most"),
        ("empties_at_times", "rows"), ("adds_into_a_buffer", "buffer"),
        ("empties_otherwise", "rows"), ("keeps_what_is_better", "most"), ("keeps_a_product", "most"),
        ("chooses_in_a_line", "most"), ("keeps_the_maximum", "most"), ("adds_to_text", "words"),
        ("inserts_into_an_item", "bands"), ("pushes_into_an_item", "bands"),
        ("fills", "large"), ("fills_in_a_dict", "bands"), ("fills_cells", "table"), ("fills_a_long_list", "many"),
        ("sets_one_of_many", "states"), ("reads_large_ones", ""),
        ("changes_its_row", ""), ("saves_by_inner_functions", ""), ("takes_of_its_own", ""),
    ],
)  # fmt: skip
def test_changes_that_a_copy_would_lose_are_found(name: str, lost: str, script: Any) -> None:
    obstacle = lost_changes(functools.partial(getattr(script, name))).reason
    assert (f"a copy of {lost}," in obstacle) if lost else not obstacle


def test_changes_of_fields_and_arguments_are_found(script: Any) -> None:
    mosaic = script.Mosaic()
    assert "a copy of self.canvas," in lost_changes(mosaic).reason
    assert not lost_changes(mosaic.measures).reason
    given, changes = (lost_changes(f).changed for f in (script.given, script.changes_its_row))
    assert (given, changes) == ({"picture"}, {"row"})
    assert "a copy of picture," in changed_argument(Call(script.given, (1, mosaic.canvas)), given)
    assert not changed_argument(Call(script.given, (1,)), given)
    assert "a copy of row," in changed_argument(Call(script.changes_its_row, (script.large,)), changes)
    for row in (script.series, {"geometry": 1}):
        assert not changed_argument(Call(script.changes_its_row, (row,)), changes)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("saves_progress", "DONE"), ("saves_progress_by_path", "path"),
        ("saves_state", "DONE"), ("saves_beside", "temporary"), ("saves_by_path", "FOLDER / 'done.json'"),
        ("opens_path", "FOLDER / 'done.json'"), ("opens_path_by_keyword", "FOLDER / 'done.json'"),
        ("saves_by_rasterio", "'all.tif'"), ("saves_by_tarfile", "'all.tar'"),
        ("saves_one_by_an_inner_function", "Path(path)"),
    ],
)  # fmt: skip
def test_files_that_each_call_writes_again_are_found(name: str, path: str, script: Any) -> None:
    assert f"each would write {path} with its own values only" in lost_changes(getattr(script, name)).reason


def test_changes_of_an_edited_script_are_found(tmp_path: Path) -> None:
    """A process that executes a script again read its first version: the removal was lost."""
    text = "todo = [1, 2]\n\ndef takes(n):\n    return todo.pop()\n"
    for version in (text, f"# edited\n\n{text}"):
        assert "a copy of todo," in lost_changes(_executed(tmp_path / "edited.py", version).takes).reason


def test_equal_functions_of_two_scripts_are_told_apart(tmp_path: Path) -> None:
    """The second had what was found for the first, whose definition is no longer in its file."""
    text = "todo = [1, 2]\n\ndef takes(n):\n    return todo.pop()\n"
    first, second = (_executed(tmp_path / name, text) for name in ("first.py", "second.py"))
    (tmp_path / "first.py").write_text("")
    assert not lost_changes(first.takes).reason
    assert "a copy of todo," in lost_changes(second.takes).reason


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
