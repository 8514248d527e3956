"""Measure how much of a chip each image of a collection shows clear, and its score, of many chips in one request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ee

from eechips.datasets import Dataset
from eechips.datasets.spectral_indices import find_index, list_supported
from eechips.errors import UsageError
from eechips.geo.grid import Grid, service_crs
from eechips.planning import asset_metadata, planning_requests
from eechips.planning.asset_metadata import AssetMetadata
from eechips.planning.imagery.band_formula import Formula, Value, parse_formula
from eechips.planning.imagery.band_selection import BandSelection, find_band, select_bands
from eechips.planning.imagery.cloud_masks import CloudMask
from eechips.planning.imagery.expressions import corners_inside
from eechips.planning.imagery.frame_choice import Candidate, TimeWindow
from eechips.planning.imagery.image_filters import PropertyFilter
from eechips.text.suggestion import describe_choices


@dataclass(frozen=True, slots=True)
class FrameScore:
    """A formula that scores images; hashable and picklable.

    Attributes:
        selection: the bands in it, by the names that they have in the formula.
        properties: the properties of images in it.
    """

    formula: Formula
    selection: BandSelection
    properties: tuple[str, ...] = ()

    def image(self, image: ee.Image) -> ee.Image:
        """Return the formula of an image, masked where it has no value, and if the image lacks a property.

        Args:
            image: image of the dataset, with all its bands and its properties.
        """
        values: dict[str, Value] = {name: _property_image(image, name) for name in self.properties}
        if self.selection.names:
            bands = self.selection.select(image)
            values |= {name: bands.select([name]).toDouble() for name in self.selection.names}
        return self.formula.compose(values)


def list_score_bands(text: str, own: BandSelection, record: Dataset | None) -> tuple[str, ...]:
    """Return the stored bands that a formula needs, and the names of which only the server knows what they are.

    Args:
        record: record of the dataset; None if it has none.

    Raises:
        UsageError: if the text is no formula, or the dataset lacks a band of an index in it.
    """
    selection, others = _select(parse_formula(text), own, record, is_scaled=False)
    return (*selection.stored, *others)


def resolve_score(
    text: str, own: BandSelection, record: Dataset | None, metadata: AssetMetadata, *, is_scaled: bool
) -> FrameScore:
    """Find what the names in a formula are.

    Args:
        record: record of the dataset; None if it has none.
        metadata: the dataset as the server describes it: bands and properties of its first image.
        is_scaled: whether scale and offset of the record are applied to bands; they always are in indices.

    Raises:
        UsageError: if the text is no formula, or a name is neither a band, an index nor a property that is a number.
        UnknownDatasetError: if the dataset lacks a band.
    """
    formula = parse_formula(text)
    selection, others = _select(formula, own, record, is_scaled=is_scaled)
    there = {band.name for band in metadata.bands}
    bands = tuple(name for name in others if name in there)
    properties = tuple(name for name in others if name not in there)
    for name in properties:
        _check_property(name, text, record, metadata)
    extended = replace(selection, names=(*selection.names, *bands))
    metadata.select(extended.stored)
    return FrameScore(formula, extended, properties)


def _select(
    formula: Formula, own: BandSelection, record: Dataset | None, *, is_scaled: bool
) -> tuple[BandSelection, tuple[str, ...]]:
    """Return the names that are bands without asking the server, and the other names."""
    computed = {computed_band.name: computed_band for computed_band in own.computed}
    names, computed_bands, others = [], [], []
    for name in formula.names:
        if name in computed:
            chosen = BandSelection((name,), (computed[name],))
        elif record is not None and find_band(name, record) is not None:
            chosen = select_bands(record.alias, record, (name,), is_scaled=is_scaled)
        elif record is not None and find_index(name) is not None:
            chosen = select_bands(record.alias, record, (), (name,))
        else:
            others.append(name)
            continue
        names.append(name)
        computed_bands += [replace(computed_band, name=name) for computed_band in chosen.computed]
    return BandSelection(tuple(names), tuple(computed_bands)), tuple(others)


def _check_property(name: str, text: str, record: Dataset | None, metadata: AssetMetadata) -> None:
    """Check that a name is a property of the first image, and a number."""
    value = metadata.properties.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return
    if value is not None:
        raise UsageError(f"rank_by={text!r}: the property {name} is not a number; the first image has {value!r:.60}")
    known = [band.name for band in metadata.bands]
    if record is not None:
        known += [*record.band_names, *(index.name for index in list_supported(record))]
    known += [
        property_name
        for property_name, one in metadata.properties.items()
        if isinstance(one, (int, float)) and ":" not in property_name
    ]
    raise UsageError(
        f"rank_by={text!r}: {metadata.id} has no band, spectral index or numeric property {name!r};"
        f" {describe_choices(name, list(dict.fromkeys(known)))}"
    )


def _property_image(image: Any, name: str) -> ee.Image:
    """Return an image whose pixels all have the value of a property, masked if the image lacks it."""
    is_there = image.propertyNames().contains(name)
    value = ee.Image.constant(ee.Number(ee.Algorithms.If(is_there, image.get(name), 0))).toDouble()
    masked: ee.Image = value.updateMask(ee.Image.constant(ee.Number(ee.Algorithms.If(is_there, 1, 0))))
    return masked


# Pixels of all chips of a request, times the images of each, whose quality band the server reads. With chips of 64 x 64
# pixels and 73 images, a request has 56 chips. A request that is too large for the service is halved.
_PIXELS = 1 << 24
_MOST_CHIPS = 400
_MOST_COUNTED = 1000  # chips whose images are counted by one request
_MOST_IMAGES = 1_000_000
_MOST_PIXELS = 1_000_000_000

_CURE = "`start` and `end` that are nearer to each other, or smaller chips (`size`)"


@dataclass(frozen=True, slots=True)
class ClearSource:
    """What tells clear pixels.

    Attributes:
        collection: asset id.
        band: whose mask says which pixels are clear if there is no quality band.
        mask: quality band or score, with its settings; None if the dataset has none.
        score: what is measured of the clear pixels besides; None for nothing.
    """

    collection: str
    band: str
    mask: CloudMask | None
    tests: tuple[PropertyFilter, ...] = ()
    score: FrameScore | None = None

    def clear(self, image: ee.Image) -> ee.Image:
        """Return an image of 1 where a pixel is clear, else 0, also outside the footprint."""
        is_clear = image.select([self.band]).mask().gt(0) if self.mask is None else self.mask.clear(image, self.band)
        return is_clear.rename(["clear"]).unmask(0, False)


def fetch_candidates(
    source: ClearSource, grids: Sequence[Grid], windows: Sequence[TimeWindow]
) -> Iterator[tuple[Candidate, ...]]:
    """Yield the images of each chip within its interval of time, with clear shares and scores, by time.

    The server counts clear pixels on the chip's own grid, so the share is that of the pixels that the chip would have.
    The images of the chips are counted first, a request for each thousand chips, which determines how many chips share
    a request.

    Args:
        windows: interval of the images of each chip.
    """
    chips = list(zip(grids, windows, strict=True))
    costs = [
        count * grid.width * grid.height / _PIXELS
        for grid, count in zip(grids, _count_images(source, chips), strict=True)
    ]
    return planning_requests.request_each(
        chips, partial(_ask, source), size=_MOST_CHIPS, costs=costs, noun="chips", cure=_CURE
    )


def _count_images(source: ClearSource, chips: Sequence[tuple[Grid, TimeWindow]]) -> list[int]:
    """Return the number of images of each chip; 1 if there is only one chip, as nothing is to be divided."""

    def ask(some: Sequence[tuple[Grid, TimeWindow]]) -> list[int]:
        counts: Any = ee.List(_rows(some)).map(lambda row: _images(source, row).size()).getInfo()
        return list(counts)

    if len(chips) == 1:
        return [1]
    return list(planning_requests.request_each(chips, ask, size=_MOST_COUNTED, noun="chips", cure=_CURE))


def _ask(source: ClearSource, chips: Sequence[tuple[Grid, TimeWindow]]) -> list[tuple[Candidate, ...]]:
    """Send one request."""
    answers: Any = ee.List(_rows(chips)).map(partial(_measured, source)).getInfo()
    candidates = []
    for (grid, _), rows in zip(chips, answers, strict=True):
        pixels = grid.width * grid.height
        chip_candidates = [
            Candidate(index, int(time), float(count or 0) / pixels, *(None if v is None else float(v) for v in scores))
            for index, time, count, *scores in rows
        ]
        candidates.append(tuple(sorted(chip_candidates, key=lambda candidate: (candidate.time, candidate.index))))
    return candidates


def _rows(chips: Sequence[tuple[Grid, TimeWindow]]) -> list[list[Any]]:
    """Return what the server needs to know of chips: ring, crs, transform, start and end."""
    return [
        [corners_inside(grid), service_crs(grid.crs), list(grid.transform), window.start, window.end]
        for grid, window in chips
    ]


def _interior(values: Any) -> ee.Geometry:
    interior: ee.Geometry = ee.Geometry.Polygon(values.get(0), ee.Projection(values.getString(1)), False)
    return interior


def _images(source: ClearSource, row: Any) -> ee.ImageCollection:
    """Return the images of a chip within its interval of time, for the server."""
    values: Any = ee.List(row)
    every = asset_metadata.filter_images(source.collection, "collection", tests=source.tests)
    there = every.filterDate(ee.Date(values.get(3)), ee.Date(values.get(4)))
    chip_images: ee.ImageCollection = there.filterBounds(_interior(values))
    return chip_images


def _measured(source: ClearSource, row: Any) -> Any:
    """Return a server-side list for each image of a chip: its index, its time, its clear pixels, any score."""
    values: Any = ee.List(row)
    interior, projection = _interior(values), ee.Projection(values.getString(1), values.get(2))

    def measure(element: Any) -> Any:
        image = ee.Image(element)
        clear, reducer = source.clear(image), ee.Reducer.sum().unweighted()
        columns = ["clear"]
        if source.score is not None:
            clear = clear.addBands(source.score.image(image).updateMask(clear).rename(["score"]))
            reducer = reducer.combine(ee.Reducer.mean().unweighted(), "", True)
            columns = ["clear_sum", "score_mean"]
        reduced = clear.reduceRegion(reducer=reducer, geometry=interior, crs=projection, maxPixels=_MOST_PIXELS)
        measured = [reduced.get(name) for name in columns]
        return ee.List([image.get("system:index"), image.get("system:time_start"), *measured])

    return _images(source, row).toList(_MOST_IMAGES).map(measure)
