"""Plan the time series of regions, as ``eechips timeseries`` does: their pixel grids, and which share a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ee
import numpy as np
import numpy.typing as npt
import shapely

from eechips.errors import UsageError
from eechips.geo.grid import Grid, nominal_scale
from eechips.jobs.chosen_dataset import ChosenDataset
from eechips.jobs.tables.embedding_means import warn_of_partial_vector
from eechips.jobs.tables.series_regions import SeriesRegions
from eechips.jobs.tables.table_options import TimeSeriesOptions
from eechips.planning.areas.point_cells import TILE, Cost, divide_regions, measure_images
from eechips.planning.areas.region_reducers import Statistics
from eechips.planning.areas.zones import Zones, ZoneShapes, fetch_zone_shapes, measure_zones, warn_of_small_zones
from eechips.planning.asset_metadata import AssetMetadata, fetch_metadata, filter_images
from eechips.planning.grid_alignment import GridAlignment
from eechips.planning.imagery import point_images
from eechips.planning.imagery.expressions import box_around_all
from eechips.planning.imagery.image_filters import PropertyCondition
from eechips.recipe import Unit


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """The plan of time series.

    Attributes:
        periods: number of periods, each of which has a row; None for a row for each image.
    """

    options: TimeSeriesOptions
    source: ChosenDataset
    conditions: Sequence[PropertyCondition]
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
        about = fetch_metadata(
            source.dataset_id,
            source.known_kind,
            start=self.options.start,
            end=self.options.end,
            conditions=self.conditions,
            needed=source.needed_bands,
            around=None if zones is None or zones.geometries is None else box_around_all(zones.geometries),
        )
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
        if is_file:
            shapes = measure_zones(zones)
        elif self.options.output == "region" and not has_base_grid:
            shapes = None
        else:
            table, id_field = self.regions.source, str(self.regions.id_field)
            shapes = fetch_zone_shapes(table, id_field, zones, is_whole=self.regions.is_whole)
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
            placement.base_grid(own if source is None else source.grid, place)
            for source, place in zip(latest_images, places, strict=True)
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
