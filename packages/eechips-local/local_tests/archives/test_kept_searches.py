"""The database of kept searches: processes that are killed while they write leave it whole."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from eechips_local.archives.archive_model import ItemQuery
from eechips_local.archives.items.item_search_cache import KeptSearches, pack_items, unpack_items
from local_tests.archives.stac_server import make_item

pytestmark = pytest.mark.slow


def _write(path: Path, seed: int) -> None:
    kept, noise = KeptSearches(path, largest=200_000), random.Random(seed)
    for number in range(100_000):
        items = [
            {**make_item(position), "seed": seed, "number": number, "noise": noise.randbytes(200).hex()}
            for position in range(40)
        ]
        query = ItemQuery(ids=(str(number % 17),))
        kept.add("s2", query, [pack_items(items[:20]), pack_items(items[20:])], is_whole=True)
        found = kept.find("s2", query)
        if found is not None:
            kept.read(found)


@pytest.mark.exhaustive
def test_killed_writers_leave_whole_results(tmp_path: Path) -> None:
    path, dice = tmp_path / "searches.sqlite", random.Random(3)
    context = multiprocessing.get_context("spawn")
    for kill in range(6):
        processes = [context.Process(target=_write, args=(path, seed)) for seed in range(2)]
        for process in processes:
            process.start()
        end = time.monotonic() + 60.0
        while not (path.exists() and path.stat().st_size > 50_000):
            assert time.monotonic() < end, "nothing is written"
            time.sleep(0.02)
        time.sleep(0.5 + dice.random())
        for process in processes:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        with closing(sqlite3.connect(path)) as database, database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], kill
        kept = KeptSearches(path, largest=200_000)
        whole = 0
        for number in range(17):
            found = kept.find("s2", ItemQuery(ids=(str(number),)))
            if found is not None:
                pages = kept.read(found)
                assert pages is not None
                items = [item for page in pages for item in unpack_items(page)]
                assert [item["id"] for item in items] == [f"item-{position:04d}" for position in range(40)]
                assert len({(item["seed"], item["number"]) for item in items}) == 1
                whole += 1
        assert whole
        assert kept.size() <= 200_000
        kept.close()
