"""Read descriptions of datasets from STAC collections (the folder of ``--demo-datasets``), in the form in which Earth
Engine's catalogue is published.

Fields, also those that begin with ``gee:``: https://developers.google.com/earth-engine/datasets/catalog and
https://github.com/google/earthengine-catalog/tree/main/checker. A file is named by the id of its dataset, with
underscores for slashes, so that it is found without reading the others.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

from eechips_local.evaluation.asset_model import Bounds
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.stubs.dataset_description import (
    GLOBE,
    BandClass,
    BandDescription,
    BitField,
    Column,
    DatasetDescription,
    Interval,
    Kind,
)
from eechips_local.stubs.stated_values import stated_limits, stated_values
from eechips_local.stubs.stub_bands import usual_values
from eechips_local.values.calendar import parse_timestamp

_SUFFIX = ".json"
_KINDS: Mapping[str, Kind] = {"image": "image", "image_collection": "collection", "table": "table"}
_UNITS = ("minute", "hour", "day", "month", "year")
_WHOLE = 1e-6
_ALL = 0.9
"""Share of the greatest value up to which a picture shows nearly all values."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FACTORS = ("gee:scale", "gee:offset")


@dataclass(frozen=True, slots=True)
class StacSource:
    """The datasets that STAC collections in a folder describe.

    Attributes:
        folder: searched with its subfolders, once in a process.
    """

    folder: Path

    def ids(self) -> list[str]:
        """Return the ids of all datasets, in order. Reads every file."""
        return sorted(_ids(self.folder))

    def find(self, id: str) -> DatasetDescription | None:
        """Return the description of a dataset, or None if no file describes it.

        Raises:
            InvalidError: if its file is not a STAC collection.
        """
        path = _files(self.folder).get(id.replace("/", "_"))
        if path is None:
            return None
        collection = _load(path)
        if collection.get("id") != id:
            return None
        try:
            return read_collection(collection)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InvalidError(f"{path.name} of --demo-datasets does not describe a dataset: {error!r}.") from error


