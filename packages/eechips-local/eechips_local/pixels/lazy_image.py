"""Define lazy images: bands that compute their pixels on a requested grid. One computation (``Render``) caches,
prefetches, and limits memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType, PixelWindow
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.protocol.request_errors import EarthEngineError, MemoryLimitError
from eechips_local.quota.compute_cost import charge_pixels
from eechips_local.values.values import Geometry

_ALWAYS = 1 << 62  # uses of what is not let go
_AHEAD = 32  # images of a stack whose pixels are fetched while others are read

Mask = npt.NDArray[Any]
"""Validity of pixels: bool, or float from 0 (masked) to 1 where a mask is fractional. Shape (height, width)."""


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pixels of one band on a grid.

    Attributes:
        values: shape (height, width), or (height, width, …) for array bands. Undefined where masked.
        mask: shape (height, width).
    """

    values: npt.NDArray[Any]
    mask: Mask

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Pixels whose mask is not zero."""
        return self.mask if self.mask.dtype == bool else self.mask > 0


class LazyRaster(Protocol):
    """One or several bands that compute their pixels on any grid.

    Further members are optional. ``inputs_of(band)`` returns the bands that a band reads on its own grid, by
    ``Render.read_inputs``; ``is_intermediate`` says that it is computed from nothing else, at little cost.
    ``prefetch_header(band)`` begins to fetch what has to be known before pixels can be fetched, and returns whether
    there is anything to fetch at all; ``prefetch(bands, grid, render)`` then begins to fetch pixels.
    """

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Return the pixels of bands (indices from 0) on a grid."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ImageBand:
    """A band of an image.

    Attributes:
        name: unique within the image.
        type: type of its values.
        projection: default projection, used where a scale or grid is not given.
        extent: pixels of that projection which hold data; None where the band is unbounded.
        raster: computes its pixels.
        index: which of the raster's bands it is.
        fixed: False for constants and composites, whose projection is only the EPSG:4326 default.
    """

    name: str
    type: PixelType
    projection: Projection
    raster: LazyRaster
    index: int = 0
    extent: PixelWindow | None = None
    fixed: bool = True

    @property
    def grid(self) -> PixelGrid | None:
        """The grid of ``extent``, or None where the band is unbounded."""
        if self.extent is None:
            return None
        e = self.extent
        return self.projection.window(e.column, e.row, e.width, e.height)


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An image: bands and properties.

    Attributes:
        bands: in order; those of a stored image may be created on first use.
        properties: user and system properties, without ``system:footprint``.
        footprint: outline, or None where the image is unbounded.
        id: id of a stored image.
        version: version of a stored image.
    """

    bands: Sequence[ImageBand]
    properties: Mapping[str, Any] = field(default_factory=dict)
    footprint: Geometry | None = None
    id: str | None = None
    version: int | None = None

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands, in order."""
        return tuple(band.name for band in self.bands)

    def with_properties(self, properties: Mapping[str, Any]) -> Image:
        """Return a copy with other properties."""
        return replace(self, properties=properties)

    def with_bands(self, bands: Sequence[ImageBand]) -> Image:
        """Return a copy with other bands; the properties and id stay."""
        return replace(self, bands=tuple(bands))

    def computed(self, bands: Sequence[ImageBand]) -> Image:
        """Return the result of a computation on this image: only ``system:index`` and the footprint are kept."""
        index = self.properties.get("system:index")
        return Image(tuple(bands), {} if index is None else {"system:index": index}, self.footprint)


def bands_from(
    raster: LazyRaster,
    like: ImageBand | Sequence[ImageBand],
    names: Sequence[str] | None = None,
    kinds: PixelType | Sequence[PixelType] | None = None,
) -> list[ImageBand]:
    """Return the bands of a raster, in its order.

    Args:
        raster: computes their pixels.
        like: for each a band that it takes all else from; or one for all names.
        names: names, if they have others.
        kinds: types, or that of all, if they have others.
    """
    bands = [like] * (1 if names is None else len(names)) if isinstance(like, ImageBand) else like
    labels = [band.name for band in bands] if names is None else names
    types = [band.type for band in bands] if kinds is None else kinds
    every = [types] * len(bands) if isinstance(types, PixelType) else types
    return [
        replace(band, name=label, type=kind, raster=raster, index=index)
        for index, (band, label, kind) in enumerate(zip(bands, labels, every, strict=True))
    ]


class Render:
    """One computation of pixels: caches what it reads and enforces the limits.

    Common subexpressions are read once per grid. What only bands of the same grid are computed from is let go after the
    last of them. Not shared between requests or threads.

    Attributes:
        budget: bytes that may be held at once.
        check_time: called before every read; raises where the request's time is over.
    """

    def __init__(self, budget: int = 2 << 30, check_time: Callable[[], None] = lambda: None) -> None:
        self.budget = budget
        self.check_time = check_time
        self._cache: dict[tuple[int, int, PixelGrid], Pixels] = {}
        self._alive: list[LazyRaster] = []  # keeps id() of cached rasters unique
        self._notes: dict[tuple[Any, ...], Any] = {}
        self._uses: dict[tuple[int, int, PixelGrid], int] = {}
        self._released: set[tuple[int, int, PixelGrid]] = set()
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes of the pixels that it has read and not let go."""
        return self._held

    def read(self, bands: Sequence[ImageBand], grid: PixelGrid) -> list[Pixels]:
        """Read bands on a grid. Each raster is read once for all of its bands.

        Raises:
            LimitError: if that would hold more memory than allowed.
        """
        self.check_time()
        self.prefetch(bands, grid, least=2)  # one alone is fetched by its read
        for band in bands:
            self._uses[id(band.raster), band.index, grid] = _ALWAYS
        return self._read(bands, grid)

    def read_inputs(self, bands: Sequence[ImageBand], grid: PixelGrid) -> list[Pixels]:
        """Read the inputs of bands that are computed on their grid, and let go those that no other band needs."""
        self.check_time()
        self.prefetch(bands, grid, least=2)
        pixels = self._read(bands, grid)
        for band in bands:
            key = id(band.raster), band.index, grid
            self._uses[key] = self._uses.get(key, _ALWAYS) - 1
            if self._uses[key] <= 0 and getattr(band.raster, "is_intermediate", False):
                self._release(key)
        return pixels

    def _release(self, key: tuple[int, int, PixelGrid]) -> None:
        pixels = self._cache.pop(key, None)
        if pixels is not None:
            self._held -= pixels.values.nbytes + pixels.mask.nbytes
            self._released.add(key)

    def _read(self, bands: Sequence[ImageBand], grid: PixelGrid) -> list[Pixels]:
        keys = [(id(band.raster), band.index, grid) for band in bands]
        # What others need no more may go from the cache while the rest is read.
        read = {key: self._cache[key] for key in keys if key in self._cache}
        rasters = {id(band.raster): band.raster for band, key in zip(bands, keys, strict=True) if key not in read}
        for raster_id, raster in rasters.items():
            self._alive.append(raster)
            own = [key for key in dict.fromkeys(keys) if key[0] == raster_id and key not in read]
            read |= {key: self._cache[key] for key in own if key in self._cache}  # they were inputs just before
            indices = [key[1] for key in own if key not in read]
            charge_pixels(len(indices) * grid.width * grid.height)
            for index, pixels in zip(indices, raster.read(indices, grid, self) if indices else (), strict=True):
                read[raster_id, index, grid] = self._keep((raster_id, index, grid), pixels)
        return [read[key] for key in keys]

    def _keep(self, key: tuple[int, int, PixelGrid], pixels: Pixels) -> Pixels:
        if key in self._released:  # a use that was not foreseen: others may follow
            self._uses[key] = _ALWAYS
        if key not in self._cache:
            self._hold(pixels)
        self._cache[key] = pixels
        return pixels

    def read_each(self, stack: Sequence[Sequence[ImageBand]], grid: PixelGrid) -> Iterator[list[Pixels]]:
        """Read the bands of many images; while one is computed, pixels of the next few are fetched."""
        for position, bands in enumerate(stack):
            if position % (_AHEAD // 2) == 0:
                self.prefetch([band for some in stack[position : position + _AHEAD] for band in some], grid)
            yield self.read(bands, grid)

    def prefetch(self, bands: Sequence[ImageBand], grid: PixelGrid, least: int = 1) -> None:
        """Begin to fetch the stored pixels that bands need on a grid, where they are not on this machine.

        All are on their way together then. What cannot be fetched is left to the read, which says so.

        Args:
            bands: bands that will be read.
            grid: on which they will be.
            least: number of rasters below which nothing is begun.
        """
        seen: set[tuple[int, int]] = self.note(("prefetched", grid), set)
        rasters: dict[int, tuple[Any, list[int]]] = {}
        waiting = list(reversed(bands))
        while waiting:
            band = waiting.pop()
            raster: Any = band.raster
            key = (id(raster), band.index)
            if key in seen:
                continue
            seen.add(key)
            if hasattr(raster, "inputs_of"):
                inputs = raster.inputs_of(band.index)
                waiting.extend(inputs)
                for used in inputs:
                    use = id(used.raster), used.index, grid
                    self._uses[use] = self._uses.get(use, 0) + 1
            elif hasattr(raster, "prefetch_header") and raster.prefetch_header(band.index):
                rasters.setdefault(id(raster), (raster, []))[1].append(band.index)
        for raster, indices in rasters.values() if len(rasters) >= least else ():
            with contextlib.suppress(EarthEngineError):
                raster.prefetch(indices, grid, self)

    def note(self, key: tuple[Any, ...], make: Any) -> Any:
        """Return ``make()``, cached under a key for this computation."""
        if key not in self._notes:
            self._notes[key] = make()
        return self._notes[key]

    def emptied(self, kept: str | None) -> Render:
        """Return one without pixels, and with no notes but those whose keys begin with a word."""
        other = Render(self.budget, self.check_time)
        other._notes = {key: note for key, note in self._notes.items() if key[0] == kept}
        return other

    def _hold(self, pixels: Pixels) -> None:
        self._held += pixels.values.nbytes + pixels.mask.nbytes
        if self._held > self.budget:
            raise MemoryLimitError()
