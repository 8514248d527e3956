"""The plan of ``eechips sample``: what the server says of datasets and places, and the units that come of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from eechips.errors import RegionError
from eechips.geo.grid import Grid
from eechips.jobs.sample_layers import SampleLayer
from eechips.jobs.sampling import StrategyBuilder, log_sites
from eechips.planning import asset_metadata, chip_grids
from eechips.planning.grid_alignment import GridAlignment
from eechips.planning.provenance import ChipFootprint, find_contributors
from eechips.planning.strategies import SampleSite, Strategy
from eechips.recipe import Unit
from eechips.timestamps import format_utc

if TYPE_CHECKING:
    from eechips.jobs.chips import ChipSample

_BATCH = 500  # units whose images are asked about at a time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SurveyedLayer:
    """What the server says of a layer.

    Attributes:
        about: the dataset.
        bands: to take.
    """

    about: asset_metadata.AssetMetadata
    bands: tuple[asset_metadata.Band, ...]


@dataclass(frozen=True, slots=True)
class ChipPlan:
    """The plan of a sample: made of a few requests, it knows where any point of the sample's strata has its chip.

    Attributes:
        recipe: of the sample.
        seen: of each layer.
        placement: of the pixels, resolved.
        strategy: chooses the places.
    """

    recipe: ChipSample
    seen: tuple[SurveyedLayer, ...]
    placement: GridAlignment
    strategy: Strategy

    @classmethod
    def of(cls, recipe: ChipSample) -> ChipPlan:
        """Asks the server what there is.

        Raises:
            UnknownDatasetError: if a dataset or a band does not exist.
            RegionError: if the region or the ecoregions do not.
            UsageError: if a dataset has no image there and then.
        """
        region = recipe.region.geometry() if recipe.region is not None else None
        seen = []
        for layer in recipe.layers:
            about = asset_metadata.fetch_metadata(layer.dataset_id, layer.known_kind, region, *recipe.dates.of(layer))
            bands = about.select(layer.usual_bands) if layer.usual_bands else about.bands
            recipe.style.check_found(bands, layer.known)
            if layer.mask is not None:
                about.select(layer.mask.quality_bands([band.name for band in bands]))
            seen.append(SurveyedLayer(about, bands))
        placement, first = recipe.placement.resolved(), seen[0].bands[0]
        siting = StrategyBuilder(recipe, region, _thumb_reach(recipe, first), first.grid, placement)
        return cls(recipe, tuple(seen), placement, siting.strategy())

    def units(self) -> Iterator[Unit]:
        """The units of the sample.

        Raises:
            RegionError: if no place is left.
        """
        yield from self._units(self._sites())

    def preview(self, count: int) -> tuple[int, list[Unit]]:
        """The number of units of the sample, and the first ``count`` of them: only these are asked about.

        Raises:
            RegionError: if no place is left.
        """
        sites = self._sites()
        return len(sites), list(self._units(sites[:count]))

    def _sites(self) -> Sequence[SampleSite]:
        """The places of the sample, which are logged."""
        sites = self.strategy.sites()
        if not sites:
            raise RegionError("no place is left to take a chip at: --mask-image, --min-distance or --roi leave none")
        log_sites(self.recipe, self.strategy, sites)
        return sites[: self.recipe.limit]

    def others(self, wanted: Sequence[tuple[Unit, int]]) -> list[Unit | None]:
        """Units in the place of others; see :meth:`eechips.jobs.chips.ChipSample.redraw`."""
        sites = [self.strategy.replacement(unit, number) for unit, number in wanted]
        units = self._units([site for site in sites if site is not None])
        return [None if site is None else next(units) for site in sites]

    def _units(self, sites: Sequence[SampleSite]) -> Iterator[Unit]:
        extra = self._sources()
        units = (
            {"kind": "point", "coordinates": list(site.point), **site.fields, **place, **extra}
            for site, place in zip(sites, self._places(sites), strict=True)
        )
        yield from self._with_provenance(units) if self.recipe.provenance else units

    def _sources(self) -> dict[str, Any]:
        """What a worker must know of datasets that have no record."""
        unknown = {
            layer.name: {"kind": seen.about.kind, "bands": [band.name for band in seen.bands]}
            for layer, seen in zip(self.recipe.layers, self.seen, strict=True)
            if not layer.known
        }
        if not unknown:
            return {}
        return {"source": unknown if len(self.recipe.layers) > 1 else unknown[""]}

    def _places(self, sites: Sequence[SampleSite]) -> Iterator[dict[str, Any]]:
        """For each site, what its unit says of the grid."""
        recipe, points = self.recipe, [site.point for site in sites]
        about, band = self.seen[0].about, self.seen[0].bands[0]
        if about.kind == "image" and recipe.grid_mode == "native":
            for point in points:
                yield {"grid": chip_grids.align_chip(self.placement, band.grid, point, recipe.dimensions).to_json()}
            return
        collection = moments = None
        if about.kind != "image":
            _log.info("Finding the image under each of %s points", f"{len(points):,}")
            collection = asset_metadata.filter_images(about.id, about.kind, recipe.start, recipe.end)
            if recipe.date_field is not None:
                moments = [recipe.dates.moments(site.fields["label_date"]) for site in sites]
        if recipe.grid_mode == "thumb":
            reach = _thumb_reach(recipe, band)
            for bounds in chip_grids.buffer_bounds(points, reach, recipe.dimensions, collection, moments):
                found = {} if bounds.index is None else {"latest": bounds.index}
                yield {"grid": bounds.grid.to_json(), **found, **_date(bounds.time)}
            return
        assert collection is not None
        for point, source in zip(points, chip_grids.find_images(collection, band.name, points, moments), strict=True):
            native = chip_grids.utm_grid(point, asset_metadata.band_scale(band)) if source is None else source.grid
            grid = chip_grids.align_chip(self.placement, native, point, recipe.dimensions)
            found = {} if source is None else {"image": source.index, **_date(source.time)}
            yield {"grid": grid.to_json(), **found}

    def _with_provenance(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """Units with ``provenance``: of each layer, ids and dates of the images that chips show."""
        layers = self.recipe.layers
        while batch := list(islice(units, _BATCH)):
            _log.info("Asking which images each of %s chips shows", f"{len(batch):,}")
            found = [self._provenance(layer, batch) for layer in layers]
            for unit, *each in zip(batch, *found, strict=True):
                told = {layer.name: one for layer, one in zip(layers, each, strict=True)}
                yield {**unit, "provenance": told if len(layers) > 1 else each[0]}

    def _provenance(self, layer: SampleLayer, units: Sequence[Unit]) -> list[dict[str, list[Any]]]:
        """Sources and dates of a layer of units."""
        recipe = self.recipe
        images = recipe.images(layer, units[0])
        if images.kind == "image":
            return [{"sources": [images.dataset], "dates": []}] * len(units)
        chips = []
        for unit in units:
            longitude, latitude = unit["coordinates"]
            source = unit.get("image") if layer == recipe.first else None
            grid = Grid.from_json(unit["grid"])
            chips.append(ChipFootprint(grid, (longitude, latitude), source, recipe.dates.pairing(layer, unit)))
        return [
            {
                "sources": [f"{images.dataset}/{each.index}" for each in found],
                "dates": [None if each.time is None else format_utc(each.time) for each in found],
            }
            for found in find_contributors(images, chips)
        ]


def _thumb_reach(recipe: ChipSample, band: asset_metadata.Band) -> float:
    """Metres of the buffer whose bounds a thumb chip is."""
    known = recipe.first.known
    scale = recipe.scale or (known.scale if known else asset_metadata.band_scale(band))
    return (recipe.dimensions[0] / 2 - 1) * scale


def _date(time: int | None) -> dict[str, str]:
    """The date of an image, for its unit."""
    return {} if time is None else {"date": format_utc(time)}
