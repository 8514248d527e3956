"""Reading windows of rasters through GDAL, wherever they are. Settings of GDAL hold for one opening only."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio._err import CPLE_BaseError  # what GDAL says where rasterio has no words of its own
from rasterio.errors import RasterioError
from rasterio.session import DummySession
from rasterio.windows import Window as RasterWindow

from eechips.client import retry
from eechips.client.retry import RetryPolicy
from eechips.errors import PermanentError, UsageError
from eechips.grid import Grid
from eechips.recipe import Unit
from eechips.windows.blocks import Blocks
from eechips.windows.faults import classify_gdal

POLICY = RetryPolicy(retries=6, total=300.0)
"""How patiently a window is read again."""
PLANNING = RetryPolicy(retries=3, total=60.0)
"""How patiently a header is, while somebody waits for the plan."""

_HEADER = 32 << 10  # bytes that are read at once when a raster is opened
_LEAST_CACHE = 8 << 20
_CONNECT, _STALLED = 10, 30  # seconds: to connect; below a kilobyte a second
_STORES = {"s3": "/vsis3/", "gs": "/vsigs/", "gcs": "/vsigs/", "az": "/vsiaz/", "abfs": "/vsiaz/", "oss": "/vsioss/"}
_WEB = re.compile(r"(?:https?|ftp)://", re.IGNORECASE)
_LEADING_SLASHES = re.compile(r"^/+")


@dataclass(frozen=True, slots=True)
class Raster:
    """What the header of a raster says.

    Attributes:
        href: its address.
        grid: its pixels.
        blocks: how it is stored.
        bands: that it has.
        dtype: numpy name of the type that holds the values of all bands.
        is_interleaved: whether a block holds all bands.
    """

    href: str
    grid: Grid
    blocks: Blocks
    bands: int
    dtype: str
    is_interleaved: bool


def gdal_path(href: str) -> str:
    """The path by which GDAL reads an address: ``s3://bucket/key`` is ``/vsis3/bucket/key``.

    Paths of files, and those that GDAL has for itself (``/vsizip/…``), stay as they are.

    Raises:
        UsageError: if there is no such kind of address.
    """
    if _WEB.match(href):
        return f"/vsicurl/{href}"
    scheme, mark, rest = href.partition("://")
    if not mark:
        return href
    if scheme == "file":
        return "/" + _LEADING_SLASHES.sub("", rest)
    if scheme not in _STORES:
        raise UsageError(f"{href}: rasters are read from files, http(s)://, {', '.join(f'{s}://' for s in _STORES)}")
    return _STORES[scheme] + rest


def gdal_options(path: str, cache: int, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Settings of GDAL for one opening (https://gdal.org/en/stable/user/virtual_file_systems.html).

    Nothing is listed, neighbouring blocks come with one request, nothing of the raster is kept for the next opening,
    when it may be another, and repeats are not GDAL's business. A store that fsspec would be told of by
    ``AWS_ENDPOINT_URL`` or ``STORAGE_EMULATOR_HOST`` is GDAL's too.

    Args:
        path: GDAL's, of the raster.
        cache: bytes for decoded blocks.
        environment: variables of the process.
    """
    options: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_INGESTED_BYTES_AT_OPEN": _HEADER,
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MULTIPLEX": "YES",
        "GDAL_HTTP_MAX_RETRY": 0,
        "GDAL_HTTP_CONNECTTIMEOUT": _CONNECT,
        "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
        "GDAL_HTTP_LOW_SPEED_TIME": _STALLED,
        "CPL_VSIL_CURL_NON_CACHED": path,
        "GDAL_NUM_THREADS": 1,
        "VSI_CACHE": "FALSE",
        "GDAL_CACHEMAX": max(cache, _LEAST_CACHE),
    }
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if path.startswith("/vsis3/") and endpoint and "AWS_S3_ENDPOINT" not in environment:
        there = urlsplit(endpoint)
        options |= {
            "AWS_S3_ENDPOINT": there.netloc,
            "AWS_HTTPS": "YES" if there.scheme == "https" else "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    emulator = environment.get("STORAGE_EMULATOR_HOST")
    if path.startswith("/vsigs/") and emulator and "CPL_GS_ENDPOINT" not in environment:
        options |= {"CPL_GS_ENDPOINT": f"{emulator.rstrip('/')}/", "GS_NO_SIGN_REQUEST": "YES"}
    return options


def describe(href: str, *, policy: RetryPolicy = PLANNING) -> Raster:
    """Reads the header of a raster.

    Args:
        href: a file, ``http(s)://``, ``s3://``, ``gs://``, ``az://``, or a path of GDAL's.
        policy: of retries.

    Raises:
        UsageError: if it does not say where its pixels lie, or bands are stored in different ways.
        TransientError, PermanentError, ConfigurationError: if it cannot be read; see ``classify_gdal``.
    """
    path = gdal_path(href)

    def attempt() -> Raster:
        with _opened(href, path, _LEAST_CACHE) as source:
            return _described(href, source)

    return retry.call(attempt, policy)


def read_window(unit: Unit, *, policy: RetryPolicy = POLICY) -> np.ma.MaskedArray[Any, np.dtype[Any]]:
    """Reads the pixels of a window; again, if what went wrong may pass.

    Args:
        unit: of :func:`eechips.windows.plan_windows`.
        policy: of retries.

    Returns:
        (bands, rows, columns), of the raster's type, masked where the raster has no data.

    Raises:
        PermanentError: if the raster is gone, or is no longer the one that was planned.
        TransientError: if it cannot be read after several attempts.
        ConfigurationError: if the store refuses it.
    """
    href, bands = unit["href"], list(unit["bands"])
    path = gdal_path(href)
    place = RasterWindow(unit["col_off"], unit["row_off"], unit["width"], unit["height"])

    def attempt() -> np.ma.MaskedArray[Any, np.dtype[Any]]:
        with _opened(href, path, unit["cache"]) as source:
            found = Grid(source.crs.to_string(), tuple(source.transform)[:6], source.width, source.height)
            if found.to_json() != unit["raster"] or source.count < max(bands):
                raise PermanentError(f"{href} is not the raster that was planned any more: plan again")
            pixels: np.ma.MaskedArray[Any, np.dtype[Any]] = source.read(bands, window=place, masked=True)
            return pixels

    return retry.call(attempt, policy)


def _described(href: str, source: Any) -> Raster:
    if source.crs is None or source.transform.is_identity:
        raise UsageError(f"{href} does not say where its pixels lie: it has no coordinate reference system")
    if len(set(source.block_shapes)) != 1:
        raise UsageError(f"{href} has bands in blocks of different sizes, {sorted(set(source.block_shapes))}")
    rows, columns = source.block_shapes[0]
    grid = Grid(source.crs.to_string(), tuple(source.transform)[:6], source.width, source.height)
    blocks = Blocks(source.width, source.height, columns, rows)
    interleave = source.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE", "BAND")
    is_interleaved = source.count > 1 and interleave == "PIXEL"
    return Raster(href, grid, blocks, source.count, _dtype(source.dtypes), is_interleaved)


def _dtype(dtypes: tuple[npt.DTypeLike, ...]) -> str:
    return str(np.result_type(*dtypes))


@contextlib.contextmanager
def _opened(href: str, path: str, cache: int) -> Iterator[Any]:
    """A raster; what GDAL reports inside the block is classified. Its settings are put back."""
    with _settings(gdal_options(path, cache)):
        try:
            with rasterio.open(path) as source:
                yield source
        except (RasterioError, CPLE_BaseError) as error:
            raise classify_gdal(error, href) from error


@contextlib.contextmanager
def _settings(options: Mapping[str, Any]) -> Iterator[None]:
    """Settings of GDAL. The size of its cache is one for the process, and rasterio does not put it back."""
    from rasterio.env import get_gdal_config, set_gdal_config

    before = get_gdal_config("GDAL_CACHEMAX")
    try:
        # GDAL finds the credentials of stores by itself.
        with rasterio.Env(session=DummySession(), **options):
            yield
    finally:
        set_gdal_config("GDAL_CACHEMAX", before)
