"""Which of 2,000,000 ids does a catalogue of 40,000,000 items not have: by its index, and by rivals, in the same run.

    python benchmarks/catalog_ids.py --items 40000000 --ids 2000000

A catalogue of 2,000 partitions is written: ids of 25 characters, in no order, without further properties. Half of the
ids that are looked for are in it. Then

1. `eechips catalog repair` builds the index, from nothing;
2. `Catalog.contains` looks for the ids, and for a thousand of them;
3. a partition is replaced: its ids are read from it, until the index is completed;
4. DuckDB (an anti-join), pyarrow (`is_in` of all ids in memory) and a Python set of all ids look for them.

Every step is a process of its own, which reads the ids from a Parquet file; memory is the peak of its resident set.
Each answer is compared with what is known of the ids, one by one. The exit status is 1 if one is wrong, or if
processor seconds or memory are above the targets.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eechips.archive.catalogs.catalog import open_catalog
from eechips.archive.catalogs.extents import Extent
from eechips.archive.catalogs.partitions.commit import SCHEMA_NAME
from eechips.archive.catalogs.partitions.grid_systems import H3
from eechips.archive.catalogs.partitions.id_index import FOLDER
from eechips.archive.catalogs.partitions.layout import Layout
from eechips.archive.catalogs.partitions.schema import Partition, Schema
from eechips.archive.catalogs.update import repair
from eechips.files.hashes import hash_file

COLLECTION = "scenes"
PARTITIONS = 2000
TARGET, MOST = 4.0, 1000.0  # seconds, MB
DAY = "2020-06-01T00:00:00Z"


def ids_of(numbers: npt.NDArray[np.int64]) -> pa.Array:
    """Ids of 25 characters."""
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0")
    return pc.binary_join_element_wise("S2A", digits, "20200601", "L2A", "_")


def write_partition(folder: Path, number: int, numbers: npt.NDArray[np.int64]) -> Partition:
    """Write items without properties, in no order."""
    path = f"collection={COLLECTION}/cell={number:06d}/year=2020/month=6/items.parquet"
    order = np.random.default_rng(number).permutation(numbers)
    rows = len(order)
    point = bytes.fromhex("0101000000") + bytes(16)
    box = pa.StructArray.from_arrays([pa.repeat(0.0, rows)] * 4, ["xmin", "ymin", "xmax", "ymax"])
    columns = {"id": ids_of(order), "geometry": pa.repeat(point, rows), "bbox": box}
    table = pa.table(columns | {"collection": pa.repeat(COLLECTION, rows)})
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / path, compression="zstd", row_group_size=16_384)
    size, digest = (folder / path).stat().st_size, hash_file(folder / path)
    return Partition(path, COLLECTION, f"{number:06d}", rows, size, digest, Extent(0, 0, 0, 0), DAY, DAY, None)


def write_catalogue(folder: Path, items: int) -> None:
    """Write a catalogue without an index."""
    parts = np.array_split(np.arange(items), PARTITIONS)
    partitions = [write_partition(folder, number, numbers) for number, numbers in enumerate(parts)]
    schema = Schema(Layout(H3(2)), {each.path: each for each in partitions})
    (folder / SCHEMA_NAME).write_bytes(schema.dumps())


def write_candidates(path: Path, items: int, count: int) -> None:
    """Write the ids that are looked for: those of numbers below ``items`` are in the catalogue."""
    random = np.random.default_rng(1)
    known = random.choice(items, count // 2, replace=False)
    numbers = random.permutation(np.concatenate([known, items + np.arange(count - count // 2)]))
    pq.write_table(pa.table({"id": ids_of(numbers), "is_new": numbers >= items}), path)


# Steps: each returns how many answers are wrong


def by_index(folder: Path, candidates: Path, most: int | None = None) -> int:
    table = pq.read_table(candidates).slice(0, most)
    is_new = ~open_catalog(folder).contains(table["id"].combine_chunks())
    return int((is_new != table["is_new"].to_numpy()).sum())


def by_duckdb(folder: Path, candidates: Path) -> int:
    import duckdb

    sql = f"SELECT id FROM '{candidates}' ANTI JOIN read_parquet('{folder}/collection=*/**/*.parquet') USING (id)"
    return wrong_of(duckdb.sql(sql).to_arrow_table()["id"], candidates)


def by_pyarrow(folder: Path, candidates: Path) -> int:
    import pyarrow.dataset

    there = pyarrow.dataset.dataset(folder / f"collection={COLLECTION}").to_table(columns=["id"])["id"]
    wanted = pq.read_table(candidates, columns=["id"])["id"]
    return wrong_of(wanted.filter(pc.invert(pc.is_in(wanted, value_set=there))), candidates)


def by_set(folder: Path, candidates: Path) -> int:
    there: set[str] = set()
    for path in sorted(folder.rglob("*.parquet")):
        there.update(pq.read_table(path, columns=["id"], partitioning=None)["id"].to_pylist())
    wanted = pq.read_table(candidates, columns=["id"])["id"].to_pylist()
    return wrong_of(pa.chunked_array([pa.array([each for each in wanted if each not in there])]), candidates)


def wrong_of(new: pa.ChunkedArray, candidates: Path) -> int:
    table = pq.read_table(candidates)
    expected = table["id"].filter(table["is_new"])
    found = int(pc.sum(pc.is_in(new, value_set=expected)).as_py() or 0)
    return abs(len(new) - len(expected)) + len(new) - found


def build(folder: Path, _: Path) -> int:
    return int(not repair(folder).is_indexed)


def measured(name: str, step: Callable[..., int], *arguments: Any, runs: int = 1) -> tuple[float, float]:
    """Carry out a step in processes of its own; return the median of processor seconds, and the most memory in MB."""
    context = multiprocessing.get_context("spawn")
    seconds, processor, memory = [], [], 0.0
    for _ in range(runs):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=carry_out, args=(sending, step, arguments))
        process.start()
        sending.close()
        wrong, elapsed, cpu, peak = receiving.recv()
        process.join()
        if wrong:
            sys.exit(f"{name}: {wrong:,} wrong answers")
        seconds.append(elapsed)
        processor.append(cpu)
        memory = max(memory, peak)
    spread = "" if runs == 1 else f" ({min(seconds):.2f} to {max(seconds):.2f}, {runs} runs)"
    print(f"{name:<40} {statistics.median(processor):8.2f} s of processor, {statistics.median(seconds):8.2f} s"
          f" elapsed{spread}, {memory:7,.0f} MB", flush=True)  # fmt: skip
    return statistics.median(processor), memory


def carry_out(pipe: Any, step: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    began, before = time.monotonic(), time.process_time()
    wrong = step(*arguments)
    elapsed, cpu = time.monotonic() - began, time.process_time() - before
    pipe.send((wrong, elapsed, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000))


def change(folder: Path, items: int) -> None:
    """Replace a partition by one with further ids."""
    schema = Schema.load(folder)
    numbers = np.concatenate([np.arange(items // PARTITIONS), -1 - np.arange(10)])
    made = write_partition(folder, 0, numbers)
    after = replace(schema, partitions={**schema.partitions, made.path: made})
    (folder / SCHEMA_NAME).write_bytes(after.dumps())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=40_000_000)
    parser.add_argument("--ids", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=5, help="of the index and of DuckDB")
    parser.add_argument("--no-set", action="store_true", help="omit the Python set, of 150 bytes for each item")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, candidates = Path(place) / "catalog", Path(place) / "ids.parquet"
        began = time.monotonic()
        write_catalogue(folder, given.items)
        write_candidates(candidates, given.items, given.ids)
        size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        print(f"{given.items:,} items in {PARTITIONS:,} partitions, {size / 1e6:,.0f} MB, in"
              f" {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
        measured("index from nothing", build, folder, candidates)
        size = sum(path.stat().st_size for path in (folder / FOLDER).iterdir())
        print(f"{'':<40} {size / 1e6:,.0f} MB")
        seconds, memory = measured(f"{given.ids:,} ids by the index", by_index, folder, candidates, runs=given.runs)
        measured("1,000 ids by the index", by_index, folder, candidates, 1000, runs=given.runs)
        change(folder, given.items)
        measured("one of the partitions, read instead", by_index, folder, candidates, runs=1)
        measured("index of one partition more", build, folder, candidates)
        measured("DuckDB, anti-join", by_duckdb, folder, candidates, runs=given.runs)
        measured("pyarrow, is_in", by_pyarrow, folder, candidates, runs=min(3, given.runs))
        if not given.no_set:
            measured("Python set", by_set, folder, candidates)
    if given.items >= 40_000_000 and (seconds > TARGET or memory > MOST):
        sys.exit(f"above the targets of {TARGET:g} s and {MOST:,.0f} MB")


if __name__ == "__main__":
    main()
