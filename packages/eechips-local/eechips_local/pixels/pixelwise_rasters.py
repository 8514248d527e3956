"""Compute rasters from others pixel by pixel, the masks of results, clipped images, and constant images: names and
types of their bands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.grids.area_fractions import centres_inside
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand, Mask, Pixels, Render, bands_from
from eechips_local.pixels.types import ranged
from eechips_local.values.values import WHOLE_EARTH, Array, Geometry

PixelFunction = Callable[[Sequence[Pixels]], Pixels]
"""From the pixels of some inputs on one grid to those of one output."""


def both(first: Mask, second: Mask) -> Mask:
    """Return the mask of a result that needs two inputs: the lesser of theirs."""
    if first.dtype == bool and second.dtype == bool:
        return first & second
    lesser: Mask = np.minimum(first, second)
    return lesser


def all_of(pixels: Sequence[Pixels]) -> Mask:
    """Return the mask of a result that needs all inputs."""
    mask = pixels[0].mask
    for other in pixels[1:]:
        mask = both(mask, other.mask)
    return mask


def everywhere(grid: PixelGrid) -> Mask:
    """Return the mask of a grid on which every pixel is valid."""
    return np.broadcast_to(np.True_, grid.shape)


def nowhere(grid: PixelGrid) -> Pixels:
    """Return nothing but masked pixels."""
    return Pixels(np.zeros(grid.shape, dtype=np.uint8), np.zeros(grid.shape, dtype=bool))


def expanded(values: npt.NDArray[Any], dimensions: int) -> npt.NDArray[Any]:
    """Return values of shape (height, width, …) with axes of length 1 behind, up to some number of dimensions."""
    return values.reshape(values.shape + (1,) * (dimensions - values.ndim))


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value everywhere; for array bands, an array at each pixel."""

    value: npt.NDArray[Any]

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Broadcast the value; nothing is copied."""
        shape = (*grid.shape, *self.value.shape)
        return [Pixels(np.broadcast_to(self.value, shape), everywhere(grid)) for _ in bands]


@dataclass(frozen=True, slots=True, eq=False)
class Empty:
    """Masked pixels only."""

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Mask everything."""
        return [nowhere(grid) for _ in bands]


@dataclass(frozen=True, slots=True, eq=False)
class PerPixel:
    """Bands each computed from some inputs at the same pixel.

    Attributes:
        inputs: for each band, what its function needs.
        functions: for each band, from the inputs' pixels to its own.
    """

    is_intermediate: ClassVar[bool] = True

    inputs: tuple[tuple[ImageBand, ...], ...]
    functions: tuple[PixelFunction, ...]

    def inputs_of(self, band: int) -> Sequence[ImageBand]:
        """Return the bands that a band is computed from."""
        return self.inputs[band]

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read all inputs of the bands at once, then compute."""
        flat = [band for b in bands for band in self.inputs[b]]
        pixels = iter(render.read_inputs(flat, grid))
        return [self.functions[b]([next(pixels) for _ in self.inputs[b]]) for b in bands]


def mapped(
    bands: Sequence[ImageBand], function: PixelFunction, kind: Callable[[PixelType], PixelType] = lambda kind: kind
) -> list[ImageBand]:
    """Return bands computed from one each.

    Args:
        bands: the inputs.
        function: gets the pixels of one input.
        kind: the type of the output, from that of the input.
    """
    raster = PerPixel(tuple((band,) for band in bands), (function,) * len(bands))
    return bands_from(raster, bands, kinds=[kind(band.type) for band in bands])


def combined(
    groups: Sequence[tuple[ImageBand, ...]], function: PixelFunction, like: Sequence[ImageBand]
) -> list[ImageBand]:
    """Return bands computed from several inputs each.

    Args:
        groups: the inputs of each output.
        function: gets the pixels of one group.
        like: for each output a band that it takes name, type, projection and extent from.
    """
    raster = PerPixel(tuple(groups), (function,) * len(groups))
    return bands_from(raster, like)


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """Bands computed together from the same inputs: decompositions, colour spaces, gradients.

    Attributes:
        inputs: what the function needs.
        function: from the inputs' pixels to those of all bands.
    """

    inputs: Sequence[ImageBand]
    function: Callable[[Sequence[Pixels]], Sequence[Pixels]]

    def inputs_of(self, band: int) -> Sequence[ImageBand]:
        """Return the bands that a band is computed from."""
        return self.inputs

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Compute all bands at once, and return the requested ones."""
        computed: Sequence[Pixels] = render.note(
            ("joint", self, grid), lambda: self.function(render.read_inputs(self.inputs, grid))
        )
        return [computed[band] for band in bands]


@dataclass(frozen=True, slots=True, eq=False)
class Clipped:
    """Bands masked where pixel centres lie outside a geometry."""

    inputs: Sequence[ImageBand]
    geometry: Geometry

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Mask what is outside; reads nothing if all is."""
        inside: Mask = render.note(("inside", self.geometry, grid), lambda: centres_inside(self.geometry, grid))
        if not inside.any():
            return [Pixels(np.zeros(grid.shape, dtype=np.uint8), inside) for _ in bands]
        pixels = render.read([self.inputs[b] for b in bands], grid)
        if inside.all():
            return pixels
        return [Pixels(p.values, both(p.mask, inside)) for p in pixels]


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """Bands computed from the grid alone: coordinates, areas, random numbers."""

    function: Callable[[PixelGrid, int], Pixels]

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Call the function for each band."""
        return [self.function(grid, band) for band in bands]


def constant_image(values: Sequence[bool | int | float | Array], names: Sequence[str] | None = None) -> Image:
    """Return an image with one constant band for each value.

    Args:
        values: numbers, or arrays for array bands.
        names: names of the bands; by default "constant", or "constant_0", "constant_1", … for several, which is how
            Earth Engine names them.
    """
    if names is None:
        names = ["constant"] if len(values) == 1 else [f"constant_{i}" for i in range(len(values))]
    bands = tuple(_band(name, value) for name, value in zip(names, values, strict=True))
    return Image(bands, {}, WHOLE_EARTH)


def _band(name: str, value: bool | int | float | Array) -> ImageBand:
    """Return a constant band; its type has the range of its values."""
    array = value.values if isinstance(value, Array) else np.asarray(int(value) if isinstance(value, bool) else value)
    kind = PixelType("double" if array.dtype.kind == "f" else "int", dimensions=array.ndim)
    ends = (array.min().item(), array.max().item()) if array.size else ()
    return ImageBand(name, ranged(kind, ends), WGS84, Constant(array), fixed=False)
