"""Fetch the metadata of datasets: their kind, bands and pixel grids."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import ee
import numpy as np

from eechips import datasets
from eechips.datasets.spectral_indices import find_index
from eechips.errors import UnknownDatasetError, UsageError
from eechips.geo.grid import Grid
from eechips.planning import planning_requests
from eechips.planning.image_filters import PropertyFilter
from eechips.planning.projection import nominal_scale
from eechips.suggestion import describe_choices

# Defaults of filterDate's bounds where the caller gives only one: no image is older or newer.
FIRST_DAY = "1800-01-01"
LAST_DAY = "2200-01-01"

_SHOWN_BANDS = 12  # bands that a message names

_WHOLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32")


@dataclass(frozen=True, slots=True)
class Band:
    """A band of an image.

    Attributes:
        name: as Earth Engine has it.
        dtype: the smallest numpy type that holds its values.
        grid: its native pixel grid; of one pixel if the server does not return the size.
    """

    name: str
    dtype: str
    grid: Grid


@dataclass(frozen=True, slots=True)
class AssetMetadata:
    """An image, or the first image of a collection.

    Attributes:
        id: asset id of the dataset.
        kind: one image, or a collection.
        bands: in order.
    """

    id: str
    kind: datasets.Kind
    bands: tuple[Band, ...]

    def select(self, names: Collection[str]) -> tuple[Band, ...]:
        """Return bands by name, in the order of the names.

        Raises:
            UnknownDatasetError: if a band does not exist; the message lists the bands.
        """
        known = {band.name: band for band in self.bands}
        for name in names:
            if name not in known:
                raise UnknownDatasetError(f"{self.id} has no band {name!r}{_hint(self.id, name, list(known))}")
        return tuple(known[name] for name in names)


def _hint(asset_id: str, name: str, bands: list[str]) -> str:
    """Return the end of the message about an unknown band."""
    record = datasets.find_dataset(asset_id)
    meant = record.band_names.get(name.lower()) if record else None
    if meant in bands:
        return f"; did you mean {meant} ({name.lower()})?"
    index = find_index(name)
    if index is not None:
        there = ", ".join(bands[:_SHOWN_BANDS]) + (", …" if len(bands) > _SHOWN_BANDS else "")
        return f": {index.name} is a spectral index, which `index` computes from bands; there are {there}"
    return f"; {describe_choices(name, bands)}"


def fetch_kind(asset_id: str) -> datasets.Kind:
    """Fetch the kind of an asset: one image, or a collection of images.

    Raises:
        UnknownDatasetError: if there is no such asset, or it is neither.
    """
    try:
        kind = ee.data.getAsset(asset_id)["type"]
    except ee.EEException as error:
        if not planning_requests.is_not_found(error):
            raise
        raise _unknown(asset_id, error) from error
    if kind == "IMAGE":
        return "image"
    if kind == "IMAGE_COLLECTION":
        return "collection"
    raise UnknownDatasetError(f"{asset_id} is a {kind.lower().replace('_', ' ')}, not images")


def _unknown(asset_id: str, error: ee.EEException) -> UnknownDatasetError:
    local = planning_requests.local_hint(error)
    if asset_id in local:
        return UnknownDatasetError(local)
    hint = datasets.suggest_datasets(asset_id)
    if local:
        return UnknownDatasetError(f"there is no dataset {asset_id!r}{hint or '.'} {local}")
    return UnknownDatasetError(f"there is no dataset {asset_id!r}, or you may not read it{hint}")


def filter_images(
    asset_id: str,
    kind: datasets.Kind,
    start: str | None = None,
    end: str | None = None,
    tests: Sequence[PropertyFilter] = (),
) -> ee.ImageCollection:
    """Return the images of a dataset between two dates that meet conditions.

    Args:
        asset_id: the dataset.
        kind: one image (then dates and conditions are ignored), or a collection.
        start: first day, inclusive; None for no bound.
        end: last day, exclusive; None for no bound.
        tests: conditions on properties; all must hold.
    """
    collection: ee.ImageCollection = ee.ImageCollection([ee.Image(asset_id)] if kind == "image" else asset_id)
    if kind == "collection" and (start is not None or end is not None):
        collection = collection.filterDate(FIRST_DAY if start is None else start, LAST_DAY if end is None else end)
    for test in tests if kind == "collection" else ():
        collection = collection.filter(test.filter())
    return collection


def fetch_metadata(
    asset_id: str,
    kind: datasets.Kind | None = None,
    region: ee.Geometry | None = None,
    start: str | None = None,
    end: str | None = None,
    tests: Sequence[PropertyFilter] = (),
) -> AssetMetadata:
    """Fetch the metadata of a dataset, from its first image over a region between two dates.

    Args:
        asset_id: the dataset.
        kind: one image or a collection; None to ask the server.
        region: that the image meets; None for any image.
        start: first day, inclusive; None for no bound.
        end: last day, exclusive; None for no bound.
        tests: conditions on properties that the image meets.

    Raises:
        UnknownDatasetError: if there is no such dataset.
        UsageError: if no image meets the region, the dates and the conditions.
    """
    kind = kind or fetch_kind(asset_id)
    collection = filter_images(asset_id, kind, start, end, tests)
    if region is not None:
        collection = collection.filterBounds(region)
    first = ee.Image(asset_id) if kind == "image" else collection.first()
    try:
        image = first.getInfo()
    except ee.EEException as error:
        if planning_requests.is_not_found(error):
            raise _unknown(asset_id, error) from error
        raise
    if image is None:
        dates = f" between {start or 'the beginning'} and {end or 'today'}" if start or end else ""
        where = "" if region is None else " that meets the region"
        having = f" with {' and '.join(map(str, tests))}" if tests else ""
        raise UsageError(f"{asset_id} has no image{having}{dates}{where}")
    return AssetMetadata(asset_id, kind, tuple(_band(band) for band in image["bands"]))


def band_scale(band: Band) -> float:
    """Return the edge of a band's pixels in metres."""
    return nominal_scale(band.grid)


def _band(description: dict[str, Any]) -> Band:
    width, height = description.get("dimensions", (1, 1))
    a, b, c, d, e, f = description["crs_transform"]
    crs = description.get("crs") or description["crs_wkt"]
    return Band(description["id"], _dtype(description["data_type"]), Grid(crs, (a, b, c, d, e, f), width, height))


def _dtype(data_type: dict[str, Any]) -> str:
    """Return the smallest numpy type for an ``ee.PixelType``, given as ``getInfo`` returns it."""
    if data_type["precision"] == "double":
        return "float64"
    low, high = data_type.get("min"), data_type.get("max")
    if data_type["precision"] == "float" or low is None or high is None:
        return "float32"
    holding = (name for name in _WHOLE if np.iinfo(name).min <= low and high <= np.iinfo(name).max)
    return next(holding, "float64")
