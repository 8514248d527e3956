"""Reduce images over regions (``reduceRegion``, ``reduceRegions``): a pixel's weight is the lesser of its mask and its
fraction in the region.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.context import Context
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.region_pixels import (
    NO_PIXELS,
    Lattice,
    RegionPixels,
    chunks,
    cover_tiles,
    region_within,
)
from eechips_local.pixels.grids.sampled_pixels import Indices, SampledBand, gather
from eechips_local.pixels.lazy_image import Image
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import Reducer, ReducerSample
from eechips_local.reducers.reducer_samples import stacked
from eechips_local.reducers.reducer_types import plain_values
from eechips_local.values.values import Geometry, Value


def _sample(
    bands: Sequence[SampledBand], fraction: npt.NDArray[np.float64], centre: npt.NDArray[np.bool_]
) -> ReducerSample:
    """Return pixels as a reducer's inputs: a pixel's weight is the lesser of its mask and its fraction in the
    region.
    """
    weights = np.stack([np.minimum(band.mask.astype(np.float64), fraction) for band in bands])
    inside = np.stack([centre & (band.mask > 0) for band in bands])
    shapes = {band.values.shape[1:] for band in bands}
    if len(shapes) > 1:
        raise InvalidError("The bands must hold arrays of the same shape.")
    values, whole = stacked([band.values for band in bands])
    return ReducerSample(values, weights, inside, None, values.ndim - 2, centre, whole=whole)


def reduce_region(
    context: Context, image: Image, reducer: Reducer, geometry: Geometry, lattice: Lattice
) -> Mapping[str, Value]:
    """Return the reducer's outputs over the image's bands, by name.

    Raises:
        InvalidError: if the reducer does not fit the bands, or the region takes more pixels than allowed.
        LimitError: if the values that the reducer must hold are too many.
    """
    names = [band.name for band in image.bands]
    groups = reducer.groups(len(names)) if names else []
    accumulators = [reducer.accumulator(context.limits.memory) for _ in groups]
    region = region_within(context, geometry, lattice)
    read = False
    for _, _, _, cover in cover_tiles(context, region):
        context.check_time()
        taken = gather(context, image.bands, region.projection, cover.columns, cover.rows)
        for group, accumulator in zip(groups, accumulators, strict=True):
            accumulator.add(_sample([taken[i] for i in group], cover.fraction, cover.centre))
        read = True
    if not read:
        cover, nothing = NO_PIXELS, np.zeros(0)
        for group, accumulator in zip(groups, accumulators, strict=True):
            accumulator.add(_sample([SampledBand(nothing, nothing)] * len(group), cover.fraction, cover.centre))
    results = [value for accumulator in accumulators for value in accumulator.finish()]
    return dict(zip(reducer.output_names(names, short=True), results, strict=True)) if names else {}


def reduce_regions(
    context: Context, image: Image, reducer: Reducer, geometries: Iterable[Geometry | None], lattice: Lattice
) -> Iterator[list[Value]]:
    """Yield the reducer's outputs over the image's bands for each of many regions, in order.

    Regions near each other are read together, and those of about as many pixels reduced together. A region without
    a geometry has no pixels.

    Raises:
        InvalidError: as :func:`reduce_region`.
    """
    groups = reducer.groups(len(image.bands)) if image.bands else []
    for chunk in chunks(context, geometries, lattice):
        small = [item if isinstance(item, RegionPixels) else NO_PIXELS for item in chunk]
        results = _reduce_together(context, image, reducer, groups, small, lattice.projection)
        for item, result in zip(chunk, results, strict=True):
            if isinstance(item, RegionPixels):
                yield result
            else:
                own = Geometry(item.shape, lattice.projection)
                yield list(reduce_region(context, image, reducer, own, lattice).values())


def _reduce_together(
    context: Context,
    image: Image,
    reducer: Reducer,
    groups: Sequence[tuple[int, ...]],
    regions: Sequence[RegionPixels],
    projection: Projection,
) -> list[list[Value]]:
    counts = np.array([len(region) for region in regions], dtype=np.int64)
    starts = np.cumsum(counts) - counts
    columns, rows, fraction, centre = (
        np.concatenate([getattr(region, part) for region in regions])
        for part in ("columns", "rows", "fraction", "centre")
    )
    taken = gather(context, image.bands, projection, columns, rows)
    results: list[list[Value]] = [[] for _ in regions]
    # Regions of 5 to 8 pixels form tables of 8 rows, and so on: no more than half of a table is empty.
    depths = 2 ** np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    for depth in np.unique(depths):
        some = np.flatnonzero(depths == depth)
        # Never a single one: numpy adds up a lone column in another order, and a region's values must not depend on
        # which others are asked about together with it.
        places = some if len(some) > 1 else np.repeat(some, 2)
        layer = np.arange(depth)[:, None]
        present = layer < counts[places]
        table = np.where(present, starts[places] + layer, 0)
        for group in groups:
            sample = _sample([taken[i] for i in group], fraction, centre)
            outputs = reducer.apply(_tabled(sample, table, present))
            output_values = [plain_values(output, spec) for output, spec in zip(outputs, reducer.outputs, strict=True)]
            for index, values in zip(some, zip(*output_values, strict=True), strict=False):
                results[index].extend(values)
    return results


def _tabled(sample: ReducerSample, table: Indices, present: npt.NDArray[np.bool_]) -> ReducerSample:
    """Return a sample of one place as one of many: the values that a table names, shape (n, places)."""
    if not sample.values.shape[1]:
        shape = (len(sample.values), *table.shape)
        return ReducerSample(np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool))
    return ReducerSample(
        sample.values[:, table],
        np.where(present, sample.weights[:, table], 0.0),
        sample.inside[:, table] & present,
        None,
        sample.arrays,
        None if sample.pixels is None else sample.pixels[table] & present,
        whole=sample.whole,
    )
