"""Fetch values of a dataset at points, or over polygons, of a table, as ``eechips points`` does: check its options,
plan cells, report rows without a value.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import shapely

from eechips.builtin_recipes.chosen_dataset import ChosenDataset, choose_dataset
from eechips.builtin_recipes.place_files import run_with_places
from eechips.builtin_recipes.recipe_options import BuiltinRecipe, DateColumn, PlaceColumns, check_dates, parse_format
from eechips.builtin_recipes.tables.embedding_means import vector_bands, warn_of_partial_vector
from eechips.builtin_recipes.tables.merged_points import PointTable
from eechips.builtin_recipes.tables.point_queries import IMAGE, IMAGE_DATE, Pairs, PointQuery, value_columns
from eechips.builtin_recipes.tables.point_survey import DAY, Mode, SourceSummary, count_images, day_of, summarize_source
from eechips.builtin_recipes.tables.table_options import COMPOSITES, PointsOptions
from eechips.engine.config import RunConfig
from eechips.engine.run_options import LedgerOptions
from eechips.errors import RegionError, UsageError
from eechips.formats import TABLE_FORMATS
from eechips.formats.parquet import IMPORTS
from eechips.geo.ellipsoid import Floats, Indices
from eechips.geo.vector_paths import describe_missing, hash_vectors, is_vector_file
from eechips.option_fields import takes
from eechips.planning import asset_metadata
from eechips.planning.areas.place_groups import divide_shapes, merge_duplicates
from eechips.planning.areas.region_reducers import parse_statistics
from eechips.planning.grid_alignment import check_scale
from eechips.planning.imagery.expressions import box_around_all
from eechips.planning.imagery.inventory import SceneQuery
from eechips.planning.imagery.periods import parse_window
from eechips.planning.place_tables import Places, read_places
from eechips.recipe import Table, Unit, recipe_identity
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.engine.results.result_assembly import Results
    from eechips.manifest.run import Run

_log = logging.getLogger(__name__)


class PointValues(BuiltinRecipe[PointsOptions]):
    """The recipe of ``eechips points``.

    The places are divided into cells (:mod:`eechips.planning.areas.place_groups`). Each cell is a unit, and takes one
    request: ``Image.reduceRegions`` of the cell's places, mapped over the images that meet them. At the end all cells
    are merged to one table: the user's columns and rows in their order, with the values.

    The value of a point is that of the pixel that contains it, on the band's own grid in each image, not resampled.
    The value of a polygon is a reduction of the pixels that it covers, weighted by the covered part of each. If all
    pixels are masked, the value is missing. Bands of different grids are reduced separately. Means of all bands of a
    unit vector (embeddings) are divided by their length.

    Args:
        options: see :class:`eechips.builtin_recipes.tables.table_options.PointsOptions`.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the file does not exist.
    """

    name = "points"
    options_class = PointsOptions
    name_template = "cells/{id}"
    is_concurrent = True
    imports = IMPORTS

    def __init__(self, **options: Any) -> None:
        self.options = chosen = PointsOptions(**{**options, "points": str(options["points"])})
        self.source = choose_dataset(chosen)
        self.place_columns = PlaceColumns.parse(chosen.columns, ("lon", "lat", "id", "date"))
        self.statistics = parse_statistics(chosen.reducer or "mean")
        self.datasets = self.source.masked_ids
        _check(chosen, self.source, self.place_columns.date)

    def receive_config(self, config: RunConfig) -> None:
        """Check that the places of dates are points.

        Raises:
            UsageError: if they are polygons.
            RegionError: if the file cannot be used.
        """
        if self.places.kind != "points" and self.place_columns.date is not None:
            raise UsageError("`columns` date=NAME is for points; polygons can have `each_image`")

    def __getstate__(self) -> dict[str, Any]:
        # Workers receive the places in their units.
        return {name: value for name, value in self.__dict__.items() if name != "places"}

    @cached_property
    def places(self) -> Places:
        """The rows of the file, read on first use."""
        columns, date = self.place_columns, self.place_columns.date
        dates = None if date is None else (date.name, date.format)
        path, crs = Path(self.options.points), self.options.input_crs
        file_places = read_places(path, columns.lon, columns.lat, crs=crs, dates=dates)
        if not len(file_places.known):
            raise RegionError(f"no row of {self.options.points} has coordinates")
        if self.options.reducer is not None and file_places.kind == "points":
            raise UsageError("`reducer` is for polygons: a point has the value of the pixel that it lies in")
        if self.place_columns.id is not None:
            file_places.check_unique(self.place_columns.id)
        options, is_points, known = self.options, file_places.kind == "points", self.source.known
        choices = (dates, options.start, options.end, options.each_image, options.composite)
        if is_points and not any(choices) and not (known and known.is_single_period):
            file_places.warn_of_unused_dates()
        return file_places.with_coordinates()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hash_vectors(Path(self.options.points))

    @property
    def reach(self) -> float:
        """Maximum time between a row's moment and its image, in milliseconds.

        The moment of a date is noon; half a day is added, so that the interval has whole days.
        """
        return parse_window(self.options.near or "").total_seconds() * 1000 + DAY / 2

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the values as JSON."""
        date = self.place_columns.date
        return {
            "dataset": self.source.dataset_id,
            "points": self.options.points,
            "points_sha256": self.sha256,
            "lon_field": self.place_columns.lon,
            "lat_field": self.place_columns.lat,
            "bands": self.source.compared_bands(self.source.bands),
            **self.source.selection.parameters,
            "start": self.options.start,
            "end": self.options.end,
            **({"where": list(map(str, self.source.conditions))} if self.source.conditions else {}),
            "each_image": self.options.each_image,
            "composite": self.options.composite,
            "date_field": None if date is None else date.name,
            **({"date_format": date.format} if date is not None and date.format is not None else {}),
            "window": self.options.near,
            "mask": self.source.mask.text if self.source.mask else None,
            "scale": self.options.scale,
            "reducer": self.options.reducer,
            **({"unit_vector": True} if vector_bands(self.source.known, self.source.selection) else {}),
            **({"input_crs": self.options.input_crs} if self.options.input_crs is not None else {}),
        }

    @property
    def assembly(self) -> dict[str, Any]:
        """The parameters of the table; if one changes, the table is made again from the same values."""
        return {"id_field": self.place_columns.id, "prefix": self.options.prefix, "format": self.options.format}

    @property
    def identity(self) -> str:
        """SHA-256 of the parameters that determine the values; without the path of the file."""
        return recipe_identity(self.name, {**self.parameters, "points": None})

    def read_inputs(self) -> None:
        """Read the file of places; see :class:`eechips.recipe.SupportsInputs`."""
        self.places  # noqa: B018 - it is kept
        self._moments()

    def get_requests(self) -> Iterator[Unit]:
        """Plan the cells.

        Yields:
            ``{"kind": "cell", …}`` with ``at`` (longitude and latitude of each place) or ``geometries`` (GeoJSON),
            ``rows`` (for each place the index of its row, or of its rows), ``moments`` (of each place, in milliseconds,
            if rows have dates), ``start`` and ``end`` if there are too many images for one request, and the fields of
            the :class:`~eechips.builtin_recipes.tables.point_survey.SourceSummary`.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            UsageError: if the options do not fit the dataset, or names of columns collide.
            RegionError: if the file cannot be used.
        """
        moments = self._moments()
        rows = self._complete_rows(moments)
        summary = self._survey(rows, moments)
        if (self.options.composite == "mean") if self.is_points else ("mean" in self.statistics.names):
            warn_of_partial_vector(self.source.known, self.source.selection)
        shapes = self.places.geometries[rows]
        times = None if moments is None else moments[rows]
        is_shared = self.options.scale is None and self.source.mask is None and self.is_points
        alike = merge_duplicates(shapes, times, summary.shared if is_shared else None)
        first = np.array([group[0] for group in alike])
        moments_of_places = None if times is None else times[first]
        parts = list(divide_shapes(shapes[first], summary.cost, moments_of_places))
        _log.info(
            "%s%s in %s; %s at each, about",
            format_count(len(rows), self.places.kind[:-1]),
            f", {len(alike):,} of them different," if len(alike) < len(rows) else "",
            format_count(len(parts), "cell"),
            format_count(summary.images, "image"),
        )
        for part in parts:
            groups = [rows[alike[index]].tolist() for index in part]
            own: Unit = {"rows": [group[0] if len(group) == 1 else group for group in groups]}
            if self.is_points:
                own["at"] = shapely.get_coordinates(shapes[first[part]]).tolist()
            else:
                own["geometries"] = [shapely.geometry.mapping(shapes[first[index]]) for index in part]
            if times is not None:
                own["moments"] = [int(moment) for moment in times[first[part]]]
            for start, end in summary.ranges:
                yield {"kind": "cell", **summary.to_json(), **own, "start": start, "end": end}

    def _complete_rows(self, moments: Floats | None) -> Indices:
        """Return the indices of rows with a place and, if rows have dates, a date; warn of the others.

        Raises:
            RegionError: if no row has them.
        """
        has_place = ~shapely.is_missing(self.places.geometries)
        rows = np.flatnonzero(has_place if moments is None else has_place & ~np.isnan(moments))
        if not len(rows):
            raise RegionError(f"no row of {self.options.points} has both a place and a date")
        if not has_place.all():
            _log.warning("no values for %s without coordinates", format_count(int((~has_place).sum()), "row"))
        if (date := self.place_columns.date) is not None and moments is not None and np.isnan(moments).any():
            _log.warning("no values for %s without %s", format_count(int(np.isnan(moments).sum()), "row"), date.name)
        return rows

    def get_result(self, index: int, unit: Unit) -> Table:
        """Describe the values of a cell: one request, or more if its rows need several pages.

        The table has the columns ``place`` (index in the unit's ``rows``), ``image`` and ``image_date`` if images are
        named, and one for each value.
        """
        question = PointQuery(
            unit=unit,
            dataset=self.source.dataset_id,
            selection=self.source.selection.planned(unit),
            start=self.options.start,
            end=self.options.end,
            composite=self.options.composite or COMPOSITES[0],
            mask=self.source.mask,
            scale=self.options.scale,
            statistics=self.statistics,
            reach=self.reach if self.place_columns.date is not None else 0.0,
        )
        return Table(question.divisible(), format="parquet", unpack=Pairs(question, self._vector(question)).columns_of)

    def assemble(self, results: Results) -> None:
        """Merge the tables of all cells."""
        harvest = PointTable(
            self.places, keep=self.place_columns.id, prefix=self.options.prefix, format=self.options.format
        )
        counts: set[str] = set()
        for settled in results:
            harvest.add(settled.unit["rows"], settled.path)
            counts.update(() if self.is_points else self.statistics.counts(settled.unit["bands"]))
        name = f"points.{self.options.format}"
        if harvest.failed:
            results.say(
                f"{format_count(harvest.failed, 'row')} of {self.options.points} left out of {name}: their cells failed"
            )
        if harvest.has_values:
            with results.make(name) as path:
                valueless = harvest.write(path, counts)
            if valueless:
                near = f" within {self.options.near} of its date" if self.options.near else ""
                share = f"{valueless:,} of {len(self.places):,} rows in {name}"
                small = "" if self.is_points else ", or the polygons are smaller than a pixel"
                results.say(f"{share} without a value: no image{near} has data there{small}")

    @property
    def is_points(self) -> bool:
        """Return whether the places are points, not polygons."""
        return self.places.kind == "points"

    def _vector(self, query: PointQuery) -> tuple[str, ...]:
        """Return the columns that are together a mean vector, which is divided by its length; empty if none are."""
        bands = vector_bands(self.source.known, self.source.selection)
        if query.is_points:  # the values of a pixel, unless they are means of several images
            return bands if self.options.composite == "mean" else ()
        return self.statistics.columns_of("mean", bands) if self.options.composite in (None, "latest", "mean") else ()

    def _moments(self) -> Floats | None:
        """Return the moment of each row's date, in milliseconds since 1970; None if rows have no dates."""
        if (date := self.place_columns.date) is None:
            return None
        moments = self.places.moments(date.name, date.format)
        if np.isnan(moments).all():
            raise RegionError(f"no row of {self.options.points} has a date in {date.name}")
        # The moment of a date is noon, so that morning and evening of the day are equally near.
        return np.where(moments % DAY == 0, moments + DAY / 2, moments)

    def _survey(self, rows: Indices, moments: Floats | None) -> SourceSummary:
        """Summarise the dataset and the cost of its values."""
        source, days = self.source, self._days(moments)
        about = source.fetch_metadata(*days, around=box_around_all(self.places.geometries[rows]))
        mode = self._mode(is_image=about.kind == "image")
        summary = replace(summarize_source(source.selection.find_bands(about), mode), unit_fields=about.unit_fields)
        self._check_columns(summary)
        if mode == "image":
            return summary
        reach = self.reach if self.place_columns.date is not None else 0.0
        images = asset_metadata.filter_images(source.dataset_id, "collection", *days, about.tests)
        bands = [source.selection.grid_band(group[0]) for group in summary.groups]
        queries = [SceneQuery(images, source.dataset_id, band) for band in bands]
        return count_images(summary, queries, self.places.geometries[rows], days, reach)

    def _days(self, moments: Floats | None) -> tuple[str | None, str | None]:
        """Return the first day of images and the day after the last: near the dates of the rows, if they have some."""
        start, end = self.options.start, self.options.end
        if moments is None:
            return start, end
        first = day_of(float(np.nanmin(moments)) - self.reach)
        after = day_of(float(np.nanmax(moments)) + self.reach + DAY)
        days = max(start or first, first), min(end or after, after)
        if days[0] >= days[1]:
            raise UsageError(
                f"all images near the dates of {self.options.points} are of {first} to before {after}: `start` and"
                " `end` leave these days out"
            )
        return days

    def _mode(self, *, is_image: bool) -> Mode:
        """Return which images the values come from; refuse options that choose among the images of a collection."""
        if not is_image:
            return "each" if self.options.each_image else "paired" if self.place_columns.date else "composite"
        choices = {
            "`each_image`": self.options.each_image,
            "the dates of `columns`": self.place_columns.date,
            "`composite`": self.options.composite,
        }
        for option, value in choices.items():
            if value:
                raise UsageError(f"{self.source.dataset_id} is a single image: leave {option} out")
        return "image"

    def _check_columns(self, summary: SourceSummary) -> None:
        """Raise UsageError if the file already has the name of an added column."""
        added = [*value_columns(summary.bands, self.statistics, is_points=self.is_points)]
        if summary.mode in ("each", "paired"):
            added += [IMAGE, IMAGE_DATE]
        kept = self.places.table.column_names if self.place_columns.id is None else [self.place_columns.id]
        twice = [name for name in added if f"{self.options.prefix}{name}" in kept]
        if twice:
            raise UsageError(
                f"{self.options.points} has a column {self.options.prefix + twice[0]!r} already: choose a `prefix` for"
                " the names of the added ones"
            )


