"""Read what Google's records state of the datasets of Earth Engine's catalogue, from the list in this package, and
guess what they leave open.

They come from https://github.com/google/earthengine-catalog (Apache License 2.0); ``tools/catalogue_records.py`` writes
the list. What is guessed follows from the id and the title.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from eechips_local.stubs.dataset_description import (
    BandDescription,
    BitField,
    DatasetDescription,
    Interval,
    named_interval,
)
from eechips_local.stubs.stac_descriptions import read_collection

_FILE = "catalogue_records.jsonl.gz"
_START = '{"id":"'
_METRES = re.compile(r"(?<![\d.])(\d{1,4})\s?m(?![a-z])", re.IGNORECASE)
# Names of bands whose values are flags.
_FLAGS = re.compile(r"(^|_)(qa|qc|quality|flags?)([_\d]|$)|mask$", re.IGNORECASE)
_EVAPORATION = re.compile(r"(^|[_\W])et([_\W]|$)|evapotranspiration", re.IGNORECASE)
_EVAPORATED = 10.0
"""Millimetres a day, of hot and dry land: https://www.fao.org/4/x0490e/x0490e04.htm, table 2."""
_DAYS = {"day": 1, "month": 31}
_YEAR = 365
_ALL_BITS = BitField(0, 16)
_BRIGHTEST = 2.0
"""Reflectance that no pixel exceeds."""


@dataclass(frozen=True, slots=True)
class CatalogueSource:
    """The datasets of Earth Engine's catalogue. It has no state."""

    def ids(self) -> list[str]:
        """Return the ids of all datasets, in order."""
        return list(_lines())

    def find(self, id: str) -> DatasetDescription | None:
        """Return the description of a dataset, or None if the list lacks it."""
        line = _lines().get(id)
        dataset = None if line is None else read_collection(json.loads(line))
        if dataset is None:
            return None
        size = _pixel_size(f"{id} {dataset.title}")
        interval = dataset.interval or named_interval(f"{id} {dataset.title}")
        if interval is None and dataset.end is None and dataset.kind == "collection":
            interval = Interval(1, "day")  # images are still added, how often is not stated
        return replace(
            dataset,
            bands=tuple(
                _limited(_completed(_reflected(band, dataset.title), size), interval) for band in dataset.bands
            ),
            interval=interval,
        )


@cache
def _lines() -> dict[str, str]:
    """Return the line of each dataset by its id, not parsed."""
    content = (files("eechips_local.stubs") / _FILE).read_bytes()
    lines = gzip.decompress(content).decode().splitlines()[1:]
    return {line[len(_START) : line.index('"', len(_START))]: line for line in lines}


def _reflected(band: BandDescription, title: str) -> BandDescription:
    """Return a band of reflectances without a range of digital numbers, which pictures of some records show."""
    is_number = band.scale == 1.0 and band.wavelength is not None and (band.maximum or 0.0) > _BRIGHTEST
    return replace(band, minimum=None, maximum=None) if is_number and "TOA Reflectance" in title else band


def _completed(band: BandDescription, size: float | None) -> BandDescription:
    """Return a band with what its name and the dataset's id say, where the record says nothing."""
    is_open = band.minimum is None and not band.classes and not band.bits and band.scale == 1.0
    bits = (_ALL_BITS,) if is_open and _FLAGS.search(band.name) else band.bits
    return replace(band, pixel_size=band.pixel_size or size, bits=bits)


def _limited(band: BandDescription, interval: Interval | None) -> BandDescription:
    """Return a band whose evapotranspiration is one of the interval.

    A picture of more than can evaporate in it shows the sum of a year, of which the interval has its share. Estimated
    ranges are of pixels.
    """
    days = None if interval is None else interval.number * _DAYS.get(interval.unit, 0)
    if (
        not days
        or band.maximum is None
        or band.is_estimated
        or band.units != "mm"
        or not _EVAPORATION.search(f"{band.name} {band.description}")
        or band.maximum * band.scale <= days * _EVAPORATED
    ):
        return band
    most = min(band.maximum * days / _YEAR, days * _EVAPORATED / band.scale)
    return replace(band, maximum=most)


def _pixel_size(text: str) -> float | None:
    """Return metres of a pixel, as an id and a title say; None if they do not."""
    stated = _METRES.search(text)
    return float(stated[1]) if stated is not None and float(stated[1]) > 0.0 else None
