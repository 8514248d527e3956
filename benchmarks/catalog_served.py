"""A catalogue of many items, served as a collection: what queries read, and how long they take.

    python benchmarks/catalog_served.py --items 1000000 --folder /tmp/served

Scenes over North America (or, with --world, over all of the Earth) and a year are put into a catalogue in the folder,
unless it is there from an earlier run. Then a store, as each worker of the local Earth Engine has one, is asked for
what lies in a box, in a month, has few clouds; for an image by its id, first without the file of ids, which is made
then; for the first image, for how many there are, for some in the middle of all. Times are of the processor, and by
the clock; memory is the peak of the process so far, which did not make the catalogue.
"""

from __future__ import annotations

import argparse
import datetime as dt
import multiprocessing
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from eechips.archive.catalogs.partitions.layout import Layout, Period, choose_grid
from eechips.archive.catalogs.update import update
from eechips_local.catalogs import CatalogStore
from eechips_local.evaluation.asset_model import Query, Range

COLLECTION = "sentinel-2-l2a"
BANDS = ("B02", "B03", "B04", "B08", "SCL", "visual")
AMERICA, WORLD = (-125.0, 25.0, -70.0, 50.0), (-180.0, -56.0, 178.0, 75.0)
BATCH = 20_000
JUNE = (1_590_969_600_000, 1_593_561_600_000)  # of 2020, in milliseconds


def name_of(number: int) -> str:
    """The id of a scene."""
    return f"S2A_{number:08d}_L2A"


def scene(number: int, bounds: tuple[float, float, float, float]) -> dict[str, Any]:
    """A scene of 110 km; the same number has the same place and date."""
    chance = random.Random(number)
    x, y = chance.uniform(bounds[0], bounds[2]), chance.uniform(bounds[1], bounds[3])
    moment = dt.datetime(2020, 1, 1) + dt.timedelta(seconds=chance.randrange(366 * 86400))
    address = f"https://example.org/scenes/{number}"
    grid = {"proj:shape": [10980, 10980], "proj:transform": [10, 0, 399960, 0, -10, 4200000]}
    common = {"type": "image/tiff; application=geotiff", "roles": ["data"], **grid}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "id": name_of(number),
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [[[x, y], [x + 1.2, y], [x + 1.2, y + 1], [x, y + 1], [x, y]]]},
        "bbox": [x, y, x + 1.2, y + 1],
        "properties": {
            "datetime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "updated": "2021-01-01T00:00:00Z",
            "platform": "sentinel-2a",
            "instruments": ["msi"],
            "eo:cloud_cover": chance.uniform(0, 100),
            "proj:epsg": 32600 + chance.randrange(10, 20),
        },
        "links": [{"rel": "self", "href": address}],
        "assets": {band: {"href": f"{address}/{band}.tif", **common} for band in BANDS},
    }


def make(folder: Path, count: int, period: Period, resolution: int, bounds: tuple[float, float, float, float]) -> None:
    """Makes the catalogue."""

    def batches() -> Iterator[list[dict[str, Any]]]:
        for start in range(0, count, BATCH):
            yield [scene(number, bounds) for number in range(start, min(start + BATCH, count))]

    layout = Layout(choose_grid("h3", resolution, None, None), period)
    update(folder, lambda known: layout, batches(), lambda schema: [], give_up=False, is_shown=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"made in {time.process_time():.0f} s of processor, {peak:.0f} MB", flush=True)


def measured(what: str, store: CatalogStore, ask: Callable[[], int]) -> None:
    """Prints what is found, the time that it takes, and what is read."""
    store.reads.take()
    before, begun = time.process_time(), time.perf_counter()
    found = ask()
    cpu, wall = time.process_time() - before, time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reads = ", ".join(f"{kind} {count:,}" for kind, count in store.reads.take().items())
    print(f"{what:<24}{found:>10,}  {cpu:8.3f} s of processor, {wall:8.3f} s, {peak:6.0f} MB  {reads}", flush=True)


def main() -> None:
    """Makes the catalogue if it is not there, and asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--period", default="month")
    parser.add_argument("--resolution", type=int, default=2)
    parser.add_argument("--world", action="store_true")
    given = parser.parse_args()
    if not given.folder.exists():
        arguments = (given.folder, given.items, given.period, given.resolution, WORLD if given.world else AMERICA)
        maker = multiprocessing.get_context("spawn").Process(target=make, args=arguments)
        maker.start()
        maker.join()
    shutil.rmtree(given.folder / ".ids", ignore_errors=True)
    store = CatalogStore(given.folder)
    collection: Any = None

    def opened() -> int:
        nonlocal collection
        collection = store.get(COLLECTION)
        return int(store.describe()["partitions"])

    def count(query: Query) -> int:
        return sum(1 for _ in collection.images(query))

    def platforms() -> int:
        return len([image.properties.get("platform") for image in collection.images(Query(box, *JUNE))])

    box = (-105.5, 39.5, -105.0, 40.0)
    clear = {"eo:cloud_cover": Range(greatest=1.0)}
    measured("opened; partitions", store, opened)
    measured("size", store, lambda: collection.count())
    measured("a box in June", store, lambda: count(Query(box, *JUNE)))
    measured("the same, a property", store, platforms)
    measured("a box", store, lambda: count(Query(box)))
    measured("few clouds in June", store, lambda: count(Query(None, *JUNE, {}, clear)))
    measured("few clouds", store, lambda: count(Query(ranges=clear)))
    measured("an id, the first time", store, lambda: int(collection.image(name_of(given.items - 1)) is not None))
    measured("an id", store, lambda: int(collection.image(name_of(given.items // 3)) is not None))
    measured("the first image", store, lambda: sum(1 for _ in islice(collection.images(Query()), 1)))
    middle = given.items // 2
    measured("100 images in the middle", store, lambda: sum(1 for _ in islice(collection.images_from(middle), 100)))


if __name__ == "__main__":
    main()
