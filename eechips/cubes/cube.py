"""Open an image collection as a lazy cube: check the arguments, those of Xee, and describe its images by one request,
before a pixel is read.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from eechips.cubes.box_cache import CacheSettings
from eechips.cubes.boxes import BoxLimits
from eechips.cubes.cube_expressions import (
    Expression,
    describe_collection,
    encode_collection,
    limit_collection,
    load_collection,
    read_description,
    shows_stored_images,
)
from eechips.cubes.cube_reader import CubeImages, CubeReader
from eechips.cubes.cube_service import PixelService, RetryLimits, find_address, find_service
from eechips.errors import UsageError
from eechips.extras import import_extra
from eechips.files.local_paths import cache_folder, make_private
from eechips.files.scratch_folders import temporary_folder_of
from eechips.geo.crs import parse_crs
from eechips.geo.grid import Grid
from eechips.text.suggestion import did_you_mean
from eechips.text.timestamps import present
from eechips.web.urls import is_loopback

if TYPE_CHECKING:
    import xarray

_TIMES = ("system:time_start", "system:time_end")
_KINDS = (str, int, float, complex, list, tuple)


@dataclass(frozen=True, slots=True)
class CubeDescription:
    """What is known of a cube without its pixels.

    Attributes:
        bands: bands of the first image, as the service describes them: id, data_type, dimensions, crs, crs_transform.
        primary: values of the first coordinate, one for each image.
    """

    images: CubeImages
    bands: tuple[Mapping[str, Any], ...]
    primary: Sequence[Any] | npt.NDArray[Any]
    attributes: Mapping[str, Any]

    @property
    def native_grid(self) -> Grid:
        """The grid of the first band of the first image.

        Raises:
            UsageError: if it has no size, as of an image that is computed.
        """
        band = self.bands[0]
        if not band.get("dimensions"):
            raise UsageError(
                f"band {band['id']} of the first image has no size of its own: give crs, crs_transform and shape_2d"
            )
        return Grid.of_band(band)


def describe_cube(
    service: PixelService, collection: Expression, *, primary: str, is_read_by_ids: bool, retries: RetryLimits
) -> CubeDescription:
    """Describe a cube by one request.

    Args:
        primary: property of the images whose values are the first coordinate.
        is_read_by_ids: whether the images are read as they are stored, whatever the collection computes from them.

    Raises:
        UsageError: if the collection is empty, or its images have no bands.
        RequestError: classified.
    """
    description = read_description(service.compute(describe_collection(collection, primary), retries))
    count, first = int(description["size"]), description["first"] or {}
    bands = tuple(first.get("bands") or ())
    if not count or not bands:
        raise UsageError("the collection has no images with bands: look at its filters")
    ids = tuple(map(str, description["ids"]))
    is_stored = len(ids) == count and (is_read_by_ids or shows_stored_images(collection))
    if is_read_by_ids and not is_stored:
        warnings.warn(
            "fast_time_slicing needs images with ids, which this collection lacks: they are read by their place",
            stacklevel=2,
        )
    versions, today = description["versions"], present().date().isoformat()
    identity: tuple[Any, ...] = (today, dict(collection), ids, versions, count)
    if is_stored:  # the day in place of versions where images have none, so that they are read again
        identity = description["ids"], versions if len(versions) == count else today
    images = CubeImages(collection, count, ids if is_stored else (), identity)
    return CubeDescription(
        images, bands, _coordinate(description["primary"], count, primary), _valid(description["properties"])
    )


def _coordinate(values: Sequence[Any], count: int, name: str) -> Sequence[Any] | npt.NDArray[Any]:
    """Return one value for each image: times as datetimes; numbers from 0 if images lack the property."""
    if len(values) != count:
        warnings.warn(
            f"{count - len(values)} of {count} images have no '{name}': they are numbered instead", stacklevel=3
        )
        return np.arange(count)
    if name in _TIMES:
        milliseconds = [math.floor(value) for value in values]
        return np.array(milliseconds, "datetime64[ms]").astype("datetime64[ns]")
    return values


def _valid(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return attributes whose values files can have; others as text."""
    return {name: value if isinstance(value, _KINDS) else str(value) for name, value in (attributes or {}).items()}


REQUEST_BYTES = 48 << 20
"""Bytes of the pixels of a request, uncompressed, that ``image:computePixels`` accepts
(https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels, read 2026-11)."""
MASK_VALUE = float(np.iinfo(np.int32).max)
"""Value of masked pixels in responses, that of Xee."""
CACHE_BYTES = 4 << 30
"""Bytes of the user's cache of pixels."""
_GRID = ("crs", "crs_transform", "shape_2d")
_OF_OLD_XEE = frozenset({"scale", "projection", "geometry"})
_AXES = {"index": 0, "time": 0, "height": 1, "y": 1, "width": 2, "x": 2}


