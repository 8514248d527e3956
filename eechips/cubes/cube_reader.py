"""Read boxes of a cube: from the cache, else by requests that are large, several at a time.

Chunks of Dask are read by themselves, and each would take a request. A box beside one that was read before is extended
by the chunks around it: along the columns, then the rows, the images, the bands. Dask reads chunks from the last to the
first as well, so that both directions are tried. The first extension is as large as what was read before: a sweep takes
requests that double up to the service's limit. What is fetched in advance is never more than what was fetched before,
and a box that is beside no other is not extended.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from eechips.cubes.box_cache import BoxCache, CacheSettings
from eechips.cubes.boxes import Box, BoxLimits, divide_box, request_shape, spread_shape
from eechips.cubes.cube_expressions import Expression, layer_names, stack_listed, stack_stored
from eechips.cubes.cube_service import RetryLimits, ServiceAddress, find_service
from eechips.errors import PermanentError, TooLargeError
from eechips.geo.grid import Grid

_AXES = (3, 2, 1, 0)


def extend_box(box: Box, whole: Box, known: Sequence[Box], limits: BoxLimits, most: int) -> Box:
    """Return a box with those around it, or the box itself.

    Args:
        known: boxes that were read before, or that are being read.
        most: values of the result at most.
    """
    if not any(_is_beside(box, other) for other in known):
        return box
    most = min(most, box.size + sum(other.size for other in known))
    extended = box
    for axis in _AXES:
        extended = _extended(extended, axis, whole, known, limits, most)
        if (extended.start[axis], extended.stop[axis]) != (whole.start[axis], whole.stop[axis]):
            break  # what comes next is no box
    return extended


def _is_beside(box: Box, other: Box) -> bool:
    """Return whether another box has all values on one side of a box."""
    for axis in _AXES:
        if box.start[axis] == other.stop[axis] or box.stop[axis] == other.start[axis]:
            moved = box.resized(axis, other.start[axis], other.stop[axis])
            if other.contains(moved):
                return True
    return False


def _extended(box: Box, axis: int, whole: Box, known: Sequence[Box], limits: BoxLimits, most: int) -> Box:
    """Return a box that is longer along an axis by multiples of its own length, and overlaps no known box.

    A box at the end of the cube may be shorter than the other chunks: it is extended to edges of known boxes.
    """
    start, stop = box.start[axis], box.stop[axis]
    length = stop - start
    after = box.resized(axis, stop, max(stop, whole.stop[axis]))
    before = box.resized(axis, whole.start[axis], start)
    # A known box may overlap the box itself, which is then not extended to that side.
    end = min([whole.stop[axis], *(max(stop, other.start[axis]) for other in known if after.overlaps(other))])
    first = max([whole.start[axis], *(min(start, other.stop[axis]) for other in known if before.overlaps(other))])
    longest = max(other.stop[axis] - other.start[axis] for other in known)
    is_short = stop == whole.stop[axis] and length < longest
    edges = {edge for other in known for edge in (other.start[axis], other.stop[axis])} if is_short else set()
    extended = box
    while (start, stop) != (first, end):
        if stop < end:
            stop = min(stop + length, end)
        else:
            start = max([first, *(edge for edge in edges if edge < start)]) if edges else max(start - length, first)
        longer = box.resized(axis, start, stop)
        if longer.size > most or not limits.accepts(longer.shape):
            break
        extended = longer
    return extended


Array = npt.NDArray[np.float32]
_MOST_THREADS = 40
"""Requests of one read at a time: the usual quota of a project
(https://developers.google.com/earth-engine/guides/usage, read 2025-11). The throttle sends fewer if it is less."""


@dataclass(frozen=True)
class CubeImages:
    """The images of a cube.

    Attributes:
        ids: ids of stored images, by which they are read; empty to read them by their place in the collection.
        identity: what tells these images from others: ids and versions.
    """

    collection: Expression
    count: int
    ids: tuple[str, ...]
    identity: tuple[Any, ...]

    def stack(self, box: Box, bands: tuple[str, ...], mask_value: float) -> Expression:
        """Return the image that has the bands of a box."""
        _, first, _, _ = box.start
        _, stop, _, _ = box.stop
        names = bands[box.start[0] : box.stop[0]]
        if self.ids:
            return stack_stored(self.ids[first:stop], names, mask_value)
        return stack_listed(self.collection, first, stop - first, names, mask_value)


@dataclass(frozen=True)
class CubeReader:
    """A cube that is read by boxes. Picklable, without credentials.

    Attributes:
        mask_value: value that masked pixels have in responses; pixels with this value are NaN.
        cache: where pixels are kept; None to keep none.
        threads: arguments of the ThreadPoolExecutor of a read.
    """

    address: ServiceAddress
    images: CubeImages
    bands: tuple[str, ...]
    grid: Grid
    mask_value: float
    limits: BoxLimits
    retries: RetryLimits
    cache: CacheSettings | None
    threads: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, rows, columns."""
        return self.images.count, self.grid.height, self.grid.width

    def preferred_chunks(self, dims: tuple[str, ...]) -> dict[str, int]:
        """Return the chunks that take one request each, by the names of dimensions."""
        _, images, rows, columns = request_shape((1, *self.shape), self.limits)
        return dict(zip(dims, (images, rows, columns), strict=True))

    def read(self, box: Box) -> Array:
        """Return the pixels of a box: (band, image, row, column), NaN where they are masked.

        Raises:
            RequestError: if a request failed; classified.
            ConfigurationError: if the service cannot be used.
            StorageError: if the cache cannot be written.
        """
        if box.size == 0:
            return np.empty(box.shape, np.float32)
        parts = list(divide_box(box, request_shape(box.shape, self.limits)))
        if len(parts) == 1:
            return self._read_part(box, has_next=True)
        slots = max(1, self._slots // len(parts))
        return self._joined(box, parts, functools.partial(self._read_part, has_next=False, slots=slots))

    def _joined(self, box: Box, parts: Sequence[Box], read: Callable[[Box], Array]) -> Array:
        """Return the pixels of a box, whose parts are read several at a time."""
        whole = np.empty(box.shape, np.float32)

        def fill(part: Box) -> None:
            whole[part.from_start(box).slices] = read(part)

        with ThreadPoolExecutor(**{**self.threads, "max_workers": min(len(parts), self._slots)}) as pool:
            for _ in pool.map(fill, parts):
                pass
        return whole

    @property
    def _slots(self) -> int:
        """Requests of one read at a time."""
        most = self.address.in_flight
        return self.threads.get("max_workers") or (_MOST_THREADS if most == "auto" else min(most, _MOST_THREADS))

    def _read_part(self, box: Box, *, has_next: bool, slots: int | None = None) -> Array:
        """Return the pixels of a box that one request can have.

        Args:
            has_next: whether those that come next may be fetched with it.
            slots: requests at a time; None for as many as the quota has.
        """
        cache, slots = self._cache, slots or self._slots
        if cache is None:
            return self._fetch(box, slots)
        while (cached := cache.read(box)) is None:
            with contextlib.ExitStack() as stack:
                with cache.planning():
                    locked, known = cache.locked(), cache.boxes()
                    if any(other.contains(box) for other in known):
                        continue  # it came meanwhile
                    outer = next((other for other in locked if other.contains(box)), None)
                    wanted = self._extended(box, [*known, *locked]) if has_next else box
                    if outer is None:
                        stack.enter_context(cache.lock(wanted))
                if outer is None:
                    try:
                        pixels = self._fetch(wanted, slots)
                    except (PermanentError, TooLargeError):
                        if wanted == box:
                            raise
                        wanted = box  # others may lack the band, or be too much together
                        pixels = self._fetch(box, slots)
                    cache.write(wanted, pixels)
                    return pixels[box.from_start(wanted).slices]
            with cache.lock(outer):  # until it has been fetched
                pass
        return cached

    def _extended(self, box: Box, known: Sequence[Box]) -> Box:
        """Return a box with those that come next, if boxes are read one after the other."""
        whole = Box((0, 0, 0, 0), (len(self.bands), *self.shape))
        return extend_box(box, whole, known, self.limits, self._cache.most_values if self._cache else 0)

    def _fetch(self, box: Box, slots: int) -> Array:
        """Return the pixels of a box that one request can have, a large one by several requests at a time."""
        part = box.shape if self.limits.is_chosen else spread_shape(box.shape, slots)
        if part == box.shape:
            return self._request(box)
        return self._joined(box, list(divide_box(box, part)), self._request)

    def _request(self, box: Box) -> Array:
        bands, images, rows, columns = box.shape
        grid = self.grid.window(box.start[3], box.start[2], columns, rows)
        expression = self.images.stack(box, self.bands, self.mask_value)
        service = find_service(self.address)
        layers = service.read(expression, grid, layer_names(images, bands), self.retries)
        layers[layers == np.float32(self.mask_value)] = np.nan
        return np.ascontiguousarray(layers.reshape(images, bands, rows, columns).swapaxes(0, 1))

    @functools.cached_property
    def _cache(self) -> BoxCache | None:
        return None if self.cache is None else BoxCache(self.cache, self._digest)

    @property
    def _digest(self) -> str:
        """What the pixels depend on, as text."""
        dependencies = [
            self.address.endpoint,
            self.images.identity,
            self.bands,
            self.grid.crs,
            self.grid.transform,
            self.mask_value,
        ]
        return hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:32]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}


class LazyBand(BackendArray):
    """A band of a cube: (image, row, column), float32, NaN where it is masked. Picklable."""

    def __init__(self, reader: CubeReader, number: int) -> None:
        self._reader, self._number = reader, number
        self.shape = reader.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read pixels: of a range of images, rows and columns."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> Array:
        """Return the pixels of a key of integers and slices; the range of a slice is read, then its steps are taken."""
        ranges = [_range_of(index, length) for index, length in zip(key, self.shape, strict=True)]
        (t, t1, images), (y, y1, rows), (x, x1, columns) = ranges
        pixels: Array = self._reader.read(Box((self._number, t, y, x), (self._number + 1, t1, y1, x1)))[0]
        return np.asarray(pixels[..., columns][:, rows][images])


def _range_of(key: int | slice, length: int) -> tuple[int, int, int | slice]:
    """Return the first index of a key, the one after its last, and what it takes from the range between them."""
    if not isinstance(key, slice):
        index = range(length)[key]
        return index, index + 1, 0
    chosen = range(length)[key]
    if not chosen:
        return 0, 0, slice(None)
    first, last = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
    return first, last + 1, slice(None, None, chosen.step)


def lazy_variable(
    reader: CubeReader, number: int, dims: tuple[str, ...], attributes: Mapping[str, Any]
) -> xarray.Variable:
    """Return the variable of a band, whose pixels are read when they are computed."""
    data = indexing.LazilyIndexedArray(LazyBand(reader, number))
    encoding = {"source": attributes["id"], "dtype": data.dtype, "preferred_chunks": reader.preferred_chunks(dims)}
    return xarray.Variable(dims, data, dict(attributes), encoding)
