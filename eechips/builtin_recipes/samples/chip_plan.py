"""Plan the chips of ``eechips sample``: survey the datasets, choose the places, find grid, image, frames and provenance
of each, and make the units.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import ee

from eechips.builtin_recipes.samples.resolved_sample import LAYERS, ResolvedSample
from eechips.builtin_recipes.samples.sample_frames import (
    FrameSettings,
    check_near,
    frame_window,
    label_moments,
    window_fields,
)
from eechips.builtin_recipes.samples.sample_layers import SampleLayer
from eechips.builtin_recipes.samples.sample_options import SampleOptions
from eechips.builtin_recipes.samples.sample_strategies import StrategyBuilder, log_places
from eechips.errors import RegionError, UsageError
from eechips.geo.grid import Grid, nominal_scale
from eechips.planning import asset_metadata, grid_alignment
from eechips.planning.areas.region_images import region_grid
from eechips.planning.grid_alignment import GridAlignment
from eechips.planning.imagery import point_images
from eechips.planning.imagery.clear_shares import ClearSource, fetch_candidates
from eechips.planning.imagery.frame_choice import Candidate
from eechips.planning.imagery.frame_scores import FrameScore, list_score_bands, resolve_score
from eechips.planning.imagery.periods import parse_moment
from eechips.planning.imagery.point_images import ChipFootprint, PointImage, find_contributors
from eechips.planning.sampling.sample_places import SamplePlace, Strategy
from eechips.recipe import PlanPreview, Unit
from eechips.text.timestamps import format_utc

_SCORE_DIGITS = 12  # significant ones of a recorded score: fewer than a sum of doubles in another order would change
BATCH = 500  # units whose provenance or frames are requested at a time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SurveyedLayer:
    """A layer as the server describes it.

    Attributes:
        bands: the stored bands that are needed; the first one gives the pixel grid.
        results: the bands of the chips: stored or computed.
        score: by which the images of its frames are chosen; None for their clear shares.
    """

    metadata: asset_metadata.AssetMetadata
    bands: tuple[asset_metadata.Band, ...]
    results: tuple[asset_metadata.Band, ...]
    score: FrameScore | None = None

    @property
    def dtype(self) -> str:
        """The numpy name of the type that holds all bands of the chips."""
        return asset_metadata.common_dtype(self.results) or self.results[0].dtype

    @property
    def dtypes(self) -> list[str]:
        """The numpy names of the types of the bands of the chips."""
        return [band.dtype for band in self.results]


@dataclass(frozen=True, slots=True)
class ChipPlan:
    """The plan of a sample; it computes the grid of a chip at any place in the sample's strata."""

    sample: ResolvedSample
    layers: tuple[SurveyedLayer, ...]
    alignment: GridAlignment
    strategy: Strategy

    @property
    def _surveyed(self) -> Iterator[tuple[SampleLayer, SurveyedLayer]]:
        return zip(self.sample.layers, self.layers, strict=True)

    def choose_places(self) -> Sequence[SamplePlace]:
        """Choose the places, and log them; raise RegionError if none is left."""
        places = self.strategy.choose_places()
        if not places:
            raise RegionError(f"no place is left: {_why_none(self.sample.options)}")
        log_places(self.sample, self.strategy, places)
        for search in self._searches:
            _log.info("%s", search)
        cloudy = [layer.dataset_id for layer in self.sample.layers if layer.has_clouds]
        if cloudy and self.sample.frames is None:
            _log.warning(
                "chips show the clouds of %s: `mask` masks them, `frames` 1 takes the clearest image", ", ".join(cloudy)
            )
        return places[: self.sample.options.limit]

    @property
    def _searches(self) -> Iterator[str]:
        """What is asked of the service for every place, in words."""
        if self.layers[0].metadata.kind != "image":
            yield "Finding the image under each point"
        if self.sample.frames is not None and self.sample.frames.reducer is None:
            yield "Choosing the frames of each chip"
        elif self.sample.frames is None and self.sample.options.provenance:
            yield "Finding the images of each chip"

    def units(self, places: Sequence[SamplePlace]) -> Iterator[Unit]:
        """Make the units of places. The service is asked for the grids below them, 500 places a request."""
        extra = self.layer_fields
        units = (
            {"kind": "point", "coordinates": list(place.point), **place.fields, **grid_fields, **extra}
            for place, grid_fields in zip(places, self._grid_fields(places), strict=True)
        )
        if self.sample.frames is not None:
            yield from self.with_frames(units, self.sample.frames)
        else:
            yield from self.with_provenance(units) if self.sample.options.provenance else units

    @property
    def layer_fields(self) -> dict[str, Any]:
        """The part of a unit that describes its datasets, for workers."""
        sample = self.sample
        names = None if sample.first_layers is None else [layer.name for layer in sample.layers]
        described: dict[str, Any] = {
            LAYERS: names,
            "source": self._sources(),
            "where": {
                layer.name: [test.to_json() for test in surveyed.metadata.tests]
                for layer, surveyed in self._surveyed
                if surveyed.metadata.tests
            },
            "casts": {
                layer.name: surveyed.metadata.casts for layer, surveyed in self._surveyed if surveyed.metadata.casts
            },
            "dtypes": self._dtypes(),
        }
        return {name: value for name, value in described.items() if value}

    def preview(self, places: Sequence[SamplePlace]) -> PlanPreview:
        """Return the size of the plan of places."""
        frames = self.sample.frames
        reads_pixels = frames is not None and frames.reducer is None  # the clear shares of all images
        return PlanPreview([place.point for place in places], BATCH, reads_pixels)

    def of_layers(self, names: Collection[str]) -> ChipPlan:
        """Return the plan of some of the datasets, of places that are there."""
        chosen = [(layer, surveyed) for layer, surveyed in self._surveyed if layer.name in names]
        layers, frames = tuple(layer for layer, _ in chosen), self.sample.frames
        if frames is not None:
            frames = replace(frames, near={name: reach for name, reach in frames.near.items() if name in names})
        sample = replace(self.sample, layers=layers, frames=frames)
        return replace(self, sample=sample, layers=tuple(surveyed for _, surveyed in chosen))

    def replacements(self, wanted: Sequence[tuple[Unit, int]]) -> list[Unit | None]:
        """Make units that replace others; see :meth:`eechips.builtin_recipes.samples.chips.ChipSample.redraw`."""
        places = [self.strategy.replacement(unit, number) for unit, number in wanted]
        units = self.units([place for place in places if place is not None])
        return [None if place is None else next(units) for place in places]

    def _sources(self) -> dict[str, Any]:
        """Return kind and bands of datasets without a record."""
        unknown = {
            layer.name: {"kind": surveyed.metadata.kind, "bands": [band.name for band in surveyed.bands]}
            for layer, surveyed in self._surveyed
            if not layer.known
        }
        return unknown.get("", unknown)

    def _dtypes(self) -> dict[str, Any]:
        """Return the type of a GeoTIFF by layer, where the bands differ: a file has one type.

        The service refuses exports of several types (https://github.com/gee-community/geemap/issues/87).
        """
        dtypes = {
            layer.name: asset_metadata.common_dtype(surveyed.results)
            for layer, surveyed in self._surveyed
            if not layer.common_dtype
        }
        differing = {name: dtype for name, dtype in dtypes.items() if dtype is not None}
        return differing if self.sample.style.format == "tif" else {}

    def _grid_fields(self, places: Sequence[SamplePlace]) -> Iterator[dict[str, Any]]:
        """Yield the part of each place's unit that describes its grid and image."""
        sample, points = self.sample, [place.point for place in places]
        metadata, band = self.layers[0].metadata, self.layers[0].bands[0]
        if metadata.kind == "image" and sample.grid_mode == "native":
            for place in places:
                yield {"grid": self._grid(band.grid, place).to_json()}
            return
        collection = moments = None
        if metadata.kind != "image":
            collection = asset_metadata.filter_images(
                metadata.id, metadata.kind, sample.options.start, sample.options.end, metadata.tests
            )
            if sample.options.date is not None:
                moments = [label_moments(sample.options, place.fields["label_date"]) for place in places]
        if sample.grid_mode == "thumb":
            reach = _thumb_reach(sample, band)
            for grid, image in point_images.buffer_bounds(points, reach, sample.dimensions, collection, moments):
                yield {"grid": grid.to_json(), **_named("latest", image)}
            return
        assert collection is not None
        for place, latest in zip(places, point_images.find_images(collection, band.name, points, moments), strict=True):
            image, native = latest or (None, grid_alignment.utm_grid(place.point, nominal_scale(band.grid)))
            yield {"grid": self._grid(native, place).to_json(), **_named("image", image)}

    def _grid(self, native: Grid, place: SamplePlace) -> Grid:
        """Return the pixels of a chip: around a point, or of a region."""
        regions = self.sample.regions
        if regions is None:
            return grid_alignment.align_chip(self.alignment, native, place.point, self.sample.dimensions)
        region = place.fields["region"]
        try:
            return region_grid(regions.polygon_of(region), self.alignment, native, regions.margin)
        except RegionError as error:
            raise RegionError(f"region {region}: {error}") from error

    def with_provenance(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """Add ``provenance`` to units: of each layer, ids and dates of the images that the chip shows."""
        layers = self.sample.layers
        while batch := list(islice(units, BATCH)):
            provenance = [self._provenance(layer, batch) for layer in layers]
            for unit, *unit_provenance in zip(batch, *provenance, strict=True):
                by_layer = {layer.name: one for layer, one in zip(layers, unit_provenance, strict=True)}
                yield {**unit, "provenance": by_layer.get("", by_layer)}

    def with_frames(self, units: Iterator[Unit], settings: FrameSettings) -> Iterator[Unit]:
        """Add frames to units.

        ``frames`` has of each its period, or its image with time and clear share; ``types`` has the types of the bands
        by layer, for frames without an image.
        """
        types = self.types
        if settings.reducer is not None:
            frames = [window_fields(window) for window in settings.periods]
            yield from ({**unit, "frames": frames, **types} for unit in units)
            return
        while batch := list(islice(units, BATCH)):
            chosen = self._choose(batch, settings)
            for unit, frames in zip(batch, self.with_nearby(batch, chosen, settings), strict=True):
                yield {**unit, "frames": frames, **types}

    def with_nearby(
        self, units: Sequence[Unit], chosen: Sequence[list[dict[str, Any]]], settings: FrameSettings
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the frames of units with ``near``: of each further dataset, the image that is nearest in time."""
        nearby = {name: self._nearby(name, reach, units, chosen) for name, reach in settings.near.items()}
        for number, frames in enumerate(chosen):
            yield [
                {**frame, "near": {name: images[number][k] for name, images in nearby.items()}} if nearby else frame
                for k, frame in enumerate(frames)
            ]

    @property
    def types(self) -> dict[str, Any]:
        """The types of the bands of each dataset, as the part of a unit with frames."""
        return {"types": {layer.name: surveyed.dtypes for layer, surveyed in self._surveyed}}

    def _choose(self, units: Sequence[Unit], settings: FrameSettings) -> list[list[dict[str, Any]]]:
        """Return the frames of units: ``image``, ``time``, ``clear``, ``score``; ``start`` and ``end`` of a period."""
        options, layer = self.sample.options, self.layers[0]
        windows = [frame_window(options, unit.get("label_date")) for unit in units]
        source = ClearSource(layer.metadata.id, layer.bands[0].name, settings.mask, layer.metadata.tests, layer.score)
        grids = [Grid.from_json(unit["grid"]) for unit in units]
        chosen_frames = []
        candidates = fetch_candidates(source, grids, windows)
        for unit, window, own_candidates in zip(units, windows, candidates, strict=True):
            moment = parse_moment(unit["label_date"]) if "label_date" in unit else None
            frames = settings.choose(own_candidates, window, moment)
            spans = [window_fields(period) for period in settings.periods] or [{}] * settings.count
            chosen_frames.append([{**span, **_frame(frame)} for span, frame in zip(spans, frames, strict=True)])
        return chosen_frames

    def _nearby(
        self, name: str, reach: int, units: Sequence[Unit], frames: Sequence[Sequence[dict[str, Any]]]
    ) -> list[list[dict[str, Any] | None]]:
        """Return the image of a further layer that is nearest in time to each frame; None if there is none."""
        (metadata,) = [entry.metadata for layer, entry in self._surveyed if layer.name == name]
        collection = asset_metadata.filter_images(metadata.id, metadata.kind, tests=metadata.tests)
        places = [(i, k) for i, entry in enumerate(frames) for k, frame in enumerate(entry) if "time" in frame]
        points = [tuple(units[i]["coordinates"]) for i, _ in places]
        times = [parse_moment(frames[i][k]["time"]) for i, k in places]
        moments = [(time, time - reach, time + reach + 1) for time in times]
        nearest_images: list[list[dict[str, Any] | None]] = [[None] * len(entry) for entry in frames]
        for (i, k), image in zip(places, point_images.find_nearest(collection, points, moments), strict=True):
            if image is not None and image.time is not None:
                nearest_images[i][k] = {"image": image.index, "time": format_utc(image.time)}
        return nearest_images

    def _provenance(self, layer: SampleLayer, units: Sequence[Unit]) -> list[dict[str, list[Any]]]:
        """Return the ids and dates of the images of a layer, for each unit."""
        sample = self.sample
        images = sample.images(layer, units[0])
        if images.kind == "image":
            return [{"sources": [images.dataset], "dates": []}] * len(units)
        chips = []
        for unit in units:
            longitude, latitude = unit["coordinates"]
            source = None if layer.is_further else unit.get("image")
            grid = Grid.from_json(unit["grid"])
            chips.append(ChipFootprint(grid, (longitude, latitude), source, sample.date_match(layer, unit)))
        return [
            {
                "sources": [f"{images.dataset}/{contributor.index}" for contributor in contributors],
                "dates": [
                    None if contributor.time is None else format_utc(contributor.time) for contributor in contributors
                ],
            }
            for contributors in find_contributors(images, chips)
        ]


def plan_chips(sample: ResolvedSample) -> ChipPlan:
    """Survey the datasets of a sample and prepare the choice of places: a few requests.

    Raises:
        UnknownDatasetError: if a dataset or a band does not exist.
        RegionError: if the region or the ecoregions do not exist.
        UsageError: if a dataset has no image for the region and the dates.
    """
    region = sample.region.geometry() if sample.region is not None else None
    layers = tuple(_survey(sample, layer, region) for layer in sample.layers)
    if sample.frames is not None and layers[0].metadata.kind == "image":
        raise UsageError(f"{layers[0].metadata.id} is one image: `frames` and `every` need a collection of images")
    if sample.frames is not None and sample.frames.reducer is None:
        further = zip(sample.layers[1:], layers[1:], strict=True)
        collections = (layer for layer, surveyed in further if layer.is_dated and surveyed.metadata.kind != "image")
        # Bands that were added show the images of their base.
        check_near(sample.frames.near, [layer.name for layer in collections if not layer.base])
    alignment, band = sample.alignment.resolved(), layers[0].bands[0]
    reach, native = _thumb_reach(sample, band), _largest_grid(sample, layers[0], region, alignment)
    return ChipPlan(sample, layers, alignment, StrategyBuilder(sample, region, reach, native, alignment).strategy())


def _largest_grid(
    sample: ResolvedSample, first: SurveyedLayer, region: ee.Geometry | None, alignment: GridAlignment
) -> Grid:
    """Return the grid of the first dataset's image with the largest pixels, where the distance of chips needs it."""
    metadata, band = first.metadata, first.bands[0]
    is_given = sample.grid_mode == "thumb" or alignment.scale is not None or not alignment.is_native
    if sample.options.min_distance != "chip" or metadata.kind == "image" or is_given:
        return band.grid
    images = asset_metadata.filter_images(metadata.id, metadata.kind, *sample.dates_of(sample.first), metadata.tests)
    images = images if region is None else images.filterBounds(region)
    return point_images.fetch_coarsest_grid(images, band.name, band.grid)


def _survey(sample: ResolvedSample, layer: SampleLayer, region: ee.Geometry | None) -> SurveyedLayer:
    """Describe a layer by its first image that has the bands that are needed."""
    dates = sample.dates_of(layer)
    frames = (
        None if layer.is_further or layer.base else sample.frames
    )  # the dataset and bands that frames are chosen by
    masks = [layer.mask, frames.mask if frames is not None else None]
    stored = layer.selection.stored
    rank_by = None if frames is None else frames.rank_by
    # Names that are properties of images are no bands that any image has, and change nothing.
    ranked = list_score_bands(rank_by, layer.selection, layer.known) if rank_by is not None and stored else ()
    quality = [band for mask in masks if mask for band in mask.quality_bands(stored)]
    needed = tuple(dict.fromkeys((*stored, *ranked, *quality)))
    metadata = asset_metadata.fetch_metadata(
        layer.dataset_id, layer.known_kind, region, *dates, layer.conditions, needed
    )
    results = layer.selection.find_bands(metadata)
    sample.style.check_found(results, layer.stretched)
    grid_band = layer.selection.grid_band(results[0].name)
    bands = metadata.select(dict.fromkeys((grid_band, *layer.selection.stored))) if layer.selection.names else results
    if layer.mask is not None:
        metadata.select(layer.mask.quality_bands([band.name for band in bands]))
    score = (
        None
        if rank_by is None
        else resolve_score(rank_by, layer.selection, layer.known, metadata, is_scaled=layer.scaled)
    )
    return SurveyedLayer(metadata, bands, results, score)


def _thumb_reach(sample: ResolvedSample, band: asset_metadata.Band) -> float:
    """Return the radius in metres of the buffer whose bounds are a chip's grid."""
    known = sample.first.known
    scale = sample.options.scale or (known.pixel_size if known else nominal_scale(band.grid))
    return (sample.dimensions[0] / 2 - 1) * scale


def _named(key: str, image: PointImage | None) -> dict[str, str]:
    """Return an image and its date as a part of a unit; nothing for no image."""
    if image is None:
        return {}
    return {key: image.index} | ({} if image.time is None else {"date": format_utc(image.time)})


def _frame(candidate: Candidate | None) -> dict[str, Any]:
    """Return the image of a frame as a part of its unit; nothing for a missing frame."""
    if candidate is None:
        return {}
    score = {} if candidate.score is None else {"score": float(f"{candidate.score:.{_SCORE_DIGITS}g}")}
    return {"image": candidate.index, "time": format_utc(candidate.time), "clear": round(candidate.clear, 6), **score}


_NONE = {
    "cells": "no cell has its centre in the region",
    "per_class": "no class of `per_class` occurs in the region",
    "points": "no point lies in the region",
}


def _why_none(options: SampleOptions) -> str:
    """Return what may exclude all places, by the options that are given."""
    names = [f"`{name}`" for name in ("mask_image", "min_distance", "away_from") if getattr(options, name) is not None]
    reasons = [reason for name, reason in _NONE.items() if getattr(options, name) is not None]
    reasons += [f"{' and '.join(names)} exclude{'s' if len(names) == 1 else ''} all"] if names else []
    return ", or ".join(reasons) or "the region has none"
