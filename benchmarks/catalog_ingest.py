"""A list of many items into a catalogue, beside plain writes of the same list in the same run.

    python benchmarks/catalog_ingest.py --items 1000000

A list of scenes over North America and a year is written, as NDJSON: 1.8 kB each, of 110 km, with six assets. Then

1. `eechips catalog ingest` makes a catalogue of it: parsed, checked, mended, partitioned, merged;
2. the same with a list that has half of the first, with a later date of update, and half as many new items;
3. stac-geoparquet writes the first list into one file, in batches of 20,000;
4. rustac does, of the first 100,000 items only: it needs all of them in memory, 25 kB each.

All by processor time; a step's memory is the peak of its own process.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eechips.catalogs.catalog import open_catalog
from eechips.catalogs.ingest import ingest

BANDS = ("B02", "B03", "B04", "B08", "SCL", "visual")
RUSTAC = 100_000  # items


def scene(number: int, updated: str) -> dict[str, Any]:
    """A scene; the same number has the same place and date."""
    chance = random.Random(number)
    x, y = chance.uniform(-125, -70), chance.uniform(25, 50)
    moment = dt.datetime(2020, 1, 1) + dt.timedelta(seconds=chance.randrange(366 * 86400))
    ring = [[x, y], [x + 1.2, y + 0.1], [x + 1.1, y + 1], [x - 0.1, y + 0.9], [x, y]]
    address = f"https://example.org/scenes/{number}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "id": f"S2A_{number:08d}_L2A",
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [x - 0.1, y, x + 1.2, y + 1],
        "properties": {
            "datetime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "updated": updated,
            "platform": "sentinel-2a",
            "instruments": ["msi"],
            "eo:cloud_cover": chance.uniform(0, 100),
            "proj:epsg": 32600 + chance.randrange(10, 20),
        },
        "links": [{"rel": "collection", "href": "https://example.org/c"}, {"rel": "self", "href": address}],
        "assets": {
            band: {
                "href": f"{address}/{band}.tif",
                "type": "image/tiff; application=geotiff",
                "roles": ["data"],
                "proj:shape": [10980, 10980],
            }
            for band in BANDS
        },
    }


def write(path: Path, numbers: range, updated: str) -> None:
    """A list of scenes."""
    with path.open("w") as file:
        file.writelines(f"{json.dumps(scene(number, updated))}\n" for number in numbers)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The items of a list."""
    with path.open() as file:
        yield from map(json.loads, file)


def by_ingest(path: Path, out: Path) -> str:
    """Into the catalogue."""
    found = ingest(path, out, quiet=True)
    changed = len(found.outcome.written)
    return (
        f"{found.outcome.new:,} new, {found.outcome.replaced:,} known, {changed:,} partitions written, {found.seconds}"
    )


def by_library(path: Path, out: Path) -> str:
    """A plain file."""
    from stac_geoparquet.arrow import parse_stac_items_to_parquet

    parse_stac_items_to_parquet(lines(path), output_path=out, chunk_size=20_000)
    return ""


def by_rustac(path: Path, out: Path) -> str:
    """A plain file of the first items."""
    import rustac

    rustac.write_sync(str(out), list(itertools.islice(lines(path), RUSTAC)))
    return ""


def measured(count: int, step: Callable[..., str], *arguments: Any) -> float:
    """Carries out a step in a process of its own; prints and returns its items per second of processor time."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_carry_out, args=(there, step, arguments))
    process.start()
    told, cpu, wall, peak = here.recv()
    process.join()
    print(f"{step.__name__:<11} {count / cpu:>8,.0f} items/s of processor  {cpu:6.1f} s, {wall:6.1f} s by the clock,"
          f" {peak / 1024:5.0f} MB  {told}", flush=True)  # fmt: skip
    return count / cpu


def _carry_out(pipe: Any, step: Callable[..., str], arguments: tuple[Any, ...]) -> None:
    started, before = time.monotonic(), time.process_time()
    told = step(*arguments)
    cpu, wall = time.process_time() - before, time.monotonic() - started
    pipe.send((told, cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    count = parser.parse_args().items
    with tempfile.TemporaryDirectory() as place:
        first, second, out = Path(place) / "first.ndjson", Path(place) / "second.ndjson", Path(place) / "catalog"
        write(first, range(count), "2021-01-01T00:00:00Z")
        own = measured(count, by_ingest, first, out)
        write(second, range(count // 2, count // 2 + count), "2021-02-01T00:00:00Z")
        measured(count, by_ingest, second, out)
        found = open_catalog(out)
        assert len(found) == count + count // 2
        print(found.summary)
        plain = measured(count, by_library, first, Path(place) / "library.parquet")
        rustac = measured(min(count, RUSTAC), by_rustac, first, Path(place) / "rustac.parquet")
        print(f"of the faster plain write: {own / max(plain, rustac):.2f}")


if __name__ == "__main__":
    main()
