"""Read dataset records (TOML): how items of an archive become images of an Earth Engine dataset: bands, nodata, offset,
scale, properties, fallback collections.

There is a TOML file for each pair of dataset and archive in ``records/<archive>/<dataset with _ for />.toml``. A record
may name another one with ``like``: its keys replace those of that one. ``fallback`` holds the keys in which a second
collection differs, whose items count where the first one has none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.items.item_properties import PropertyRule, number_of
from eechips_local.pixels.grids.pixel_grid import PixelGrid

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["images", "parts", "series", "single", "refused"]
"""What the items of a record are: images of a collection; parts into which such are cut; tiles of the images of a
collection, each a global one; tiles of one image; or nothing that the dataset can be served from."""


Time = Literal["item", "day", "constant"]
"""When the images of a record are: at their item's time, at the beginning of its day, or at a time that the record's
constants state, whatever the items say."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a property of an item.

    Attributes:
        property: its STAC name.
        at_least: number that it must reach; None for no bound.
        differs: value that it must not be; it may be missing. None for no such condition.
    """

    property: str
    at_least: float | None = None
    differs: Any = None

    def holds(self, properties: Mapping[str, Any]) -> bool | None:
        """Return whether an item's properties fulfil it; None if its property is no number and has to be one."""
        value = properties.get(self.property)
        if self.differs is not None:
            return bool(value != self.differs)
        if self.at_least is None:
            return True
        number = number_of(value)
        return None if number is None else number >= self.at_least


