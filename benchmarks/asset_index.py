"""How fast a collection of a million images is filtered.

Run with ``python benchmarks/asset_index.py [--images 1000000]``. The images have documents of no files: what is
measured is the index. Queries run in a process of their own, whose memory is told.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import shapely

from eechips_local.assets import FolderStore, stac
from eechips_local.assets.ingestion.publish import create
from eechips_local.assets.ingestion.records import ContainerRecord, ImageRecord, RasterBand, RasterFile
from eechips_local.assets.store_files import locked, write_json
from eechips_local.assets.store_index import StoreIndex, stamp_of
from eechips_local.evaluation.asset_model import Query

COLLECTION = "SCENES"
DAY = 86_400_000
BANDS = tuple(RasterBand(name, 0, index) for index, name in enumerate(("B2", "B3", "B4", "B8")))

QUERIES = {
    "open the store and get the collection": None,
    "first image": Query(),
    "one image by system:index": Query(equals={"system:index": "S_0500000"}),
    "a day": Query(start=1_500_000_000_000, end=1_500_000_000_000 + DAY),
    "a month": Query(start=1_500_000_000_000, end=1_500_000_000_000 + 30 * DAY),
    "a box of 0.1 degrees": Query(bounds=(-105.0, 40.0, -104.9, 40.1)),
    "a box of 2 degrees and a year": Query(
        bounds=(-105, 40, -103, 42), start=1_500_000_000_000, end=1_500_000_000_000 + 365 * DAY
    ),
    "a box across 180 degrees": Query(bounds=(179.5, -10, -179.5, 0)),
    "a box without images": Query(bounds=(-105.0, 40.0, -104.9, 40.1), start=0, end=1),
    "a continent and ten years": Query(bounds=(-130, 20, -60, 55), start=1_200_000_000_000, end=1_515_360_000_000),
}


def records(count: int) -> Iterator[ImageRecord]:
    """Scenes of about a degree, all over the world, from 2000 to 2023."""
    random = np.random.default_rng(1)
    west, south = random.uniform(-180, 178.5, count), random.uniform(-70, 75, count)
    times = random.integers(946_684_800_000, 1_700_000_000_000, count)
    for number in range(count):
        box = shapely.box(west[number], south[number], west[number] + 1.1, south[number] + 1)
        name = f"S_{number:07d}"
        file = RasterFile(
            f"{COLLECTION}/{name}/0123456789abcdef0123456789abcdef.tif", "EPSG:32613",
            (10.0, 0.0, 300000.0 + number, 0.0, -10.0, 4500000.0), 10980, 10980, "uint16", (1, 2, 4, 8, 16, 32, 64),
        )  # fmt: skip
        properties = {"system:time_start": int(times[number]), "CLOUDY_PIXEL_PERCENTAGE": number % 100}
        yield ImageRecord(f"{COLLECTION}/{name}", 1, properties, box, (file,), BANDS)


def build(root: Path, count: int) -> None:
    """A store with one collection."""
    create(root)
    href = stac.container_href(COLLECTION, "collection")
    write_json(root / href, stac.container(COLLECTION, "collection", href, stac.ROOT_DOCUMENT, None))
    document = stac.read_document(root / stac.ROOT_DOCUMENT)
    stac.add_links(document, stac.ROOT_DOCUMENT, "child", [href])
    write_json(root / stac.ROOT_DOCUMENT, document)
    with locked(root), closing(StoreIndex(root)) as index:
        index.ensure()
        container = ContainerRecord(COLLECTION, "collection", href, stamp_of(root / href))
        index.update([container], list(records(count)))


def measure(root: str, name: str) -> None:
    """Prints the results of one query, as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    found = first = 0.0
    with FolderStore(root) as store:
        collection = store.get(COLLECTION)
        query = QUERIES[name]
        if query is not None:
            for _ in collection.images(query):  # type: ignore[union-attr]
                first = first or time.perf_counter() - started
                found += 1
                if name == "first image":
                    break
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"images": int(found), "first": first, "seconds": seconds, "MB": memory / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--store", help="measure in this folder")
    parser.add_argument("--query", help="measure this query only")
    options = parser.parse_args()
    if options.query:
        measure(options.store, options.query)
        return
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        build(Path(folder), options.images)
        size = (Path(folder) / ".index.sqlite").stat().st_size / 2**20
        print(f"{options.images:,} images indexed in {time.perf_counter() - started:.1f} s, {size:.0f} MB\n")
        print("| query | images | first after | all after | memory |\n|---|---:|---:|---:|---:|")
        for name in QUERIES:
            command = [sys.executable, __file__, "--store", folder, "--query", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seen = json.loads(done.stdout)
            milliseconds = [f"{seen[key] * 1000:.1f} ms" for key in ("first", "seconds")]
            print(f"| {name} | {seen['images']:,} | {' | '.join(milliseconds)} | {seen['MB']:.0f} MB |")


if __name__ == "__main__":
    main()
