"""Fetch headers and blocks of an archive's rasters, many at once, each once for all; check after an hour whether a kept
header is still its file's, and that no file ends before its blocks.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from eechips_local.archives.archive_errors import (
    ArchiveAwayError,
    ArchiveError,
    ArchiveRefusedError,
    UntrustedHostError,
)
from eechips_local.archives.files.block_decoding import RasterDescription, describe
from eechips_local.archives.files.block_parts import BlockPart, grouped
from eechips_local.archives.files.file_ranges import FileRanges
from eechips_local.archives.files.file_versions import ChangedFileError, changed_file, is_same_version
from eechips_local.archives.files.inflated_blocks import Buffer
from eechips_local.archives.files.range_cache import RangeCache
from eechips_local.archives.files.range_claims import RangeClaims
from eechips_local.archives.files.shared_fetches import BoundedStore, SharedFetches
from eechips_local.archives.files.tiff_header import (
    HeaderBytes,
    MissingBytesError,
    TiffDirectory,
    parse_directories,
    pyramid,
)
from eechips_local.assets.asset_names import shown_url

_FIRST_BYTES = 64 << 10
_MOST_ROUNDS = 64  # reads of a header
_HEADERS = 512
_LONGEST_UNCHECKED = 3600.0  # seconds after which a host is asked whether a file is still the same
_MOST_BACKLOG = 32 << 20  # bytes of blocks that are not on disk yet
_STACK = 4 << 20  # bytes of a thread's stack: that of the thread that evaluates is very large

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class RasterAddress:
    """A file of an archive.

    Attributes:
        href: unsigned.
        collection: collection of its item.
    """

    href: str
    collection: str

    @property
    def shown(self) -> str:
        """As messages may show it."""
        return shown_url(self.href)

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine."""
        return self.href.startswith(("/", "file:"))


@dataclass(frozen=True, slots=True, eq=False)
class RasterLayout:
    """What the header of a file says.

    Attributes:
        checked: when the file had this version, in seconds since 1970.
        description: as GDAL reads it.
        levels: decimation factors, images and masks.
    """

    address: RasterAddress
    version: str
    checked: float
    description: RasterDescription
    levels: tuple[tuple[int, TiffDirectory, TiffDirectory | None], ...]


