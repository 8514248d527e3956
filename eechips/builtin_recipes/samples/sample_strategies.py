"""Make the strategy that chooses the places of ``eechips sample``; log how many there are, and why a stratum has too
few.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import ee
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.builtin_recipes.recipe_options import TableColumn
from eechips.builtin_recipes.samples.resolved_sample import ResolvedSample
from eechips.builtin_recipes.samples.sample_options import SampleOptions
from eechips.builtin_recipes.samples.sample_validation import REGULAR
from eechips.datasets import ECOREGIONS
from eechips.geo.feature_index import FeatureIndex
from eechips.geo.grid import Grid
from eechips.planning.areas.region_overlaps import region_polygon
from eechips.planning.areas.regions import AssetRegion
from eechips.planning.grid_alignment import GridAlignment
from eechips.planning.imagery import point_images
from eechips.planning.imagery.map_bands import MapBand, fetch_map, parse_map
from eechips.planning.sampling import samplers
from eechips.planning.sampling.class_strata import MOST_PIXELS, ClassPool
from eechips.planning.sampling.sample_places import (
    FixedStrategy,
    RandomStrategy,
    SamplePlace,
    Strategy,
    listed_places,
    places_within,
    region_places,
)
from eechips.planning.sampling.samplers import MinDistance, PlaceTest
from eechips.planning.sampling.stratified_draw import PointFilter, StrataPool, StratifiedDraw
from eechips.planning.sampling.stratum_outlines import fetch_strata
from eechips.text.formatting import format_count, format_extent, parse_distance, some_of

_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)

# Maximum strata named in the log; there may be hundreds.
_NAMED = 6

# A buffer's bounds are a little larger than the buffer, in the north.
_THUMB_MARGIN = 1.005

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StrategyBuilder:
    """Make the strategy of a sample.

    Attributes:
        region: region for the server; None for the whole world.
        thumb_reach: metres from a place to the edge of its chip, if chips are bounds of buffers.
        native: grid of the first image of the first dataset.
    """

    sample: ResolvedSample
    region: ee.Geometry | None
    thumb_reach: float
    native: Grid
    alignment: GridAlignment

    def strategy(self) -> Strategy:
        """Return the strategy.

        Raises:
            RegionError: if the region, or the table of strata, cannot be used.
            UnknownDatasetError: if there is no such map.
        """
        sample, options = self.sample, self.sample.options
        if sample.strata is not None:
            return self._per_ecoregion(sample.strata, sample.count)
        if sample.class_map is not None:
            return self._per_class(sample.class_map, sample.count)
        if options.total is not None:
            return self._total(sample.count)
        if sample.cells is not None:
            places = sample.cells.list_places(self._outline())
        elif sample.regions is not None:
            places = region_places(sample.regions, is_clipped=options.clip)
        else:
            assert sample.places is not None
            date = options.date
            places = listed_places(sample.places, *((None, None) if date is None else (date.name, date.format)))
            if sample.region is not None:
                places = places_within(places, self._outline())
        return FixedStrategy(places, self._point_filter(), self._min_distance())

    def _per_ecoregion(self, column: TableColumn, count: int) -> RandomStrategy:
        options, min_distance = self.sample.options, self._min_distance()
        assert self.region is not None
        name_field = "ECO_NAME" if column.table == ECOREGIONS else column.field
        outline = None if isinstance(self.sample.region, AssetRegion) else self._outline()
        strata = fetch_strata(self.region, column.table, column.field, name_field, outline=outline)
        fields = {stratum.id: {"eco_id": stratum.id, "eco_name": stratum.name} for stratum in strata}
        pool = StrataPool(strata, options.seed, self._point_filter(), is_thinned=min_distance is not None)
        return RandomStrategy(StratifiedDraw(pool, list(fields), count, min_distance), fields, "eco_id")

    def _per_class(self, class_map: str, count: int) -> RandomStrategy:
        sample, options = self.sample, self.sample.options
        layer = fetch_map("`per_class`", parse_map("`per_class`", class_map), self.region)
        pool = ClassPool(replace(layer, within=self._mask()), self._outline(), options.seed, sample.classes)
        classes = pool.find_classes(count)
        draws = StratifiedDraw(pool, list(classes), count, self._min_distance())
        return RandomStrategy(draws, {number: {"class": number} for number in classes}, "class")

    def _total(self, count: int) -> RandomStrategy:
        min_distance = self._min_distance()
        stratum = samplers.Stratum("total", "the region", self._outline())
        pool = StrataPool(
            [stratum], self.sample.options.seed, self._point_filter(), is_thinned=min_distance is not None
        )
        return RandomStrategy(StratifiedDraw(pool, [stratum.id], count, min_distance), {stratum.id: {}})

    def _outline(self) -> BaseGeometry:
        """Return the region in degrees; the whole world without a region."""
        region = self.sample.region
        return _WORLD if region is None else samplers.valid_polygons(region_polygon(region))

    def _mask(self) -> MapBand | None:
        """Return the band that masks places; None for no mask."""
        text = self.sample.options.mask_image
        return None if text is None else fetch_map("`mask_image`", parse_map("`mask_image`", text), self.region)

    def _point_filter(self) -> PointFilter | None:
        """Return the function that tests places against the mask; None for no mask."""
        mask = self._mask()
        return None if mask is None else mask.counts

    def _min_distance(self) -> MinDistance | None:
        """Return the object that enforces the minimum distance; None without one."""
        sample, options = self.sample, self.sample.options
        if options.min_distance is None:
            return None
        if options.min_distance != "chip":
            metres = parse_distance("`min_distance`", options.min_distance)
            is_regular = any(getattr(options, name) is not None for name in REGULAR)
            return MinDistance.of_distance(0.0 if is_regular else metres, self._near_others(metres))
        if sample.grid_mode == "thumb":
            return MinDistance.of_distance(2.0 * math.sqrt(2.0) * self.thumb_reach * _THUMB_MARGIN)
        return MinDistance(
            lambda points: point_images.chip_reaches(self.alignment, self.native, points, sample.dimensions)
        )

    def _near_others(self, metres: float) -> PlaceTest | None:
        """Return the function that finds places near the points of ``away_from``; None without such a table."""
        others = self.sample.away_from
        if others is None:
            return None
        features = FeatureIndex(others.geometries)
        return lambda points: np.isfinite(features.distances(shapely.points(points), metres))


def log_places(sample: ResolvedSample, strategy: Strategy, places: Sequence[SamplePlace]) -> None:
    """Log the number and the extent of the places, and strata that have too few."""
    options = sample.options
    _log.info("Extent: %s", format_extent(*shapely.MultiPoint([place.point for place in places]).bounds))
    if not isinstance(strategy, RandomStrategy):
        different = len({(place.point, place.fields.get("label_date")) for place in places})
        equal = f", {different:,} of them different; equal ones have equal chips, in files of their own"
        _log.info("Places: %s%s", f"{len(places):,}", equal if sample.places and different < len(places) else "")
        return
    names = [str(f.get("eco_name", f.get("class", "the region"))) for f in strategy.fields.values()]
    count = sample.count
    if options.total is not None:
        _log.info("Points: %s", f"{count:,}")
    else:
        kind = "ecoregion" if options.per_ecoregion else "class"
        _log.info("Points per %s: %s, in %s: %s", kind, f"{count:,}", f"{len(names):,}", some_of(names, _NAMED))
    missing = strategy.draws.missing
    for key, name in zip(strategy.fields, names, strict=True):
        if key in missing:
            where = f"class {name}" if options.per_class else name
            drawn = f"only {count - missing[key]:,}" if missing[key] < count else "none"
            _log.warning("%s has %s of %s: %s", where, drawn, format_count(count, "point"), _why(options))


def _why(options: SampleOptions) -> str:
    """Return the reason why a stratum has too few points."""
    if options.min_distance is not None:
        return "no more were found that are far enough from all others"
    if options.per_class is not None:
        return (
            "no more of its pixels were found in the region; in regions of more than "
            f"{MOST_PIXELS:,} pixels of the class image only some are looked at"
        )
    return "no more were found where `mask_image` is not zero"
