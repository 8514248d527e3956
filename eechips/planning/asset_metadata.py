"""Fetch kind, bands, types and pixel grids of datasets, and the versions of assets; find bands that some images lack;
word the errors of unknown datasets and bands.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ee
import numpy as np

from eechips import datasets
from eechips.datasets.spectral_indices import find_index
from eechips.errors import UnknownDatasetError, UsageError, ValidationError
from eechips.geo.grid import Grid
from eechips.planning import planning_requests
from eechips.planning.imagery.image_filters import PropertyCondition, PropertyFilter, apply_filters, resolve_conditions
from eechips.recipe.asset_version import AssetVersion
from eechips.text.formatting import format_count, some_of
from eechips.text.suggestion import describe_choices
from eechips.text.timestamps import utc_now

# Defaults of filterDate's bounds where the caller gives only one: no image is older or newer.
FIRST_DAY = "1800-01-01"
LAST_DAY = "2200-01-01"

_SHOWN_BANDS = 12  # bands that a message names


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
        bands: in order; where no record describes the dataset, with types that hold the bands of all images.
        tests: conditions on the properties of images: the user's, and those that images have the needed bands.
        casts: bands whose types differ between images, and the numpy names of the types that hold them all; and bands
            that the record of the dataset takes in a smaller type.
        properties: properties of the image, or of the first one.
    """

    id: str
    kind: datasets.Kind
    bands: tuple[Band, ...]
    tests: tuple[PropertyFilter, ...] = ()
    casts: tuple[tuple[str, str], ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def unit_fields(self) -> dict[str, Any]:
        """The part of each unit that says how images differ, for workers: ``where`` and ``casts``."""
        where = {"where": [test.to_json() for test in self.tests]} if self.tests else {}
        return {**where, **({"casts": [list(cast) for cast in self.casts]} if self.casts else {})}

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
        there = some_of(bands, _SHOWN_BANDS)
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
    if local:
        hint = datasets.suggest_datasets(asset_id, planning_requests.is_served)
        return UnknownDatasetError(f"there is no dataset {asset_id!r}{hint or '.'} {local}")
    hint = datasets.suggest_datasets(asset_id)
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
        kind: one image (then dates and conditions are ignored), or a collection.
        start: first day, inclusive; None for no bound.
        end: last day, exclusive; None for no bound.
        tests: conditions on properties; all must hold.
    """
    collection: ee.ImageCollection = ee.ImageCollection([ee.Image(asset_id)] if kind == "image" else asset_id)
    if kind == "collection" and (start is not None or end is not None):
        collection = collection.filterDate(FIRST_DAY if start is None else start, LAST_DAY if end is None else end)
    filtered: ee.ImageCollection = apply_filters(collection, tests if kind == "collection" else ())
    return filtered


def fetch_metadata(
    asset_id: str,
    kind: datasets.Kind | None = None,
    region: ee.Geometry | None = None,
    start: str | None = None,
    end: str | None = None,
    conditions: Sequence[PropertyCondition] = (),
    needed: Sequence[str] | None = None,
    around: ee.Geometry | None = None,
) -> AssetMetadata:
    """Fetch the metadata of a dataset, from its first image over a region between two dates.

    If images lack some of the needed bands, it is the first image that has them all, and a warning says how many are
    left out. Which bands may be missing is said by the record of the dataset; without a record the images are surveyed.

    Args:
        kind: one image or a collection; None to ask the server.
        region: region that the image meets; None for any image.
        start: first day, inclusive; None for no bound.
        end: last day, exclusive; None for no bound.
        conditions: the user's conditions on properties of images; all must hold.
        needed: names of stored bands that the image has; empty for all bands of the first image; None if bands do not
            matter.
        around: where the image is looked for first, and images that are left out are counted, if it may be anywhere.

    Raises:
        UnknownDatasetError: if there is no such dataset.
        UsageError: if no image meets the region, the dates and the conditions, or none of them has the bands; a
            condition has a wrong property or value; or there are conditions on a single image.
    """
    kind = kind or fetch_kind(asset_id)
    if kind == "image" and conditions:
        raise UsageError(f"{asset_id} is a single image: `where` is for collections")
    collection = filter_images(asset_id, kind, start, end)
    if region is not None:
        collection = collection.filterBounds(region)
    there = collection if around is None else collection.filterBounds(around)
    try:
        tests = resolve_conditions(conditions, there)
        if tests is None and around is not None:
            tests = resolve_conditions(conditions, collection)
        collection, there = apply_filters(collection, tests or ()), apply_filters(there, tests or ())
        image, survey, varying = _find_image(asset_id, kind, there, needed)
        if image is None and around is not None:
            image, survey, varying = _find_image(asset_id, kind, collection, needed)
    except ee.EEException as error:
        if planning_requests.is_not_found(error):
            raise _unknown(asset_id, error) from error
        raise
    if image is None:
        where = describe_dates(start, end) + ("" if region is None else " that meets the region")
        having = f" with {' and '.join(map(str, conditions))}" if tests else ""
        lacking = f" and has {' and '.join(varying)}: {survey}" if survey.layouts else ""
        cure = ": check the region, the dates and `where`" if where and not lacking else ""
        raise UsageError(f"{asset_id} has no image{having}{where}{lacking}{cure}")
    if varying:
        tell_left_out(asset_id, there, varying, is_local=region is not None or around is not None)
    bands, casts = _held_bands(asset_id, image, survey)
    tests = (*(tests or ()), *has_bands(varying))
    return AssetMetadata(asset_id, kind, bands, tests, casts, image.get("properties", {}))


def describe_dates(start: str | None, end: str | None) -> str:
    """Return between which days no image was found, for the message about it; empty without bounds."""
    if start is None and end is None:
        return ""
    today = utc_now()[:10]
    if start is not None and end is None and start > today:
        return f" from {start} on, which is after today ({today})"
    return f" between {start or 'the beginning'} and {end or 'today'}"


def _held_bands(asset_id: str, image: Any, survey: BandSurvey) -> tuple[tuple[Band, ...], tuple[tuple[str, str], ...]]:
    """Return bands whose types hold the values of all images, and names and types of the bands to cast."""
    known = datasets.find_dataset(asset_id)
    narrow = {} if known is None else {band.name: band.dtype for band in known.bands if band.is_cast and band.dtype}
    bands = map(_band, image["bands"])
    held = tuple(replace(band, dtype=narrow.get(band.name) or survey.dtype(band.name, band.dtype)) for band in bands)
    casts = ((band.name, band.dtype) for band in held if band.name in narrow or not survey.has_one_type(band.name))
    return held, tuple(casts)


def _find_image(
    asset_id: str, kind: datasets.Kind, collection: ee.ImageCollection, needed: Sequence[str] | None
) -> tuple[dict[str, Any] | None, BandSurvey, tuple[str, ...]]:
    """Return the first image that has the needed bands, the survey of the images, and the bands that some lack.

    The image is None if there is none; the survey is empty if no image was looked at but the first.
    """
    if kind == "image":
        return ee.Image(asset_id).getInfo(), BandSurvey(), ()
    record = datasets.find_dataset(asset_id)
    if needed is None or record is not None:
        varying = () if record is None else tuple(name for name in needed or () if name in record.varying_bands)
        image = apply_filters(collection, has_bands(varying)).first().getInfo()
        return image, survey_bands(collection)[1] if image is None and varying else BandSurvey(), varying
    image, survey = survey_bands(collection, with_types=True)
    if image is None:
        return None, BandSurvey(), ()
    varying = survey.varying(needed or [band["id"] for band in image["bands"]])
    if varying:
        image, having = survey_bands(apply_filters(collection, has_bands(varying)), with_types=True)
        survey = replace(survey, types=having.types)
    return image, survey, varying


def common_dtype(bands: Sequence[Band]) -> str | None:
    """Return the smallest numpy type that holds all bands; None if all bands have the same type."""
    types = {band.dtype for band in bands}
    return None if len(types) == 1 else str(np.result_type(*types))


def _band(description: dict[str, Any]) -> Band:
    """Read the description of a band.

    Raises:
        ValidationError: if it lacks something.
    """
    try:
        width, height = description.get("dimensions", (1, 1))
        a, b, c, d, e, f = description["crs_transform"]
        crs = description.get("crs") or description["crs_wkt"]
        kind = description["data_type"]
        dtype = smallest_dtype(kind["precision"], kind.get("min"), kind.get("max"))
        return Band(description["id"], dtype, Grid(crs, (a, b, c, d, e, f), width, height))
    except (LookupError, TypeError, ValueError) as error:
        raise ValidationError(f"the response has a band without grid or type: {description!s:.80}") from error


BAND_NAMES = "system:band_names"

SURVEYED = 1000
"""Images whose band names are compared where no record says which bands vary."""

_TYPED = 50  # images whose band types are compared
_NAMED = 3  # layouts that a message lists

_WHOLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32")

PixelRange = tuple[str, float | None, float | None]
"""An ``ee.PixelType``: precision ("int", "float" or "double"), least and greatest value."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BandSurvey:
    """The bands of some images of a collection.

    Attributes:
        layouts: lists of band names, with the number of images that have each.
        types: for each band its types: precision, least and greatest value. The service compares all three.
    """

    layouts: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    types: Mapping[str, frozenset[PixelRange]] = field(default_factory=dict)

    def varying(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of some bands that some images have and others lack."""
        having = {name: sum(name in layout for layout in self.layouts) for name in names}
        return tuple(name for name, count in having.items() if 0 < count < len(self.layouts))

    def dtype(self, name: str, dtype: str) -> str:
        """Return the numpy type that holds a band of all images; ``dtype`` is that of one image."""
        return str(np.result_type(dtype, *(smallest_dtype(*pixel_range) for pixel_range in self.types.get(name, ()))))

    def has_one_type(self, name: str) -> bool:
        """Return whether a band has the same type in all images."""
        return len(self.types.get(name, ())) <= 1

    def __str__(self) -> str:
        ordered = sorted(self.layouts.items(), key=lambda item: -item[1])
        shown = [f"{count:,} {'has' if count == 1 else 'have'} {', '.join(names)}" for names, count in ordered[:_NAMED]]
        looked = sum(self.layouts.values())
        prefix = f"of the first {looked:,}, " if looked >= SURVEYED else ""
        return prefix + "; ".join(shown) + ("; …" if len(ordered) > _NAMED else "")


def has_bands(names: Sequence[str]) -> tuple[PropertyFilter, ...]:
    """Return the conditions that images have bands."""
    return tuple(PropertyFilter(BAND_NAMES, "has", (name,)) for name in names)


def survey_bands(images: ee.ImageCollection, *, with_types: bool = False) -> tuple[dict[str, Any] | None, BandSurvey]:
    """Compare the bands of the first images of a collection, in one request.

    Args:
        images: filtered images of a dataset.
        with_types: whether the types of bands are compared, too.

    Returns:
        The description of the first image, as ``getInfo`` returns it, or None without images; and its survey. The
        survey is empty if the images do not have the property.
    """
    types: Any = images.toList(_TYPED).map(lambda image: ee.Image(image).bandTypes()) if with_types else ee.List([])
    asked: Any = ee.List([images.toList(1), images.limit(SURVEYED).aggregate_array(BAND_NAMES), types])
    first, names, described = asked.getInfo()
    held: dict[str, set[PixelRange]] = {}
    for image_bands in described:
        for name, kind in image_bands.items():
            held.setdefault(name, set()).add((kind["precision"], kind.get("min"), kind.get("max")))
    layouts = Counter(tuple(image_bands) for image_bands in names)
    return (first[0] if first else None), BandSurvey(
        layouts, {name: frozenset(band_types) for name, band_types in held.items()}
    )


def tell_left_out(dataset: str, images: ee.ImageCollection, names: Sequence[str], *, is_local: bool) -> None:
    """Log how many images lack one of some bands, and are left out; nothing if none does. One request.

    The number is for information only. A region may have some 100,000 images: of more than a thousand, the first
    thousand are counted, and the message says so.

    Args:
        dataset: id of the collection.
        images: filtered images, also those that lack a band.
        is_local: whether they are those of a region.
    """
    conditions = [test.filter().Not() for test in has_bands(names)]
    first = images.limit(SURVEYED)
    lacking_images = first.filter(conditions[0] if len(conditions) == 1 else ee.Filter.Or(*conditions))
    counts: Any = ee.List([first.size(), lacking_images.size()]).getInfo()
    looked, count = counts
    place = " there" if is_local else ""
    if not count:
        return
    if looked == SURVEYED:
        message = "%s: images that lack %s are left out (%s of the first %s%s; later ones may have them)"
        share = "all" if count == looked else f"{count:,}"
        _log.warning(message, dataset, _listed(names), share, f"{SURVEYED:,}", place)
    else:
        verbs = ("lacks", "is") if count == 1 else ("lack", "are")
        number = format_count(count, "image")
        _log.warning("%s: %s%s %s %s and %s left out", dataset, number, place, verbs[0], _listed(names), verbs[1])


def smallest_dtype(precision: str, low: float | None, high: float | None) -> str:
    """Return the smallest numpy type for the values of an ``ee.PixelType``."""
    if precision == "double":
        return "float64"
    if precision == "float" or low is None or high is None:
        return "float32"
    return next((name for name in _WHOLE if np.iinfo(name).min <= low and high <= np.iinfo(name).max), "float64")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


_ASSETS = 500  # in one request
_NO_IMAGE = "is not an Image"
"""Part of the message about an asset of another kind, as in "Asset 'USDA/NAIP/DOQQ' is not an Image."."""


def fetch_versions(ids: Iterable[str]) -> dict[str, AssetVersion]:
    """Fetch the versions of assets: one request for 500 images, and one for each asset of another kind.

    Args:
        ids: ids of images, collections or tables.

    Returns:
        Their versions; assets that do not exist, or may not be read, are left out.

    Raises:
        ee.EEException: if a request fails for another reason.
    """
    wanted = list(dict.fromkeys(ids))
    versions = planning_requests.request_each(wanted, _versions, size=_ASSETS, noun="assets")
    return {name: version for name, version in zip(wanted, versions, strict=True) if version is not None}


def _versions(ids: Sequence[str]) -> list[AssetVersion | None]:
    """Return the versions of some assets; in halves if one of them is missing or no image."""
    try:
        numbers = ee.List([ee.Image(name).get("system:version") for name in ids]).getInfo()
    except ee.EEException as error:
        if not planning_requests.is_not_found(error) and _NO_IMAGE not in str(error):
            raise
        if len(ids) == 1:
            return [_updated(ids[0])]
        half = len(ids) // 2
        return [*_versions(ids[:half]), *_versions(ids[half:])]
    return [AssetVersion(version=None if number is None else int(number)) for number in numbers or ()]


def _updated(name: str) -> AssetVersion | None:
    try:
        update_time = ee.data.getAsset(name).get("updateTime")
    except ee.EEException as error:
        if planning_requests.is_not_found(error):
            return None
        raise
    return AssetVersion(updated=None if update_time is None else str(update_time))
