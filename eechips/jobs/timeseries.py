"""``eechips timeseries``: for each region a table of a dataset's values over time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import ee
import shapely

from eechips.engine import Estimate, RunConfig
from eechips.errors import RegionError, UsageError
from eechips.jobs.options import (
    OfDataset,
    check_dataset,
    check_dates,
    check_positive,
    fetch,
    field_names,
    slug,
    split,
    takes,
)
from eechips.manifest.run import Run
from eechips.planning import facts, vectors
from eechips.planning.regions import BoxRegion, choices, parse_box, planar, table_fields
from eechips.recipe import TABLE_FORMATS, Table, TableFormat, Unit, canonical_json
from eechips.series import Series

REDUCERS = ("mean", "median", "min", "max", "sum", "stdDev", "variance", "mode", "first", "count")
"""Earth Engine's reducers of one output, by the name of their constructor."""

# Enough for any region at any scale: the default of 1e7 stops a county at 10 m.
_MAX_PIXELS = 1e13

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TimeSeries(OfDataset):
    """The recipe of ``eechips timeseries``.

    Each region makes one table: a row for each image of the dataset that meets the region, in order of time, with
    the columns region id, ``date`` (YYYY-MM-DD), one for each band, and ``count``, the number of pixels that
    were used (``<band>_count`` for each, where there are several bands). Where every pixel is masked the value
    is missing.

    Attributes:
        dataset: alias ("MODIS_LST") or Earth Engine id of a collection.
        regions: a vector file, or the id of a table of polygons on the server.
        id_field: column that identifies regions; for a file it may be None: regions are then numbered from 1.
            Features of one id are one region.
        bands: names, in order, or ``"R,G,B"``; None for the dataset's default.
        reducer: what makes one value of a region's pixels: one of ``REDUCERS``.
        bbox: ``W,S,E,N``: only regions that meet it.
        start: first day, inclusive, YYYY-MM-DD; None for no bound.
        end: last day, exclusive; None for no bound.
        scale: edge of a pixel in metres; None for the images' own pixels.
        multiply: factor for the values, on the server, before they are reduced.
        add: summand for the values, after the factor.
        format: ``csv`` or ``parquet``.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the file of regions cannot be used.
    """

    dataset: str
    regions: str
    id_field: str | None = None
    bands: Sequence[str] | str | None = None
    reducer: str = "mean"
    bbox: str | None = None
    start: str | None = None
    end: str | None = None
    scale: float | None = None
    multiply: float | None = None
    add: float | None = None
    format: TableFormat = "csv"
    box: BoxRegion | None = field(init=False, repr=False)
    sha256: str | None = field(init=False, repr=False)

    name = "timeseries"
    name_template = "series/{region}"

    def __post_init__(self) -> None:
        if isinstance(self.bands, str):  # "R,G,B", as on the command line, and not its letters
            object.__setattr__(self, "bands", tuple(name.strip() for name in self.bands.split(",")))
        _check(self)
        object.__setattr__(self, "box", parse_box(self.bbox) if self.bbox else None)
        digest = hashlib.sha256(Path(self.regions).read_bytes()).hexdigest() if self.is_file else None
        object.__setattr__(self, "sha256", digest)

    @cached_property
    def is_file(self) -> bool:
        """Whether the regions are in a local file."""
        return Path(self.regions).is_file()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the assets that are read."""
        return (self.dataset_id,) if self.is_file else (self.dataset_id, self.regions)

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that change what a region's table holds."""
        return {
            "dataset": self.dataset_id,
            "bands": list(self.bands) if self.bands else None,
            "reducer": self.reducer,
            "start": self.start,
            "end": self.end,
            "scale": self.scale,
            "multiply": self.multiply,
            "add": self.add,
            "format": self.format,
            # The geometry is in the unit where it is local; on the server, table and column say which it is.
            "regions": None if self.is_file else self.regions,
            "id_field": self.id_field,
        }

    @property
    def identity(self) -> str:
        """Sha256 of what changes results."""
        return hashlib.sha256(canonical_json({"recipe": self.name, **self.results}).encode()).hexdigest()

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All parameters as JSON."""
        return {**self.results, "regions": self.regions, "regions_sha256": self.sha256, "bbox": self.bbox}

    def get_requests(self) -> Iterator[Unit]:
        """Plans the regions.

        Yields:
            ``{"kind": "region", "region": id}``, with ``"geometry"`` (GeoJSON) where the regions are in a file, and
            ``"bands"`` for a dataset without a record whose bands were not named.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the table of regions or its column does not, or no region is left.
        """
        kind = self.known.kind if self.known else None
        about = facts.describe(self.dataset_id, kind, start=self.start, end=self.end)
        if about.kind != "collection":
            raise UsageError(f"{self.dataset_id} is a single image: it has no time series")
        if self.bands or self.known:
            about.select(self.bands or self.known.bands if self.known else self.bands or ())
            extra: dict[str, Any] = {}
        else:
            extra = {"bands": [band.name for band in about.bands]}
        for unit in self._file_units() if self.is_file else self._table_units():
            yield {**unit, **extra}

    def get_result(self, index: int, unit: Unit) -> Table:
        """The table of a region: one request, and more where its rows take several pages or are too large for one."""
        bands = list(self.bands or unit.get("bands") or (self.known.bands if self.known else ()))
        geometry = self._geometry(unit)
        reducer, names, counts = self._reducer(bands)
        id_column = self.id_field or "region"

        def row(element: Any) -> Any:
            image: Any = ee.Image(element)
            values = image.select(bands)
            if self.multiply is not None:
                values = values.multiply(self.multiply)
            if self.add is not None:
                values = values.add(self.add)
            found = values.reduceRegion(reducer=reducer, geometry=geometry, scale=self.scale, maxPixels=_MAX_PIXELS)
            columns = {id_column: unit["region"], "date": image.date().format("YYYY-MM-dd")}
            columns.update({band: found.get(name) for band, name in zip(bands, names, strict=True)})
            columns.update({column: found.get(name) for column, name in counts.items()})
            return ee.Feature(None, columns)

        images = facts.images(self.dataset_id, "collection", self.start, self.end).filterBounds(geometry)
        return Table(Series(images, row), columns=(id_column, "date", *bands, *counts), format=self.format)

    def _geometry(self, unit: Unit) -> ee.Geometry:
        if "geometry" in unit:
            return planar(shapely.geometry.shape(unit["geometry"]))
        table = ee.FeatureCollection(self.regions)
        geometry: ee.Geometry = table.filter(ee.Filter.eq(self.id_field, unit["region"])).geometry()
        return geometry

    def _reducer(self, bands: Sequence[str]) -> tuple[ee.Reducer, list[str], dict[str, str]]:
        """The reducer, the names of its values, and for each column of counts the name of its count.

        A reducer of one output names it after the band alone, one of several outputs after both.
        https://developers.google.com/earth-engine/guides/reducers_reduce_region
        """
        count = ee.Reducer.count()
        columns = ["count"] if len(bands) == 1 else [f"{band}_count" for band in bands]
        if self.reducer == "count":
            return count, list(bands), dict(zip(columns, bands, strict=True))
        reducer = getattr(ee.Reducer, self.reducer)().combine(count, sharedInputs=True)
        counts = {column: f"{band}_count" for column, band in zip(columns, bands, strict=True)}
        return reducer, [f"{band}_{self.reducer}" for band in bands], counts

    def _table_units(self) -> Iterator[Unit]:
        fields = table_fields(self.regions)
        if self.id_field is None:
            there = ", ".join(fields)
            raise UsageError(f"say with --id-field which column of {self.regions} identifies a region: {there}")
        if self.id_field not in fields:
            raise RegionError(f"{self.regions} has no field {self.id_field!r}; {choices(self.id_field, fields)}")
        table = ee.FeatureCollection(self.regions)
        if self.box:
            table = table.filterBounds(self.box.geometry())
        ids = dict.fromkeys(table.aggregate_array(self.id_field).getInfo())
        self._refuse_none(len(ids))
        _log.info("%s regions of %s", f"{len(ids):,}", self.regions)
        yield from ({"kind": "region", "region": region} for region in ids)

    def _file_units(self) -> Iterator[Unit]:
        read = vectors.read_vectors(Path(self.regions))
        fields = [str(column) for column in read.attributes.columns]
        if self.id_field is None:
            ids: list[Any] = list(range(1, len(read.geometries) + 1))
        elif self.id_field in fields:
            ids = read.attributes[self.id_field].tolist()
        else:
            raise RegionError(f"{self.regions} has no field {self.id_field!r}; {choices(self.id_field, fields)}")
        parts: dict[Any, list[Any]] = {}
        for region, geometry in zip(ids, read.geometries, strict=True):
            if region is None or region != region:
                _log.warning("%s: a region without %s is left out", self.regions, self.id_field)
            elif self.box is None or geometry.intersects(self.box.polygon()):
                parts.setdefault(region, []).append(geometry)
        self._refuse_none(len(parts))
        _log.info("%s regions in %s", f"{len(parts):,}", self.regions)
        for region, geometries in parts.items():
            whole = geometries[0] if len(geometries) == 1 else shapely.union_all(geometries)
            yield {"kind": "region", "region": region, "geometry": shapely.geometry.mapping(whole)}

    def _refuse_none(self, count: int) -> None:
        if count == 0:
            raise RegionError(f"no region of {self.regions} meets {self.bbox}" if self.bbox else "there are no regions")


_OPTIONS = field_names(TimeSeries)


def timeseries_recipe(options: Mapping[str, Any]) -> tuple[TimeSeries, RunConfig]:
    """The recipe and the run's config for the options of ``timeseries``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    recipe, config = split(TimeSeries, _OPTIONS, options, lambda made: f"timeseries-{slug(made.dataset)}")
    return recipe, config


