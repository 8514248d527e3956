"""Fetch the features of a table, or of all tables of an index, as ``eechips features`` does: plan cells, check
``columns``, halve large cells.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry.base import BaseGeometry

from eechips.builtin_recipes.place_files import run_with_places
from eechips.builtin_recipes.recipe_options import BuiltinRecipe, check_dates, dataset_function, slug, split_names
from eechips.builtin_recipes.tables.feature_columns import CellRows, FeatureFiles, column_of
from eechips.builtin_recipes.tables.table_options import FeaturesOptions
from eechips.datasets import find_dataset
from eechips.errors import UsageError
from eechips.formats.parquet import IMPORTS
from eechips.planning.areas.feature_cells import FeatureCell, divide_tables, whole_cell
from eechips.planning.areas.feature_sources import FeatureSource, find_features
from eechips.planning.areas.region_overlaps import region_polygon
from eechips.planning.areas.regions import AssetRegion, BoxRegion, parse_region
from eechips.planning.imagery.image_filters import PropertyFilter, parse_conditions, resolve_conditions, unit_tests
from eechips.recipe import Table, Unit, recipe_identity
from eechips.recipe.results import SplittableTable
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    import ee

    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.engine.results.result_assembly import Results
    from eechips.manifest.run import Run

FOLDER = "features"
"""Folder of the files of the table, below the output folder."""

_CUTS = 16  # halvings of a cell whose features are too large for a request
_WORLD = BoxRegion(-180.0, -90.0, 180.0, 90.0)

_log = logging.getLogger(__name__)


class Features(BuiltinRecipe[FeaturesOptions]):
    """The recipe of ``eechips features``.

    The region is divided into cells of at most a thousand features, counted by the service
    (:mod:`eechips.planning.areas.feature_cells`). Each cell of each table is a unit. If the features of a cell are too
    large for a request, the cell is halved again and again, and the smallest cell is requested in short pages. At the
    end all cells are joined to files of GeoParquet with one schema.

    A feature is in the result once if it meets the region. Features without geometry are not in the result.

    Args:
        options: see :class:`eechips.builtin_recipes.tables.table_options.FeaturesOptions`.

    Raises:
        UsageError: if an option is out of range.
        RegionError: if the region cannot be used.
    """

    name = "features"
    options_class = FeaturesOptions
    name_template = "cells/{id}"
    is_concurrent = True
    imports = IMPORTS

    def __init__(self, **options: Any) -> None:
        self.options = chosen = FeaturesOptions(**options)
        check_dates(chosen.start, chosen.end)
        named = find_features(chosen.dataset)
        if find_dataset(named.dataset) is not None:
            raise UsageError(f"{chosen.dataset} has images, not features: see eechips sample, images and timeseries")
        columns = None if chosen.columns is None else split_names(chosen.columns)
        if columns is not None and (not all(columns) or len(set(columns)) < len(columns)):
            raise UsageError("`columns` must name each column once: A,B,C")
        self.source = FeatureSource(named.dataset, chosen.start, chosen.end, columns)
        self.conditions = (*parse_conditions(named.quality), *parse_conditions(chosen.where))
        self.region = _WORLD if chosen.roi is None else parse_region(chosen.roi, crs=chosen.input_crs)
        tables = () if self.source.is_computed else (named.dataset,)
        self.datasets = (*tables, *((self.region.asset,) if isinstance(self.region, AssetRegion) else ()))
        self.parameters: Mapping[str, Any] = {
            "dataset": named.dataset,
            **self.region.parameters,
            "start": chosen.start,
            "end": chosen.end,
            "where": [str(condition) for condition in self.conditions],
            "columns": None if columns is None else list(columns),
        }
        # A file of regions is identified by its SHA-256.
        unused = {"roi"} if "roi_sha256" in self.parameters else set()
        decisive = {name: value for name, value in self.parameters.items() if name not in unused}
        self.identity = recipe_identity(self.name, decisive)

    @property
    def default_folder(self) -> str:
        """The name of the run's folder: of the dataset, or ``computed`` for a collection of the user's own."""
        return f"{self.name}-{slug(self.source.name if self.source.is_computed else self.options.dataset)}"

    @cached_property
    def polygon(self) -> BaseGeometry:
        """The region in longitude and latitude; a region of a table on the server is fetched on first use."""
        return region_polygon(self.region)

    def get_requests(self) -> Iterator[Unit]:
        """Plan the cells: a request for each sixteen cells, and for each thousand tables of an index.

        Yields:
            ``{"kind": "cell", "cell": …, "table": …}``, with ``"where"`` if there are conditions; the first one with
            ``"types"``, the types of the properties.

        Raises:
            UnknownDatasetError: if the table or a column does not exist.
            RegionError: if the region does not exist.
            UsageError: if there are no features.
        """
        tables = self.source.list_tables(whole_cell(self.polygon).geometry())
        if not tables:
            raise self._none_found()
        types = self.source.fetch_types(tables[0])
        tests = self._resolve_conditions(tables)
        where = {"where": [test.to_json() for test in tests]} if tests else {}
        facts: Unit = {"types": types} if types else {}
        count = 0
        for table_cell in divide_tables(tables, self.polygon, partial(self._features, tests)):
            count += 1
            yield {"kind": "cell", "table": table_cell.table, "cell": table_cell.cell.to_json(), **where, **facts}
            facts = {}
        if not count:
            raise self._none_found()
        _log.info("%s of %s in %s", format_count(len(tables), "table"), self.source.name, format_count(count, "cell"))

    def get_result(self, index: int, unit: Unit) -> Table:
        """Describe the features of a cell: one request, unless they are too large for it."""
        cell = FeatureCell.from_json(unit["cell"])
        table = str(unit["table"])
        rows = CellRows(
            cell, self.polygon, table if self.source.is_table_of_index(table) else None, self.source.columns
        )
        source = self._divisible(table, unit_tests(unit), cell, 2**_CUTS)
        return Table(source, format="parquet", unpack=rows.columns_of)

    def assemble(self, results: Results) -> None:
        """Join the tables of all cells."""
        paths: list[Path] = []
        types: Mapping[str, str] = {}
        name = partial(column_of, has_table=False)
        for settled in results:
            types = types or settled.unit.get("types", {})
            name = partial(column_of, has_table=self.source.is_table_of_index(str(settled.unit["table"])))
            if settled.path is not None:
                paths.append(settled.path)
        columns = None if self.source.columns is None else [name(field) for field in self.source.columns]
        table = FeatureFiles({name(field): kind for field, kind in types.items()}, columns)
        for path in paths:
            table.add(path)
        if results.failed:
            results.say(f"features of {format_count(results.failed, 'cell')} are missing in {FOLDER}: they failed")
        if table.mixed:
            results.say(f"values of several types became text: {', '.join(table.mixed)}")
        for number, cells in enumerate(table.parts()):
            with results.make(f"{FOLDER}/part-{number:05d}.parquet") as part_file:
                table.write(cells, part_file)

    def _features(self, tests: tuple[PropertyFilter, ...], table: str, cell: FeatureCell) -> Any:
        return self.source.features(table, tests, cell.geometry())

    def _divisible(
        self, table: str, tests: tuple[PropertyFilter, ...], cell: FeatureCell, size: int
    ) -> SplittableTable:
        """Return the features of a cell, which can be halved until its size is 1."""

        def halves() -> tuple[SplittableTable, SplittableTable]:
            first, second = (self._divisible(table, tests, half, size // 2) for half in cell.halves())
            return first, second

        return SplittableTable(self.source.rows(table, tests, cell.geometry()), size, halves, is_paged=True)

    def _resolve_conditions(self, tables: Sequence[str]) -> tuple[PropertyFilter, ...]:
        """Convert the values of the conditions to the types of the first table's properties that has features."""
        for table in tables:
            tests = resolve_conditions(self.conditions, self.source.collection(table), noun="feature")
            if tests is not None:
                return tests
        raise self._none_found()

    def _none_found(self) -> UsageError:
        return UsageError(
            f"there are no features of {self.source.name} there, of those dates and conditions: nothing to fetch"
        )


@dataset_function(FeaturesOptions)
def features(
    dataset: str | ee.FeatureCollection, *, out: str | Path | None = None, dry_run: bool = False, **options: Any
) -> Run | Estimate:
    """Fetch the features of a table, of all tables of an index, or of a collection of your own, as GeoParquet.

    Args:
        dataset: id of the table or index, a name ("GEDI_L2A"), or a collection that the service computes, whose
            features have an index each (``system:index``).
        out: folder of the results; None for ``outputs/features-<dataset>``.
        dry_run: plan and estimate only; send no request for features.
        options: fields of ``FeaturesOptions`` and ``RunConfig``.

    Returns:
        The finished run; the files of the table are in ``assembled``. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        RegionError: if the region cannot be used.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.features("RESOLVE/ECOREGIONS/2017", roi="-106,39,-104,41", columns="ECO_NAME", local=True)
        >>> geopandas.read_parquet(run.path / "features")
    """
    chosen = dataset if isinstance(dataset, str) else dataset.serialize()
    return run_with_places(Features, dataset=chosen, out=out, dry_run=dry_run, **options)
