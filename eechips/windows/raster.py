"""Reading windows of rasters through GDAL, wherever they are. Settings of GDAL hold for one opening only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError  # what GDAL says where rasterio has no words of its own
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from eechips.client import retry
from eechips.client.current_transport import current_transport
from eechips.client.retry import RetryPolicy
from eechips.client.throttle import Permit
from eechips.client.transport import Timeouts
from eechips.errors import EechipsError, PermanentError, TransientError, UsageError, ValidationError
from eechips.geo.grid import Grid
from eechips.recipe import Unit
from eechips.warning_filters import ignore_warning
from eechips.windows.gdal_errors import capture_warnings, classify_gdal, describe_missing
from eechips.windows.gdal_options import downloaded_bytes, enable_network_stats, gdal_options, settings
from eechips.windows.locations import RasterLocation
from eechips.windows.versions import RasterVersion, check_range_support, raster_exists, read_version
from eechips.windows.window_size import BlockLayout

POLICY = RetryPolicy(retries=6, total=300.0)
"""How patiently something is read again outside of a run."""

_LEAST_CACHE = 8 << 20
_OPENED = (RasterioError, CPLE_BaseError)
_COMPLEX = {"complex_int16": "complex64"}  # of GDAL's, which numpy does not have
_NEEDLESS = (".ovr", ".OVR")  # overviews: windows are read at full resolution
_CHANGED = 412  # Precondition Failed, RFC 9110, 15.5.13

T = TypeVar("T")
Pixels = np.ma.MaskedArray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Raster:
    """What the header of a raster says.

    Attributes:
        href: its address.
        grid: its pixels.
        blocks: how it is stored.
        dtypes: numpy names of the types of its bands; ``complex64`` for GDAL's complex integers.
        is_interleaved: whether a block holds all bands.
        alpha: number of the band that says which pixels are transparent, if there is one.
        version: of the file; None if nobody tells.
        others: names of files beside it that belong to it, such as a mask, where looking for them is a request.
    """

    href: str
    grid: Grid
    blocks: BlockLayout
    dtypes: tuple[str, ...]
    is_interleaved: bool
    alpha: int | None = None
    version: RasterVersion | None = None
    others: tuple[str, ...] = ()

    @property
    def bands(self) -> int:
        """How many it has."""
        return len(self.dtypes)

    def stored(self, bands: Sequence[int]) -> int:
        """Bytes of a pixel in the blocks that are decoded when some bands are read, and their mask with them.

        Args:
            bands: numbers from 1.
        """
        wanted = range(1, self.bands + 1) if self.is_interleaved else {*bands, *([self.alpha] if self.alpha else [])}
        return sum(np.dtype(self.dtypes[number - 1]).itemsize for number in wanted)


def describe(href: str, *, policy: RetryPolicy | None = None) -> Raster:
    """Reads the header of a raster, and finds out which version of it that is.

    Args:
        href: a file, ``http(s)://``, ``s3://``, ``gs://``, ``az://``, or a path of GDAL's.
        policy: of retries; None for the run's, or ``POLICY`` outside of a run.

    Raises:
        UsageError: if it does not say where its pixels lie, or is stored in a way that has no windows.
        TransientError, PermanentError, ConfigurationError: if it cannot be read; see ``classify_gdal``.
    """
    location = RasterLocation.of(href)

    def attempt() -> Raster:
        version = read_version(location, _timeouts())
        check_range_support(location)
        # Asked for by ourselves: GDAL, which would ask for dozens of names, holds up all threads meanwhile.
        beside = any(raster_exists(other, _timeouts()) for other in location.others)
        opening = _Opening(location, href, _LEAST_CACHE, version, beside=beside, is_known=False)
        with _steady(opening), _opened(opening) as source:
            return _described(opening, source)

    return _persist(attempt, policy)


def read_window(unit: Unit, *, scaled: bool = False, policy: RetryPolicy | None = None) -> Pixels:
    """Reads the pixels of a window; again, if what went wrong may pass, and of the version that was planned only.

    In a run that is as patient as the run: ``--retries``, ``--read-timeout``; and it ends when the run stops.

    Args:
        unit: of :func:`eechips.windows.plan_windows`.
        scaled: apply the scale and offset that the raster says its bands have.
        policy: of retries; None for the run's, or ``POLICY`` outside of a run.

    Returns:
        (bands, rows, columns), masked where the raster has no data; with the halo, if the plan has one, masked where
        that lies outside the raster. Of the raster's type; if scaled, ``float32``, or
        ``float64`` of integers of more than 16 bits and of doubles.

    Raises:
        PermanentError: if the raster is gone, or is no longer the one that was planned.
        TransientError: if it cannot be read after several attempts.
        ConfigurationError: if the store refuses it.
    """
    href, bands = unit["href"], list(unit["bands"])
    location = RasterLocation.of(href)
    version = RasterVersion.from_json(unit["version"]) if unit.get("version") else None
    halo, raster = unit.get("halo", 0), unit["raster"]
    window = RasterWindow(
        unit["col_off"] - halo, unit["row_off"] - halo, unit["width"] + 2 * halo, unit["height"] + 2 * halo
    )
    inside = window.intersection(RasterWindow(0, 0, raster["width"], raster["height"]))

    opening = _Opening(location, href, unit["cache"], version, beside=bool(unit.get("others")), is_known=True)

    def attempt() -> Pixels:
        with _steady(opening), _opened(opening) as source:
            if opening.beside and (missing := {*unit["others"]} - {*_others(source)}):
                # GDAL takes what fails for what is not there
                raise TransientError(f"{', '.join(sorted(missing))} beside {href} cannot be read")
            if source.crs is None or _grid(source).to_json() != unit["raster"] or source.count < max(bands):
                raise _changed(href)
            pixels: Pixels = source.read(bands, window=inside, masked=True)
            return _placed(_scaled(source, bands, pixels) if scaled else pixels, inside, window)

    return _persist(attempt, policy)


def _placed(pixels: Pixels, inside: RasterWindow, window: RasterWindow) -> Pixels:
    """Pixels in a window that reaches beyond the raster, where there are none."""
    if inside == window:
        return pixels
    data = np.zeros((len(pixels), int(window.height), int(window.width)), pixels.dtype)
    mask = np.ones(data.shape, dtype=bool)
    row, column = int(inside.row_off - window.row_off), int(inside.col_off - window.col_off)
    there = np.s_[:, row : row + pixels.shape[1], column : column + pixels.shape[2]]
    data[there], mask[there] = pixels.data, np.ma.getmaskarray(pixels)
    return np.ma.MaskedArray(data, mask, fill_value=pixels.fill_value)


def _scaled(source: Any, bands: Sequence[int], pixels: Pixels) -> Pixels:
    made: Pixels = np.ma.MaskedArray(pixels, dtype=np.result_type(pixels.dtype, np.float32))
    for number, band in enumerate(bands):
        scale, offset = source.scales[band - 1], source.offsets[band - 1]
        if (scale, offset) != (1.0, 0.0):
            made.data[number] *= made.dtype.type(scale)
            made.data[number] += made.dtype.type(offset)
    return made


def _described(opening: _Opening, source: Any) -> Raster:
    href = opening.href
    if not source.count:
        inside = ", ".join(source.subdatasets[:3])
        raise UsageError(f"{href} holds no bands, but other rasters: choose one of them, such as {inside}")
    if source.crs is None or source.transform.is_identity:
        how = ": warp it first, by its ground control points (gdalwarp)" if source.gcps[0] or source.rpcs else ""
        what = "coordinate reference system" if source.crs is None else "transform"
        raise UsageError(f"{href} does not say where its pixels lie: it has no {what}{how}")
    if len(set(source.block_shapes)) != 1:
        raise UsageError(f"{href} has bands in blocks of different sizes, {sorted(set(source.block_shapes))}")
    rows, columns = source.block_shapes[0]
    interleave = source.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE", "BAND")
    return Raster(
        href=href,
        grid=_grid(source),
        blocks=BlockLayout(source.width, source.height, columns, rows),
        dtypes=tuple(_COMPLEX.get(name, name) for name in map(str, source.dtypes)),
        is_interleaved=source.count > 1 and interleave == "PIXEL",
        alpha=source.colorinterp.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in source.colorinterp else None,
        version=opening.version,
        others=_others(source) if opening.beside else (),
    )


def _others(source: Any) -> tuple[str, ...]:
    """Names of the files beside a raster that belong to it."""
    return tuple(sorted(name.rpartition("/")[2] for name in source.files[1:] if not name.endswith(_NEEDLESS)))


def _grid(source: Any) -> Grid:
    return Grid(source.crs.to_string(), tuple(source.transform)[:6], source.width, source.height)


@dataclass(frozen=True, slots=True)
class _Opening:
    """How a raster is opened.

    Attributes:
        place: of the raster.
        href: as the user says it.
        cache: bytes for decoded blocks.
        version: that is wanted; None if nobody tells.
        beside: whether files beside it are looked for, wherever it is. Those have versions of their own, so that no
            condition can be sent.
        is_known: whether it was a raster when its windows were planned.
    """

    location: RasterLocation
    href: str
    cache: int
    version: RasterVersion | None
    beside: bool
    is_known: bool

    @property
    def options(self) -> dict[str, Any]:
        """Settings of GDAL."""
        condition = None if self.version is None or self._asks_others else self.version.condition(self.location)
        return gdal_options(self.location, self.cache, _timeouts(), condition, beside=self.beside)

    @property
    def is_enforced(self) -> bool:
        """Whether no other version can have been read."""
        return self.version is None or (self.version.is_enforced(self.location) and not self._asks_others)

    @property
    def _asks_others(self) -> bool:
        return self.beside and bool(self.location.suffix)


@contextlib.contextmanager
def _opened(opening: _Opening) -> Iterator[Any]:
    """A raster; what GDAL warnings inside the block is classified. Its settings are put back."""
    ignore_warning(NotGeoreferencedWarning)
    with settings(opening.options), capture_warnings() as warnings:
        if not opening.location.is_near:
            enable_network_stats()
        try:
            with rasterio.open(opening.location.path) as source:
                yield source
        except _OPENED as error:
            raise classify_gdal(error, opening.href, warnings, is_known=opening.is_known) from error
    if unread := describe_missing(warnings):
        raise ValidationError(f"not all of {opening.href} could be read: {unread}")


@contextlib.contextmanager
def _steady(opening: _Opening) -> Iterator[None]:
    """A block in which nothing is read of another version, or it fails.

    Raises:
        PermanentError: if there is another version by now.
    """
    try:
        yield
    except EechipsError as error:
        if getattr(error, "status", None) == _CHANGED:
            raise _changed(opening.href) from None
        if not isinstance(error, UsageError):
            _look_again(opening)  # then it is no wonder
        raise
    _look_again(opening)


def _look_again(opening: _Opening) -> None:
    version = opening.version
    if version is None or opening.is_enforced:
        return
    now = read_version(opening.location, _timeouts())
    if now is not None and not version.is_same(now):
        raise _changed(opening.href)


def _changed(href: str) -> PermanentError:
    return PermanentError(
        f"{href} is not the raster that was planned any more: it was replaced. Plan again, into another folder, or put"
        " the earlier version back"
    )


def _persist(attempt: Callable[[], T], policy: RetryPolicy | None) -> T:
    """Has an attempt made until it succeeds, as the run that this is part of would."""
    transport = current_transport()
    if transport is None:
        return retry.call(attempt, policy or POLICY)

    def counted(slot: Permit) -> T:
        before = downloaded_bytes()
        try:
            return attempt()
        finally:
            slot.received = downloaded_bytes() - before

    return transport.call_with_permit(counted, policy)


def _timeouts() -> Timeouts:
    """Bounds on what is asked, of the run that this is part of."""
    transport = current_transport()
    return Timeouts() if transport is None else transport.timeouts
