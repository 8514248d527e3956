"""Read and plan the regions of ``eechips timeseries``, of ``regions`` or ``roi``: their pixel grids, and which share a
request; refuse datasets of a single image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import ee
import numpy as np
import numpy.typing as npt
import shapely

from eechips.builtin_recipes.chosen_dataset import ChosenDataset
from eechips.builtin_recipes.recipe_options import region_column
from eechips.builtin_recipes.tables.embedding_means import warn_of_partial_vector
from eechips.builtin_recipes.tables.table_options import TimeSeriesOptions
from eechips.errors import RegionError, UsageError
from eechips.geo.grid import Grid, nominal_scale
from eechips.geo.vector_paths import describe_missing, hash_vectors, is_vector_file, names_vector_file, split_layer
from eechips.planning.areas.place_groups import TILE, Cost, divide_regions, measure_images
from eechips.planning.areas.region_overlaps import region_polygon
from eechips.planning.areas.region_reducers import Statistics
from eechips.planning.areas.regions import AssetRegion, BoxRegion, Region, parse_box, parse_region, value_text
from eechips.planning.areas.zones import (
    Zones,
    ZoneShapes,
    fetch_zone_shapes,
    fetch_zones,
    measure_zones,
    read_zones,
    warn_of_small_zones,
)
from eechips.planning.asset_metadata import AssetMetadata, filter_images
from eechips.planning.grid_alignment import GridAlignment
from eechips.planning.imagery import point_images
from eechips.planning.imagery.expressions import box_around_all
from eechips.recipe import Unit
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
    file = split_layer(source)[0]
    is_folder = os.path.isdir(file) and (is_path or bool(file.suffix))  # noqa: PTH112 - pathlib raises for long texts
    if is_folder or (not regions.is_local and ((file.suffix and "/" not in source) or names_vector_file(source))):
        raise RegionError(describe_missing(source))
    regions.sha256  # noqa: B018 - hashed now: the file may change while the recipe exists


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """The plan of time series.

    Attributes:
        periods: number of periods, each of which has a row; None for a row for each image.
    """

    options: TimeSeriesOptions
    source: ChosenDataset
    statistics: Statistics
    alignment: GridAlignment
    periods: int | None
    regions: SeriesRegions

    def units(self, zones: Zones | None) -> Iterator[Unit]:
        """Yield the units of regions of a file, or of all regions of a table on the server (None).

        Raises:
            UsageError: if the dataset is a single image.
        """
        source, is_file = self.source, zones is not None
        around = None if zones is None or zones.geometries is None else box_around_all(zones.geometries)
        about = source.fetch_metadata(self.options.start, self.options.end, around=around)
        if about.kind != "collection":
            raise single_image_error(source.dataset_id)
        bands = source.selection.find_bands(about)
        if "mean" in self.statistics.names:
            warn_of_partial_vector(source.known, source.selection)
        extra: dict[str, Any] = {} if source.selection.names else {"bands": [band.name for band in bands]}
        extra |= about.unit_fields
        about = replace(about, bands=bands)
        zones = zones or self.regions.fetch()
        has_base_grid = self.periods is not None or not self.alignment.is_native  # otherwise each image has its own
        base_grids: Sequence[Grid | None] = [None] * len(zones)
        shapes = measure_zones(zones) if is_file else self._fetch_shapes(zones, has_base_grid=has_base_grid)
        if shapes is not None and has_base_grid:
            base_grids = self._base_grids(about, shapes)
        if is_file and shapes is not None:
            warn_of_small_zones(shapes, base_grids[0] or about.bands[0].grid, self.options.scale)
        if self.options.output == "region" or shapes is None:
            for index, base_grid in enumerate(base_grids):
                yield {"kind": "region", **_region(zones, index), **_placed(base_grid), **extra}
            return
        for some in self._batches(about, shapes, base_grids):
            yield {**_joint_region(zones, shapes, some), **_placed(base_grids[some[0]]), **extra}

    def _fetch_shapes(self, zones: Zones, *, has_base_grid: bool) -> ZoneShapes | None:
        """Fetch where the regions of a table on the server are; None if neither a grid nor a batch depends on it."""
        if self.options.output == "region" and not has_base_grid:
            return None
        table, id_field = self.regions.source, str(self.regions.id_field)
        return fetch_zone_shapes(table, id_field, zones, is_whole=self.regions.is_whole)

    def _images(self, about: AssetMetadata) -> ee.ImageCollection:
        options = self.options
        return filter_images(self.source.dataset_id, "collection", options.start, options.end, about.tests)

    def _base_grids(self, about: AssetMetadata, shapes: ZoneShapes) -> list[Grid]:
        """Return the pixel grid for each region: the requested one, or that of the latest image there."""
        placement, own = self.alignment.resolved(), about.bands[0].grid
        places = [(float(x), float(y)) for x, y in shapes.points]
        if not placement.is_native:
            return [placement.base_grid(own, place) for place in places]
        grid_band = self.source.selection.grid_band(about.bands[0].name)
        latest_images = point_images.find_images(self._images(about), grid_band, places)
        return [
            placement.base_grid(own if latest is None else latest[1], place)
            for latest, place in zip(latest_images, places, strict=True)
        ]

    def _batches(self, about: AssetMetadata, shapes: ZoneShapes, base_grids: Sequence[Grid | None]) -> Iterator[Any]:
        imagery = measure_images(self._images(about), shapes)
        rows = imagery.images if self.periods is None else self.periods
        bands = [band.name for band in about.bands]
        names = (*self.statistics.columns(bands), *self.statistics.valid_fractions(bands))
        scale = self.options.scale or nominal_scale(base_grids[0] or about.bands[0].grid)
        cost = Cost(values=rows * (1 + len(names)), images=imagery.images, tile=TILE * scale)
        most = None if self.options.batch == "auto" else self.options.batch
        groups = [None if grid is None else (grid.crs, grid.transform) for grid in base_grids]
        return divide_regions(shapes, cost, imagery, groups=groups, most=most)


def single_image_error(dataset_id: str) -> UsageError:
    """Return the error of a dataset that is a single image."""
    return UsageError(
        f"{dataset_id} is a single image: it has no time series; use `eechips points` with reducer='mean'"
    )


def _region(zones: Zones, index: int) -> dict[str, Any]:
    if zones.geometries is None:
        return {"region": zones.ids[index]}
    return {"region": zones.ids[index], "geometry": shapely.geometry.mapping(zones.geometries[index])}


def _joint_region(zones: Zones, shapes: ZoneShapes, some: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return the fields of a unit of several regions."""
    bounds = shapes.bounds[some]
    return {
        "kind": "region",
        "regions": [_region(zones, index) for index in some.tolist()],
        "bounds": [*bounds[:, :2].min(axis=0).tolist(), *bounds[:, 2:].max(axis=0).tolist()],
    }


def _placed(base_grid: Grid | None) -> dict[str, Any]:
    return {} if base_grid is None else {"crs": base_grid.crs, "transform": list(base_grid.transform)}
