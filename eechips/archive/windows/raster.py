"""Describe rasters and read their windows through GDAL; refuse rasters without a CRS, and files that were replaced."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from rasterio._err import CPLE_BaseError  # errors that rasterio does not wrap
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterWindow

from eechips.archive.windows.gdal_errors import capture_warnings, classify_gdal, describe_missing
from eechips.archive.windows.gdal_options import downloaded_bytes, enable_network_stats, gdal_options, settings
from eechips.archive.windows.header_cache import KeptHeader, fetch_header
from eechips.archive.windows.locations import RasterLocation
from eechips.archive.windows.range_requests import OtherVersionError, read_range
from eechips.archive.windows.versions import RasterVersion, check_range_support, raster_exists, read_version
from eechips.archive.windows.window_size import BlockLayout
from eechips.client import retry
from eechips.client.http.http_messages import Timeouts
from eechips.client.http.transport import current_transport
from eechips.client.quota.permits import Permit
from eechips.client.retry import RetryPolicy
from eechips.errors import EechipsError, PermanentError, TransientError, UsageError, ValidationError
from eechips.formats.raster import COMPLEX
from eechips.geo.grid import Grid, Window
from eechips.geo.untrusted_rasters import check_mask, check_references, open_as
from eechips.processes.warning_filters import ignore_warning
from eechips.recipe import Unit
from eechips.web.urls import display_url

POLICY = RetryPolicy(retries=6, total=300.0)
"""Retries outside of a run."""

_log = logging.getLogger(__name__)
_LEAST_CACHE = 8 << 20
_OPENED = (RasterioError, CPLE_BaseError)
_NEEDLESS = (".ovr", ".OVR")  # overviews: windows are read at full resolution
_CHANGED = 412  # Precondition Failed (RFC 9110, 15.5.13)

T = TypeVar("T")
Pixels = np.ma.MaskedArray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Raster:
    """Metadata from the header of a raster.

    Attributes:
        dtypes: numpy names of the bands' types; ``complex64`` for GDAL's complex integers.
        is_interleaved: whether a block holds all bands.
        alpha: number of the alpha band; None if there is none.
        others: names of files beside the raster that belong to it, such as a mask, if a search needs requests.
        header: kept to read windows without requests for it; None if there is none.
    """

    href: str
    grid: Grid
    blocks: BlockLayout
    dtypes: tuple[str, ...]
    is_interleaved: bool
    alpha: int | None = None
    version: RasterVersion | None = None
    others: tuple[str, ...] = ()
    header: KeptHeader | None = None

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.dtypes)

    def stored(self, bands: Sequence[int]) -> int:
        """Return the bytes of a pixel in the blocks that are decoded to read bands (from 1) and their mask."""
        wanted = range(1, self.bands + 1) if self.is_interleaved else {*bands, *([self.alpha] if self.alpha else [])}
        return sum(np.dtype(self.dtypes[number - 1]).itemsize for number in wanted)


def describe(href: str, *, keep_header: bool = False, policy: RetryPolicy | None = None) -> Raster:
    """Read the header and the version of a raster.

    Args:
        href: a file, ``http(s)://``, ``s3://``, ``gs://``, ``az://``, or a path of GDAL.
        keep_header: keep the header of a GeoTIFF at ``http(s)://`` or ``s3://``: chips are then read without requests
            for it, and stay readable when the file is replaced by one with the same grid and type. Ignored for other
            rasters, for those with files beside them, and where the server states no version.
        policy: policy of retries; None for the run's, or ``POLICY`` outside of a run.

    Raises:
        UsageError: if the raster has no CRS or transform, or cannot be read in windows.
        TransientError, PermanentError, ConfigurationError: if it cannot be read; see ``classify_gdal``.
    """
    location = RasterLocation.of(href)
    received = Counter[str]()

    def attempt() -> Raster:
        if keep_header and (raster := _described_by_header(location, href, received)) is not None:
            return raster
        version = read_version(location, _timeouts())
        check_range_support(location)
        # Found without GDAL, which would request dozens of names and block all threads meanwhile.
        for mask in location.masks:
            if raster_exists(mask, _timeouts()):
                raise _masked(href, mask)
        beside = any(raster_exists(other, _timeouts()) for other in location.others)
        opening = _Opening(location, href, _LEAST_CACHE, version, beside=beside, is_known=False)
        try:
            with _steady(opening), _opened(opening) as source:
                return _described(opening, source)
        except (PermanentError, TransientError) as error:  # GDAL knows a part as a failure, too
            is_tiff = _check_ranges(location, version).startswith((b"II", b"MM"))
            if is_tiff and f"{location.path}' not recognized" in str(error):
                raise TransientError(f"{display_url(location.address)}: GDAL received no header") from error
            raise

    return _persist(attempt, policy, received)


def _masked(href: str, mask: RasterLocation) -> UsageError:
    return UsageError(
        f"{href} has a mask beside it, {mask.name}, which is not read from afar: download both files, or store the mask"
        " in the raster"
    )


def _check_ranges(location: RasterLocation, version: RasterVersion | None) -> bytes:
    """Return the first bytes of a file of the web, for whose ranges GDAL asks without saying why it finds no raster.

    Raises:
        PermanentError: if the server sends no ranges, or states no size of the file.
        TransientError, ConfigurationError: see :func:`read_range`.
    """
    if location.scheme != "http":
        return b""
    if version is not None and version.size is None:
        raise PermanentError(
            f"{display_url(location.address)}: the server does not state the size of the file, without which windows"
            " cannot be read: download it first"
        )
    return read_range(location, 0, 16, _timeouts())[0]


def _described_by_header(location: RasterLocation, href: str, received: Counter[str]) -> Raster | None:
    """Describe a raster by a header that can be kept; None if it cannot."""
    header = fetch_header(location, _timeouts(), lambda size: received.update(bytes=size))
    others = (*location.masks, *location.others)
    if header is None or any(raster_exists(other, _timeouts()) for other in others):
        return None
    opening = _Opening(location, href, _LEAST_CACHE, header.version, beside=False, is_known=False)
    with _opened(opening, header.empty()) as source:
        raster = _described(opening, source)
        return replace(raster, header=replace(header, alpha=raster.alpha))


def read_window(unit: Unit, *, scaled: bool = False, policy: RetryPolicy | None = None) -> Pixels:
    """Read the pixels of a window of the planned version; retry after transient errors.

    In a run, its retries and timeouts apply, and the call ends when the run stops.

    Args:
        unit: unit of :func:`eechips.archive.windows.plan_windows`.
        scaled: apply the bands' scale and offset.
        policy: policy of retries; None for the run's, or ``POLICY`` outside of a run.

    Returns:
        Masked array (bands, rows, columns), masked where the raster has no data, and in the halo outside the raster.
        It has the raster's dtype; if scaled, ``float32``, or ``float64`` for integers of more than 16 bits and for
        ``float64``.

    Raises:
        UsageError: if the unit was planned by an earlier version, with a mask beside the raster.
        PermanentError: if the raster was removed or replaced.
        TransientError: if the retries fail.
        ConfigurationError: if the store denies access.
    """
    href, bands = unit["href"], list(unit["bands"])
    location = RasterLocation.of(href)
    for mask in location.masks:
        if mask.name in unit.get("others", ()):
            raise _masked(href, mask)
    version = RasterVersion.from_json(unit["version"]) if unit.get("version") else None
    halo, raster = unit.get("halo", 0), unit["raster"]
    window = RasterWindow(
        unit["col_off"] - halo, unit["row_off"] - halo, unit["width"] + 2 * halo, unit["height"] + 2 * halo
    )
    inside = window.intersection(RasterWindow(0, 0, raster["width"], raster["height"]))

    opening = _Opening(location, href, unit["cache"], version, beside=bool(unit.get("others")), is_known=True)
    received = Counter[str]()

    def read(source: Any) -> Pixels:
        if source.crs is None or _grid(source).to_json() != unit["raster"] or source.count < max(bands):
            raise _changed(href)
        pixels: Pixels = source.read(bands, window=inside, masked=True)
        return _placed(_scaled(source, bands, pixels) if scaled else pixels, inside, window)

    def attempt() -> Pixels:
        if unit.get("header"):
            reader = _HeaderReader(opening, inside, bands, received)
            if (window_pixels := reader.read(KeptHeader.from_json(unit["header"]), read)) is not None:
                return window_pixels
        with _steady(opening), _opened(opening) as source:
            if opening.beside and (missing := {*unit["others"]} - {*_others(source)}):
                # GDAL treats files whose request failed as missing.
                raise TransientError(f"{', '.join(sorted(missing))} beside {href} cannot be read")
            return read(source)

    return _persist(attempt, policy, received)


@dataclass(frozen=True, slots=True)
class _HeaderReader:
    """Read a window by a kept header.

    Attributes:
        bands: numbers from 1.
    """

    opening: _Opening
    window: RasterWindow
    bands: Sequence[int]
    received: Counter[str]

    def read(self, header: KeptHeader, read: Callable[[Any], Pixels]) -> Pixels | None:
        """Return pixels; None if they must be read by GDAL from the file itself."""
        try:
            return self._read(header, read)
        except OtherVersionError:
            _log.warning("%s was replaced after its header was kept: the header is read again", self.opening.href)
        raster = _described_by_header(self.opening.location, self.opening.href, self.received)
        if raster is None or raster.header is None or raster.dtypes != self._dtypes(header):
            raise _changed(self.opening.href)
        try:
            return self._read(raster.header, read)
        except OtherVersionError:
            raise TransientError(f"{self.opening.href} is replaced while it is read") from None

    def _read(self, header: KeptHeader, read: Callable[[Any], Pixels]) -> Pixels | None:
        window = Window(*(int(number) for number in self.window.flatten()))
        data = header.fetch(
            self.opening.location,
            window,
            self.bands,
            self.opening.cache,
            _timeouts(),
            lambda size: self.received.update(bytes=size),
        )
        if data is None:
            return None
        try:
            with _opened(self.opening, data) as source:
                return read(source)
        except ValidationError:
            return None  # GDAL reports what is wrong with the file itself

    def _dtypes(self, header: KeptHeader) -> tuple[str, ...]:
        with _opened(self.opening, header.empty()) as source:
            return _dtypes_of(source)


def _placed(pixels: Pixels, inside: RasterWindow, window: RasterWindow) -> Pixels:
    """Extend pixels to a window that reaches beyond the raster, masked there."""
    if inside == window:
        return pixels
    data = np.zeros((len(pixels), int(window.height), int(window.width)), pixels.dtype)
    mask = np.ones(data.shape, dtype=bool)
    row, column = int(inside.row_off - window.row_off), int(inside.col_off - window.col_off)
    there = np.s_[:, row : row + pixels.shape[1], column : column + pixels.shape[2]]
    data[there], mask[there] = pixels.data, np.ma.getmaskarray(pixels)
    return np.ma.MaskedArray(data, mask, fill_value=pixels.fill_value)


def _scaled(source: Any, bands: Sequence[int], pixels: Pixels) -> Pixels:
    scaled: Pixels = np.ma.MaskedArray(pixels, dtype=np.result_type(pixels.dtype, np.float32))
    for number, band in enumerate(bands):
        scale, offset = source.scales[band - 1], source.offsets[band - 1]
        if (scale, offset) != (1.0, 0.0):
            scaled.data[number] *= scaled.dtype.type(scale)
            scaled.data[number] += scaled.dtype.type(offset)
    return scaled


def _described(opening: _Opening, source: Any) -> Raster:
    href = opening.href
    if not source.count:
        inside = ", ".join(source.subdatasets[:3])
        raise UsageError(f"{href} has no bands, but contains other rasters: choose one of them, such as {inside}")
    if source.crs is None or source.transform.is_identity:
        by = "ground control points (gdalwarp)" if source.gcps[0] else "rational polynomials (gdalwarp -rpc)"
        how = f": warp it first by its {by}" if source.gcps[0] or source.rpcs else ""
        raise UsageError(f"{href} has no {'transform' if source.crs else 'coordinate reference system'}{how}")
    if len(set(source.block_shapes)) != 1:
        raise UsageError(f"{href} has bands in blocks of different sizes, {sorted(set(source.block_shapes))}")
    interleave = source.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE", "BAND")
    return Raster(
        href=href,
        grid=_grid(source),
        blocks=BlockLayout(source.width, source.height, *reversed(source.block_shapes[0])),
        dtypes=_dtypes_of(source),
        is_interleaved=source.count > 1 and interleave == "PIXEL",
        alpha=source.colorinterp.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in source.colorinterp else None,
        version=opening.version,
        others=_others(source) if opening.beside else (),
    )


def _others(source: Any) -> tuple[str, ...]:
    """Return the names of the files beside a raster that belong to it."""
    return tuple(sorted(name.rpartition("/")[2] for name in source.files[1:] if not name.endswith(_NEEDLESS)))


def _dtypes_of(source: Any) -> tuple[str, ...]:
    return tuple(COMPLEX.get(name, name) for name in map(str, source.dtypes))


def _grid(source: Any) -> Grid:
    return Grid(source.crs.to_string(), tuple(source.transform)[:6], source.width, source.height)


@dataclass(frozen=True, slots=True)
class _Opening:
    """Parameters for opening a raster.

    Attributes:
        cache: bytes for decoded blocks.
        version: to read; None if unknown.
        beside: whether to search files beside the raster in any location. They have different versions, so no
            condition can be sent.
        is_known: whether the raster was readable when its windows were planned.
    """

    location: RasterLocation
    href: str
    cache: int
    version: RasterVersion | None
    beside: bool
    is_known: bool

    @property
    def options(self) -> dict[str, Any]:
        """Options of GDAL."""
        condition = None if self.version is None or self._asks_others else self.version.condition(self.location)
        return gdal_options(self.location, self.cache, _timeouts(), condition, beside=self.beside)

    @property
    def is_enforced(self) -> bool:
        """Return whether the store rejects requests for another version."""
        return self.version is None or (self.version.is_enforced(self.location) and not self._asks_others)

    @property
    def _asks_others(self) -> bool:
        return self.beside and bool(self.location.suffix)


@contextlib.contextmanager
def _opened(opening: _Opening, content: bytes | None = None) -> Iterator[Any]:
    """Open a raster, or the content of one; classify GDAL's errors and warnings."""
    location = opening.location
    ignore_warning(NotGeoreferencedWarning)
    with settings(opening.options), capture_warnings() as warnings, contextlib.ExitStack() as stack:
        if not location.is_near:
            enable_network_stats()
        try:
            if content is None:
                if location.drivers and location.is_near:
                    check_mask(location.path)
                    warnings.clear()  # of missing masks
                source = stack.enter_context(open_as(location.path, location.drivers))
            else:
                source = stack.enter_context(stack.enter_context(MemoryFile(content)).open(driver="GTiff"))
            check_references(source)
            yield source
        except _OPENED as error:
            raise classify_gdal(error, opening.href, warnings, is_known=opening.is_known) from error
    if unread := describe_missing(warnings):
        raise ValidationError(f"not all of {opening.href} could be read: {unread}")