def open_cube(
    source: Any,
    crs: str | None = None,
    crs_transform: Any = None,
    shape_2d: tuple[int, int] | None = None,
    *,
    drop_variables: str | Iterable[str] | None = None,
    chunks: Any = None,
    io_chunks: Any = None,
    n_images: int = -1,
    primary_dim_name: str | None = None,
    primary_dim_property: str | None = None,
    ee_mask_value: float | None = None,
    request_byte_limit: int = REQUEST_BYTES,
    fast_time_slicing: bool = False,
    ee_init_if_necessary: bool = False,
    ee_init_kwargs: Mapping[str, Any] | None = None,
    executor_kwargs: Mapping[str, Any] | None = None,
    getitem_kwargs: Mapping[str, int] | None = None,
    mask_and_scale: bool = True,
    decode_times: bool = True,
    decode_timedelta: bool | None = None,
    use_cftime: bool | None = None,
    concat_characters: bool = True,
    decode_coords: bool = True,
    project: str | None = None,
    endpoint: str | None = None,
    credentials: str | Path | None = None,
    in_flight: int | Literal["auto"] = "auto",
    quota_folder: str | Path | None = None,
    cache: bool | str | Path = True,
    cache_bytes: int = CACHE_BYTES,
    **others: Any,
) -> xarray.Dataset:
    """Open an image collection as a Dataset with a variable (time, y, x) for each band, float32, masked pixels NaN.

    Opening takes one request. Pixels are read when values are computed, by requests of 4 MB or more where so much is
    read, and kept in the user's cache. All threads share a throttle, and processes the quota, as runs do.

    Args:
        source: id of a collection (also ``ee://…``), ``ee.ImageCollection``, or ``ee.Image``.
        crs: code or WKT of the pixels' coordinate reference system. Without it, ``crs_transform`` and ``shape_2d``,
            pixels are those of the first band of the first image.
        crs_transform: maps pixel corners to coordinates: (a, b, c, d, e, f), as ``affine.Affine``.
        shape_2d: columns and rows.
        drop_variables: names of bands to leave out.
        chunks: chunks of Dask, as of ``Dataset.chunk``; ``{}`` for those of requests; None for no Dask.
        io_chunks: largest number of images, rows and columns of a request, by the names of dimensions; ``"auto"`` and
            -1 leave that to ``request_byte_limit``.
        n_images: number of images, the first ones; -1 for all.
        primary_dim_name: name of the first dimension; None for ``time``.
        primary_dim_property: property of images that is its coordinate; None for ``system:time_start``.
        ee_mask_value: value that masked pixels have in responses, and that becomes NaN; None for 2147483647.
        request_byte_limit: bytes of the pixels of a request, 5 for each value.
        fast_time_slicing: read images as they are stored, by their ids, whatever the collection computes from them.
            Collections that are only filtered are always read so.
        ee_init_if_necessary: no effect: no process needs an initialised client.
        ee_init_kwargs: url, project and credentials as of ``ee.Initialize``; ``credentials_function`` returns
            credentials in each process.
        executor_kwargs: arguments of the ThreadPoolExecutor of a read: ``max_workers``.
        getitem_kwargs: ``max_retries``, and ``initial_delay`` in milliseconds.
        mask_and_scale: as of ``xarray.decode_cf``, and so are the next ones.
        decode_times: see above.
        decode_timedelta: see above.
        use_cftime: see above.
        concat_characters: see above.
        decode_coords: see above.
        project: whose quota is used; None for that of ``ee.Initialize``, else as of a run.
        endpoint: base URL; None for that of ``ee.Initialize``, else Earth Engine's high-volume endpoint.
        credentials: file of credentials; None for those of ``ee.Initialize``, else as of a run.
        in_flight: requests of this process in flight at most.
        quota_folder: folder, or URL of an object store, in which processes share the quota; None for that of the
            user's runs.
        cache: folder of the cache, True for that of the user, False for none. In place of that of the user, a cube
            of a server of this machine has a temporary folder, which is removed with it.
        cache_bytes: bytes of all cubes in it; those that were not read for longest are removed.
        **others: none: an unknown argument is an error that names it.

    Raises:
        UsageError: if an argument is unknown or out of range, or the collection is empty.
        RequestError: if the collection cannot be described; classified.
        ConfigurationError: if there are no credentials, or no project.
    """
    import_extra("xarray", "lazy cubes need xarray", "xarray")
    import xarray

    _refuse(others)
    dims = (primary_dim_name or "time", "y", "x")
    if dims[0] in dims[1:]:
        raise UsageError(f"primary_dim_name='{dims[0]}': that is the name of the pixels' dimension; choose another")
    retries = _retries(getitem_kwargs)
    address, own = find_address(
        endpoint=endpoint,
        project=project,
        credentials=credentials,
        in_flight=in_flight,
        quota_folder=quota_folder,
        ee_init_kwargs=ee_init_kwargs,
    )
    collection = _collection(source)
    if n_images != -1:
        if not _is_count(n_images, 1):
            raise UsageError(f"n_images is a whole number from 1, or -1 for all images, not {n_images!r}")
        collection = limit_collection(collection, n_images)
    description = describe_cube(
        find_service(address, own),
        collection,
        primary=primary_dim_property or "system:time_start",
        is_read_by_ids=fast_time_slicing,
        retries=retries,
    )
    images = description.images
    if cache is True and is_loopback(address.endpoint):  # its next server may have other data with the same ids
        cache = temporary_folder_of(images)
    reader = CubeReader(
        address=address,
        images=images,
        bands=tuple(str(band["id"]) for band in description.bands),
        grid=_grid(description, crs, crs_transform, shape_2d),
        mask_value=_mask_value(ee_mask_value),
        limits=_limits(io_chunks, request_byte_limit, dims),
        retries=retries,
        cache=_cache(cache, cache_bytes),
        threads=_threads(executor_kwargs),
    )
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    if unknown := dropped.difference(reader.bands):
        name = min(unknown)
        raise UsageError(f"`drop_variables`: there is no band `{name}`{did_you_mean(name, reader.bands)}")
    options: dict[str, Any] = {} if use_cftime is None else {"use_cftime": use_cftime}
    decoded = xarray.decode_cf(
        _lazy_dataset(description, reader, dims, dropped),
        concat_characters=concat_characters,
        mask_and_scale=mask_and_scale,
        decode_times=decode_times,
        decode_coords=decode_coords,
        decode_timedelta=decode_timedelta,
        **options,
    )
    if chunks is None:
        return decoded
    return decoded.chunk({**reader.preferred_chunks(dims), **chunks} if isinstance(chunks, Mapping) else chunks)


