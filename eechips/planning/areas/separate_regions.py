"""Read the polygons of a vector file that get files of their own (``regions``): ``margin``, ids that name the same
folder, outlines that an extension must keep.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ee
import pyarrow as pa
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError, UsageError
from eechips.geo.vector_paths import describe_missing, hash_vectors, is_vector_file
from eechips.planning.areas.regions import Region, parse_region, planar_geometry
from eechips.planning.areas.zones import Zones, read_zones
from eechips.planning.place_tables import json_columns
from eechips.storage import fold_case, safe_component

_SHOWN = 3  # ids that a message names
_OWN_FIELDS = frozenset(
    {"kind", "region", "outline", "image", "date", "time", "start", "end", "images", "dtype", "latest", "completes"}
    | {"row", "column", "width", "height"}  # of the windows of a mosaic
)
"""Fields of units that names of files may have: a column of such a name is the property ``unit_<name>``."""
_DIGITS = 16  # of the SHA-256 of an outline as WKB

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeparateRegions:
    """The polygons of a vector file, each with an id; features with the same id are one region.

    Attributes:
        zones: ids and polygons in longitude and latitude.
        sha256: SHA-256 digest of the file's bytes.
        id_field: column of the ids; None for numbers from 1.
        margin: metres around a region that its files show.
        crs: CRS that the caller gave, because the file does not say it; None if it does.
    """

    path: Path
    zones: Zones
    sha256: str
    id_field: str | None = None
    margin: float = 0.0
    crs: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """``{"regions": path, "regions_sha256": …, "id_field": …, "margin": …}``."""
        crs = {"input_crs": self.crs} if self.crs is not None else {}
        file_parameters = {"regions": str(self.path), "regions_sha256": self.sha256, "id_field": self.id_field}
        return {**file_parameters, "margin": self.margin, **crs}

    @property
    def polygon(self) -> BaseGeometry:
        """The boxes around the regions of the western and of the eastern hemisphere, in longitude and latitude."""
        bounds = shapely.bounds(self.zones.geometries)
        is_west = bounds[:, 0] + bounds[:, 2] < 0.0
        halves = [half for half in (bounds[is_west], bounds[~is_west]) if len(half)]
        return shapely.union_all([shapely.box(*h[:, :2].min(axis=0), *h[:, 2:].max(axis=0)) for h in halves])

    @cached_property
    def _polygons(self) -> dict[Any, BaseGeometry]:
        assert self.zones.geometries is not None
        return dict(zip(self.zones.ids, self.zones.geometries, strict=True))

    def geometry(self) -> ee.Geometry:
        """Return :attr:`polygon` on the server."""
        return planar_geometry(self.polygon)

    @cached_property
    def _outlines(self) -> dict[Any, str]:
        polygons = shapely.to_wkb(self.zones.geometries, byte_order=1)
        digests = [hashlib.sha256(polygon).hexdigest()[:_DIGITS] for polygon in polygons]
        return dict(zip(self.zones.ids, digests, strict=True))

    def polygon_of(self, region: Any) -> BaseGeometry:
        """Return the polygons of a region in longitude and latitude.

        Raises:
            RegionError: if the file has no such region.
        """
        if region not in self._polygons:
            raise RegionError(f"{self.path} has no region {region!r}")
        return self._polygons[region]

    @cached_property
    def _properties(self) -> dict[Any, dict[str, Any]]:
        """The columns of the file, by region; empty if it has none."""
        if self.zones.attributes is None:
            return {}
        table = pa.Table.from_pandas(self.zones.attributes, preserve_index=False)
        columns = {f"unit_{name}" if name in _OWN_FIELDS else name: v for name, v in json_columns(table).items()}
        rows = zip(*columns.values(), strict=True)
        return {region: dict(zip(columns, row, strict=True)) for region, row in zip(self.zones.ids, rows, strict=False)}

    def unit_fields(self, region: Any, *, is_clipped: bool) -> dict[str, Any]:
        """Return what a unit says of its region: ``region``, ``outline`` and ``properties``.

        The outline is a hash, if the unit's file is clipped to it. Properties are the columns of the file.

        Args:
            region: id of the region.
        """
        outline = {"outline": self._outlines[region]} if is_clipped else {}
        properties = {"properties": self._properties[region]} if self._properties else {}
        return {"region": region, **outline, **properties}

    def check_outlines(self, outlines: Mapping[Any, str | None]) -> None:
        """Check that regions have the outlines that units name.

        Args:
            outlines: ``outline`` of the units of each region; None for units that are not clipped.

        Raises:
            UsageError: if a region has another outline in the file.
        """
        for region, outline in outlines.items():
            if outline is not None and outline != self._outlines[region]:
                raise outline_error(region)


def outline_error(region: Any, changed: str = "files") -> UsageError:
    """Return the error for a region that has another outline than in the run that is to be extended.

    Args:
        region: its id; None for the only one.
        changed: what would change.
    """
    where = "the region" if region is None else f"region {region}"
    return UsageError(
        f"the outline of {where} is not that of the run, whose {changed} would change: give it another id, or choose"
        " another output folder"
    )


def choose_region(
    *, roi: str | Path | None, regions: str | Path | None, id_field: str | None, margin: float | None, crs: str | None
) -> Region | None:
    """Read the region, or the regions, that options describe.

    Args:
        roi: one region; see :func:`eechips.planning.areas.regions.parse_region`.
        regions: vector file of several.
        id_field: column of the ids of several regions.
        margin: metres around each of several regions.
        crs: CRS of a file that does not say it.

    Returns:
        None if neither is given.

    Raises:
        UsageError: if both are given, or an option lacks its regions.
        RegionError: if the region cannot be used.
    """
    if regions is not None:
        if roi is not None:
            raise UsageError("`roi` is one region, and `regions` several: leave one of them out")
        return read_separate_regions(Path(regions), id_field, margin=margin, crs=crs)
    for name, value in (("columns", id_field), ("margin", margin)):
        if value is not None:
            raise UsageError(f"`{name}` describes the regions of `regions`: leave it out, or give them")
    return None if roi is None else parse_region(roi, crs=crs)


def read_separate_regions(
    path: Path, id_field: str | None = None, *, margin: float | None = None, crs: str | None = None
) -> SeparateRegions:
    """Read the regions of a vector file; see :func:`eechips.planning.areas.zones.read_zones`.

    Args:
        id_field: column of the ids; None to number the features from 1.
        margin: metres around a region; None for none.
        crs: CRS of a file that does not say it.

    Raises:
        UsageError: if the margin is negative.
        RegionError: if the file or the column cannot be used.
    """
    if margin is not None and not 0.0 <= margin < math.inf:
        raise UsageError(f"`margin` must be 0 metres or more, not {margin:g}")
    if not is_vector_file(path):
        raise RegionError(f"{describe_missing(path)} (`regions` takes the path of a vector file)")
    zones = read_zones(path, id_field, crs=crs)
    _warn_of_equal_names(path, zones.ids)
    return SeparateRegions(path, zones, hash_vectors(path), id_field, margin or 0.0, crs)


def _warn_of_equal_names(path: Path, ids: list[Any]) -> None:
    """Log ids that name the same folder, such as ``a/b`` and ``A_B``."""
    names = defaultdict(list)
    for region in ids:
        names[fold_case(safe_component(region))].append(region)
    groups = [some for some in names.values() if len(some) > 1]
    if groups:
        shown = "; ".join(" and ".join(map(repr, some)) for some in groups[:_SHOWN])
        _log.warning(
            "%s: ids that differ only in case or in signs that no file name has are one folder: %s. The manifest's"
            " column 'region' tells their files apart",
            path,
            shown,
        )
