"""Fetch tables of a dataset's values over time for regions, as ``eechips timeseries`` does: check its options, periods
and batches, extend it, join its tables.

:mod:`eechips.planning.areas.region_reducers` names the columns.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ee
import shapely

from eechips.builtin_recipes.chosen_dataset import choose_dataset
from eechips.builtin_recipes.extended_plans import (
    GROWING,
    add_series,
    check_dates_grow,
    check_periods_stay,
    find_last_day,
    new_dates,
)
from eechips.builtin_recipes.place_files import run_with_places
from eechips.builtin_recipes.recipe_options import BuiltinRecipe, check_dates, dataset_function, parse_format
from eechips.builtin_recipes.tables.embedding_means import vector_bands
from eechips.builtin_recipes.tables.series_plan import SeriesPlan, choose_regions, single_image_error
from eechips.builtin_recipes.tables.table_options import OUTPUTS, TimeSeriesOptions
from eechips.builtin_recipes.tables.zonal_statistics import (
    Elements,
    Reduction,
    TableLayout,
    composite_elements,
    merge_tables,
    reduce_region,
    reduce_regions,
)
from eechips.engine.results.result_assembly import Results
from eechips.errors import UsageError
from eechips.formats import TABLE_FORMATS, TableFormat
from eechips.formats.parquet import IMPORTS
from eechips.geo.polygons import enlarge_bounds
from eechips.planning.areas.region_reducers import Statistics, parse_statistics
from eechips.planning.areas.regions import planar_geometry
from eechips.planning.areas.zones import Zones
from eechips.planning.asset_metadata import filter_images
from eechips.planning.grid_alignment import choose_grid
from eechips.planning.imagery.expressions import box_around_all
from eechips.planning.imagery.image_filters import unit_tests
from eechips.planning.imagery.periods import Period, Step, parse_day, parse_step, warn_of_cut_period
from eechips.recipe import AddedUnits, EarlierPlan, Table, Unit, UnitImages, recipe_identity

if TYPE_CHECKING:
    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.manifest.run import Run

# Degrees around a batch of regions in which images are searched, since bounds from the server are not exact.
_MARGIN = 0.01


class TimeSeries(BuiltinRecipe[TimeSeriesOptions]):
    """The recipe of ``eechips timeseries``.

    Each region has a row for each image that meets it, by time, or for each period. The columns are the region's id,
    ``date`` (YYYY-MM-DD; the first day of a period), one for each band, ``count``, the number of reduced pixels, and
    ``valid_fraction``, the share of the region's pixels with data (``<band>_count`` and ``<band>_valid_fraction`` with
    several bands). With several reducers the columns are ``<band>_<reducer>``. If all pixels are masked, or the valid
    fraction is below ``min_clear``, the value is missing.

    If the bands are a unit vector by the record of the dataset (embeddings), means of all of them are divided by their
    length, so that they are unit vectors, too.

    Means, sums and similar reducers weight each pixel by its part inside the region, so that regions smaller than a
    pixel have values, too. Minimum, maximum and count use pixels whose centres are inside the region; for a region
    without any, the value is missing and the count is 0.
    https://developers.google.com/earth-engine/guides/reducers_weighting

    Args:
        options: see :class:`eechips.builtin_recipes.tables.table_options.TimeSeriesOptions`.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the file of regions cannot be used.
    """

    name = "timeseries"
    options_class = TimeSeriesOptions
    growing = GROWING | {"bands"}  # as `extend_plan` says what to do about further bands

    def __init__(self, **options: Any) -> None:
        self.options = chosen = TimeSeriesOptions(**options)
        self.regions = choose_regions(chosen)
        self.id_field = self.regions.id_field
        self.source = choose_dataset(chosen)
        self.alignment = choose_grid(chosen.grid, chosen.crs, chosen.scale)
        self.statistics = parse_statistics(chosen.reducer)
        self.step: Step | None = None if chosen.every is None else parse_step(chosen.every)
        self._first = chosen.start, chosen.end  # of units without dates of their own
        _check(self)

    @property
    def name_template(self) -> str:
        """The template of file names: of a region, or of a part of the table."""
        return "series/{region}" if self.options.output == "region" else "parts/{id}"

    def read_inputs(self) -> None:
        """Read the file of regions; see :class:`eechips.recipe.SupportsInputs`."""
        self.regions.zones  # noqa: B018 - they are kept

    @property
    def periods(self) -> list[Period]:
        """The periods; empty if there is a row for each image."""
        return self._periods(self.options.start, self.options.end)

    def _periods(self, start: str | None, end: str | None) -> list[Period]:
        if self.step is None or start is None or end is None:
            return []
        return list(self.step.periods(parse_day(start), parse_day(end)))

    def _dates(self, unit: Unit) -> tuple[str | None, str | None]:
        """Return the dates of a unit: its own, or else the dates of the first plan."""
        return (unit["start"], unit["end"]) if "end" in unit else self._first

    def _unit_periods(self, unit: Unit) -> list[Period]:
        """Return the periods of the run that are within the dates of a unit."""
        start, end = self._dates(unit)
        if start is None or end is None:
            return []
        return [period for period in self.periods if parse_day(start) <= period.start < parse_day(end)]

    @property
    def vector(self) -> tuple[str, ...]:
        """The columns that are together a mean vector, which is divided by its length; empty if there is none."""
        is_changed = self.options.multiply is not None or self.options.add is not None
        if is_changed or (self.step is not None and self.options.composite not in ("mean", "mosaic")):
            return ()
        return self.statistics.columns_of("mean", vector_bands(self.source.known, self.source.selection))

    @property
    def table_format(self) -> TableFormat:
        """The format, chosen by the user or by the output."""
        return self.options.format or ("csv" if self.options.output == "region" else "parquet")

    @property
    def imports(self) -> tuple[str, ...]:
        """What workers can load in advance."""
        return IMPORTS if self.table_format == "parquet" else ()

    @property
    def id_column(self) -> str:
        """The name of the column of ids."""
        return self.id_field or "region"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the assets that are read."""
        return (*self.source.masked_ids, *(() if self.regions.is_local else (self.regions.source,)))

    @property
    def results(self) -> dict[str, Any]:
        """The parameters that determine the values of a region's table."""
        return {
            "dataset": self.source.dataset_id,
            "bands": self.source.compared_bands(self.source.bands),
            **self.source.selection.parameters,
            "reducer": ",".join(self.statistics.names),
            "every": str(self.step) if self.step else None,
            "composite": self.options.composite if self.step else None,
            "mask": self.source.mask.text if self.source.mask else None,
            "start": self.options.start,
            "end": self.options.end,
            **({"where": list(map(str, self.source.conditions))} if self.source.conditions else {}),
            **self.alignment.parameters,
            "multiply": self.options.multiply,
            "add": self.options.add,
            **({"unit_vector": True} if self.vector else {}),
            "min_clear": self.options.min_clear,
            "format": self.table_format,
            # Units contain local geometries; regions on the server are identified by table and column.
            "regions": None if self.regions.is_local else self.regions.source,
            "id_field": self.id_field,
        }

    @property
    def identity(self) -> str:
        """SHA-256 of :attr:`results`."""
        return recipe_identity(self.name, self.results)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All parameters as JSON."""
        where = {**self.regions.parameters, "bbox": self.options.bbox}
        return {**self.results, **where, "output": self.options.output, "batch": self.options.batch}

    def get_requests(self) -> Iterator[Unit]:
        """Plan the regions.

        Returns:
            ``{"kind": "region", "region": id}``, with ``"geometry"`` (GeoJSON) for regions of a file. For one table
            ``{"kind": "region", "regions": [{"region": …}, …], "bounds": [W, S, E, N]}``. Units have ``"bands"`` for a
            dataset without a record if the user names no bands, and ``"crs"`` and ``"transform"`` of the reduced pixels
            unless each image is reduced on its own grid.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the table of regions or its column does not exist, or there is no region.
        """
        warn_of_cut_period(self.step, self.options.start, self.options.end)
        return self._plan(self.regions.zones)

    def extend_plan(self, earlier: EarlierPlan) -> AddedUnits:
        """Return units of further dates and regions; see :class:`eechips.recipe.SupportsExtension`.

        An added unit has its dates, ``"start"`` and ``"end"``. Further dates of a region are fetched by a copy of its
        unit in the run, so that the regions of a request and their pixels stay the same.

        Raises:
            UsageError: if dates or regions are left out, or a table that is there would have to change.
        """
        options = self.options
        if earlier.parameters.get("bands") != self.results["bands"]:
            raise UsageError(
                "an extension adds no columns: fetch further bands by themselves into another output folder, for the"
                f" same regions and dates, and join the tables by {self.id_column} and date"
            )
        check_dates_grow(earlier.parameters, options.start, options.end)
        before = earlier.parameters.get("start"), earlier.parameters.get("end")
        if self.step is not None:
            check_periods_stay(_days(self._periods(*before)), _days(self.periods), "row")
        warn_of_cut_period(self.step, options.start, options.end)
        spans = new_dates(before, (options.start, options.end), is_table=options.output != "region")
        if not self.regions.is_local and self.regions.source != earlier.parameters.get("regions"):
            raise UsageError("`regions` is another table on the server: an extension adds rows of a file only")
        return AddedUnits(list(add_series(earlier.units, self.regions.zones, options, spans, self._plan)))

    def find_end(self, until: dt.date, units: Iterable[Unit]) -> dt.date | None:
        """Return the day of the latest image, or the end of the last whole period before it.

        Raises:
            UsageError: if the run has no end.
        """
        geometries = None if self.regions.zones is None else self.regions.zones.geometries
        around = self.regions.geometry() if geometries is None else box_around_all(geometries)
        last = find_last_day(self.source.dataset_id, around, self.options.end, until)
        if last is None or self.step is None or self.options.start is None:
            return last
        return self.step.last_end(parse_day(self.options.start), last)

    def continuing_from(self, first: Mapping[str, Any], latest: Mapping[str, Any]) -> TimeSeries:
        """Return the recipe for which a unit without dates has the dates of the run before its first extension."""
        recipe = copy.copy(self)
        recipe._first = first.get("start"), first.get("end")
        return recipe

    def _plan(self, zones: Zones | None) -> Iterator[Unit]:
        """Plan regions: of a file some, of a table on the server (None) all; see :meth:`get_requests`."""
        periods = len(self.periods) if self.step is not None else None
        plan = SeriesPlan(self.options, self.source, self.statistics, self.alignment, periods, self.regions)
        return plan.units(zones)

    def get_result(self, index: int, unit: Unit) -> Table:
        """Describe the table of one or several regions: one request, or more if the rows need several pages."""
        bands = self._bands(unit)
        reduction = Reduction(
            bands=bands,
            statistics=self.statistics,
            id_column=self.id_column,
            crs=unit.get("crs"),
            transform=tuple(unit["transform"]) if "transform" in unit else None,
            scale=self.options.scale if "crs" not in unit else None,
            vector=self.vector,
            min_clear=self.options.min_clear or 0.0,
        )
        chosen = self._elements(self._images(unit), bands, unit)
        if "region" in unit:
            return reduce_region(chosen, reduction, unit["region"], self._geometry(unit), self.table_format)
        regions = [(region["region"], self._geometry(region)) for region in unit["regions"]]
        return reduce_regions(chosen, reduction, regions)

    def unit_images(self, unit: Unit) -> UnitImages:
        """Return the images that meet a region, or a batch of them; see :class:`eechips.recipe.SupportsImages`."""
        return UnitImages(self.source.dataset_id, self._images(unit), self._bands(unit))

    def _images(self, unit: Unit) -> ee.ImageCollection:
        images = filter_images(self.source.dataset_id, "collection", *self._dates(unit), unit_tests(unit))
        if "region" in unit:
            return images.filterBounds(self._geometry(unit))
        return images.filterBounds(planar_geometry(shapely.box(*enlarge_bounds(unit["bounds"], _MARGIN))))

    @property
    def assemble(self) -> Callable[[Results], None] | None:
        """The function that merges the parts to one table; None for a table of each region."""
        return partial(merge_tables, layout_for=self._layout) if self.options.output != "region" else None

    def _layout(self, unit: Unit) -> TableLayout:
        bands = self._bands(unit)
        return TableLayout(
            id_column=self.id_column,
            values=(*self.statistics.columns(bands), *self.statistics.valid_fractions(bands)),
            counts=self.statistics.counts(bands),
            format=self.table_format,
            by_year=self.options.output == "year",
        )

    def _bands(self, unit: Unit) -> tuple[str, ...]:
        return self.source.selection.planned(unit).names

    def _elements(self, images: ee.ImageCollection, bands: Sequence[str], unit: Unit) -> Elements:
        """Return the elements that have a row each: the images, or the composites of periods."""

        def values(image: ee.Image) -> Any:
            chosen: Any = self.source.selection.planned(unit).select(image, self.source.mask)
            if self.options.multiply is not None:
                chosen = chosen.multiply(self.options.multiply)
            return chosen if self.options.add is None else chosen.add(self.options.add)

        if self.step is None:
            return Elements(images, values)
        return composite_elements(Elements(images, values), bands, self._unit_periods(unit), self.options.composite)

    def _geometry(self, region: Mapping[str, Any]) -> ee.Geometry:
        if "geometry" in region:
            return planar_geometry(shapely.geometry.shape(region["geometry"]))
        table = ee.FeatureCollection(self.regions.source)
        geometry: ee.Geometry = table.filter(ee.Filter.eq(self.id_field, region["region"])).geometry()
        return geometry


def _days(periods: Iterable[Period]) -> list[tuple[str, str]]:
    """Return first day, and day after the last, of periods."""
    return [(period.start.isoformat(), period.end.isoformat()) for period in periods]


@dataset_function(TimeSeriesOptions)
def timeseries(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Write a table of a dataset's values over time for each region.

    Args:
        dataset: alias ("MODIS_LST") or Earth Engine id of a collection.
        out: folder of the results; None for ``outputs/timeseries-<dataset>``.
        dry_run: plan and estimate only; send no request for pixels.
        options: fields of ``TimeSeriesOptions`` and ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``estimate``, the run may be
        ``paused`` after the units of the estimate. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.timeseries("MODIS_LST", regions="counties.gpkg", columns="id=geoid", local=True)
    """
    return run_with_places(TimeSeries, dataset=dataset, out=out, dry_run=dry_run, **options)