@cache
def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their names without the suffix."""
    return {path.stem: path for path in sorted(folder.rglob(f"*{_SUFFIX}")) if path.is_file()}


@cache
def _ids(folder: Path) -> frozenset[str]:
    collections = (_load(path) for path in _files(folder).values())
    return frozenset(
        collection["id"]
        for collection in collections
        if collection.get("gee:type") in _KINDS and isinstance(collection.get("id"), str)
    )


def _load(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file.

    Raises:
        InvalidError: if it is none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidError(f"{path.name} of --demo-datasets cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidError(f"{path.name} of --demo-datasets is not a JSON object.")
    return document


def read_collection(collection: Mapping[str, Any]) -> DatasetDescription | None:
    """Return the description of a STAC collection, or None if it is no image, image collection or table.

    Raises:
        KeyError: if a field is missing; TypeError, ValueError, IndexError or AttributeError if it has another form.
    """
    kind = _KINDS.get(collection.get("gee:type", ""))
    if kind is None:
        return None
    summaries = collection.get("summaries", {})
    start, end = _times(collection["extent"]["temporal"]["interval"])
    interval = collection.get("gee:interval") or {}
    is_climatology = interval.get("type") == "climatological_interval" and interval.get("unit") == "month"
    if is_climatology and start is not None:  # one year stands for all
        start, end = (datetime(start.year + years, 1, 1, tzinfo=timezone.utc) for years in (0, 1))
    size = _first(summaries.get("gsd"))
    described = [] if kind == "table" else list(summaries.get("eo:bands", ()))
    if any(_shows_values(band, summaries) for band in described):
        described = [{key: value for key, value in band.items() if key not in _FACTORS} for band in described]
        summaries = {**summaries, **_scaled(summaries)}
    return DatasetDescription(
        id=collection["id"],
        title=collection.get("title", ""),
        kind=kind,
        bands=tuple(_band(band, summaries, size) for band in described),
        columns=tuple(
            _column(column["name"], column["type"], column.get("description", ""))
            for column in summaries.get("gee:schema", ())
        ),
        start=start,
        end=end,
        interval=_interval(interval),
        bounds=_bounds(collection["extent"]["spatial"]["bbox"]),
        is_point_table=_has_points(summaries.get("gee:visualizations", ())),
        # Images of a climatology are named by their month: https://developers.google.com/earth-engine/datasets/catalog
        index="%m" if is_climatology else None,
    )


def _column(name: str, type: str, description: str) -> Column:
    return Column(name, type, stated_values(description, type), stated_limits(description, type))


def _first(value: Any) -> float | None:
    """Return a number, or the first of a list of numbers."""
    number = value[0] if isinstance(value, list) and value else value
    return float(number) if isinstance(number, int | float) and number > 0 else None


def _times(intervals: Iterable[Iterable[str | None]]) -> tuple[datetime | None, datetime | None]:
    """Return the earliest start and the latest end; None where one is open."""
    starts, ends = zip(*((_time(start), _time(end)) for start, end in intervals), strict=True)
    known = [start for start in starts if start is not None]
    closed = [end for end in ends if end is not None]
    return min(known, default=None), max(closed) if len(closed) == len(ends) else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_timestamp(text)


def _interval(interval: Mapping[str, Any] | None) -> Interval | None:
    if interval is None:
        return None
    unit, count = interval.get("unit"), interval.get("interval")
    if unit == "week" and isinstance(count, int):
        return Interval(7 * count, "day")
    if unit not in _UNITS or not isinstance(count, int) or count < 1:
        return None
    return Interval(count, unit)


def _bounds(boxes: Iterable[Sequence[float]]) -> Bounds:
    """Return the bounds of all boxes, within the globe."""
    boxes = list(boxes)
    if any(len(box) != 4 or not all(math.isfinite(v) for v in box) for box in boxes):
        return GLOBE
    west, south, east, north = (f(box[n] for box in boxes) for n, f in enumerate((min, min, max, max)))
    west, south, east, north = max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0)
    return (west, south, east, north) if west < east and south < north else GLOBE


def _band(band: Mapping[str, Any], summaries: Mapping[str, Any], size: float | None) -> BandDescription:
    scale, offset = _factors(band)
    low, high = _range(band["name"], scale, band.get("gee:units", ""), summaries)
    stated = summaries.get(band["name"])
    limits = stated if isinstance(stated, dict) else {}
    mask = band.get("gee:bitmask", {})
    return BandDescription(
        name=band["name"],
        description=band.get("description", ""),
        units=band.get("gee:units", ""),
        pixel_size=_first(band.get("gsd")) or size,
        minimum=low,
        maximum=high,
        # A picture that shows much less than the extremes shows the usual values.
        is_estimated=bool(limits.get("gee:estimated_range")) and high is not None and high >= _ALL * limits["maximum"],
        scale=scale,
        offset=offset,
        wavelength=_wavelength(band),
        classes=tuple(
            BandClass(
                int(class_facts["value"]), str(class_facts.get("description", "")), str(class_facts.get("color", ""))
            )
            for class_facts in band.get("gee:classes", ())
        ),
        bits=tuple(
            BitField(
                int(part["first_bit"]), int(part["bit_count"]), tuple(int(v["value"]) for v in part.get("values", ()))
            )
            for part in mask.get("bitmask_parts", ())
        ),
    )


def _range(
    name: str, scale: float, units: str, summaries: Mapping[str, Any]
) -> tuple[float, float] | tuple[None, None]:
    """Return the least and greatest stored value: those stated, as far as the pictures of the record show them.

    Stated ranges hold rare values, such as a rain of 5 m; a picture shows the usual ones. Where none of the stated
    values is usual for the units and those of the picture are, the stated ones are of the files that were scaled.
    """
    stated = summaries.get(name)
    pictured = _pictured(name, summaries.get("gee:visualizations", ()))
    if not isinstance(stated, dict) or "minimum" not in stated or "maximum" not in stated:
        return pictured or (None, None)
    low, high = _stored(float(stated["minimum"]), float(stated["maximum"]), scale)
    if pictured is not None:
        inner = max(low, pictured[0]), min(high, pictured[1])
        if inner[0] < inner[1]:
            return inner
        usual = usual_values(units)
        if usual is not None and scale == 1.0 and not _meet(usual, (low, high)) and _meet(usual, pictured):
            return pictured
    return low, high


def _factors(band: Mapping[str, Any]) -> tuple[float, float]:
    scale, offset = _FACTORS
    return float(band.get(scale, 1.0)) or 1.0, float(band.get(offset, 0.0))


def _shows_values(band: Mapping[str, Any], summaries: Mapping[str, Any]) -> bool:
    """Return whether the picture of a scaled band shows usual values in its units, and none of the stored range.

    The dataset has values in units then, and what its record states is of the files that they come from. Records of
    MODIS/061/MOD21C1 have such a picture, and say that "scale factors and offsets … are already applied".
    """
    stated, usual = summaries.get(band["name"]), usual_values(band.get("gee:units", ""))
    pictured = _pictured(band["name"], summaries.get("gee:visualizations", ()))
    if usual is None or pictured is None or not isinstance(stated, dict) or _factors(band) == (1.0, 0.0):
        return False
    return _meet(usual, pictured) and not _meet((float(stated["minimum"]), float(stated["maximum"])), pictured)


def _scaled(summaries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stated ranges of bands with their scales and offsets applied."""
    ranges = {}
    for band in summaries["eo:bands"]:
        stated, (scale, offset) = summaries.get(band["name"]), _factors(band)
        if isinstance(stated, dict):
            ranges[band["name"]] = {
                **stated,
                "minimum": stated["minimum"] * scale + offset,
                "maximum": stated["maximum"] * scale + offset,
            }
    return ranges


