"""Threads use rasterio for the first time at once."""

from __future__ import annotations

import sys

import pytest

from tests.support.programs import run_program

SCRIPT = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import MetaPathFinder

import numpy as np
from affine import Affine
from eechips.formats.geotiff import encode
from eechips.formats.raster import encode_picture

importers = set()
is_partial, is_joined = threading.Event(), threading.Event()

class Watcher(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if not name.startswith("rasterio."):
            return
        importers.add(threading.get_ident())
        if len(importers) > 1:
            is_joined.set()
        elif not is_partial.is_set():  # rasterio itself is imported in part: let another thread need it
            is_partial.set()
            is_joined.wait(0.5)

def write_picture():
    is_partial.wait()
    encode_picture(pixels, "PNG")

sys.meta_path.insert(0, Watcher())
assert "rasterio" not in sys.modules
pixels = np.zeros((3, 8, 8), np.uint8)
with ThreadPoolExecutor(2) as threads:
    picture = threads.submit(write_picture)
    chip = threads.submit(encode, pixels, None, ("R", "G", "B"), None, Affine(1, 0, 0, 0, -1, 0))
    chip.result(), picture.result()
print(len(importers), "thread imported rasterio")
"""


@pytest.mark.slow
@pytest.mark.integration
def test_one_thread_imports_rasterio_for_all() -> None:
    done = run_program(sys.executable, "-W", "ignore", "-c", SCRIPT, status=0, timeout=120)
    assert done.stdout == "1 thread imported rasterio\n"
