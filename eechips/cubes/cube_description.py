"""Describe the images of a cube by one request, before a pixel is read: their number, bands, times and attributes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.cubes.cube_expressions import Expression, describe_collection, read_description, shows_stored_images
from eechips.cubes.cube_reader import CubeImages
from eechips.cubes.cube_service import PixelService, RetryLimits
from eechips.errors import UsageError
from eechips.geo.grid import Grid

_TIMES = ("system:time_start", "system:time_end")
_KINDS = (str, int, float, complex, list, tuple)


@dataclass(frozen=True, slots=True)
class CubeDescription:
    """What is known of a cube without its pixels.

    Attributes:
        images: images of the cube.
        bands: bands of the first image, as the service describes them: id, data_type, dimensions, crs, crs_transform.
        primary: values of the first coordinate, one for each image.
        attributes: attributes of the collection.
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
        size = band.get("dimensions")
        if not size:
            raise UsageError(
                f"band {band['id']} of the first image has no size of its own: give crs, crs_transform and shape_2d"
            )
        a, b, c, d, e, f = map(float, band["crs_transform"])
        column, row = band.get("origin") or (0, 0)
        return Grid(band.get("crs") or band["crs_wkt"], (a, b, c, d, e, f), *size).window(column, row, *size)


def describe_cube(
    service: PixelService,
    collection: Expression,
    *,
    primary: str,
    is_read_by_ids: bool,
    retries: RetryLimits,
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
    computed = (_today(), dict(collection), ids, description["versions"], count)
    versions = description["versions"]
    # A day in place of versions where images have none, so that they are read again.
    stored = (description["ids"], versions if len(versions) == count else _today())
    identity = stored if is_stored else computed
    images = CubeImages(collection, count, ids if is_stored else (), identity)
    return CubeDescription(
        images, bands, _coordinate(description["primary"], count, primary), _valid(description["properties"])
    )


def band_attributes(band: Mapping[str, Any], crs: str) -> dict[str, Any]:
    """Return the attributes of a variable, as Xee has them: those of the band, and the CRS of the cube."""
    return {**_valid(band), "crs": crs}


def _today() -> str:
    return datetime.now(timezone.utc).date().isoformat()


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
    pairs: Iterable[tuple[str, Any]] = (attributes or {}).items()
    return {name: value if isinstance(value, _KINDS) else str(value) for name, value in pairs}
