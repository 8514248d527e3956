"""Files of other tasks are refused, and damaged responses to reads of exported files are requested again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import fsspec
import numpy as np
import pytest
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from eechips import Chip, Grid, Table
from eechips.client.retry import RetryPolicy
from eechips.engine.fetch_result import UnitExports
from eechips.errors import PermanentError
from eechips.files.temporary_names import new_writer
from eechips.manifest.manifest_columns import WorkUnit

GRID = Grid("EPSG:32613", (10.0, 0.0, 500000.0, 0.0, -10.0, 4400000.0), 4, 4)
CHIP = Chip(cast("Any", None), grid=GRID, bands=("B4",), dtype="uint16", format="tif")
TABLE = Table(cast("Any", None), columns=("n",))
BUCKET = "memory://exported-files"
MINE, OTHER = "eechips-00-aaaa", "eechips-01-bbbb"


def raster(mark: str, value: int) -> bytes:
    """A GeoTIFF as Earth Engine exports it, of another time and the same place as others."""
    profile = {"driver": "GTiff", "width": 4, "height": 4, "count": 2, "dtype": "uint16", "crs": GRID.crs}
    with MemoryFile() as memory:
        with memory.open(**profile, transform=Affine(*GRID.transform)) as file:
            file.write(np.stack([np.full((4, 4), value), np.ones((4, 4))]).astype("uint16"))
            file.descriptions = ("B4", f"eechips_mask_{mark}")
        return bytes(memory.read())


def rows(mark: str, value: int) -> bytes:
    return f'eechips_row\n"{{""n"":{value}}}"\neechips_mask_{mark}\n'.encode()


@dataclass
class Bucket:
    """Files in memory, and what is done to them before each further read."""

    files: Any
    on_pause: Callable[[], None] = lambda: None
    pauses: int = 0

    def put(self, name: str, data: bytes) -> None:
        self.files.pipe_file(f"/exported-files/{name}", data)

    def read(self, result: Chip | Table, name: str, retries: int = 10) -> bytes:
        """Return the file of a unit, of which one was exported."""

        def pause(_: float) -> None:
            self.pauses += 1
            self.on_pause()

        spec = SimpleNamespace(
            export_to="gs://bucket/exported", token=str(new_writer()), policy=replace(RetryPolicy(), retries=retries)
        )
        exports = UnitExports(cast("Any", spec), cast("Any", SimpleNamespace(pause=pause)), nullcontext)
        unit = WorkUnit(0, f"{0:064x}", "{}", "chips/0", exported=(f"{BUCKET}/{name}",))
        return exports.read(unit, result)[id(result)].data


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    files = fsspec.filesystem("memory")
    yield Bucket(files)
    files.rm("/exported-files", recursive=True)


CASES = [pytest.param(CHIP, raster, ".tif", id="chip"), pytest.param(TABLE, rows, ".csv", id="table")]


@pytest.mark.parametrize(("result", "content", "suffix"), CASES)
def test_the_file_of_another_task_is_refused(
    bucket: Bucket, result: Chip | Table, content: Callable[[str, int], bytes], suffix: str
) -> None:
    bucket.put(f"{MINE}{suffix}", content("aaaa", 1))
    mine = bucket.read(result, f"{MINE}{suffix}")
    bucket.put(f"{MINE}{suffix}", content("bbbb", 2))
    with pytest.raises(PermanentError, match=f"'{BUCKET}/{MINE}{suffix}' is not as requested .*another task"):
        bucket.read(result, f"{MINE}{suffix}")
    bucket.put(f"{OTHER}{suffix}", content("bbbb", 2))
    assert bucket.read(result, f"{OTHER}{suffix}") != mine


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "page": lambda data: b"<!doctype html><html><body>Sign in</body></html>",
    "cut": lambda data: data[: len(data) // 2],
    "gone": lambda data: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("result", "content", "suffix"), CASES)
def test_a_file_that_is_damaged_on_its_way_is_read_again(
    bucket: Bucket, result: Chip | Table, content: Callable[[str, int], bytes], suffix: str, damage: str
) -> None:
    name = f"{MINE}{suffix}"
    whole = content("aaaa", 1)
    bucket.put(name, whole)
    undisturbed = bucket.read(result, name)
    damaged = DAMAGES[damage](whole)
    bucket.files.rm_file(f"/exported-files/{name}") if damaged is None else bucket.put(name, damaged)
    with pytest.raises(PermanentError, match=f"'{BUCKET}/{name}' is not (there|as requested)"):
        bucket.read(result, name)
    assert bucket.pauses == 3
    bucket.on_pause = lambda: bucket.put(name, whole)
    assert bucket.read(result, name) == undisturbed
