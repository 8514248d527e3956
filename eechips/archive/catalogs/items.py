"""Create STAC items from the units of a run (footprint, dates, projection, checksum), and a STAC collection from the
run (licence, links).

The version is STAC 1.1.0 (https://github.com/radiantearth/stac-spec) with projection 2.0.0 and file 2.1.0.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone
from itertools import islice
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips import datasets
from eechips.archive.catalogs.extents import union
from eechips.formats import media_type_of
from eechips.geo.crs import is_usable, parse_crs
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.storage import ID_LENGTH
from eechips.text.timestamps import parse_timestamp
from eechips.training.cards.summary import fill_year
from eechips.training.sample import ONLY, Sample, SampleFile
from eechips.training.sample_reader import Samples

STAC_VERSION = "1.1.0"
EXTENSIONS = (
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)
GRID_EXTENSION = "https://stac-extensions.github.io/grid/v1.1.0/schema.json"
_GRID_CODE = re.compile(r"[A-Z0-9]+-[-_.A-Za-z0-9]+")  # by the schema of the extension
IMAGE = "image"
"""Key of the asset of a unit with one file."""

PREFIX = "eechips:"
"""Prefix of properties that are not part of STAC."""

_BATCH = 2000  # samples turned into items at a time
_SHA256 = "1220"  # prefix of a multihash of sha2-256 (https://multiformats.io/multihash/)
_SPDX = frozenset({"CC-BY-4.0", "CC0-1.0", "CC-BY-SA-4.0"})
_OTHER = "other"
_HOST = {"name": "Google Earth Engine", "roles": ["host"], "url": "https://earthengine.google.com"}


@dataclass(frozen=True, slots=True)
class ItemSource:
    """Properties that the items of a run share.

    Attributes:
        collection: id.
        home: path of the collection's description, which STAC requires a link to.
        base: URL or path of the folder with the files, without a slash at the end.
        info: run.json.
        dates: first and last moment, ISO 8601, for units without a known date; None if there is none.
    """

    collection: str
    home: str
    base: str
    info: Mapping[str, Any]
    dates: tuple[str, str] | None

    @property
    def datasets(self) -> list[Mapping[str, Any]]:
        """Datasets of the run with terms of use."""
        return [dataset for dataset in self.info.get("datasets", ()) if dataset.get("licence")]

    @property
    def licence(self) -> str:
        """SPDX id, if all datasets share one; else ``other``, which links explain."""
        licences = {dataset["licence"] for dataset in self.datasets}
        return licences.pop() if len(licences) == 1 and licences <= _SPDX else _OTHER

    @property
    def links(self) -> list[dict[str, str]]:
        """Links to the terms of use of the datasets."""
        return [
            {"rel": "license", "href": dataset["source"], "type": "text/html", "title": dataset["licence"]}
            for dataset in self.datasets
            if dataset.get("source")
        ]

    @property
    def span(self) -> tuple[str, str] | None:
        """First and last moment for units without dates, from the caller, the run, or its datasets."""
        parameters = self.info.get("parameters") or {}
        if self.dates is not None:
            return self.dates
        if parameters.get("start") and parameters.get("end"):
            return _moment(parameters["start"]), _moment(parameters["end"])
        known = [datasets.find_dataset(dataset["id"]) for dataset in self.info.get("datasets", ())[:1]]
        if known and known[0] is not None and known[0].end is not None:
            return _moment(known[0].start), f"{known[0].end}T23:59:59Z"
        return None


@dataclass(slots=True)
class SkippedUnits:
    """Counts of units that become no items.

    Attributes:
        without_place: units without a location on the Earth, such as tables.
        without_date: units without a known date.
    """

    without_place: int = 0
    without_date: int = 0


def items(samples: Samples, source: ItemSource, left: SkippedUnits) -> Iterator[dict[str, Any]]:
    """Yield the items of a run's units, in the order of the plan; ``left`` counts units that are skipped."""
    span = source.span
    # All links have the same members: stac-geoparquet returns null, which is invalid, for one that a link lacks.
    home = {"rel": "collection", "href": source.home, "type": "application/json", "title": source.collection}
    links = [home, *source.links]
    common = {"license": source.licence}
    rest = iter(samples)
    while batch := list(islice(rest, _BATCH)):
        grids = [[file.grid for file in sample.files] for sample in batch]
        places = np.array(_places(grids), dtype=object)
        texts, boxes = shapely.to_geojson(places).tolist(), shapely.bounds(places).tolist()
        for sample, own, place, text, box in zip(batch, grids, places, texts, boxes, strict=True):
            times = _times(sample, span)
            if place is None or place.is_empty:
                left.without_place += 1
            elif times is None:
                left.without_date += 1
            else:
                is_whole = place.geom_type == "Polygon"
                bbox = box if is_whole else union(shapely.bounds(shapely.get_parts(place))).bbox
                geometry = {"geometry": json.loads(text), "bbox": bbox}
                yield _item(sample, own, geometry, {**times, **common}, source, links)


