"""Reading windows of rasters through GDAL, wherever they are. Settings of GDAL hold for one opening only."""

from __future__ import annotations

import contextlib
import warnings
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
from eechips.client.retry import RetryPolicy
from eechips.client.surroundings import surroundings
from eechips.client.transport import Timeouts
from eechips.errors import EechipsError, PermanentError, UsageError
from eechips.grid import Grid
from eechips.recipe import Unit
from eechips.windows.addresses import Place
from eechips.windows.blocks import Blocks
from eechips.windows.faults import classify_gdal
from eechips.windows.settings import gdal_options, settings
from eechips.windows.versions import Version, version_of

POLICY = RetryPolicy(retries=6, total=300.0)
"""How patiently something is read again outside of a run."""

_LEAST_CACHE = 8 << 20
_OPENED = (RasterioError, CPLE_BaseError)
_COMPLEX = {"complex_int16": "complex64"}  # of GDAL's, which numpy does not have
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
    """

    href: str
    grid: Grid
    blocks: Blocks
    dtypes: tuple[str, ...]
    is_interleaved: bool
    alpha: int | None = None
    version: Version | None = None

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
    place = Place.of(href)

    def attempt() -> Raster:
        version = version_of(place, _timeouts())
        with _steady(place, href, version), _opened(place, href, _LEAST_CACHE, version) as source:
            return _described(href, source, version)

    return _persist(attempt, policy)


def read_window(unit: Unit, *, scaled: bool = False, policy: RetryPolicy | None = None) -> Pixels:
    """Reads the pixels of a window; again, if what went wrong may pass, and of the version that was planned only.

    In a run that is as patient as the run: ``--retries``, ``--read-timeout``; and it ends when the run stops.

    Args:
        unit: of :func:`eechips.windows.plan_windows`.
        scaled: apply the scale and offset that the raster says its bands have.
        policy: of retries; None for the run's, or ``POLICY`` outside of a run.

    Returns:
        (bands, rows, columns), masked where the raster has no data. Of the raster's type; if scaled, ``float32``, or
        ``float64`` of integers of more than 16 bits and of doubles.

    Raises:
        PermanentError: if the raster is gone, or is no longer the one that was planned.
        TransientError: if it cannot be read after several attempts.
        ConfigurationError: if the store refuses it.
    """
    href, bands = unit["href"], list(unit["bands"])
    place = Place.of(href)
    version = Version.from_json(unit["version"]) if unit.get("version") else None
    window = RasterWindow(unit["col_off"], unit["row_off"], unit["width"], unit["height"])

    def attempt() -> Pixels:
        with _steady(place, href, version), _opened(place, href, unit["cache"], version) as source:
            if _grid(source).to_json() != unit["raster"] or source.count < max(bands):
                raise _changed(href)
            pixels: Pixels = source.read(bands, window=window, masked=True)
            return _scaled(source, bands, pixels) if scaled else pixels

    return _persist(attempt, policy)


def _scaled(source: Any, bands: Sequence[int], pixels: Pixels) -> Pixels:
    made: Pixels = np.ma.MaskedArray(pixels, dtype=np.result_type(pixels.dtype, np.float32))
    for number, band in enumerate(bands):
        scale, offset = source.scales[band - 1], source.offsets[band - 1]
        if (scale, offset) != (1.0, 0.0):
            made.data[number] *= made.dtype.type(scale)
            made.data[number] += made.dtype.type(offset)
    return made


def _described(href: str, source: Any, version: Version | None) -> Raster:
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
        blocks=Blocks(source.width, source.height, columns, rows),
        dtypes=tuple(_COMPLEX.get(name, name) for name in map(str, source.dtypes)),
        is_interleaved=source.count > 1 and interleave == "PIXEL",
        alpha=source.colorinterp.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in source.colorinterp else None,
        version=version,
    )


def _grid(source: Any) -> Grid:
    return Grid(source.crs.to_string(), tuple(source.transform)[:6], source.width, source.height)


@contextlib.contextmanager
def _opened(place: Place, href: str, cache: int, version: Version | None) -> Iterator[Any]:
    """A raster; what GDAL reports inside the block is classified. Its settings are put back."""
    condition = None if version is None else version.condition(place)
    with settings(gdal_options(place, cache, _timeouts(), condition)), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(place.path) as source:
                yield source
        except _OPENED as error:
            raise classify_gdal(error, href) from error


@contextlib.contextmanager
def _steady(place: Place, href: str, version: Version | None) -> Iterator[None]:
    """A block in which nothing is read of another version, or it fails.

    Raises:
        PermanentError: if there is another version by now.
    """
    try:
        yield
    except EechipsError as error:
        if getattr(error, "status", None) == _CHANGED:
            raise _changed(href) from None
        if not isinstance(error, UsageError):
            _look_again(place, href, version)  # then it is no wonder
        raise
    _look_again(place, href, version)


def _look_again(place: Place, href: str, version: Version | None) -> None:
    if version is None or version.is_enforced(place):
        return
    now = version_of(place, _timeouts())
    if now is not None and not version.is_same(now):
        raise _changed(href)


def _changed(href: str) -> PermanentError:
    return PermanentError(
        f"{href} is not the raster that was planned any more: it was replaced. Plan again, into another folder, or put"
        " the earlier version back"
    )


def _persist(attempt: Callable[[], T], policy: RetryPolicy | None) -> T:
    """Has an attempt made until it succeeds, as the run that this is part of would."""
    transport = surroundings()
    if transport is None:
        return retry.call(attempt, policy or POLICY)
    return transport.lend(attempt, policy)


def _timeouts() -> Timeouts:
    """Bounds on what is asked, of the run that this is part of."""
    transport = surroundings()
    return Timeouts() if transport is None else transport.timeouts
