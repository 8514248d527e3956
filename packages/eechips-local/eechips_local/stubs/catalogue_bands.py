"""Read kinds, bands, scales and offsets of most datasets of Earth Engine's catalogue from the list in this package.

They come from ee_extra 2025.7.2 (https://github.com/r-earthengine/ee_extra, Apache License 2.0);
``tools/catalogue_bands.py`` writes the list. It has neither dates nor pixel sizes: these are guessed from ids.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.resources import files

from eechips_local.stubs.dataset_description import BandDescription, DatasetDescription, Interval, named_interval

_FILE = "catalogue_bands.jsonl.gz"
_START = datetime(1980, 1, 1, tzinfo=timezone.utc)
"""When collections begin whose dates are not known: early, so that filters by dates find images."""

_METRES = re.compile(r"(?<![\d.])(\d{1,4})\s?m(?![a-z])", re.IGNORECASE)
# Names of bands whose values are flags, or classes.
_FLAGS = re.compile(r"(^|_)(qa|qc|quality|flags?)([_\d]|$)|mask$", re.IGNORECASE)
_CLASSES = re.compile(r"class|land_?cover|crop_?type|lulc", re.IGNORECASE)
_SIZES = ((r"^LANDSAT/", 30.0), (r"^(SKYSAT|USDA/NAIP)", 1.0), (r"^MODIS/", 500.0))


@dataclass(frozen=True, slots=True)
class NameSource:
    """The datasets of which bands are known by name. It has no state."""

    def ids(self) -> list[str]:
        """Return the ids of all datasets, in order."""
        return list(_lines())

    def find(self, id: str) -> DatasetDescription | None:
        """Return the description of a dataset, or None if the list lacks it."""
        line = _lines().get(id)
        if line is None:
            return None
        _, is_collection, bands = json.loads(line)
        size = _pixel_size(id)
        return DatasetDescription(
            id=id,
            title=id,
            kind="collection" if is_collection else "image",
            bands=tuple(_band(name, value, size) for name, value in bands.items()),
            start=_START if is_collection else None,
            interval=(named_interval(id) or Interval(1, "month")) if is_collection else None,
        )


@cache
def _lines() -> dict[str, str]:
    """Return the line of each dataset by its id, not parsed."""
    content = (files("eechips_local.stubs") / _FILE).read_bytes()
    lines = gzip.decompress(content).decode().splitlines()[1:]
    return {json.JSONDecoder().raw_decode(line, 1)[0]: line for line in lines}


def _band(name: str, value: float | list[float], size: float) -> BandDescription:
    scale, offset = value if isinstance(value, list) else (value, 0.0)
    is_flag, is_class = _FLAGS.search(name) is not None, _CLASSES.search(name) is not None
    return BandDescription(
        name,
        dtype="uint8" if is_class and scale == 1.0 else None,
        pixel_size=size,
        scale=scale or 1.0,
        offset=offset,
        bits=((0, 16),) if is_flag and scale == 1.0 else (),
    )


def _pixel_size(id: str) -> float:
    """Return metres of a pixel, as the id says; 1,000 if it does not."""
    if (stated := _METRES.search(id)) is not None and float(stated[1]) > 0.0:
        return float(stated[1])
    return next((size for pattern, size in _SIZES if re.match(pattern, id)), 1000.0)