def _lazy_dataset(
    description: CubeDescription, reader: CubeReader, dims: tuple[str, str, str], dropped: Collection[str]
) -> xarray.Dataset:
    """Return the bands as stored, not yet decoded, without the dropped ones; with the CRS of the cube, as Xee does."""
    import xarray

    from eechips.cubes.cube_reader import lazy_variable

    variables: dict[str, Any] = {
        name: lazy_variable(reader, number, dims, {**_valid(band), "crs": reader.grid.crs})
        for number, (name, band) in enumerate(zip(reader.bands, description.bands, strict=True))
        if name not in dropped
    }
    return xarray.Dataset(variables, _coordinates(description, reader.grid, dims), dict(description.attributes))


def _refuse(others: Collection[str]) -> None:
    """Refuse unknown arguments, with advice for those of other versions of Xee."""
    for name in others:
        if name in _OF_OLD_XEE:
            raise UsageError(
                f"`{name}` was an argument of Xee before 0.1: give crs, crs_transform and shape_2d, or none of them"
            )
        if name in _FILTERS:
            raise UsageError(
                f"open_cube has no argument `{name}`: pass a collection, as in"
                f' ee.ImageCollection("LANDSAT/LC08/C02/T1_L2").{_FILTERS[name]}'
            )
        raise UsageError(f"open_cube has no argument `{name}`{did_you_mean(name, _ARGUMENTS)}")


_DATES = 'filterDate("2020-01-01", "2020-03-01")'
_FILTERS = {
    "start": _DATES,
    "end": _DATES,
    "roi": "filterBounds(ee.Geometry.Rectangle(-105.3, 39.9, -105.2, 40.0))",
    "bands": 'select("SR_B4", "SR_B5")',
}
"""Arguments of other functions here, and what a collection has for them."""
_ARGUMENTS = tuple(open_cube.__kwdefaults__ or ()) + _GRID


def _collection(source: Any) -> Expression:
    """Return the expression of what a user names or passes; raise UsageError if it is something else."""
    if isinstance(source, (str, os.PathLike)):
        parts = urlsplit(str(source))
        if parts.scheme not in ("", "ee"):
            raise UsageError(f"a collection is an id, ee:ID or ee://ID, not '{source}'")
        return load_collection(f"{parts.netloc}{parts.path}")
    import ee

    if isinstance(source, (ee.Image, ee.ImageCollection)):
        return encode_collection(ee.ImageCollection(source))
    raise UsageError(f"a cube is opened from an id, an ee.ImageCollection or an ee.Image, not {type(source).__name__}")


