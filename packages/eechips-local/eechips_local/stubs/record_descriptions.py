"""Read descriptions of datasets from the records of eechips, TOML files, where eechips is installed beside this.

Only the files are read: no code of eechips is imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eechips_local.stubs.dataset_description import (
    BandClass,
    BandDescription,
    DatasetDescription,
    Interval,
    midnight_of,
    named_interval,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ID = re.compile(r'^id = "([^"]+)"', re.MULTILINE)
_YEAR = timedelta(days=366)

# Micrometres of the usual names of bands: https://github.com/stac-extensions/eo#common-band-names
_WAVELENGTHS = {
    "coastal": 0.44, "blue": 0.47, "green": 0.55, "yellow": 0.6, "red": 0.65, "rededge": 0.71, "nir": 0.85,
    "nir08": 0.86, "cirrus": 1.37, "swir1": 1.61, "swir16": 1.61, "swir2": 2.2, "swir22": 2.2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RecordSource:
    """The datasets that have a record in eechips. It has no state."""

    def ids(self) -> list[str]:
        """Return the ids of all datasets, in order."""
        return sorted(_files())

    def find(self, id: str) -> DatasetDescription | None:
        """Return the description of a dataset, or None if it has no record."""
        record_file = _files().get(id)
        return None if record_file is None else _read(tomllib.loads(record_file.read_text(encoding="utf-8")))


def read_records() -> list[dict[str, Any]]:
    """Return the contents of all records, by id; none where eechips is not installed."""
    return [tomllib.loads(file.read_text(encoding="utf-8")) for _, file in sorted(_files().items())]


@cache
def _files() -> dict[str, Path]:
    """Return the files of records by the ids of their datasets, without parsing them."""
    spec = find_spec("eechips")
    files = {}
    for folder in () if spec is None else spec.submodule_search_locations or ():
        for file in sorted(Path(folder, "datasets", "records").glob("*.toml")):
            declared = _ID.search(file.read_text(encoding="utf-8"))
            if declared is not None:
                files[declared[1]] = file
    return files


def _read(record: Mapping[str, Any]) -> DatasetDescription:
    start, last = midnight_of(record["start"]), record.get("end")
    end = None if last is None else midnight_of(last) + timedelta(days=1)
    return DatasetDescription(
        id=record["id"],
        title=record["title"],
        kind=record["kind"],
        bands=tuple(_band(band, record) for band in record["bands"]),
        start=start,
        end=end,
        interval=None if record.get("static", False) else _interval(record, start, end),
    )


def _interval(record: Mapping[str, Any], start: datetime, end: datetime | None) -> Interval | None:
    """Return the interval that id and title name; else that of images of a day, or of a year in finished datasets."""
    named = named_interval(f"{record['id']} {record['title']}")
    if named is not None:
        return named
    if end is None:
        return Interval(1, "day")
    return Interval(1, "year") if end - start > _YEAR else None


def _band(band: Mapping[str, Any], record: Mapping[str, Any]) -> BandDescription:
    stretch = record.get("visualization", {}) if band["name"] in record["default_bands"] else {}
    low, high = stretch.get("min"), stretch.get("max")
    return BandDescription(
        name=band["name"],
        description=band.get("description", ""),
        units=band.get("units", ""),
        dtype=band.get("dtype"),
        pixel_size=band.get("pixel_size", record["pixel_size"]),
        # Records have no ranges: values of the usual picture are plausible ones.
        minimum=low if isinstance(low, int | float) else None,
        maximum=high if isinstance(high, int | float) else None,
        scale=band.get("scale", 1.0),
        offset=band.get("offset", 0.0),
        wavelength=next((_WAVELENGTHS[n] for n in band.get("common_names", ()) if n in _WAVELENGTHS), None),
        classes=tuple(
            BandClass(class_record["value"], class_record["name"], class_record.get("colour", ""))
            for class_record in band.get("classes", ())
        ),
    )
