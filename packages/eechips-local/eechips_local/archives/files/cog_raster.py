"""Read windows of an archive's rasters: a ``CogReader`` that fetches blocks, reads ahead, repeats damaged blocks, and
bounds its caches.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.archive_model import CogHeader
from eechips_local.archives.files.block_decoding import decode
from eechips_local.archives.files.cog_parts import CogParts, RasterAddress, RasterLayout, start_in
from eechips_local.archives.files.file_ranges import AddressSigner, FileRanges, RangeTransport
from eechips_local.archives.files.file_versions import etag_of
from eechips_local.archives.files.inflated_blocks import (
    BlockFormat,
    Buffer,
    InflatedBlock,
    RasterBlock,
    UnfinishedBlockError,
    format_of,
)
from eechips_local.archives.files.range_cache import RangeCache, cache_folder
from eechips_local.archives.files.shared_fetches import BoundedStore
from eechips_local.archives.files.tiff_header import TiffDirectory
from eechips_local.archives.hosts.allowed_hosts import split_address
from eechips_local.archives.hosts.host_pauses import HostPauses
from eechips_local.archives.hosts.host_permits import HostPermits
from eechips_local.archives.hosts.host_throttle import HostCounts, sum_counts
from eechips_local.evaluation.asset_model import PixelWindow

_HEADER_BYTES = 256 << 20
_BLOCK_BYTES = 2 << 30
_DECODED_BYTES = 96 << 20
_AHEAD_BYTES = 96 << 20
_MOST_QUEUED = 64  # windows
_LONGEST_KEPT = 20.0  # seconds
_TOGETHER = 32 << 20  # bytes of pixels that are decoded at a time


class RangeCogReader:
    """Opens rasters whose blocks are fetched by ranges of bytes. Threads may share it; it pickles.

    Args:
        transport: sends requests.
        signer: authorizes them.
        folder: folder of headers and blocks that are kept, for all processes; :func:`cache_folder` by default.
        threads: threads that fetch.
        connections: requests that all processes together have in work at a host.
        since: when a file must have been asked for its version before what is kept of it is used, in seconds since
            1970; now by default.
        clock: clock of the requests.
    """

    def __init__(
        self,
        transport: RangeTransport,
        signer: AddressSigner,
        folder: Path | None = None,
        threads: int = 16,
        connections: int = 64,
        since: float | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        since = clock.time() if since is None else since
        self._arguments = transport, signer, folder, threads, connections, since, clock
        place = cache_folder() if folder is None else folder
        self.parts = CogParts(
            FileRanges(
                transport,
                signer,
                HostPermits(place / "permits", connections),
                HostPauses(place / "pauses", since, clock),
            ),
            RangeCache(place / "headers", _HEADER_BYTES),
            RangeCache(place / "blocks", _BLOCK_BYTES),
            since,
            threads=threads,
        )
        self.decoded: BoundedStore[tuple[Any, ...], RasterBlock] = BoundedStore(
            _DECODED_BYTES, lambda block: block.size
        )
        self.turns = threading.Semaphore(os.cpu_count() or 1)  # of threads that decode
        self._used, self._lock = 0.0, threading.Lock()
        self.ahead = ReadsAhead(_AHEAD_BYTES)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def counts(self) -> Mapping[str, HostCounts]:
        """Return what this process has sent for files, and for the tokens that open them."""
        transport, signer, *_ = self._arguments
        return {"": sum_counts((transport, signer))}

    @property
    def used(self) -> int:
        """Bytes of blocks that windows were read from, as far as their pixels are in the windows."""
        return round(self._used)

    def note_use(self, size: float) -> None:
        """Count bytes of blocks that a window was read from."""
        with self._lock:
            self._used += size

    def open(self, href: str, *, collection: str) -> CogRaster:
        """Return a raster by its address; see ``CogReader``."""
        split_address(href)
        return CogRaster(RasterAddress(href, collection), self)


class ReadsAhead:
    """Windows that are read while others are computed with, in the order in which they were asked for.

    Threads share it. Those that cannot be read are dropped: whoever needs one reads it then.

    Args:
        most: bytes of them together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._queued: OrderedDict[Any, tuple[int, Callable[[], Any]]] = OrderedDict()
        self._begun: OrderedDict[Any, tuple[int, float, Future[Any]]] = OrderedDict()
        self._lock = threading.RLock()  # a future that ends at once is dropped where it was begun
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "decode")

    def begin(self, key: Any, size: int, read: Callable[[], Any]) -> None:
        """Read a window in a thread when there is room; never one that is too large."""
        with self._lock:
            if key in self._begun or key in self._queued or size > self._most // 2:
                return
            self._queued[key] = size, read
            if len(self._queued) > _MOST_QUEUED:
                self._queued.popitem(last=False)
            self._start()

    def take(self, key: Any) -> Future[Any] | None:
        """Return what gives a window, once; None if it was not begun."""
        with self._lock:
            self._queued.pop(key, None)
            size, _, future = self._begun.pop(key, (0, 0.0, None))
            self._held -= size
            self._start()
            return future

    def _start(self) -> None:
        """Begin what there is room for. Drop what is not taken for long: a mosaic may need fewer images."""
        now = time.monotonic()
        for key, (size, begun, future) in list(self._begun.items()):
            if now - begun < _LONGEST_KEPT:
                break
            if future.done():
                del self._begun[key]
                self._held -= size
        while self._queued:
            key, (size, read) = next(iter(self._queued.items()))
            if self._held + size > self._most:
                return
            del self._queued[key]
            future = start_in(self._pool, read)
            self._begun[key] = size, now, future
            self._held += size
            future.add_done_callback(partial(self._drop_failed, key))

    def _drop_failed(self, key: Any, future: Future[Any]) -> None:
        if future.exception() is None:
            return
        with self._lock:
            size, _, begun = self._begun.get(key, (0, 0.0, None))
            if begun is future:
                del self._begun[key]
                self._held -= size
                self._start()