class CogParts:
    """Headers and blocks of an archive's files. Threads share it; it pickles as one that holds nothing.

    What is kept of a file is used once the file was asked for its version: after ``since`` by any process, and again
    after an hour. Without a network, it is used as it is. A file that has changed after ``since`` is refused: results
    would show some of the old and some of the new one. A file of this machine is read anew.

    Args:
        ranges: reads files.
        headers: keeps headers on disk.
        blocks: keeps blocks on disk.
        since: when a file must have been asked for its version, in seconds since 1970.
        memory: bytes of blocks that are held besides.
        threads: threads that fetch.
    """

    def __init__(
        self,
        ranges: FileRanges,
        headers: RangeCache,
        blocks: RangeCache,
        since: float,
        memory: int = 64 << 20,
        threads: int = 16,
    ) -> None:
        self._arguments = ranges, headers, blocks, since, memory, threads
        self._since = since
        self.ranges, self._headers, self._blocks = ranges, headers, blocks
        self._claims = RangeClaims(blocks.folder / "claims")
        self._layouts: BoundedStore[RasterAddress, RasterLayout] = BoundedStore(_HEADERS, lambda layout: 1)
        self._raw: BoundedStore[str, Buffer] = BoundedStore(memory, len)
        self._changed: BoundedStore[RasterAddress, str] = BoundedStore(_HEADERS, lambda version: 1)
        self._headers_coming: SharedFetches[RasterAddress, RasterLayout] = SharedFetches()
        self._blocks_coming: SharedFetches[str, Buffer] = SharedFetches()
        self._pool, self._keeper = ThreadPoolExecutor(threads, "archive"), ThreadPoolExecutor(1, "keep")
        self._describer = ThreadPoolExecutor(1, "describe")
        self._backlog = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def layout(self, address: RasterAddress) -> RasterLayout:
        """Return the header of a file.

        Raises:
            ArchiveRefusedError: if it is none that can be read.
            ArchiveError: if its host does not answer.
        """
        known = self._known_layout(address)
        return self.prefetch_layout(address).result() if known is None else known

    def prefetch_layout(self, address: RasterAddress) -> Future[RasterLayout]:
        """Begin to fetch a header, if it is not known."""
        future, is_own = self._headers_coming.join(address, self._known_layout)
        if is_own:
            with self._headers_coming.failing([address]):
                start_in(self._pool, partial(self._run_layout, address))
        return future

    def check(self, layout: RasterLayout) -> None:
        """Check that a file of this machine is still the one whose header was read.

        Raises:
            ArchiveError: if it is not.
        """
        address = layout.address
        if address.is_local:
            try:
                self.ranges.read(address.href, address.collection, 0, 1, layout.version)
            except ChangedFileError:
                self._layouts.remove(address)
                self._headers.remove(address.href)
                raise ArchiveError(f"{address.shown} has changed: the next request reads the new file.") from None

    def fetch(self, layout: RasterLayout, image: TiffDirectory, lengths: Mapping[int, int]) -> dict[int, Buffer]:
        """Return the beginnings of blocks, or more of them; b"" for blocks that the file leaves out.

        Args:
            layout: header of the file.
            image: image of the file.
            lengths: bytes that are needed of each block, by its number.

        Raises:
            ArchiveError: if they cannot be read.
        """
        blocks: dict[int, Buffer] = dict.fromkeys(lengths, b"")
        missing = _present(image, lengths)
        while missing:  # another thread may have begun to fetch less of a block
            futures = self._begin(layout, image, missing)
            blocks |= {number: future.result() for number, future in futures.items()}
            missing = {number: length for number, length in missing.items() if len(blocks[number]) < length}
        return blocks

    def prefetch(self, layout: RasterLayout, image: TiffDirectory, lengths: Mapping[int, int]) -> None:
        """Begin to fetch the beginnings of blocks that are not held; see :meth:`fetch`."""
        missing = {
            number: length
            for number, length in _present(image, lengths).items()
            if self._blocks.length(_name(layout, image, number)) < length
        }
        self._begin(layout, image, missing)

    def remove_blocks(self, layout: RasterLayout, image: TiffDirectory, numbers: Iterable[int]) -> None:
        """Forget blocks, in memory and on disk."""
        for number in numbers:
            name = _name(layout, image, number)
            self._raw.remove(name)
            start_in(self._keeper, partial(self._blocks.remove, name)).result()  # after it was written

    def wait_until_kept(self) -> None:
        """Wait until what was fetched is on disk."""
        start_in(self._keeper, lambda: None).result()

    def _begin(
        self, layout: RasterLayout, image: TiffDirectory, lengths: Mapping[int, int]
    ) -> dict[int, Future[Buffer]]:
        """Return what gives blocks: what is missing of those that are near each other is fetched together."""
        futures: dict[int, Future[Buffer]] = {}
        own: dict[int, str] = {}
        for number, length in lengths.items():
            name = _name(layout, image, number)
            futures[number], is_own = self._blocks_coming.join(name, partial(self._known_block, length))
            if is_own:
                own[number] = name
        with self._blocks_coming.failing(own.values()):
            parts = [BlockPart(n, name, int(image.offsets[n]), b"", lengths[n]) for n, name in own.items()]
            for group in grouped(image, self._missing(image, parts)):
                start_in(self._pool, partial(self._run_blocks, layout, image, group))
        return futures

    def _missing(self, image: TiffDirectory, parts: Iterable[BlockPart]) -> Iterator[BlockPart]:
        """Yield those parts of blocks that are not held, with the beginnings that are; give the others."""
        for part in parts:
            held = self._load(part.name, int(image.counts[part.number]))
            if len(held) >= part.length:
                self._hold(part.name, held)
            else:
                yield replace(part, held=held)

    def _known_block(self, length: int, name: str) -> Buffer | None:
        data = self._raw.get(name)
        return data if data is not None and len(data) >= length else None

    def _load(self, name: str, most: int) -> Buffer:
        """Return what is held of a block in memory or on disk: its beginning, at most."""
        data = self._raw.get(name) or b""
        if self._blocks.length(name) > len(data):
            data = self._blocks.get(name) or data
        return b"" if len(data) > most else data

    def _hold(self, name: str, data: Buffer) -> None:
        self._raw.put(name, data)
        self._blocks_coming.end(name, data)

    def _run_layout(self, address: RasterAddress) -> None:
        with self._headers_coming.failing([address]), self._claims.hold(address.href) as has_waited:
            if has_waited and self._headers.get(address.href) is None:
                self._claims.wait_for_nobody()
            layout = self._read_layout(address)
            self._layouts.put(address, layout)
            self._headers_coming.end(address, layout)

    def _run_blocks(self, layout: RasterLayout, image: TiffDirectory, group: Sequence[BlockPart]) -> None:
        names = [part.name for part in group]
        with self._blocks_coming.failing(names):
            has_waited = self._claims.claim(names)
            try:
                missing = list(self._missing(image, group))
                if has_waited and missing == list(group):
                    self._claims.wait_for_nobody()
                for parts in grouped(image, missing):
                    blocks = self._read_blocks(layout, parts)
                    for part, data in zip(parts, blocks, strict=True):
                        self._hold(part.name, data)
                    for part, data in zip(parts, blocks, strict=True):
                        self._keep(part.name, data)
            finally:
                start_in(self._keeper, partial(self._claims.release, names))  # after they are written

    def _keep(self, name: str, data: Buffer) -> None:
        """Write a block to disk in a thread; leave it out where the disk does not keep up."""
        with self._lock:
            if self._backlog + len(data) > _MOST_BACKLOG:
                self._claims.release([name])
                return
            self._backlog += len(data)
        start_in(self._keeper, partial(self._write, name, data))

    def _write(self, name: str, data: Buffer) -> None:
        try:
            self._blocks.put(name, data)
        finally:
            with self._lock:
                self._backlog -= len(data)

    def _read_blocks(self, layout: RasterLayout, group: Sequence[BlockPart]) -> Sequence[Buffer]:
        """Fetch blocks with one request; none for a version that the file was seen to have lost."""
        spans = [(part.start, part.stop - part.start) for part in group]
        address = layout.address
        if self._changed.get(address) == layout.version:
            raise changed_file(address.shown)
        try:
            fetched = self.ranges.read_spans(address.href, address.collection, spans, layout.version)
        except ChangedFileError:
            self._changed.put(address, layout.version)
            raise
        if [len(part) for part in fetched.parts] != [length for _, length in spans]:
            raise ArchiveRefusedError(f"{address.shown} is damaged: it ends before its pixels.")
        return [
            data if not len(part.held) else b"".join([part.held, data])
            for part, data in zip(group, fetched.parts, strict=True)
        ]

    def _known_layout(self, address: RasterAddress) -> RasterLayout | None:
        known = self._layouts.get(address)
        return known if known is not None and self._is_recent(known.checked) else None

    def _is_recent(self, checked: float) -> bool:
        now = self._now()
        return max(self._since, now - _LONGEST_UNCHECKED) <= checked <= now

    def _now(self) -> float:
        """Return the time in seconds since 1970, never before ``since``: the clock may be set back."""
        return max(self._since, self.ranges.clock.time())

    def _kept_header(self, address: RasterAddress) -> tuple[_KeptHeader | None, bool]:
        """Return a header that is kept, if the file still has its version, and whether the file was asked now.

        Raises:
            ChangedFileError: if the file had this version after ``since``, and has another now.
        """
        kept = _unpacked(self._headers.get(address.href))
        if kept is None or self._is_recent(kept.checked):
            return kept, False
        now = self._now()
        is_used = kept.checked >= self._since and not address.is_local
        try:
            fetched = self.ranges.read(address.href, address.collection, 0, 1, kept.version if is_used else "", 0.0)
        except (ArchiveAwayError, UntrustedHostError):  # there is no network, or none but that of a login page
            return kept, False
        return (replace(kept, checked=now) if is_same_version(fetched.version, kept.version) else None), True

    def _keep_header(self, address: RasterAddress, kept: _KeptHeader) -> None:
        """Keep a header for all processes.

        Raises:
            ChangedFileError: if another process has just read another version.
        """
        other = None if address.is_local else _unpacked(self._headers.get(address.href))
        is_recent = other is not None and other.checked >= self._since
        if other is not None and is_recent and not is_same_version(other.version, kept.version):
            raise changed_file(address.shown)
        self._headers.put(address.href, _packed(kept))

    def _read_layout(self, address: RasterAddress) -> RasterLayout:
        """Return a header that is kept, or fetch it."""
        kept, is_new = self._kept_header(address)
        if kept is None:
            now = self._now()
            first = self.ranges.read(address.href, address.collection, 0, _FIRST_BYTES)
            kept, is_new = _KeptHeader(HeaderBytes(first.size, {0: first.data}), first.version, now), True
        header, version = kept.header, kept.version
        try:
            for _ in range(_MOST_ROUNDS):
                try:
                    directories = parse_directories(header)
                    break
                except MissingBytesError as missing:
                    is_new = True
                    more = self.ranges.read(address.href, address.collection, missing.start, missing.length, version)
                    header.parts[missing.start] = more.data
            else:
                raise ArchiveRefusedError("its header lies in too many pieces")
            # In one thread: GDAL opens PROJ's database anew in each.
            about = start_in(self._describer, partial(describe, directories[0])).result()
            layout = RasterLayout(address, version, kept.checked, about, tuple(pyramid(directories)))
        except ChangedFileError:
            raise
        except ArchiveRefusedError as error:
            self._headers.remove(address.href)
            raise ArchiveRefusedError(f"{address.shown} cannot be read: {error}.") from error
        if is_new:
            self._keep_header(address, kept)
        return layout


