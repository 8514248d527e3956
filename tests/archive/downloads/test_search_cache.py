"""The cached items of a search are those that were found, or an error, whatever byte of the file is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eechips.archive.downloads.search_cache import SearchCache
from eechips.errors import StorageError

ITEMS: list[dict[str, Any]] = [
    {
        "id": f"item-{n}",
        "properties": {"datetime": f"2024-06-{n % 30 + 1:02d}"},
        "assets": {"B4": {"href": f"b{n}.tif"}},
    }
    for n in range(60)
]


@pytest.mark.slow
def test_damaged_files_give_no_other_items(tmp_path: Path) -> None:
    cache = SearchCache(tmp_path / "items.parquet", "search")
    assert cache.keep(ITEMS) == 60
    whole, expected = cache.path.read_bytes(), (list(cache), cache.signed, cache.unread)
    outcomes = set()
    for place in range(4, len(whole) - 8, 11):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        cache.path.write_bytes(damaged)
        if cache.asked is None:
            outcomes.add("searched again")
            continue
        try:
            assert (list(cache), cache.signed, cache.unread) == expected, place
        except StorageError as error:
            outcomes.add(str(error).rpartition(": ")[2])
    assert outcomes == {"searched again", "remove it, and the same command searches again"}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_files_are_no_results(tmp_path: Path, share: float) -> None:
    cache = SearchCache(tmp_path / "items.parquet", "search")
    cache.keep(ITEMS)
    whole = cache.path.read_bytes()
    cache.path.write_bytes(whole[: int(len(whole) * share)])
    assert cache.asked is None