@overload
def points(
    dataset: str, points: Any, *, out: str | Path | None = None, dry_run: Literal[True], **options: Any
) -> Estimate: ...
@overload
def points(
    dataset: str, points: Any, *, out: str | Path | None = None, dry_run: Literal[False] = False, **options: Any
) -> Run: ...
@takes(PointsOptions, RunConfig, LedgerOptions)
def points(
    dataset: str, points: Any, *, out: str | Path | None = None, dry_run: bool = False, **options: Any
) -> Run | Estimate:
    """Fetch the values of a dataset at points or over polygons.

    Args:
        dataset: alias ("MODIS_LST") or Earth Engine id.
        points: a file (see ``PointValues``), or a DataFrame, GeoDataFrame or geometries of shapely, which are kept in
            the folder of the results.
        out: folder of the results; None for ``outputs/points-<dataset>``.
        dry_run: plan and estimate only; send no request for values.
        options: fields of ``PointsOptions`` and ``RunConfig``.

    Returns:
        The finished run; the table is in ``assembled``. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        RegionError: if the places cannot be used.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.points("MODIS_LST", "plots.csv", each_image=True, local=True)
        >>> pandas.read_parquet(run.assembled[0])
    """
    return run_with_places(PointValues, dataset=dataset, points=points, out=out, dry_run=dry_run, **options)


def _check(options: PointsOptions, source: ChosenDataset, date: DateColumn | None) -> None:
    """Check the options, without requests."""
    check_scale(options.scale)
    check_dates(options.start, options.end)
    parse_format(options.format, TABLE_FORMATS)
    if options.composite is not None and options.composite not in COMPOSITES:
        raise UsageError(f"unknown composite {options.composite!r}: one of {', '.join(COMPOSITES)}")
    values = ("`each_image`", options.each_image), ("`composite`", options.composite), ("`columns` date=NAME", date)
    exclusive_options = [option for option, value in values if value][:2]
    if len(exclusive_options) > 1:
        raise UsageError(f"{' and '.join(exclusive_options)} exclude each other")
    if (options.near is None) != (date is None):
        raise UsageError("`columns` date=NAME and `near` belong together, as in columns='date=observed', near='30d'")
    if options.near is not None:
        parse_window(options.near)
    source.selection  # noqa: B018 - parsed to be checked
    if not is_vector_file(options.points):
        raise RegionError(describe_missing(options.points))