def start_in(pool: ThreadPoolExecutor, work: Callable[[], ValueT]) -> Future[ValueT]:
    """Run something in a pool, whose threads have small stacks: the thread that evaluates has a very large one."""
    before = threading.stack_size(_STACK)
    try:
        return pool.submit(work)
    finally:
        threading.stack_size(before)


def _name(layout: RasterLayout, image: TiffDirectory, number: int) -> str:
    return f"{layout.address.href} {layout.version} {image.offsets[number]} {image.counts[number]}"


def _present(image: TiffDirectory, lengths: Mapping[int, int]) -> dict[int, int]:
    """Return how many bytes are needed of blocks, without those that the file leaves out."""
    return {
        number: min(length, int(image.counts[number]))
        for number, length in lengths.items()
        if image.offsets[number] and image.counts[number]
    }


@dataclass(frozen=True, slots=True)
class _KeptHeader:
    """Bytes of a header, the version of their file, and when the file had it, in seconds since 1970."""

    header: HeaderBytes
    version: str
    checked: float


def _packed(kept: _KeptHeader) -> bytes:
    parts = kept.header.parts
    places = [[start, len(part)] for start, part in parts.items()]
    front = {"size": kept.header.size, "version": kept.version, "checked": kept.checked, "parts": places}
    return b"\n".join([json.dumps(front).encode(), b"".join(parts.values())])


def _unpacked(content: bytes | None) -> _KeptHeader | None:
    if content is None:
        return None
    front, _, body = content.partition(b"\n")
    kept = json.loads(front)
    header, at = HeaderBytes(kept["size"]), 0
    for start, length in kept["parts"]:
        header.parts[start] = body[at : at + length]
        at += length
    return _KeptHeader(header, kept["version"], kept.get("checked", 0.0))
