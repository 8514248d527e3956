"""``Image.projection``, ``reproject``, ``setDefaultProjection``, ``resample`` and ``reduceResolution``: default
projections, interpolation and resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.aggregation import Aggregated, Aggregation
from eechips_local.pixels.grids.area_fractions import pixels_touched
from eechips_local.pixels.grids.reprojection import Reprojected, Resampled
from eechips_local.pixels.grids.resampling import Method
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, bands_from
from eechips_local.pixels.stored_image import Stored
from eechips_local.pixels.types import FLOAT
from eechips_local.protocol.request_errors import InvalidError, check_choice
from eechips_local.reducers import Reducer, ReducerSample
from eechips_local.values.values import Geometry

_MOST_COMBINED = 65_536  # pixels of the input for one of the output


def projection_of(image: Image) -> Projection:
    """Return the one default projection of an image's bands.

    Raises:
        InvalidError: if it has no bands or they differ.
    """
    if not image.bands:
        raise InvalidError("Image has no bands.")
    projections = {band.projection for band in image.bands}
    if len(projections) > 1:
        raise InvalidError(
            "The bands of the specified image contains different projections. Use Image.select to pick a single band."
        )
    return image.bands[0].projection


@function("Image.projection")
def projection(image: Image) -> Projection:
    """Return the default projection."""
    return projection_of(image)


def target_projection(crs: Projection, transform: list[float] | None, scale: float | None) -> Projection:
    """Return the projection that a crs with a transform or a scale stands for.

    Raises:
        InvalidError: if both are given, or the transform is not six numbers of an invertible matrix.
    """
    if transform is not None:
        if scale is not None:
            raise InvalidError("Cannot specify both crsTransform and scale.")
        if len(transform) != 6:
            raise InvalidError("A crsTransform must be a list of 6 numbers.")
        affine = Affine(*transform)
        if affine.is_degenerate:
            raise InvalidError("The crsTransform must be invertible.")
        return Projection(crs.crs, affine)
    if scale is not None:
        if not scale > 0:
            raise InvalidError(f"The scale must be greater than zero; found {scale}.")
        return crs.at_scale(scale)
    return crs


@function("Image.reproject")
def reproject(image: Image, crs: Projection, crsTransform: list[float] | None, scale: float | None) -> Image:
    """Return the image computed on the pixels of a projection.

    Rows of pixels of a scale go south where the projection has no pixels of its own: of EPSG:4326 and 100 m, a note
    prints [0.0008983152841195215, 0, 0, 0, -0.0008983152841195215, 0].
    """
    target = target_projection(crs, crsTransform, scale)
    if scale is not None and crs.transform == Affine.identity():
        target = target.scaled(1.0, -1.0)
    raster = Reprojected(image.bands, target)
    extent = _extent_in(image.footprint, target)
    return image.with_bands(
        [
            replace(band, raster=raster, index=index, projection=target, extent=extent, fixed=True)
            for index, band in enumerate(image.bands)
        ]
    )


def _extent_in(footprint: Geometry | None, lattice: Projection) -> PixelWindow | None:
    if footprint is None or footprint.unbounded:
        return None
    return PixelWindow(*pixels_touched(footprint, lattice))


@function("Image.setDefaultProjection")
def set_default_projection(
    image: Image, crs: Projection, crsTransform: list[float] | None, scale: float | None
) -> Image:
    """Return another default projection; no pixel is touched."""
    target = target_projection(crs, crsTransform, scale)
    extent = _extent_in(image.footprint, target)
    return image.with_bands([replace(b, projection=target, extent=extent, fixed=True) for b in image.bands])


@function("Image.resample")
def resample(image: Image, mode: str) -> Image:
    """Return bilinear or bicubic interpolation instead of the nearest neighbour, between pixels of the default
    projection.
    """
    methods: Mapping[str, Method] = {"bilinear": "bilinear", "bicubic": "bicubic"}
    check_choice("resampling mode", mode, methods)
    return image.with_bands([_interpolated(band, methods[mode]) for band in image.bands])


def _interpolated(band: ImageBand, method: Method) -> ImageBand:
    """Return a band that is interpolated; composites have no lattice of their own and stay as they are."""
    kind = band.type if band.type.precision != "int" else FLOAT
    if isinstance(band.raster, (Stored, Reprojected, Resampled)):
        return replace(band, raster=replace(band.raster, method=method), type=kind)
    if not band.fixed or band.type.dimensions:
        return band
    return replace(band, raster=Resampled((band,), band.projection, method), index=0, type=kind)


def _aggregation(reducer: Reducer) -> Aggregation:
    def aggregate(
        values: Sequence[npt.NDArray[Any]], weights: Sequence[npt.NDArray[np.float64]], inside: npt.NDArray[np.bool_]
    ) -> list[Pixels]:
        together = np.min(weights, axis=0)
        outputs = reducer.apply(ReducerSample(np.stack(values), together, inside))
        return [Pixels(np.asarray(o.values), np.asarray(o.valid)) for o in outputs]

    return aggregate


@function("Image.reduceResolution")
def reduce_resolution(image: Image, reducer: Reducer, bestEffort: bool, maxPixels: int) -> Image:
    """Return the image, to be combined by a reducer instead of the nearest neighbour where it is read on a coarser
    grid: each band on its own pixels, as geeViz does with whole scenes of Sentinel-2 (code 14723565871).

    A ``maxPixels`` of 1 is refused (code 71308916033), and no more than 65,536 are combined (codes 62185830633,
    68837690217).
    """
    if maxPixels < 2:
        raise InvalidError("Bad maxPixels arg.")
    if any(band.type.dimensions for band in image.bands):
        raise InvalidError("Array images cannot be reduced to another resolution.")
    own = next((band.projection for band in image.bands if band.fixed), None)
    if own is None:
        raise InvalidError(
            "The input to reduceResolution does not have a valid default projection. Use setDefaultProjection() first."
        )
    runs = (
        [(projection_of(image), image.bands)]
        if reducer.inputs > 1
        else groupby(image.bands, lambda band: band.projection if band.fixed else own)
    )
    most = min(maxPixels, _MOST_COMBINED)
    return image.with_bands(
        [band for lattice, run in runs for band in _combined(list(run), lattice, reducer, most, best_effort=bestEffort)]
    )


def _combined(
    bands: Sequence[ImageBand], lattice: Projection, reducer: Reducer, most: int, *, best_effort: bool
) -> list[ImageBand]:
    """Return the bands that a reducer makes of the pixels of a lattice."""
    groups = reducer.groups(len(bands))
    types = [kind for group in groups for kind in reducer.band_types([bands[i].type for i in group])]
    names = reducer.output_names([band.name for band in bands], short=True)
    raster = Aggregated(bands, lattice, tuple(groups), len(reducer.names), _aggregation(reducer), most, best_effort)
    leaders = [bands[group[0]] for group in groups for _ in reducer.names]
    return bands_from(raster, leaders, names, types)
