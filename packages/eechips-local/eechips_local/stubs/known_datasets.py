"""Complete records and the list of names by facts that were written by hand: ``known_datasets.toml``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from eechips_local.stubs.catalogue_records import CatalogueSource
from eechips_local.stubs.dataset_description import (
    BandClass,
    BandDescription,
    BitField,
    Column,
    DatasetDescription,
    Interval,
    midnight_of,
)
from eechips_local.stubs.record_descriptions import RecordSource

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_INTERVAL = re.compile(r"(\d+) (minute|hour|day|month|year)(?:/(year|month))?")
_KEYS = (
    "ids", "start", "end", "hour", "interval", "images", "index", "pixel_size", "bounds", "transform", "composite",
    "dtype", "bands", "details", "columns", "properties", "variants", "projected_from",
)  # fmt: skip
# What records state, of datasets and of their bands.
_RECORDED = ("start", "end", "pixel_size")
_RECORDED_OF_BANDS = ("units", "scale", "offset")


@dataclass(frozen=True, slots=True)
class KnownSource:
    """Datasets that have a record, or of which bands are known by name; with facts of them. It has no state."""

    def ids(self) -> list[str]:
        """Return the ids of all datasets, in order."""
        return sorted({*RecordSource().ids(), *CatalogueSource().ids(), *tables(), *images()})

    def find(self, id: str) -> DatasetDescription | None:
        """Return the description of a dataset, or None if nothing names it."""
        recorded, catalogued = RecordSource().find(id), CatalogueSource().find(id)
        if id in tables():
            return replace(catalogued, is_point_table=tables()[id].is_point_table) if catalogued else tables()[id]
        if recorded is not None:
            return complete(_filled(recorded, catalogued) if catalogued else recorded, is_recorded=True)
        named = images().get(id) or catalogued
        return None if named is None else complete(named)


def _filled(recorded: DatasetDescription, catalogued: DatasetDescription) -> DatasetDescription:
    """Return the description of a record of eechips with what only Google's record states."""
    others = {band.name: band for band in catalogued.bands}
    return replace(
        recorded,
        bands=tuple(_filled_band(band, others.get(band.name)) for band in recorded.bands),
        columns=catalogued.columns,
        bounds=catalogued.bounds,
        interval=recorded.interval and (catalogued.interval or recorded.interval),
    )


def _filled_band(band: BandDescription, other: BandDescription | None) -> BandDescription:
    if other is None:
        return band
    if other.minimum is not None and (band.minimum is None or band.maximum is None):
        band = replace(band, minimum=other.minimum, maximum=other.maximum, is_estimated=other.is_estimated)
    return replace(
        band,
        classes=band.classes or other.classes,
        bits=band.bits or other.bits,
        wavelength=band.wavelength or other.wavelength,
    )


def complete(dataset: DatasetDescription, *, is_recorded: bool = False) -> DatasetDescription:
    """Return a description with the facts of all entries that match its id.

    Args:
        dataset: what is known without them.
        is_recorded: whether it is of a record: what that states stays, first of all bands, pixel sizes and dates.
    """
    for entry in entries():
        if entry.matches(dataset.id):
            dataset = entry.apply(dataset, is_recorded=is_recorded)
    return dataset


@dataclass(frozen=True, slots=True)
class Entry:
    """Facts of some datasets.

    Attributes:
        patterns: patterns of their ids.
        facts: as in the file.
    """

    patterns: tuple[re.Pattern[str], ...]
    facts: Mapping[str, Any]

    def matches(self, id: str) -> bool:
        """Return whether the facts are those of a dataset."""
        return any(pattern.fullmatch(id) for pattern in self.patterns)

    def apply(self, dataset: DatasetDescription, *, is_recorded: bool) -> DatasetDescription:
        """Return a description with these facts in the place of others; see :func:`complete`."""
        facts = {key: value for key, value in self.facts.items() if not is_recorded or key not in _RECORDED}
        changes = {field: convert(facts[name]) for name, (field, convert) in _CONVERSIONS.items() if name in facts}
        start = changes.get("start", dataset.start)
        if "hour" in facts and start is not None:
            changes["start"] = start.replace(hour=facts["hour"])
        if "images" in facts:
            images = changes["images"] = tuple((index, *years) for index, years in facts["images"].items())
            changes["interval"] = Interval(1, "year", "year")
            changes["start"], changes["end"] = (midnight_of(date(y, 1, 1)) for y in (images[0][1], images[-1][2] + 1))
        if "variants" in facts:
            columns = {column.name: column for column in dataset.columns}
            changes["variants"] = tuple(
                (name, _variant_values(values, columns[name])) for name, values in facts["variants"].items()
            )
        return replace(dataset, bands=self._bands(dataset.bands, facts, is_recorded=is_recorded), **changes)

    def _bands(
        self, bands: Sequence[BandDescription], facts: Mapping[str, Any], *, is_recorded: bool
    ) -> tuple[BandDescription, ...]:
        known = {band.name: band for band in bands}
        if "bands" in facts and not is_recorded:
            known = {
                band_facts["name"]: known.get(band_facts["name"], BandDescription(band_facts["name"]))
                for band_facts in facts["bands"]
            }
        for band_facts in (*facts.get("bands", ()), *facts.get("details", ())):
            for name in known:
                if re.fullmatch(band_facts["name"], name):
                    known[name] = _stated(known[name], {**band_facts, "name": name}, is_recorded=is_recorded)
        size, dtype = facts.get("pixel_size"), facts.get("dtype")
        descriptions: Iterable[BandDescription] = known.values()
        if size is not None:
            descriptions = [replace(band, pixel_size=size) for band in descriptions]
        if dtype is not None:
            descriptions = [
                band if band.dtype or band.classes or band.bits else replace(band, dtype=dtype) for band in descriptions
            ]
        return tuple(descriptions)