def _meet(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return max(first[0], second[0]) < min(first[1], second[1])


def _stored(low: float, high: float, scale: float) -> tuple[float, float]:
    """Return a stated range as stored values; fractions that the scale makes whole are values after it."""
    ends = low / scale, high / scale
    is_physical = not (low.is_integer() and high.is_integer()) and all(abs(v - round(v)) < _WHOLE for v in ends)
    return (float(round(ends[0])), float(round(ends[1]))) if scale != 1.0 and is_physical else (low, high)


def _pictured(name: str, visualizations: Iterable[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Return the range in which the first picture of a band shows it."""
    for visualization in visualizations:
        stretch = visualization.get("image_visualization", {}).get("band_vis", {})
        shown = stretch.get("bands", ())
        if name in shown:
            lows, highs = _listed(stretch.get("min")), _listed(stretch.get("max"))
            if lows and highs:
                place = shown.index(name)
                ends = lows[place % len(lows)], highs[place % len(highs)]
                return ends if ends[0] < ends[1] else None
    return None


def _listed(value: Any) -> list[float]:
    numbers = value if isinstance(value, list) else [value]
    return [float(number) for number in numbers if isinstance(number, int | float)]


def _wavelength(band: Mapping[str, Any]) -> float | None:
    """Return the central wavelength in micrometres; None if the band has none."""
    centre = band.get("center_wavelength")
    if isinstance(centre, int | float):
        return float(centre) / 1000.0 if centre > 100 else float(centre)
    text = band.get("gee:wavelength")
    if not isinstance(text, str):
        return None
    ends = [float(number) for number in _NUMBER.findall(text)[:2]]
    if not ends:
        return None
    middle = sum(ends) / len(ends)
    return middle / 1000.0 if "nm" in text or middle > 100 else middle


def _has_points(visualizations: Iterable[Mapping[str, Any]]) -> bool:
    return any("point_size" in visualization.get("table_visualization", {}) for visualization in visualizations)
