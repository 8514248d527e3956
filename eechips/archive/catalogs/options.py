"""Declare the options of commands that write a catalogue, and their defaults, such as the limits of an ingest's
requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eechips.option_fields import documented, option, option_field

if TYPE_CHECKING:
    from eechips.archive.catalogs.partitions.layout import By, Layout, Period

Mixed = Literal["keep", "cast", "refuse"]
"""Treatment of values of another kind than most of their property, such as text among numbers."""

IN_FLIGHT, PER_HOST, RETRIES, TIMEOUT = 64, 32, 5, 30.0
"""Default limits of requests: in flight, in flight to one host, retries, seconds."""

PLACE, ITEMS, REQUESTS, WORKERS, LAYOUT, CHANGES = "Catalogue", "Items", "Requests", "Workers", "Layout", "Changes"
"""Headings of the options in the help, in their order."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOptions:
    """Options of commands that add items to a catalogue.

    None stands for the value of the catalogue, or for the default of a new one, which is fixed from then on.
    """

    by: By | None = option_field(
        None,
        "First level of the partitions; mission is the item's mission, constellation or platform.",
        LAYOUT,
        choices=("collection", "mission"),
        default="collection",
    )
    grid: str | None = option_field(
        None, "Spatial grid of the partitions.", LAYOUT, choices=("h3", "s2", "mgrs", "utm", "tiles"), default="h3"
    )
    resolution: int | None = option_field(
        None, "Resolution of h3 or s2.", LAYOUT, metavar="N", default="2 of h3, 5 of s2"
    )
    tiles: str | Path | None = option_field(
        None,
        "With `grid` tiles: GeoJSON file of the tiles, which are named polygons.",
        LAYOUT,
        metavar="FILE",
        kind="file",
    )
    period: Period | None = option_field(
        None, "Period of a partition.", LAYOUT, choices=("year", "month", "day", "none"), default="month"
    )
    most_cells: int | None = option_field(
        None, "Items that intersect more cells go to 'global'.", LAYOUT, metavar="N", default="10"
    )
    give_up_unreadable: bool = option_field(
        False,
        "Remove unreadable partitions with their items; otherwise they stay unchanged, and their new items are not"
        " merged.",
        CHANGES,
    )
    mixed: Mixed = option_field(
        "keep",
        "Values whose type differs from the rest of their property, such as n/a among numbers: keep them in the"
        " column 'properties', cast them where possible, or stop before anything is changed. The column of a"
        " property has one type in the whole catalogue.",
        CHANGES,
        choices=("keep", "cast", "refuse"),
    )
    quiet: bool = option_field(False, "Show no progress.", flags=("-q",))

    def layout(self, known: Layout | None) -> Layout:
        """Return the requested layout, given that of the catalogue, or None for a new one.

        Raises:
            UsageError: if options contradict each other.
        """
        from eechips.archive.catalogs.partitions.layout import Layout, choose_grid

        cells = choose_grid(self.grid, self.resolution, self.tiles, known.grid if known else None)
        wanted = {"by": self.by, "period": self.period, "most_cells": self.most_cells}
        requested: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        return replace(known or Layout(cells), grid=cells, **requested)


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions(CatalogOptions):
    """Options of ``eechips catalog build``."""

    out: str | Path | None = option_field(
        None, "Folder of the catalogue; several runs may share one.", PLACE, metavar="CATALOG", default="DIR/catalog"
    )
    collection: str | None = option_field(
        None, "Id of the STAC collection.", PLACE, metavar="ID", default="the name of the run's folder"
    )
    base: str | None = option_field(
        None, "URL below which readers find the run's files.", ITEMS, metavar="URL", default="their present location"
    )
    date: str | None = option_field(
        None,
        "Date, or first and last date (2021-01-01/2021-12-31), of chips without a known date.",
        ITEMS,
        metavar="D[/D]",
    )


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions(CatalogOptions):
    """Options of ``eechips catalog ingest``."""

    out: str | Path = field(metadata=option("Folder of the catalogue.", PLACE, metavar="CATALOG"))
    column: str | None = option_field(
        None, "Column with the URLs, in lists with columns.", ITEMS, metavar="NAME", default="url, href or the like"
    )
    hook: str | None = option_field(
        None,
        "Function (module:function) or script (script:COMMAND) that makes an item from a URL.",
        ITEMS,
        metavar="HOOK",
    )
    collection: str | None = option_field(None, "Collection of items that name none.", ITEMS, metavar="ID")
    strict: bool = option_field(False, "Refuse invalid items instead of repairing them.", ITEMS)
    in_flight: int = option_field(IN_FLIGHT, "Maximum number of requests in flight.", REQUESTS)
    per_host: int = option_field(PER_HOST, "Maximum number of requests to one host.", REQUESTS)
    retries: int = option_field(RETRIES, "Maximum number of retries of a request after transient errors.", REQUESTS)
    timeout: float = option_field(TIMEOUT, "Maximum seconds for a response.", REQUESTS, metavar="SECONDS")
    processes: int | None = option_field(
        None,
        "Processes of this machine that validate and sort items.",
        WORKERS,
        metavar="N",
        default="1, or one per core for large lists, up to four",
    )