def _check(recipe: TimeSeries) -> None:
    """Check the options, without requests."""
    options = recipe.options
    if recipe.source.known_kind == "image":
        raise single_image_error(recipe.source.dataset_id)
    parse_format(recipe.table_format, TABLE_FORMATS)
    if options.output not in OUTPUTS:
        raise UsageError(f"unknown output {options.output!r}: one of {', '.join(OUTPUTS)}")
    _check_batch(options)
    check_dates(options.start, options.end)
    _check_periods(recipe)
    if options.min_clear is not None and not 0.0 <= options.min_clear <= 1.0:
        raise UsageError(f"`min_clear` is a share from 0 to 1, not {options.min_clear:g}")
    bands = recipe.source.chosen_names or ()
    columns = (*recipe.statistics.columns(bands), *recipe.statistics.valid_fractions(bands))
    if recipe.id_field in ("date", "count", "valid_fraction", *columns):
        raise UsageError(f"columns='id={recipe.id_field}' is also the name of another column of the table")


def _check_batch(options: TimeSeriesOptions) -> None:
    if options.batch == "auto":
        return
    if options.batch < 1:
        raise UsageError(f"`batch` must be auto or at least 1, not {options.batch}")
    if options.output == "region":
        raise UsageError("`batch` is for one table: use output='one' (a file for each region is a request for each)")


def _check_periods(recipe: TimeSeries) -> None:
    if recipe.step is None:
        if recipe.options.composite != "mean":
            raise UsageError("`composite` is for periods: say how long they are, as in every='1 month'")
        return
    if recipe.options.start is None or recipe.options.end is None:
        raise UsageError("`every` needs `start` and `end`: periods are counted from the start, and cut at the end")
    next(iter(recipe.periods))
    if recipe.options.composite != "mosaic":
        Statistics((recipe.options.composite,))
