"""``Image.reduceResolution``: reducers over the pixels under each pixel of a coarser grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.image_projection import projection_of
from eechips.emulator.functions.registry import function
from eechips.emulator.pixels.aggregate import Aggregated, Aggregation
from eechips.emulator.pixels.image import Image, Pixels
from eechips.emulator.reducers import Reducer, Sample


def _aggregation(reducer: Reducer) -> Aggregation:
    def aggregate(
        values: Sequence[npt.NDArray[Any]], weights: Sequence[npt.NDArray[np.float64]], inside: npt.NDArray[np.bool_]
    ) -> list[Pixels]:
        together = np.min(weights, axis=0)
        outputs = reducer.apply(Sample(np.stack(values), together, inside))
        return [Pixels(np.asarray(o.values), np.asarray(o.valid)) for o in outputs]

    return aggregate


@function("Image.reduceResolution")
def reduce_resolution(image: Image, reducer: Reducer, bestEffort: bool, maxPixels: int) -> Image:
    """The image, to be combined by a reducer instead of the nearest neighbour where it is read on a coarser grid."""
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("Array images cannot be reduced to another resolution.")
    if not any(band.fixed for band in image.bands):
        raise InvalidError("The image has no fixed projection; set one by Image.setDefaultProjection or reproject.")
    lattice = projection_of(image)
    groups = reducer.groups(len(image.bands))
    types = [kind for group in groups for kind in reducer.band_types([image.bands[i].type for i in group])]
    names = reducer.output_names([band.name for band in image.bands], short=True)
    raster = Aggregated(
        image.bands, lattice, tuple(groups), len(reducer.names), _aggregation(reducer), maxPixels, bestEffort
    )
    leaders = [image.bands[group[0]] for group in groups for _ in reducer.names]
    return image.with_bands(
        [
            replace(leader, name=name, type=kind, raster=raster, index=index)
            for index, (leader, name, kind) in enumerate(zip(leaders, names, types, strict=True))
        ]
    )
