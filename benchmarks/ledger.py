"""What the ledger of a run takes: bytes on the disk and processor time for each unit, and the parent's memory.

    python benchmarks/ledger.py --units 100000,1000000

Units and outcomes are those of ``eechips sample --dataset NAIP``: a point with its ecoregion and its grid, a PNG of
256x256. The plan is stored, every outcome recorded in batches as they come, the manifest exported, and what a command
that goes on does first is done: files that are recorded are compared with files that are there.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from points import points, square

from eechips.engine.plans.plan import plan_units
from eechips.manifest.export import export_parquet
from eechips.manifest.manifest_columns import Record, State, WorkUnit
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import read_files
from eechips.storage import NameTemplate

_BATCH = 50  # outcomes that are recorded at a time; a run has fewer if its parent is idle
_REGION = "Colorado Rockies forests"


def units(count: int) -> Iterator[dict[str, Any]]:
    """Units as ``eechips sample`` plans them."""
    for point in points(count):
        grid = square(point, 256).to_json()
        yield {"kind": "point", "coordinates": point, "eco_id": 353, "eco_name": _REGION, "grid": grid}


def outcomes(planned: Iterator[WorkUnit], grids: Iterator[dict[str, Any]]) -> Iterator[Record]:
    """What became of them."""
    draws = random.Random(0)
    began = datetime(2026, 1, 1, tzinfo=timezone.utc)
    for unit, value in zip(planned, grids, strict=True):
        finished = began + timedelta(milliseconds=20 * unit.position + draws.randrange(2000))
        yield Record(
            position=unit.position,
            state=State.DONE,
            requests=1,
            file=f"{unit.name}.png",
            bytes=draws.randrange(90_000, 130_000),
            sha256=hashlib.sha256(unit.id.encode()).hexdigest(),
            width=256,
            height=256,
            bands='["R", "G", "B"]',
            dtype="uint8",
            crs="EPSG:4326",
            transform=str(value["grid"]["transform"]),
            valid_fraction=1.0,
            seconds=round(draws.lognormvariate(0.0, 0.5), 3),
            finished=f"{finished:%Y-%m-%dT%H:%M:%S}.{finished.microsecond // 1000:03d}Z",
        )


def measure(count: int, folder: Path) -> list[str]:
    """A ledger of so many units: the cells of a row."""
    path = folder / LEDGER_NAME
    with Ledger(path) as ledger:
        template = NameTemplate("chips/{eco_name}/{id}")
        planning = cpu(lambda: ledger.store_plan({}, plan_units(units(count), "identity", template)))
        planned = size(folder)
        found = outcomes(ledger.open_units(), units(count))

        def record() -> None:
            while batch := list(islice(found, _BATCH)):
                ledger.record(batch)

        recording = cpu(record)
        exporting = cpu(lambda: export_parquet(ledger, folder))

        def compare() -> None:
            there = {file.name: file.size for file in read_files(ledger.database)}
            assert not [file for file in read_files(ledger.database) if there.get(file.name) != file.size]

        comparing = cpu(compare)
    done, parquet = path.stat().st_size, (folder / "manifest.parquet").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    milliseconds = (f"{1000 * seconds / count:.3f}" for seconds in (planning, recording, exporting, comparing))
    return [f"{count:,}", *(f"{each / count:.0f}" for each in (planned, done, parquet)), *milliseconds, f"{peak:.0f}"]


def cpu(function: Callable[[], object]) -> float:
    """Seconds of processor time that a call takes."""
    began = time.process_time()
    function()
    return time.process_time() - began


def size(folder: Path) -> int:
    """Bytes of the ledger, its write-ahead log included."""
    return sum(path.stat().st_size for path in folder.glob(f"{LEDGER_NAME}*"))


_COLUMNS = ("units", "B planned", "B done", "B parquet", "ms plan", "ms record", "ms export", "ms compare", "peak MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", default="100000,1000000", help="numbers of units, with commas; ascending")
    given = parser.parse_args()
    print("  ".join(f"{name:>10}" for name in _COLUMNS))
    for count in given.units.split(","):
        with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
            cells = measure(int(count), Path(folder))
        print("  ".join(f"{cell:>10}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
