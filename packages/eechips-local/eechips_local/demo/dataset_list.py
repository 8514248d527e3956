"""List the demo planet's datasets, for ``eechips datasets --local`` and the documentation."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date, timedelta

from eechips_local.demo import synthetic_label
from eechips_local.demo.demo_store import DemoAsset, catalogue
from eechips_local.demo.demo_tables import DemoTable
from eechips_local.evaluation.asset_model import ImageAsset, Query
from eechips_local.stores import demo_end

_RECENT_DAYS = 400
"""A collection is listed as ongoing if its last image is younger."""
_LATEST_DAYS = 40
"""The last image of so many days shows the bands, where a collection has one."""

_PLACE = (-105.1, 40.2, -105.0, 40.3)

_HEAD = (
    "# Datasets of the demo planet",
    "",
    "`--local` and `eechips-local serve --demo` serve these datasets under the ids of Earth Engine's catalogue, with",
    "its bands, scales, grids and properties. Their values and the counties of TIGER are **synthetic**: not observed.",
    "`eechips datasets --local` prints this list.",
    "",
    "Images of a collection differ as in the archives. NAIP before 2010 lacks near infrared or blue, and has pixels of",
    "1 or 2 m. Sentinel-1 has VV, VV with VH, HH, or HH with HV, and the mode EW around the poles. Some images of",
    "Sentinel-2 lack quality bands, and some are there twice. Landsat 7 has gaps after May 2003. Earth Engine does not",
    "have `EECHIPS/DEMO/MIXED`: ten images that differ in bands, types, pixels, dates and outlines.",
    "",
    "Collections without a last day end on the day on which the server starts. `EECHIPS_DEMO_UNTIL=2025-01-01` sets",
    "that day, for results that are the same on every day. To serve other datasets, convert their files with",
    "[`eechips-local assets ingest`](../explanation/local-earth-engine.md#assets), or serve",
    "[stubs](../how-to/own-data.md#serve-stubs-of-other-datasets).",
    "",
    "| id | title | kind | dates | bands or columns |",
    "|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A dataset of the demo planet.

    Attributes:
        id: as in Earth Engine's catalogue.
        kind: "image", "collection" or "table".
        dates: first and last day, such as "2013-03-18 - "; the last one is missing where it follows the calendar.
        names: names of the bands, or of a table's columns.
        title: as in the catalogue.
    """

    id: str
    kind: str
    dates: str
    names: tuple[str, ...]
    title: str


def entries() -> list[DatasetEntry]:
    """Return every dataset of the demo planet, in the order of ids."""
    until = demo_end()
    return [_entry(asset, until) for asset in catalogue(until).values()]


def _entry(asset: DemoAsset, until: date) -> DatasetEntry:
    title = str(asset.properties.get("title", ""))
    if isinstance(asset, DemoTable):
        return DatasetEntry(asset.id, "table", "", tuple(asset.columns), title)
    if isinstance(asset, ImageAsset):
        return DatasetEntry(asset.id, "image", "", tuple(band.name for band in asset.bands), title)
    first, last = (synthetic_label.date_of(moment).date() for moment in asset.properties["date_range"])
    # The latest images have all bands, the first of some collections lack some.
    recent = Query(bounds=_PLACE, start=asset.properties["date_range"][1] - _LATEST_DAYS * 86_400_000.0)
    image = next(reversed([*asset.images(recent)]), None) or next(iter(asset.images(Query(bounds=_PLACE))))
    goes_on = (until - last).days < _RECENT_DAYS
    dates = f"{first} - " if goes_on else f"{first} - {last - timedelta(days=1)}"
    names = getattr(asset, "band_names", None) or tuple(band.name for band in image.bands)
    return DatasetEntry(asset.id, "collection", dates.rstrip(), names, title)


def page() -> str:
    """Return the page of the documentation that lists them, Markdown."""
    rows = [f"| `{e.id}` | {e.title} | {e.kind} | {e.dates} | {', '.join(e.names)} |" for e in entries()]
    return "\n".join([*_HEAD, *rows, ""])


if __name__ == "__main__":
    sys.stdout.write(page())