@dataclass(frozen=True, slots=True)
class ValueRule:
    """How the numbers of a file become Earth Engine's.

    Masked where the file's number is ``nodata``; then (number, at least ``least``, + ``offset``) x ``scale``. Where
    there is a ``root_unit``, the number counts in such units of a square root: it is divided by it and squared, and
    keeps its sign.

    Attributes:
        dtype: data type of the result.
        nodata: numbers of the file that are masked, besides the nodata value that it declares.
        valid: numbers of the file that are not masked, although it may declare one of them as its nodata value.
        offset: added where ``where`` holds.
        least: numbers of the file below it count as it, where an offset is added; None for no bound.
        scale: factor.
        root_unit: what 1 of a square root is in the file's numbers; None for numbers that are no square roots.
        where: conditions on the item under which the offset is added; none for all items.
    """

    dtype: str
    nodata: tuple[float, ...] = ()
    valid: tuple[float, ...] = ()
    offset: float = 0.0
    least: float | None = None
    scale: float = 1.0
    root_unit: float | None = None
    where: tuple[Condition, ...] = ()

    def for_item(self, properties: Mapping[str, Any]) -> ValueRule:
        """Return the rule for an item: without the offset if its properties do not fulfil the conditions.

        Raises:
            ArchiveRefusedError: if they do not say.
        """
        met = {condition.property: condition.holds(properties) for condition in self.where}
        unknown = [name for name, holds in met.items() if holds is None]
        if unknown:
            raise ArchiveRefusedError(
                f"An item says {unknown[0]} = {properties.get(unknown[0])!r}, which is no number: whether an offset is "
                "to be subtracted from its pixels is unknown. Leave the image out."
            )
        if all(met.values()):
            return replace(self, where=())
        return replace(self, offset=0.0, least=None, where=())

    def apply(
        self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return Earth Engine's numbers, and where they are valid.

        Args:
            values: values of the file, any shape.
            valid: where the file itself says so, same shape.

        Raises:
            ArchiveRefusedError: if the data type of the result does not have a valid number.
        """
        for number in self.valid:
            valid = valid | (values == number)
        for nodata in self.nodata:
            valid = valid & (values != nodata)
        if self.offset or self.scale != 1.0 or self.root_unit:
            numbers = values.astype(np.float64)
            if self.least is not None:
                numbers = np.maximum(numbers, self.least)
            numbers = (numbers + self.offset) * self.scale
            if self.root_unit:
                roots = numbers / self.root_unit
                numbers = roots * np.abs(roots)
            values = np.where(valid, numbers, 0.0)
        if not np.can_cast(values.dtype, self.dtype):
            if np.dtype(self.dtype).kind in "iu":
                self._check_range(values[valid])
            values = np.where(valid, values, 0)
        return values.astype(self.dtype, copy=False), valid

    def _check_range(self, numbers: npt.NDArray[Any]) -> None:
        """Refuse values that the type of the dataset cannot hold: the file is of another product."""
        if not numbers.size:
            return
        least, greatest, limits = numbers.min(), numbers.max(), np.iinfo(self.dtype)
        if not (limits.min - 1 < least and greatest < limits.max + 1):  # nor NaN
            raise ArchiveRefusedError(
                f"has numbers from {least} to {greatest}, but the dataset's are {self.dtype}. Leave the image out."
            )


@dataclass(frozen=True, slots=True)
class BandRecord:
    """Where the pixels of a band are.

    Attributes:
        name: Earth Engine's.
        asset: key of the item's asset.
        number: number of the file's band, from 1.
        value: how its numbers become Earth Engine's.
        common_name: STAC's name of the band ("nir") of files whose bands may have another order, which items then
            declare; empty for other files.
        is_always: whether images whose item lacks the asset have the band, too, wholly masked.
    """

    name: str
    asset: str
    number: int
    value: ValueRule
    common_name: str = ""
    is_always: bool = False


@dataclass(frozen=True, slots=True)
class TiledGrid:
    """The grid of an image that is made of many files.

    Attributes:
        grid: Earth Engine's, of the whole image.
        levels: decimation factors at which it is read, ascending, the first is 1.
        cell: edge of the squares, in degrees, of which the files are searched together.
        index: ``system:index`` of the only image of a collection; empty where the dataset itself is the image.
        listing: west, south, east and north in degrees of a place that every image of a series shows.
    """

    grid: PixelGrid
    levels: tuple[int, ...]
    cell: float
    index: str = ""
    listing: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """How an archive has an Earth Engine dataset.

    Attributes:
        dataset: its Earth Engine id.
        archive: whose record this is.
        title: for people.
        kind: what the items are.
        collection: the archive's id of the collection.
        index: name of the rule that makes ``system:index``; see ``image_index``.
        bands: in Earth Engine's order.
        properties: properties of images, by their Earth Engine names.
        constants: properties that all images have.
        filters: values of STAC properties that items must have.
        prefixes: prefixes of items' ids, one of which an item must have; none for any.
        omitted: conditions which all hold of items that are left out; none for no item.
        time: when the images are.
        alternate: name of the alternate address by which files are read ("s3"); empty for their own.
        is_one_grid: whether all bands of an image have one grid, so that the header of one file tells it where items
            do not.
        margin_days: by which the time of items may differ from that of Earth Engine's images.
        tiles: tiles of images that are made of many files.
        licence: licence of the archive's data.
        citation: citation that the data ask for.
        differences: from Earth Engine's pixels, in plain sentences.
        reason: why the dataset is refused.
        instead: dataset of the archive that has what there is.
        source: where these facts come from.
        fallback: record of the collection whose items count where this one has none.
    """

    dataset: str
    archive: str
    title: str
    kind: Kind
    collection: str = ""
    index: str = "item-id"
    bands: tuple[BandRecord, ...] = ()
    properties: Mapping[str, PropertyRule] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()
    omitted: tuple[Condition, ...] = ()
    time: Time = "item"
    alternate: str = ""
    is_one_grid: bool = False
    margin_days: float = 0.0
    tiles: TiledGrid | None = None
    licence: str = ""
    citation: str = ""
    differences: tuple[str, ...] = ()
    reason: str = ""
    instead: str = ""
    source: str = ""
    fallback: ArchiveRecord | None = None

    @property
    def parts(self) -> tuple[ArchiveRecord, ...]:
        """This record and its fallbacks, in order of preference."""
        return (self,) if self.fallback is None else (self, *self.fallback.parts)

    def serves(self, properties: Mapping[str, Any], item_id: str) -> bool:
        """Return whether an item is one of the dataset."""
        if any(properties.get(name) != value for name, value in self.filters.items()):
            return False
        if self.prefixes and not item_id.startswith(self.prefixes):
            return False
        return not self.omitted or any(condition.holds(properties) is False for condition in self.omitted)


class RecordError(ValueError):
    """A dataset record that cannot be understood."""


def list_records(archive: str | None = None) -> tuple[ArchiveRecord, ...]:
    """Return all dataset records, of one archive or of all, by archive and dataset."""
    return tuple(record for record in _records() if archive in (None, record.archive))


def records_of(archive: str) -> dict[str, ArchiveRecord]:
    """Return the records of an archive by Earth Engine's ids of the datasets."""
    return {record.dataset: record for record in list_records(archive)}


@cache
def _records() -> tuple[ArchiveRecord, ...]:
    records = []
    root = resources.files(__package__) / "records"
    for folder in sorted(root.iterdir(), key=lambda entry: entry.name):
        if not folder.is_dir():
            continue
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if file.name.endswith(".toml"):
                records.append(parse_record(_document(folder.name, file.name), folder.name))
    return tuple(sorted(records, key=lambda record: (record.archive, record.dataset)))


def _document(archive: str, name: str) -> dict[str, Any]:
    """Return the keys of a record, with those of the records that it is like."""
    path = resources.files(__package__) / "records" / archive / name
    own = tomllib.loads(path.read_text(encoding="utf-8"))
    like = own.pop("like", None)
    if like is None:
        return own
    folder, _, other = str(like).rpartition("/")
    return {**_document(folder or archive, f"{other}.toml"), **own}


def parse_record(document: Mapping[str, Any], archive: str) -> ArchiveRecord:
    """Return a record from its keys.

    Args:
        document: as TOML has it, without ``like``.

    Raises:
        RecordError: naming the dataset, if a key is missing or unknown.
    """
    try:
        return _parsed(document, archive)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"the record of {document.get('dataset')} in {archive} is invalid: {error!r}") from error