@dataclass(frozen=True, slots=True)
class CogRaster:
    """A raster of an archive, as ``CogFile``.

    Attributes:
        address: address of the file.
        reader: reader that has opened it.
    """

    address: RasterAddress
    reader: RangeCogReader = field(repr=False, compare=False)

    @property
    def header(self) -> CogHeader:
        """The header, read on first use; see ``CogFile``."""
        try:
            layout = self._layout
            self.reader.parts.check(layout)
        except ArchiveError:
            layout = self._layout
        description = layout.description
        alpha = description.alpha if layout.levels[0][2] is None else None
        version = etag_of(layout.version)
        return CogHeader(description.grid, self.levels, description.dtypes, description.nodata, version, alpha)

    @property
    def levels(self) -> tuple[int, ...]:
        """See ``RasterSource``."""
        return tuple(factor for factor, _, _ in self._layout.levels)

    @property
    def level_sizes(self) -> Sequence[tuple[int, int]]:
        """See ``CogFile``."""
        return tuple((image.width, image.height) for _, image, _ in self._layout.levels)

    @property
    def _layout(self) -> RasterLayout:
        return self.reader.parts.layout(self.address)

    def prefetch_header(self) -> None:
        """Begin to fetch the header."""
        self.reader.parts.prefetch_layout(self.address)

    def prefetch(self, bands: Sequence[int], window: PixelWindow, level: int) -> None:
        """Begin to fetch what :meth:`read` will need, and to decode it where that takes little memory."""
        layout = self._layout
        _, image, mask = layout.levels[level]
        for part, planes in _parts(layout, image, mask, bands):
            self._prefetch(layout, part, _stops(_pieces(part, planes, window)))
        size = len(bands) * window.width * window.height * (np.dtype(layout.description.dtypes[0]).itemsize + 1)
        key = self.address, layout.version, tuple(bands), window, level
        self.reader.ahead.begin(key, size, lambda: self._read(layout, bands, window, level))

    def read(
        self, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Read native pixels; see ``RasterSource.read``.

        Raises:
            ValueError: if the window reaches outside the level.
            ArchiveError: if the host does not answer, or the file has changed.
            ArchiveRefusedError: if the file is damaged.
        """
        layout = self._layout
        self.reader.parts.check(layout)
        begun = self.reader.ahead.take((self.address, layout.version, tuple(bands), window, level))
        return self._read(layout, bands, window, level) if begun is None else begun.result()

    def _read(
        self, layout: RasterLayout, bands: Sequence[int], window: PixelWindow, level: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        _, image, mask = layout.levels[level]
        if (
            min(window.column, window.row) < 0
            or window.column + window.width > image.width
            or window.row + window.height > image.height
        ):
            raise ValueError(f"{window} reaches outside {image.width}x{image.height} pixels (level {level})")
        alpha = layout.description.alpha if image.is_planar and mask is None else None
        wanted = list(bands) if alpha is None else [*bands, alpha]
        values, valid = self._assembled(layout, image, wanted, window)
        if mask is not None:
            mask_values, _ = self._assembled(layout, mask, [0], window)
            valid = np.broadcast_to(mask_values != 0, values.shape).copy()
        elif alpha is not None:
            valid = np.broadcast_to(values[-1:] != 0, values[:-1].shape).copy()
            valid[[band == alpha for band in bands]] = True
            values = values[:-1]
        return values, valid

    def _assembled(
        self, layout: RasterLayout, image: TiffDirectory, bands: Sequence[int], window: PixelWindow
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the pixels of a window from the blocks that it touches."""
        needed = _pieces(image, bands if image.is_planar else [0], window)
        dtype = np.dtype("uint8" if image.is_mask else layout.description.dtypes[bands[0]])
        values = np.empty((len(bands), window.height, window.width), dtype)
        valid = np.ones(values.shape, dtype=bool)
        block_bytes = (
            image.block_width * image.block_height * dtype.itemsize * (1 if image.is_planar else image.samples)
        )
        step = max(1, _TOGETHER // block_bytes)
        if step < len(needed):
            self._prefetch(layout, image, _stops(needed))
        for first in range(0, len(needed), step):
            self._copy(layout, image, bands, needed[first : first + step], values, valid)
        return values, valid

    def _prefetch(self, layout: RasterLayout, image: TiffDirectory, stops: Mapping[int, int]) -> None:
        """Begin to fetch the upper rows of blocks that are not held."""
        lengths = _lengths(layout, image, stops)
        held = self._held(layout, image, lengths)
        self.reader.parts.prefetch(layout, image, {n: length for n, length in lengths.items() if n not in held})

    def _copy(
        self,
        layout: RasterLayout,
        image: TiffDirectory,
        bands: Sequence[int],
        needed: Sequence[_Piece],
        values: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_],
    ) -> None:
        """Fill parts of a window from blocks; fetch them once more where they are damaged, maybe only here."""
        parts, reason, damages = self.reader.parts, "", 0
        lengths = _lengths(layout, image, _stops(needed))
        while damages < 2:
            blocks = self._held(layout, image, lengths)
            data = parts.fetch(layout, image, {n: length for n, length in lengths.items() if n not in blocks})
            try:
                with self.reader.turns:
                    blocks |= self._opened(layout, image, data)
                    for number, plane, there, here in needed:
                        own = [i for i, band in enumerate(bands) if band == plane or not image.is_planar]
                        inner = [0] * len(own) if image.is_planar else bands
                        pixels, mask = blocks[number].read(inner, *here)
                        target = slice(None) if len(own) == len(bands) else own
                        values[(target, *there)] = pixels
                        if mask is not None:
                            valid[(target, *there)] = mask
                self.reader.note_use(_used_bytes(image, needed))
                return
            except UnfinishedBlockError:
                pass
            except ArchiveError as error:
                reason, damages = str(error), damages + 1
                for number in lengths:
                    self.reader.decoded.remove(_key(layout, image, number))
                parts.remove_blocks(layout, image, lengths)
            lengths = {number: int(image.counts[number]) for number in lengths}
        raise ArchiveRefusedError(f"{self.address.shown}: {reason}. It was fetched twice.")

    def _held(self, layout: RasterLayout, image: TiffDirectory, lengths: Mapping[int, int]) -> dict[int, RasterBlock]:
        """Return those of blocks that are in memory, with as many bytes as are needed."""
        held_blocks = {number: self.reader.decoded.get(_key(layout, image, number)) for number in lengths}
        return {
            number: block
            for number, block in held_blocks.items()
            if block is not None and not (isinstance(block, InflatedBlock) and block.length < lengths[number])
        }

    def _opened(self, layout: RasterLayout, image: TiffDirectory, data: Mapping[int, Buffer]) -> dict[int, RasterBlock]:
        """Hold blocks by their numbers: to be inflated here, or decoded by GDAL."""
        opened_blocks = {}
        block_format = _block_format(layout, image)
        others = {number: content for number, content in data.items() if block_format is None or not content}
        decoded = dict(zip(others, decode(image, list(others), list(others.values())), strict=True)) if others else {}
        for number, content in data.items():
            block: RasterBlock
            if block_format is None or not content:
                block = decoded[number]
            else:
                rows, visible = image.rows_of(number), image.visible_rows_of(number)
                block = InflatedBlock(block_format, content, int(image.counts[number]), rows, visible)
            block = self.reader.decoded.hold(_key(layout, image, number), block)
            if isinstance(block, InflatedBlock):
                block.extend(content)
            opened_blocks[number] = block
        return opened_blocks


_Piece = tuple[int, int, tuple[slice, slice], tuple[slice, slice]]
"""Number and plane of a block; where it is in a window, and where the window is in it."""


def _key(layout: RasterLayout, image: TiffDirectory, number: int) -> tuple[Any, ...]:
    return layout.address, layout.version, image.width, image.height, image.is_mask, number


def _block_format(layout: RasterLayout, image: TiffDirectory) -> BlockFormat | None:
    """Return how blocks are read without GDAL; None if it decodes them."""
    about = layout.description
    if about.is_masked_otherwise:
        return None
    return format_of(image, about.dtypes[0], about.nodata, has_alpha=about.alpha is not None)


def _lengths(layout: RasterLayout, image: TiffDirectory, stops: Mapping[int, int]) -> dict[int, int]:
    """Return how many bytes of blocks have their upper rows; GDAL decodes whole blocks only."""
    block_format = _block_format(layout, image)
    return {
        number: int(image.counts[number])
        if block_format is None
        else block_format.length(int(image.counts[number]), stop, image.visible_rows_of(number))
        for number, stop in stops.items()
    }


def _stops(needed: Sequence[_Piece]) -> dict[int, int]:
    """Return the blocks of pieces, each with the row behind the last one that is needed of it."""
    stops: dict[int, int] = {}
    for number, _, _, (rows, _) in needed:
        stops[number] = max(rows.stop, stops.get(number, 0))
    return stops


def _parts(
    layout: RasterLayout, image: TiffDirectory, mask: TiffDirectory | None, bands: Sequence[int]
) -> Iterator[tuple[TiffDirectory, Sequence[int]]]:
    """Yield the images of a file that a read of bands needs, with their planes."""
    alpha = layout.description.alpha if mask is None else None
    yield image, ([*bands] if alpha is None else [*bands, alpha]) if image.is_planar else [0]
    if mask is not None:
        yield mask, [0]


def _pieces(image: TiffDirectory, planes: Sequence[int], window: PixelWindow) -> list[_Piece]:
    """Return the parts of blocks that a window touches."""
    pieces: list[_Piece] = []
    columns = range(window.column // image.block_width, -(-(window.column + window.width) // image.block_width))
    rows = range(window.row // image.block_height, -(-(window.row + window.height) // image.block_height))
    for plane in dict.fromkeys(planes):
        for row in rows:
            for column in columns:
                number = (plane * image.down + row) * image.across + column
                overlap = _overlap(window, column * image.block_width, row * image.block_height, image)
                pieces.append((number, plane, *overlap))
    return pieces


def _used_bytes(image: TiffDirectory, needed: Sequence[_Piece]) -> float:
    """Return the bytes of blocks by the shares of their pixels that parts of them have."""
    pixels = image.block_width * image.block_height
    sizes: list[float] = [
        int(image.counts[number]) * (rows.stop - rows.start) * (columns.stop - columns.start) / pixels
        for number, _, _, (rows, columns) in needed
    ]
    return sum(sizes)


def _overlap(
    window: PixelWindow, column: int, row: int, image: TiffDirectory
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a window and a block overlap: in the window, and in the block."""
    top, left = max(window.row, row), max(window.column, column)
    bottom = min(window.row + window.height, row + image.block_height)
    right = min(window.column + window.width, column + image.block_width)
    return (
        (slice(top - window.row, bottom - window.row), slice(left - window.column, right - window.column)),
        (slice(top - row, bottom - row), slice(left - column, right - column)),
    )
