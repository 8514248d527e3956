"""Objects of a script that cannot be pickled, such as clients of web services."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import h5py
import pytest
import rasterio

from eechips import open_run
from eechips.scripts.remade_objects import Expression, remade_objects
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import run

_CLIENT = """
import ee, requests, ssl
from multiprocessing import Pool
from concurrent.futures import ThreadPoolExecutor

class Client:
    def __init__(self, timeout, headers=None):
        self.timeout, self.headers = timeout, headers or {}
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    def get(self, url):
        response = requests.get(url, timeout=self.timeout, headers=self.headers)
        response.raise_for_status()
        return response.content

class Uploads:
    def __init__(self, client):
        self.client = client
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

ee.Initialize(project="p")
TIMEOUT = 60
"""
_CALLS = """
def work(n):
    region = ee.Geometry.Point([-105.1 + 0.01 * n, 40]).buffer(127).bounds()
    image = ee.Image(n).toByte().visualize(min=0, max=3)
    url = image.getThumbURL({"region": region, "dimensions": "16x16", "format": "png"})
    with open(f"{n}.png", "wb") as file:
        file.write(client.get(url))
    return n
"""


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ("client = Client(TIMEOUT)\n" + _CALLS, "if __name__ == '__main__':\n    print(Pool(2).map(work, range(3)))\n"),
        pytest.param(
            _CALLS.replace("client", "uploads.client"),
            "if __name__ == '__main__':\n    client = Client(timeout=TIMEOUT)\n    uploads: Uploads = Uploads(client)\n"
            "    with ThreadPoolExecutor(2) as executor:\n        print(list(executor.map(work, range(3))))\n",
            marks=pytest.mark.slow,
        ),
        pytest.param(_CALLS, "with Pool(2) as pool, Client(TIMEOUT) as client:\n    print(pool.map(work, range(3)))\n",
                     marks=pytest.mark.slow),
    ],
    ids=["of a module", "of another object", "of a with statement"],
)  # fmt: skip
def test_clients_are_made_anew_in_each_process(made: str, used: str, demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    entered = "Client.__enter__ = lambda self: self\nClient.__exit__ = lambda *_: None\n"
    script.write_text(_CLIENT + entered + made + used)
    for _ in range(2):
        result = run(script, demo_server, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "[0, 1, 2]" in result.stdout
    made_run = open_run(tmp_path / "run")
    assert made_run.counts == {"done": 3}
    assert list(made_run.units["file"]) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    "made",
    [
        "client = Client(TIMEOUT)\nclient.headers['Authorization'] = 'token'\n",
        pytest.param("client = Client(TIMEOUT)\nclient.headers.update(a='b')\n", marks=pytest.mark.slow),
        pytest.param("client = Client(1)\nclient = Client(2)\n", marks=pytest.mark.slow),
        pytest.param(
            "def set():\n    global client\n    client = Client(2)\nclient = Client(1)\n", marks=pytest.mark.slow
        ),
        pytest.param("client = open('log.txt', 'w')\n", marks=pytest.mark.slow),
        pytest.param("client = Uploads(open('log.txt', 'w'))\n", marks=pytest.mark.slow),
    ],
)
def test_what_the_script_changes_later_is_refused(made: str, demo_server: Server, tmp_path: Path) -> None:
    script = tmp_path / "changed.py"
    script.write_text(f"{_CLIENT}{made}{_CALLS}if __name__ == '__main__':\n    Pool(2).map(work, range(3))\n")
    result = run(script, demo_server, tmp_path)
    assert result.returncode != 0
    assert re.search("work cannot be sent to another process: [Cc]annot pickle .*Make what belongs", result.stderr)


_OBJECTS = """
import io
import ssl
import tarfile
import zipfile

import h5py

class Client:
    def __init__(self, *arguments):
        self.arguments, self.context = arguments, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

class Strict(Client):
    def __getattr__(self, name):
        raise KeyError(name)

with h5py.File("closed.h5", "r") as closed:
    table = closed["table"]
"""


@pytest.mark.parametrize(
    ("made", "is_remade"),
    [
        ("Client('u', 'raw')", True), ("Client('u', 'a')", True), ("Client(h5py.File('closed.h5', 'r'))", True),
        ("h5py.File('closed.h5', 'r')", True), ("Strict('u')", True),
        ("h5py.File('table.h5', 'w')", False), ("h5py.File('table.h5', mode='a')", False),
        ("h5py.File('closed.h5', 'r+')", False), ("Client(io.open('file.txt', 'bw'))", False),
        ("Client(zipfile.ZipFile('file.zip', 'w'))", False), ("Client(tarfile.open('file.tar', 'w:gz'))", False),
    ],
)  # fmt: skip
def test_objects_are_made_anew_unless_they_write_files(
    made: str, is_remade: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed file, which has no mode, ended the search; words such as "raw" were taken for modes."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("closed.h5", "w") as file:
        file["table"] = 1
    text = f"{_OBJECTS}thing = {made}\n"
    Path("script.py").write_text(text)
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "script.py")
    exec(compile(text, main.__file__, "exec"), vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    thing = vars(main)["thing"]
    assert (id(thing) in remade_objects(_is_sendable)) == is_remade
    for file in (
        argument for argument in (thing, *getattr(thing, "arguments", ())) if hasattr(type(argument), "close")
    ):
        file.close()


def _is_sendable(thing: Any, remade: dict[int, Expression]) -> bool:
    try:
        cloudpickle.dumps(thing)
    except (TypeError, LookupError, pickle.PicklingError):
        return False
    return True


_MOSAIC = """
import threading
from concurrent.futures import ThreadPoolExecutor

import ee
import h5py
import numpy as np
import rasterio
from rasterio.windows import Window

ee.Initialize()
lock = threading.Lock()


def made(path):
    profile = {"width": 8, "height": 8, "count": 1, "dtype": "int16", "crs": "EPSG:32613"}
    return rasterio.open(path, mode="w", driver="GTiff", transform=rasterio.Affine(9, 0, 0, 0, -9, 0), **profile)


table = h5py.File("table.h5", "w")
with made("mosaic.tif") as mosaic:
    def block(n):
        value = ee.Number(n).add(1).getInfo()
        with lock:
            mosaic.write(np.full((4, 4), value, "int16"), 1, window=Window(n % 2 * 4, n // 2 * 4, 4, 4))
            table[str(n)] = value

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(block, range(4)))
table.close()
"""


@pytest.mark.slow
def test_files_that_threads_write_by_a_library_are_whole(demo_server: Server, tmp_path: Path) -> None:
    """Each process opened them again, which empties them: the files were without the calls' values."""
    (tmp_path / "mosaic.py").write_text(_MOSAIC)
    result = run(tmp_path / "mosaic.py", demo_server, tmp_path)
    assert result.returncode == 0, result.stderr
    with rasterio.open(tmp_path / "run" / "mosaic.tif") as mosaic:
        assert mosaic.read(1)[::4, ::4].tolist() == [[1, 2], [3, 4]]
        assert (mosaic.read(1) > 0).all()
    with h5py.File(tmp_path / "run" / "table.h5") as table:
        assert {name: int(value[()]) for name, value in table.items()} == {"0": 1, "1": 2, "2": 3, "3": 4}
    assert "made in the script's own threads" in result.stderr