def _grid(description: CubeDescription, crs: str | None, crs_transform: Any, shape_2d: Any) -> Grid:
    arguments = dict(zip(_GRID, (crs, crs_transform, shape_2d), strict=True))
    missing = [name for name, value in arguments.items() if value is None]
    if len(missing) == len(_GRID):
        return _unrotated(description.native_grid, "the grid of the first image")
    if missing:
        raise UsageError(f"{missing[0]} is missing: crs, crs_transform and shape_2d are given together, or none")
    try:
        a, b, c, d, e, f = map(float, tuple(crs_transform)[:6])
        width, height = map(int, shape_2d)
        if (width, height) != tuple(shape_2d):
            raise ValueError(f"{shape_2d} are no whole numbers")
        grid = Grid(str(crs), (a, b, c, d, e, f), width, height)
    except (TypeError, ValueError) as error:
        raise UsageError(f"crs_transform is (a, b, c, d, e, f), and shape_2d (columns, rows): {error}") from None
    return _unrotated(grid, "crs_transform")


def _unrotated(grid: Grid, what: str) -> Grid:
    _, b, _, d, _, _ = grid.transform
    if b or d:
        raise UsageError(
            f"{what} is rotated or sheared: rows and columns of a cube have coordinates of their own. Give crs,"
            " crs_transform and shape_2d of a grid that is not"
        )
    return grid


def _mask_value(mask_value: float | None) -> float:
    value = MASK_VALUE if mask_value is None else float(mask_value)
    if not math.isfinite(value):
        raise UsageError("ee_mask_value must be a finite number")
    return value


def _limits(io_chunks: Any, most_bytes: int, dims: tuple[str, ...]) -> BoxLimits:
    if not _is_count(most_bytes, 1) or most_bytes > REQUEST_BYTES:
        raise UsageError(f"request_byte_limit must be from 1 to {REQUEST_BYTES}, the limit of the service")
    if not isinstance(io_chunks, Mapping):
        if io_chunks not in (None, "auto", -1):
            raise UsageError("io_chunks is a mapping from dimensions to lengths, 'auto' or -1")
        return BoxLimits(most_bytes)
    most: list[int | None] = [None, None, None]
    for name, length in io_chunks.items():
        axis = 0 if name == dims[0] else _AXES.get(name)
        if axis is None or (length != -1 and not _is_count(length, 1)):
            raise UsageError(f"io_chunks has {name!r}: {length!r}, which is not a dimension with a length")
        most[axis] = None if length == -1 else int(length)
    return BoxLimits(most_bytes, *most)


def _retries(requested: Mapping[str, int] | None) -> RetryLimits:
    usual = RetryLimits()
    options = {"max_retries": usual.retries, "initial_delay": usual.delay * 1000}
    for name, value in (requested or {}).items():
        if name not in options:
            raise UsageError(f"getitem_kwargs has `{name}`: known are max_retries and initial_delay")
        if not _is_count(value, 0):
            raise UsageError(f"getitem_kwargs: {name} is a whole number from 0, not {value!r}")
        options[name] = value
    return RetryLimits(int(options["max_retries"]), options["initial_delay"] / 1000)


def _threads(requested: Mapping[str, Any] | None) -> dict[str, Any]:
    threads = dict(requested or {})
    try:
        ThreadPoolExecutor(**threads)  # starts no thread
    except (TypeError, ValueError) as error:
        raise UsageError(f"executor_kwargs has the arguments of ThreadPoolExecutor: {error}") from None
    return threads


def _is_count(value: Any, least: int) -> bool:
    """Return whether an argument is a whole number from ``least``, of any type."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return is_number and bool(value >= least and value % 1 == 0)


def _cache(cache: bool | str | Path, most_bytes: int) -> CacheSettings | None:
    if not _is_count(most_bytes, 0):
        raise UsageError(f"cache_bytes is a whole number from 0, not {most_bytes!r}")
    if cache is False:
        return None
    folder = cache_folder() if cache is True else Path(cache).absolute()
    if folder is not None and cache is True:
        with contextlib.suppress(OSError):  # what cannot be cached is fetched again
            make_private(folder)
    return None if folder is None else CacheSettings(folder, most_bytes)


def _coordinates(description: CubeDescription, grid: Grid, dims: tuple[str, ...]) -> dict[str, Any]:
    """Return the coordinates: of pixel centres, as Xee computes them, and of images."""
    a, _, c, _, e, f = grid.transform
    x = np.array([c + a / 2 + number * a for number in range(grid.width)])
    y = np.array([f + e / 2 + number * e for number in range(grid.height)])
    axes = {axis["axis"]: axis for axis in parse_crs(grid.crs).cs_to_cf()}
    return {
        dims[0]: (dims[0], description.primary),
        dims[1]: (dims[1], y, axes.get("Y", {})),
        dims[2]: (dims[2], x, axes.get("X", {})),
    }
