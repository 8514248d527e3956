"""Images for the tests of the local Earth Engine: rasters in memory, behind the same interfaces as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, PixelWindow
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer
from eechips_local.pixels.lazy_image import Image, Pixels, Render
from local_tests.support.graphs import Graph, Ready, invoke

Values = npt.NDArray[Any]


class Memory:
    """A raster source of arrays: full resolution, and means of blocks as its pyramid."""

    def __init__(self, values: Values, valid: Values | None = None, levels: Sequence[int] = (1,)) -> None:
        self._values = np.atleast_3d(values.T).T if values.ndim == 2 else values
        self._valid = (
            np.ones(self._values.shape, dtype=bool) if valid is None else np.broadcast_to(valid, self._values.shape)
        )
        self.levels = tuple(levels)
        self.windows: list[tuple[PixelWindow, int]] = []

    def read(self, bands: Sequence[int], window: PixelWindow, level: int) -> tuple[Values, Values]:
        self.windows.append((window, level))
        values, valid = self.level(level)
        rows = slice(window.row, window.row + window.height)
        columns = slice(window.column, window.column + window.width)
        assert window.row >= 0
        assert window.column >= 0
        assert window.row + window.height <= values.shape[1]
        assert window.column + window.width <= values.shape[2]
        return values[list(bands), rows, columns], valid[list(bands), rows, columns]

    def level(self, level: int) -> tuple[Values, Values]:
        """All values and validity of one level."""
        factor = self.levels[level]
        if factor == 1:
            return self._values, self._valid
        bands, height, width = self._values.shape
        tall, wide = -(-height // factor), -(-width // factor)
        padded = np.pad(self._values, ((0, 0), (0, tall * factor - height), (0, wide * factor - width)), mode="edge")
        blocks = padded.reshape(bands, tall, factor, wide, factor)
        means = blocks.mean(axis=(2, 4)).astype(self._values.dtype)
        return means, np.ones(means.shape, dtype=bool)


UTM = PixelGrid("EPSG:32613", Affine(10, 0, 500_000, 0, -10, 4_400_000), 64, 48)
"""A small grid in Colorado."""


def asset(
    values: Values,
    grid: PixelGrid = UTM,
    *,
    names: Sequence[str] | None = None,
    valid: Values | None = None,
    levels: Sequence[int] = (1,),
    id: str = "test/image",
    properties: Mapping[str, Any] | None = None,
) -> ImageAsset:
    """A stored image of an array of shape (bands, height, width) or (height, width)."""
    source = Memory(values, valid, levels)
    count = 1 if values.ndim == 2 else len(values)
    names = names or [f"B{i + 1}" for i in range(count)]
    infos = tuple(BandInfo(name, PixelType.of(values.dtype), grid, source, index) for index, name in enumerate(names))
    w, s, e, n = transformer(grid.crs, "EPSG:4326").transform_bounds(*grid.bounds)
    facts = {"system:index": id.rsplit("/", 1)[-1], **(properties or {})}
    return ImageAsset(id, infos, facts, shapely.box(w, s, e, n))


class Store:
    """A store of images in memory."""

    def __init__(self, *assets: ImageAsset) -> None:
        self._assets = {a.id: a for a in assets}

    def get(self, asset_id: str) -> ImageAsset | None:
        return self._assets.get(asset_id)

    def children(self, parent: str) -> list[str]:
        return sorted(self._assets)

    def describe(self) -> Mapping[str, Any]:
        return {"assets": len(self._assets)}


def stored(id: str = "test/image") -> Ready:
    """The node that loads a stored image."""
    return invoke("Image.load", id=id)


def evaluate(value: Any, *assets: ImageAsset, graph: Graph | None = None, limits: ServiceLimits | None = None) -> Any:
    """Evaluates a graph over images in memory."""
    context = Context(Store(*assets), limits or ServiceLimits())
    return Evaluator((graph or Graph()).expression(value), context).evaluate()


def read(image: Image, grid: PixelGrid = UTM) -> list[Pixels]:
    """All bands on a grid."""
    return Render().read(image.bands, grid)


def values_of(image: Image, grid: PixelGrid = UTM) -> Values:
    """The values of the only band, NaN (or 0 for integers that are masked nowhere) where masked."""
    (pixels,) = read(image, grid)
    if pixels.valid.all():
        return pixels.values
    return np.where(pixels.valid, pixels.values.astype(np.float64), np.nan)


ONE = PixelGrid("EPSG:4326", Affine(1, 0, 0, 0, -1, 1), 1, 1)
"""A single pixel."""


def pixel(value: Any, *assets: ImageAsset) -> list[Any]:
    """The values of all bands at one pixel, None where masked: of a graph of constants."""
    image = evaluate(value, *assets)
    return [p.values[0, 0].tolist() if p.valid[0, 0] else None for p in read(image, ONE)]


def constant(*values: Any, names: Sequence[str] | None = None) -> Ready:
    """The node of a constant image."""
    image = invoke("Image.constant", value=list(values) if len(values) != 1 else values[0])
    return image if names is None else invoke("Image.rename", input=image, names=list(names))