def _stated(band: BandDescription, stated: Mapping[str, Any], *, is_recorded: bool) -> BandDescription:
    """Return a band with what is stated of it."""
    changes = {key: value for key, value in stated.items() if key not in ("classes", "bits", "events")}
    if is_recorded:
        changes = {key: value for key, value in changes.items() if key not in _RECORDED_OF_BANDS}
    if "minimum" in changes or "maximum" in changes:
        changes["is_estimated"] = False
    if "classes" in stated and not (is_recorded and band.classes):
        changes["classes"] = tuple(
            BandClass(class_facts["value"], class_facts["name"], class_facts.get("colour", ""))
            for class_facts in stated["classes"]
        )
        changes["bits"] = ()
    if "events" in stated:
        first, last = stated["events"]
        changes |= {"events": (first, last), "bits": ()}
    if "bits" in stated:
        changes["bits"] = tuple(BitField(first, count) for first, count in stated["bits"])
    return replace(band, **changes)


def _columns(stated: Mapping[str, str | list[str]]) -> tuple[Column, ...]:
    """Return columns by their names, types and, of texts with codes, all values."""
    return tuple(
        Column(name, type_or_codes) if isinstance(type_or_codes, str) else Column(name, "STRING", tuple(type_or_codes))
        for name, type_or_codes in stated.items()
    )


def _variant_values(values: Sequence[str | int | list[int]], column: Column) -> tuple[Any, ...]:
    """Return the values of a variant, by the type of its column; three numbers stand for first, last and step."""
    if not values:
        return column.values
    listed = [range(part[0], part[1] + 1, part[2]) if isinstance(part, list) else [part] for part in values]
    return tuple(str(value) if column.type == "STRING" else value for part in listed for value in part)


def _interval(text: str) -> Interval:
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise ValueError(f"known_datasets.toml: {text!r} is no interval")
    return Interval(int(match[1]), match[2], match[3])  # type: ignore[arg-type]


def _unchanged(fact: Any) -> Any:
    return fact


_CONVERSIONS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "start": ("start", midnight_of),
    "end": ("end", lambda day: midnight_of(day) + timedelta(days=1)),
    "interval": ("interval", _interval),
    "bounds": ("bounds", tuple),
    "transform": ("transform", tuple),
    "index": ("index", _unchanged),
    "composite": ("is_composite", _unchanged),
    "columns": ("columns", _columns),
    "projected_from": ("projected_from", midnight_of),
    "properties": ("properties", _unchanged),
}
"""The field of a description that a fact replaces, and the conversion of the fact."""


@cache
def entries() -> tuple[Entry, ...]:
    """Return all entries, in order.

    Raises:
        ValueError: if an entry has an unknown key.
    """
    raw_entries = _content()["entry"]
    for entry in raw_entries:
        if unknown := sorted(set(entry) - set(_KEYS)):
            raise ValueError(f"known_datasets.toml: {entry['ids'][0]} has the unknown key {unknown[0]!r}")
    return tuple(Entry(tuple(re.compile(pattern) for pattern in entry["ids"]), entry) for entry in raw_entries)


@cache
def tables() -> Mapping[str, DatasetDescription]:
    """Return the descriptions of tables by their ids; what the catalogue states of them counts first."""
    return {
        table: DatasetDescription(
            table,
            table,
            "table",
            columns=_columns(table_facts.get("columns", {})),
            is_point_table=table_facts.get("points", False),
        )
        for table_facts in _content()["table"]
        for table in table_facts["ids"]
    }


@cache
def images() -> Mapping[str, DatasetDescription]:
    """Return the descriptions of images that neither a record nor the list of names has; entries state their bands."""
    return {image: DatasetDescription(image, image, "image") for image in _content()["image"]["ids"]}


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads((files("eechips_local.stubs") / "known_datasets.toml").read_text(encoding="utf-8"))
