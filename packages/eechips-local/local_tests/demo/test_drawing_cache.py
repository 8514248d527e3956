"""What the demo planet keeps in the cache folder: the same bits, whoever drew them, and never a reason to fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import shapely

from eechips_local.demo.borders import ecoregions
from eechips_local.demo.painting import drawing_cache

Arrays = dict[str, np.ndarray[Any, Any]]


class Draughtsman:
    """Counts how often it draws."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Arrays:
        self.times += 1
        generator = np.random.default_rng(5)
        return {"floats": generator.normal(size=(7, 3)), "bytes": generator.integers(0, 255, (64, 64)).astype(np.uint8)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, which is not there yet."""
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def equal(a: Mapping[str, np.ndarray[Any, Any]], b: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    return set(a) == set(b) and all(
        a[k].tobytes() == b[k].tobytes() and (a[k].dtype, a[k].shape) == (b[k].dtype, b[k].shape) for k in a
    )


def only_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_drawings_are_cached(folder: Path) -> None:
    draw = Draughtsman()
    first, second = drawing_cache.kept("x", draw), drawing_cache.kept("x", draw)
    assert draw.times == 1
    assert equal(first, second)
    assert equal(first, Draughtsman()())
    assert only_file(folder).name.endswith("-x.npz")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_shapes_keep_every_bit(folder: Path) -> None:
    # The ecoregions themselves: polygons and multipolygons, with holes and islands.
    drawn = ecoregions._shapes()
    first = drawing_cache.kept_shapes("ecoregions", lambda: drawn)
    assert folder.is_dir()
    second = drawing_cache.kept_shapes("ecoregions", lambda: pytest.fail("drawn again"))
    assert list(drawn) == list(first) == list(second)
    assert {shape.geom_type for shape in drawn.values()} == {"Polygon", "MultiPolygon"}
    for found in (first, second):
        assert [shapely.to_wkb(shape) for shape in found.values()] == [shapely.to_wkb(s) for s in drawn.values()]


@pytest.mark.parametrize("harm", ["nothing", "half", "another byte", "not ours"])
def test_damaged_cache_files_are_drawn_again(folder: Path, harm: str) -> None:
    draw = Draughtsman()
    drawing_cache.kept("x", draw)
    file = only_file(folder)
    content = bytearray(file.read_bytes())
    middle = content.index(draw()["bytes"].tobytes()) + 5
    content[middle] ^= 1
    file.write_bytes({"nothing": b"", "half": content[: len(content) // 2], "not ours": b"hello"}.get(harm, content))
    draw.times = 0
    assert equal(drawing_cache.kept("x", draw), Draughtsman()())
    assert draw.times == 1
    drawing_cache.kept("x", draw)  # mended
    assert draw.times == 1


def test_an_unwritable_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "file" / "cache"))
    assert equal(drawing_cache.kept("x", Draughtsman()), Draughtsman()())


def test_concurrent_threads_share_the_cache(folder: Path) -> None:
    start = Barrier(4)

    def one(_: int) -> Mapping[str, np.ndarray[Any, Any]]:
        start.wait()
        return drawing_cache.kept("x", Draughtsman())

    with ThreadPoolExecutor(4) as pool:
        assert all(equal(found, Draughtsman()()) for found in pool.map(one, range(4)))
    only_file(folder)  # and nothing half written beside it


@pytest.mark.parametrize("address", ["s3://b", "s3:/b"])
def test_an_address_is_no_cache_folder(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EECHIPS_CACHE", address)
    assert equal(drawing_cache.kept("x", Draughtsman()), Draughtsman()())
    assert not list(tmp_path.iterdir())


def test_older_versions_are_removed(folder: Path) -> None:
    folder.mkdir()
    for age in range(9):
        other = folder / f"demo-planet-{age:016x}-x.npz"
        other.write_bytes(b"old")
        os.utime(other, (1e9 - age, 1e9 - age))
    stale, fresh = folder / ".demo-planet-abc", folder / ".demo-planet-def"
    for unfinished in (stale, fresh):
        unfinished.write_bytes(b"half")
    os.utime(stale, (1e9, 1e9))
    (folder / "limits.json").write_text("{}")
    drawing_cache.kept("x", Draughtsman())
    names = {path.name for path in folder.iterdir()}
    assert {f"demo-planet-{age:016x}-x.npz" for age in range(6)} <= names
    assert not {f"demo-planet-{age:016x}-x.npz" for age in range(6, 9)} & names
    assert names >= {"limits.json", fresh.name}
    assert stale.name not in names
    assert len(names) == 6 + 3


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_second_start_draws_nothing(folder: Path) -> None:
    code = (
        "import eechips_local.demo.planet_preload\n"
        "from eechips_local.demo.borders import boundaries, tessellation\n"
        "from eechips_local.demo.land import texture\n"
        "kept = tessellation.coast.cache_info().currsize, texture._crowns.cache_info().currsize\n"
        "print(*kept, len(boundaries._units()))"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [one.stdout.split() for one in said] == [["1", "3", "8807"], ["0", "0", "8807"]]
    names = {path.stem.split("-")[-1] for path in folder.iterdir()}
    assert names == {"ecoregions", "land", "scenes", "textures", "units"}