@contextlib.contextmanager
def _steady(opening: _Opening) -> Iterator[None]:
    """Fail if the raster's version changes inside the block."""
    try:
        yield
    except EechipsError as error:
        if getattr(error, "status", None) == _CHANGED:
            raise _changed(opening.href) from None
        if not isinstance(error, UsageError):
            _look_again(opening)  # a replaced raster explains the error
        raise
    _look_again(opening)


def _look_again(opening: _Opening) -> None:
    if opening.version is None or opening.is_enforced:
        return
    now = read_version(opening.location, _timeouts())
    if now is not None and not opening.version.is_same(now):
        raise _changed(opening.href)


def _changed(href: str) -> PermanentError:
    return PermanentError(
        f"{href} was replaced after its windows were planned: plan again into another folder, or restore the earlier"
        " version"
    )


def _persist(attempt: Callable[[], T], policy: RetryPolicy | None, received: Counter[str]) -> T:
    """Retry an attempt with the policy of the run that the call belongs to, or of the caller."""
    transport = current_transport()
    if transport is None:
        return retry.call(attempt, policy or POLICY)

    def counted(slot: Permit) -> T:
        before = downloaded_bytes() + received["bytes"]
        try:
            return attempt()
        finally:
            slot.received = downloaded_bytes() + received["bytes"] - before

    return transport.call_with_permit(counted, policy)


def _timeouts() -> Timeouts:
    """Return the timeouts of the run that the call belongs to."""
    transport = current_transport()
    return Timeouts() if transport is None else transport.timeouts
