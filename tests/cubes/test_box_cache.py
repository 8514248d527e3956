"""Boxes on disk are what was written, or are not there; the folder stays within its bound."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from eechips.cubes.box_cache import CUBES_FOLDER, BoxCache, CacheSettings
from eechips.cubes.boxes import Box

BOX = Box((0, 2, 0, 0), (2, 5, 8, 10))


def pixels(box: Box, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=box.shape).astype(np.float32)
    found[..., 0] = np.nan
    return found


def make_cache(folder: Path, most: int = 1 << 20) -> BoxCache:
    return BoxCache(CacheSettings(folder, most), "cube")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / CUBES_FOLDER).rglob("*") if path.is_file())


def test_a_part_of_a_box_is_read_from_it(tmp_path: Path) -> None:
    cache, values = make_cache(tmp_path), pixels(BOX)
    cache.write(BOX, values)
    inner = Box((1, 3, 2, 0), (2, 5, 7, 4))
    np.testing.assert_array_equal(cache.read(BOX), values)
    np.testing.assert_array_equal(make_cache(tmp_path).read(inner), values[1:2, 1:3, 2:7, 0:4])
    assert cache.read(Box((0, 1, 0, 0), (1, 3, 1, 1))) is None
    assert BoxCache(CacheSettings(tmp_path, 1 << 20), "other").read(BOX) is None


@pytest.mark.parametrize("damage", ["flipped", "truncated", "extended", "header", "nested", "empty"])
def test_a_damaged_file_is_removed(tmp_path: Path, damage: str) -> None:
    cache = make_cache(tmp_path)
    cache.write(BOX, pixels(BOX))
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-5] ^= 1
    elif damage == "header":
        data[2] ^= 1
    others = {"truncated": data[:-1], "extended": data + b"1", "nested": b"[" * 200_000, "empty": b""}
    path.write_bytes(others.get(damage, data))
    assert cache.read(BOX) is None
    assert files(tmp_path) == []


def test_a_file_of_another_cube_is_removed(tmp_path: Path) -> None:
    settings = CacheSettings(tmp_path, 1 << 20)
    one, other = BoxCache(settings, "one"), BoxCache(settings, "other")
    one.write(BOX, pixels(BOX, 1))
    other.write(BOX, pixels(BOX, 2))
    first, second = files(tmp_path)
    second.write_bytes(first.read_bytes())
    assert other.read(BOX) is None
    np.testing.assert_array_equal(one.read(BOX), pixels(BOX, 1))
    assert files(tmp_path) == [first]


def test_damage_of_another_layer_does_not_matter(tmp_path: Path) -> None:
    cache, values = make_cache(tmp_path), pixels(BOX)
    cache.write(BOX, values)
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1  # in the last layer
    path.write_bytes(data)
    first = Box(BOX.start, (1, 3, 8, 10))
    np.testing.assert_array_equal(cache.read(first), values[:1, :1])


def test_the_boxes_that_were_not_read_for_longest_are_removed(tmp_path: Path) -> None:
    boxes = [Box((0, n, 0, 0), (1, n + 1, 100, 100)) for n in range(6)]  # 40 kB each
    cache = make_cache(tmp_path, 201_000)
    for age, box in enumerate(boxes[:4]):
        cache.write(box, pixels(box))
        os.utime(max(files(tmp_path), key=lambda path: path.stat().st_mtime), (1000 + age, 1000 + age))
    assert cache.read(boxes[0]) is not None  # and is thereby the last one read
    for box in boxes[4:]:
        cache.write(box, pixels(box))
    assert set(cache.boxes()) == {boxes[0], boxes[3], boxes[4], boxes[5]}
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 201_000


def test_a_box_that_would_fill_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, 4 * pixels(BOX).nbytes - 1)
    cache.write(BOX, pixels(BOX))
    assert cache.boxes() == []


@pytest.mark.slow
def test_cubes_whose_boxes_are_removed_by_others_are_read_and_written(tmp_path: Path) -> None:
    """The bound is that of few boxes, so that the folders of cubes are emptied all the time."""
    boxes = [Box((0, n, 0, 0), (1, n + 1, 8, 8)) for n in range(6)]

    def work(seed: int) -> int:
        random = np.random.default_rng(seed)
        read = 0
        for _ in range(150):
            number, box = int(random.integers(4)), boxes[random.integers(6)]
            cache = BoxCache(CacheSettings(tmp_path, 1500), f"cube{number}")
            with cache.planning():
                pass
            with cache.lock(box):
                values = cache.read(box)
                if values is None:
                    cache.write(box, pixels(box, number))
                else:
                    np.testing.assert_array_equal(values, pixels(box, number))
                    read += 1
        return read

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(work, range(8))) > 0


def test_only_one_thread_holds_the_lock_of_a_box(tmp_path: Path) -> None:
    inside: list[int] = []
    most = 0

    def work(number: int) -> None:
        nonlocal most
        with make_cache(tmp_path).lock(BOX):
            inside.append(number)
            most = max(most, len(inside))
            if make_cache(tmp_path).read(BOX) is None:
                make_cache(tmp_path).write(BOX, pixels(BOX, number))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert most == 1
    assert len(files(tmp_path)) == 1
