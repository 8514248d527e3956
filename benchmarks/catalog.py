"""A catalogue of many items, beside plain writes of the same items by rustac and stac-geoparquet in the same run.

    python benchmarks/catalog.py --items 100000

A ledger of chips is made, over Colorado and three years, with some scenes that are too large for a cell. Then

1. `eechips catalog` makes a catalogue of it: read, turned into items, partitioned, merged with nothing, put in place;
2. the same again: nothing is written, and files keep their bytes;
3. again after a tenth of the chips was fetched anew: newest wins;
4. the items, ready as dicts, are written into a catalogue, and by rustac and stac-geoparquet into one file each;
5. DuckDB looks for a place and a month in the partitions: of a path with Hive's names, of the files that
   `eechips catalog partitions` lists, and of the plain file of (4); files and rows scanned are of EXPLAIN ANALYZE.

All by processor time, two cores shared; a step's memory is the peak of its own process.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from catalog_queries import BOX, END, START, scans

from eechips.archive.catalogs.catalog import open_catalog
from eechips.archive.catalogs.items import ItemSource, SkippedUnits, items
from eechips.archive.catalogs.partitions.grid_systems import H3
from eechips.archive.catalogs.partitions.layout import Layout
from eechips.archive.catalogs.run_catalogue import catalog
from eechips.archive.catalogs.update import update
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.run import INFO_NAME
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.training.sample_reader import read_samples

SCENES = 200  # one chip of so many is 600 km wide


def chips(count: int) -> Iterator[tuple[WorkUnit, Record]]:
    """Chips of 256 pixels anywhere in Colorado, at any day of three years, by a seed."""
    random = np.random.default_rng(0)
    x, y = random.uniform(160_000, 770_000, count), random.uniform(4_100_000, 4_540_000, count)
    days = random.integers(0, 3 * 365, count)
    for position in range(count):
        date = f"{dt.date(2019, 1, 1) + dt.timedelta(int(days[position]))}T17:32:56Z"
        scale = 2500.0 if position % SCENES == 0 else 0.6
        unit = {"coordinates": [x[position], y[position]], "date": date, "eco_name": f"zone {position % 7}"}
        identifier = hashlib.sha256(f"{position}".encode()).hexdigest()
        yield (
            WorkUnit(position, identifier, json.dumps(unit), f"chips/{identifier[:16]}"),
            Record(
                position=position, state=State.DONE, file=f"chips/{identifier[:16]}.tif",
                bytes=105_000 + position % 999, sha256=identifier[::-1], width=256, height=256,
                bands='["R", "G", "B"]', dtype="uint8", crs="EPSG:26913",
                transform=json.dumps([scale, 0.0, x[position], 0.0, -scale, y[position]]), valid_fraction=1.0,
                sources=f'["USDA/NAIP/DOQQ/{identifier[:8]}"]', dates=json.dumps([date]),
                finished="2021-01-01T00:00:00.000Z",
            ),
        )  # fmt: skip


def make_run(folder: Path, count: int) -> None:
    """The ledger of a run."""
    folder.mkdir()
    (folder / INFO_NAME).write_text(json.dumps({"command": "eechips sample", "datasets": [{"id": "USDA/NAIP/DOQQ"}]}))
    with Ledger(folder / LEDGER_NAME) as ledger:
        ledger.store_plan({}, (planned for planned, _ in chips(count)))
        ledger.record([record for _, record in chips(count)])


def fetch_anew(folder: Path) -> None:
    """A tenth of the chips has a later date of being settled, and another size."""
    import sqlite3

    with sqlite3.connect(folder / LEDGER_NAME) as database:
        database.execute(
            "UPDATE units SET finished = '2021-02-01T00:00:00.000Z', bytes = bytes + 1 WHERE position % 10 = 3"
        )


def dicts(folder: Path) -> list[dict[str, Any]]:
    """The items of the run."""
    source = ItemSource("run", str(folder / "_collection.json"), str(folder), {}, None)
    return list(items(read_samples(folder), source, SkippedUnits()))


def by_catalog(run: Path, out: Path) -> str:
    """One merge."""
    built = catalog(run, out=out, quiet=True)
    changed = len(built.outcome.written)
    return f"{built.outcome.new:,} new, {built.outcome.replaced:,} known, {changed:,} partitions written"


def by_update(values: list[dict[str, Any]], out: Path) -> str:
    """A new catalogue."""
    starts = range(0, len(values), 20_000)
    batches = (values[start : start + 20_000] for start in starts)
    layout = Layout(H3(2))
    _, outcome = update(out, lambda known: layout, batches, lambda schema: [], give_up=False, is_shown=False)
    return f"{outcome.new:,} new, {len(outcome.written):,} partitions written"


def by_rustac(values: list[dict[str, Any]], out: Path) -> str:
    """A plain file."""
    import rustac

    rustac.write_sync(str(out), values)
    return ""


def by_library(values: list[dict[str, Any]], out: Path) -> str:
    """A plain file."""
    from stac_geoparquet.arrow import parse_stac_items_to_parquet

    parse_stac_items_to_parquet(values, output_path=out, chunk_size=20_000)
    return ""


def measured(count: int, step: Callable[..., str], *arguments: Any, prepare: Callable[[], Any] | None = None) -> float:
    """Carries out a step in a process of its own; prints and returns its items per second of processor time."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_carry_out, args=(there, step, arguments, prepare))
    process.start()
    told, cpu, wall, peak = here.recv()
    process.join()
    memory = peak / 1024
    print(f"{step.__name__:<12} {count / cpu:>9,.0f} items/s of processor  {cpu:6.1f} s, {wall:6.1f} s by the clock,"
          f" {memory:5.0f} MB  {told}")  # fmt: skip
    return count / cpu


def _carry_out(
    pipe: Any, step: Callable[..., str], arguments: tuple[Any, ...], prepare: Callable[[], Any] | None
) -> None:
    values = () if prepare is None else (prepare(),)
    started, before = time.monotonic(), time.process_time()
    told = step(*values, *arguments)
    cpu, wall = time.process_time() - before, time.monotonic() - started
    pipe.send((told, cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


class Dicts:
    """Makes the items of a run, in the process that needs them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self) -> list[dict[str, Any]]:
        return dicts(self._folder)


def digests(folder: Path) -> dict[Path, str]:
    """sha256 of every partition."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.parquet")}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    count = parser.parse_args().items
    with tempfile.TemporaryDirectory() as place:
        run, out, plain = Path(place) / "run", Path(place) / "catalog", Path(place) / "rustac.parquet"
        make_run(run, count)
        own = measured(count, by_catalog, run, out)
        before = digests(out)
        measured(count, by_catalog, run, out)
        assert digests(out) == before, "a second merge of the same items has changed files"
        fetch_anew(run)
        measured(count, by_catalog, run, out)
        found = open_catalog(out)
        assert len(found) == count
        print(found.summary)
        others = [
            measured(count, step, path, prepare=Dicts(run))
            for step, path in (
                (by_update, Path(place) / "other"), (by_rustac, plain), (by_library, Path(place) / "library.parquet")
            )
        ]  # fmt: skip
        best = max(others[1:])
        print(f"of the faster plain write: {others[0] / best:.2f} for the items, {own / best:.2f} from the ledger on")
        held = sum(partition.items for partition in found.partitions(bbox=BOX, start=START, end=END))
        print(f"the listed files hold {held:,} of {count:,} rows")
        for scan in scans(found, str(plain)):
            print(scan)


if __name__ == "__main__":
    main()