@overload
def timeseries(dataset: str, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any) -> Estimate: ...
@overload
def timeseries(
    dataset: str, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any
) -> Run: ...
@takes(TimeSeries, RunConfig)
def timeseries(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Writes a table of a dataset's values over time for each region.

    Args:
        dataset: alias ("MODIS_LST") or Earth Engine id of a collection.
        out: folder of the results; None for ``outputs/timeseries-<dataset>``.
        dry_run: estimate only: plan, and send no pixel request.
        options: those of ``TimeSeries`` and ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``estimate_first``, the run may be
        ``paused`` after its first units. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are.

    Example:
        >>> run = eechips.timeseries("MODIS_LST", regions="counties.gpkg", id_field="geoid", reducer="max", local=True)
    """
    return fetch(*timeseries_recipe({"dataset": dataset, "out": out, "dry_run": dry_run, **options}))


def _check(recipe: TimeSeries) -> None:
    """Refuses options that are out of range or contradict each other, as far as that needs no request."""
    check_dataset(recipe.dataset)
    if recipe.reducer not in REDUCERS:
        raise UsageError(f"unknown reducer {recipe.reducer!r}; {choices(recipe.reducer, list(REDUCERS))}")
    if recipe.format not in TABLE_FORMATS:
        raise UsageError(f"unknown format {recipe.format!r}: one of {', '.join(TABLE_FORMATS)}")
    check_positive("--scale", recipe.scale)
    check_dates(recipe.start, recipe.end)
    if recipe.bands is not None and (not recipe.bands or not all(recipe.bands)):
        raise UsageError("--bands must name at least one band: A,B,C")
    if recipe.id_field in ("date", "count", *(recipe.bands or ())):
        raise UsageError(f"--id-field {recipe.id_field} is also the name of another column of the table")
    if Path(recipe.regions).suffix and not recipe.is_file and "/" not in recipe.regions:
        raise RegionError(f"there is no file {recipe.regions}")
