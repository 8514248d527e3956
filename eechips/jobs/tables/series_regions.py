"""Read the regions of ``eechips timeseries``: polygons of a file, regions of a table on the server, or one region."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ee
import numpy as np

from eechips.errors import RegionError, UsageError
from eechips.geo.vector_hashes import hash_vectors
from eechips.geo.vector_paths import is_vector_file
from eechips.jobs.recipe_options import region_column
from eechips.jobs.tables.table_options import TimeSeriesOptions
from eechips.planning.areas.region_overlaps import region_polygon
from eechips.planning.areas.regions import AssetRegion, BoxRegion, Region, parse_box, parse_region, value_text
from eechips.planning.areas.zones import Zones, fetch_zones, read_zones
from eechips.text.suggestion import describe_choices

ONE_REGION = "roi"
"""Id of the only region, where it is a box or the union of a file."""


@dataclass(frozen=True)
class SeriesRegions:
    """The regions that have a time series each.

    Attributes:
        source: path of a file, or id of a table on the server; empty for one box or union.
        id_field: column that names regions; None for numbers.
        box: around the regions that are taken; None for all.
        crs: CRS of a file that does not say it.
        roi: the only region; None for all of the source.
    """

    source: str
    id_field: str | None
    box: BoxRegion | None = None
    crs: str | None = None
    roi: Region | None = None

    @cached_property
    def is_local(self) -> bool:
        """Whether the polygons are on this machine, not in a table on the server."""
        return not self.source or is_vector_file(self.source)

    @property
    def is_whole(self) -> bool:
        """Whether all regions of the source are taken."""
        return self.box is None and self.roi is None

    @cached_property
    def sha256(self) -> str | None:
        """The hash of the file of regions; None for other regions."""
        return hash_vectors(Path(self.source)) if self.source and self.is_local else None

    @cached_property
    def zones(self) -> Zones | None:
        """The regions of this machine; None for a table on the server."""
        if not self.is_local:
            return None
        if self.roi is not None:
            return Zones([ONE_REGION], np.array([region_polygon(self.roi)], dtype=object))
        return read_zones(Path(self.source), self.id_field, self.box, crs=self.crs)

    @property
    def parameters(self) -> dict[str, Any]:
        """What identifies the regions, as JSON."""
        if self.roi is not None:
            return self.roi.parameters
        crs = {} if self.crs is None else {"input_crs": self.crs}
        return {"regions": self.source, "regions_sha256": self.sha256, **crs}

    def __getstate__(self) -> dict[str, Any]:
        # Workers receive the regions in their units.
        return {name: value for name, value in self.__dict__.items() if name != "zones"}

    def fetch(self) -> Zones:
        """Fetch the ids of the regions of a table on the server.

        Raises:
            UsageError: if no column is named.
            RegionError: if the table, the column or the region does not exist.
        """
        zones = fetch_zones(self.source, self.id_field, self.box)
        if not isinstance(self.roi, AssetRegion):
            return zones
        named = {value_text(region): region for region in zones.ids}
        if self.roi.value not in named:
            choices = describe_choices(self.roi.value, sorted(named))
            raise RegionError(f"{self.source} has no feature whose {self.id_field} is {self.roi.value!r}; {choices}")
        return Zones([named[self.roi.value]])

    def geometry(self) -> ee.Geometry:
        """Return the regions of a table on the server as one geometry."""
        return ee.FeatureCollection(self.source).geometry() if self.roi is None else self.roi.geometry()


def choose_regions(options: TimeSeriesOptions) -> SeriesRegions:
    """Return the regions of ``regions`` or ``roi``.

    Raises:
        UsageError: if both or none are given, or an option of ``regions`` without them.
        RegionError: if the file or the region cannot be used.
    """
    id_field = region_column(options.columns)
    if (options.regions is None) == (options.roi is None):
        raise UsageError("give `regions`, which have a series each, or `roi`, one region")
    if options.roi is not None:
        for name, value in (("columns", id_field), ("bbox", options.bbox)):
            if value is not None:
                raise UsageError(f"`{name}` describes the regions of `regions`: leave it out, or give them")
        roi = parse_region(options.roi, crs=options.input_crs)
        if isinstance(roi, AssetRegion):
            return SeriesRegions(roi.asset, roi.field, roi=roi)
        return SeriesRegions("", None, roi=roi)
    box = parse_box(options.bbox) if options.bbox else None
    regions = SeriesRegions(str(options.regions), id_field, box, options.input_crs)
    _check_source(regions)
    return regions


def _check_source(regions: SeriesRegions) -> None:
    source = regions.source
    is_path = source.startswith((".", "/")) or source.endswith("/") or "\\" in source
    if is_path and Path(source).is_dir():
        raise RegionError(f"{source!r} is a folder: name a vector file in it")
    if Path(source).suffix and not regions.is_local and "/" not in source:
        raise RegionError(f"there is no file {source}")
    regions.sha256  # noqa: B018 - hashed now: the file may change while the recipe exists
