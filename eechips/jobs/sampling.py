"""Where the chips of ``eechips sample`` are taken: the way to choose places that its options say."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ee
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.geo.grid import Grid
from eechips.jobs.sample_validation import parse_classes
from eechips.planning import chip_grids, samplers
from eechips.planning.class_pool import MOST_PIXELS, ClassPool
from eechips.planning.grid_alignment import GridAlignment
from eechips.planning.maps import MapBand, fetch_map, parse_map
from eechips.planning.min_distance import MinDistance, parse_distance
from eechips.planning.region_overlaps import region_polygon
from eechips.planning.strategies import (
    FixedStrategy,
    RandomStrategy,
    SampleSite,
    Strategy,
    listed_sites,
    regular_sites,
    sites_within,
)
from eechips.planning.stratified_draw import PointFilter, StrataPool, StratifiedDraw
from eechips.text import format_extent

if TYPE_CHECKING:
    from eechips.jobs.chips import ChipSample

_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)

# Strata that are named in the log; there may be hundreds.
_NAMED = 6

# A buffer's bounds are a little larger than the buffer, in the north.
_THUMB_MARGIN = 1.005

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StrategyBuilder:
    """Makes the strategy of a sample.

    Attributes:
        recipe: of the sample.
        region: for the server; None for the whole world.
        thumb_reach: metres from a place to the edge of its chip, if chips are bounds of buffers.
        native: the grid of the first dataset's first image.
        placement: of the pixels, resolved.
    """

    recipe: ChipSample
    region: ee.Geometry | None
    thumb_reach: float
    native: Grid
    placement: GridAlignment

    def strategy(self) -> Strategy:
        """The way to choose places.

        Raises:
            RegionError: if the region, or the table of strata, cannot be used.
            UnknownDatasetError: if there is no such map.
        """
        recipe = self.recipe
        if recipe.per_ecoregion is not None:
            return self._per_ecoregion(recipe.per_ecoregion)
        if recipe.per_class is not None:
            return self._per_class(recipe.per_class)
        if recipe.total is not None:
            return self._total(recipe.total)
        if recipe.spacing is not None:
            return FixedStrategy(
                regular_sites(self._outline(), parse_distance("--spacing", recipe.spacing)), self._keep()
            )
        assert recipe.places is not None
        sites = listed_sites(recipe.places, recipe.date_field)
        if recipe.region is not None:
            sites = sites_within(sites, self._outline())
        return FixedStrategy(sites, self._keep(), self._apart())

    def _per_ecoregion(self, count: int) -> RandomStrategy:
        recipe, apart = self.recipe, self._apart()
        assert self.region is not None
        name_field = "ECO_NAME" if recipe.ecoregions == samplers.ECOREGIONS else recipe.ecoregion_field
        strata = samplers.fetch_strata(self.region, recipe.ecoregions, recipe.ecoregion_field, name_field)
        fields = {stratum.id: {"eco_id": stratum.id, "eco_name": stratum.name} for stratum in strata}
        pool = StrataPool(strata, recipe.seed, self._keep(), is_thinned=apart is not None)
        return RandomStrategy(StratifiedDraw(pool, list(fields), count, apart), fields, "eco_id")

    def _per_class(self, count: int) -> RandomStrategy:
        recipe = self.recipe
        assert recipe.class_image is not None
        layer = fetch_map("--class-image", parse_map("--class-image", recipe.class_image), self.region)
        wanted = None if recipe.classes is None else parse_classes(recipe.classes)
        pool = ClassPool(replace(layer, within=self._mask()), self._outline(), recipe.seed, wanted)
        classes = pool.find_classes(count)
        draws = StratifiedDraw(pool, list(classes), count, self._apart())
        return RandomStrategy(draws, {number: {"class": number} for number in classes}, "class")

    def _total(self, count: int) -> RandomStrategy:
        apart = self._apart()
        stratum = samplers.Stratum("total", "the region", self._outline())
        pool = StrataPool([stratum], self.recipe.seed, self._keep(), is_thinned=apart is not None)
        return RandomStrategy(StratifiedDraw(pool, [stratum.id], count, apart), {stratum.id: {}})

    def _outline(self) -> BaseGeometry:
        """The region in degrees; the whole world where there is none."""
        region = self.recipe.region
        return _WORLD if region is None else samplers.valid_polygons(region_polygon(region))

    def _mask(self) -> MapBand | None:
        """The map outside of which no places are wanted."""
        text = self.recipe.mask_image
        return None if text is None else fetch_map("--mask-image", parse_map("--mask-image", text), self.region)

    def _keep(self) -> PointFilter | None:
        """What tells which places the mask leaves."""
        mask = self._mask()
        return None if mask is None else mask.counts

    def _apart(self) -> MinDistance | None:
        """What keeps places apart, if they are to be."""
        recipe = self.recipe
        if recipe.min_distance is None:
            return None
        if recipe.min_distance != "chip":
            return MinDistance.of_distance(parse_distance("--min-distance", recipe.min_distance))
        if recipe.grid_mode == "thumb":
            return MinDistance.of_distance(2.0 * math.sqrt(2.0) * self.thumb_reach * _THUMB_MARGIN)
        return MinDistance(
            lambda points: chip_grids.chip_reaches(self.placement, self.native, points, recipe.dimensions)
        )


def log_sites(recipe: ChipSample, strategy: Strategy, sites: Sequence[SampleSite]) -> None:
    """Log what was planned, the extent of it, and what could not be planned."""
    _log.info("Extent: %s", format_extent(*shapely.MultiPoint([site.point for site in sites]).bounds))
    if not isinstance(strategy, RandomStrategy):
        _log.info("Places: %s", f"{len(sites):,}")
        return
    names = [str(f.get("eco_name", f.get("class", "the region"))) for f in strategy.fields.values()]
    shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    count = recipe.per_ecoregion or recipe.per_class or recipe.total or 0
    if recipe.total is not None:
        _log.info("Points: %s", f"{count:,}")
    else:
        kind = "ecoregion" if recipe.per_ecoregion else "class"
        _log.info("Points per %s: %s, in %s: %s", kind, f"{count:,}", f"{len(names):,}", shown)
    missing = strategy.draws.missing
    for key, name in zip(strategy.fields, names, strict=True):
        if key in missing:
            where = f"class {name}" if recipe.per_class else name
            _log.warning("%s has only %s of %s points: %s", where, count - missing[key], count, _why(recipe))


def _why(recipe: ChipSample) -> str:
    """Why a stratum has fewer points than it should."""
    if recipe.min_distance is not None:
        return "no more were found that are far enough from all others"
    if recipe.per_class is not None:
        return (
            f"no more of its pixels were found in the region; up to {MOST_PIXELS:,} pixels of the class image, all"
            " of them are looked at, in a larger region only some"
        )
    return "no more were found where --mask-image is not zero"