def _parsed(document: Mapping[str, Any], archive: str) -> ArchiveRecord:
    keys = dict(document)
    fallback = keys.pop("fallback", None)
    rules = {name: _value_rule(rule) for name, rule in keys.pop("values", {}).items()}
    tiles = keys.pop("tiles", None)
    return ArchiveRecord(
        archive=archive,
        kind=keys.pop("kind", "images"),
        bands=tuple(_bands(keys.pop("bands", {}), rules)),
        properties={name: PropertyRule.of(rule) for name, rule in keys.pop("properties", {}).items()},
        prefixes=tuple(keys.pop("prefixes", ())),
        omitted=_conditions(keys.pop("omitted", ())),
        tiles=None if tiles is None else _tiles(tiles),
        differences=tuple(keys.pop("differences", ())),
        fallback=None if fallback is None else _parsed(_overridden(document, fallback), archive),
        **keys,
    )


def _overridden(document: Mapping[str, Any], fallback: Mapping[str, Any]) -> dict[str, Any]:
    base = {name: value for name, value in document.items() if name not in ("fallback", "omitted")}
    return {**base, **fallback}


def _value_rule(rule: Mapping[str, Any]) -> ValueRule:
    keys = dict(rule)
    nodata, valid = (_numbers(keys.pop(name, [])) for name in ("nodata", "valid"))
    where = _conditions(keys.pop("where", ()))
    return ValueRule(nodata=nodata, valid=valid, where=where, **keys)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _conditions(conditions: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    listed = [conditions] if isinstance(conditions, Mapping) else conditions
    return tuple(Condition(**condition) for condition in listed)


def _bands(bands: Mapping[str, Any], rules: Mapping[str, ValueRule]) -> Iterator[BandRecord]:
    for name, band in bands.items():
        number, common_name = int(band.get("number", 1)), str(band.get("common_name", ""))
        is_always = bool(band.get("always", False))
        yield BandRecord(name, band["asset"], number, rules[band["value"]], common_name, is_always)


def _tiles(tiles: Mapping[str, Any]) -> TiledGrid:
    listing = tiles.get("listing")
    width, height = tiles["size"]
    return TiledGrid(
        PixelGrid(tiles["crs"], Affine(*tiles["transform"]), width, height),
        tuple(tiles["levels"]),
        float(tiles["cell"]),
        str(tiles.get("index", "")),
        None if listing is None else (listing[0], listing[1], listing[2], listing[3]),
    )