def collection_of(source: ItemSource, bbox: Sequence[float], start: str | None, end: str | None) -> dict[str, Any]:
    """Return the STAC collection of a run's items."""
    used = [dataset.get("title") or dataset["id"] for dataset in source.datasets]
    command = str(source.info.get("command", "")).strip()
    notes = " ".join(source.info.get("notes", ()))
    description = f"Chips of {', '.join(used) or 'Google Earth Engine'}, made by `{command}`." if command else "Chips."
    days = None if start is None or end is None else (start, end)
    citations = [fill_year(dataset["citation"], days) for dataset in source.datasets]
    producers = [{"name": name, "roles": ["producer"]} for name in citations]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": source.collection,
        "description": f"{description} {notes}".strip(),
        "license": source.licence,
        "providers": [*producers, _HOST],
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[start, end]]}},
        "links": source.links,
    }


def _item(
    sample: Sample,
    grids: Sequence[Grid | None],
    geometry: dict[str, Any],
    properties: dict[str, Any],
    source: ItemSource,
    links: list[dict[str, str]],
) -> dict[str, Any]:
    common = next((grid for grid in grids if grid is not None), None)
    code = _grid_code(sample)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [*EXTENSIONS, GRID_EXTENSION] if code else list(EXTENSIONS),
        "id": sample.id[:ID_LENGTH],
        "collection": source.collection,
        **geometry,
        "properties": properties | _own(sample) | _projection(common) | code,
        "links": links,
        "assets": {
            file.layer if file.layer != ONLY else IMAGE: _asset(file, source.base)
            | (_asset_times(file) if len(sample.files) > 1 else {})
            | (_projection(grid) if grid != common else {})
            for file, grid in zip(sample.files, grids, strict=True)
        },
    }


def _grid_code(sample: Sample) -> dict[str, str]:
    """Return the property of the extension ``grid``: the cell at whose centre a sample was taken."""
    code = sample.fields.get("grid_code")
    return {"grid:code": code} if isinstance(code, str) and _GRID_CODE.fullmatch(code) else {}


def _own(sample: Sample) -> dict[str, Any]:
    """Return the properties that are not part of STAC: of the unit, its result and its quality."""
    fields = {name: value for name, value in sample.fields.items() if name not in ("date", "time", "start", "end")}
    properties = {
        **fields,
        "valid_fraction": sample.valid_fraction,
        "split": sample.split,
        "sources": list(sample.sources) or None,
    }
    if sample.flags is not None:
        properties["flags"] = list(sample.flags)
    own = {f"{PREFIX}{name}": value for name, value in properties.items() if value is not None}
    finished = {"updated": sample.finished} if sample.finished else {}
    return finished | own


def _asset(file: SampleFile, base: str) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": f"{base}/{file.name}",
        "roles": ["data"],
        "file:size": file.bytes,
        "file:checksum": f"{_SHA256}{file.sha256}",
    }
    media_type = media_type_of(file.suffix)
    if media_type is not None:
        asset["type"] = media_type
    if file.width is not None and file.bands:
        asset["bands"] = [{"name": name} for name in file.bands]
    if file.width is not None and file.dtype:
        asset["data_type"] = file.dtype
    return asset


def _asset_times(file: SampleFile) -> dict[str, str | None]:
    """Return the times of one of several files, always all three; nothing if they are unknown."""
    period = (file.start, file.end) if file.start and file.end else None
    return _time_span(file.dates, period) or {}


def _projection(grid: Grid | None) -> dict[str, Any]:
    """Return the properties of the extension ``projection``; the shape is rows, columns."""
    if grid is None:
        return {}
    return {**_crs(grid.crs), "proj:shape": list(grid.shape), "proj:transform": list(grid.transform)}


@functools.cache
def _crs(crs: str) -> dict[str, Any]:
    """Return the code of a registered CRS, or WKT."""
    authority = parse_crs(crs).to_authority(min_confidence=100)
    return {"proj:code": ":".join(authority)} if authority else {"proj:wkt2": parse_crs(crs).to_wkt()}


def _places(grids: Sequence[Sequence[Grid | None]]) -> list[BaseGeometry | None]:
    """Return the footprints of samples, each of the grids of all its files that lie on the Earth."""
    every = [list(dict.fromkeys(grid for grid in own if grid is not None and is_usable(grid.crs))) for own in grids]
    outlines = iter(footprints([grid for own in every for grid in own]))
    places: list[BaseGeometry | None] = []
    for own in every:
        parts = [part for part in islice(outlines, len(own)) if part is not None]
        places.append(parts[0] if len(parts) == 1 else shapely.union_all(parts) if parts else None)
    return places


def _times(sample: Sample, span: tuple[str, str] | None) -> dict[str, str | None] | None:
    """Return datetime, start_datetime and end_datetime of a sample's images, or of its period."""
    unit = sample.unit
    has_period = isinstance(unit.get("start"), str) and isinstance(unit.get("end"), str)
    return _time_span(sample.dates, (unit["start"], unit["end"]) if has_period else span)


def _time_span(dates: Sequence[str], period: tuple[str, str] | None) -> dict[str, str | None] | None:
    """Return datetime, start_datetime and end_datetime of dates or, without any, of a period; None without both."""
    moments = sorted({_moment(date) for date in [date for date in dates if parse_timestamp(date)] or period or ()})
    if not moments:
        return None
    first, last = moments[0], moments[-1]
    return {"datetime": first if first == last else None, "start_datetime": first, "end_datetime": last}


def _moment(text: str) -> str:
    """Format a date, or date and time, as RFC 3339 in UTC, with microseconds: Landsat's items have further digits."""
    moment = parse_timestamp(text)
    return text if moment is None else moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
