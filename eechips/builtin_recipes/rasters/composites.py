"""Make one composite image for each period between two dates, as ``eechips composites`` does: periods, reducer and
type, the images that the manifest names.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ee
import numpy as np

from eechips.builtin_recipes.extended_plans import add_composites, find_last_day
from eechips.builtin_recipes.place_files import run_with_places
from eechips.builtin_recipes.rasters.imagery import ImageSelection, ImageTreatment, ResolvedImagery, resolve_imagery
from eechips.builtin_recipes.rasters.imagery_options import CompositesOptions
from eechips.builtin_recipes.rasters.imagery_recipe import ImageryRecipe, scene_fields
from eechips.builtin_recipes.recipe_options import dataset_function
from eechips.client.chip_parameters import grid_rectangle
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.geo.polygons import region_centre
from eechips.planning import asset_metadata
from eechips.planning.areas.region_images import find_grid_scenes
from eechips.planning.grid_alignment import cover_region
from eechips.planning.imagery import inventory
from eechips.planning.imagery.image_filters import PropertyFilter, apply_filters, unit_tests
from eechips.planning.imagery.image_reducers import QUALITY_PREFIX, check_reducer, is_fractional, make_reducer
from eechips.planning.imagery.inventory import Scene
from eechips.planning.imagery.periods import parse_day, parse_step, warn_of_cut_period
from eechips.recipe import AddedUnits, Chip, EarlierPlan, NoData, Unit
from eechips.recipe.results import Template
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.manifest.run import Run

MOST_SOURCES = 100
"""Maximum images of a period that the manifest names; units have their total number."""

_log = logging.getLogger(__name__)


class Composites(ImageryRecipe[CompositesOptions]):
    """The recipe of ``eechips composites``.

    Each period becomes one file, made of all images taken in it. All files have the same pixel grid: by default that of
    the collection's earliest image over the region, since a composite has no grid of its own. Images on other grids,
    such as images of the next UTM zone, are resampled (nearest neighbour). A period without images has no file, and is
    ``empty`` in the manifest. With ``regions`` each region has its own files, on a pixel grid of its own.

    Args:
        options: see :class:`eechips.builtin_recipes.rasters.imagery_options.CompositesOptions`.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region cannot be used.
    """

    name = "composites"
    options_class = CompositesOptions

    def __init__(self, **options: Any) -> None:
        chosen = CompositesOptions(**options)
        check_reducer(chosen.reducer)
        self.step = parse_step(chosen.every)
        for day in (chosen.start, chosen.end):
            if day is not None:
                parse_day(day)
        is_best = chosen.reducer.startswith(QUALITY_PREFIX)
        imagery = resolve_imagery(chosen, deciding=(chosen.reducer.removeprefix(QUALITY_PREFIX),) if is_best else ())
        super().__init__(chosen, imagery, {"reducer": chosen.reducer}, {"every": str(self.step)}, "{start}")

    def get_requests(self) -> Iterator[Unit]:
        """Plan the periods: a few requests, and one for each thousand images.

        Yields:
            ``{"kind": "dates", "start": YYYY-MM-DD, "end": …, "images": how many, "sources": [system:index, …],
            "times": [ISO 8601, …], "grid": …}``, with the first ``MOST_SOURCES`` images; ``"where"`` with the resolved
            conditions, if there are any; ``"region"``, ``"outline"``, ``"bands"`` and ``"dtype"`` as in units of
            ``images``.

        Raises:
            UnknownDatasetError: if the dataset or a band does not exist.
            RegionError: if the region does not exist, or is outside the area of the CRS.
            UsageError: if there is no image, or none has a date.
        """
        imagery, dataset = self._shown({}), self.imagery.source.dataset_id
        selection = imagery.select_images()
        extra = self._band_fields(imagery, selection)
        images = count = used = 0
        first = ""
        for place, grid, region_scenes in self._places(selection):
            dated = [scene for scene in region_scenes if scene.day is not None]
            if not dated:
                raise UsageError(f"the images of {dataset} have no dates, so no periods: use `eechips mosaic`")
            images += len(dated)
            for unit, scenes in self._periods(dated):
                count, used = count + 1, used + bool(scenes)
                first = first or unit["start"]
                yield {**unit, **place, **scene_fields(scenes, MOST_SOURCES), "grid": grid.to_json(), **extra}
        if count == 0:
            raise imagery.none_found()
        warn_of_cut_period(self.step, self.options.start, self.options.end)
        has_dates = self.options.start is not None or self.options.end is not None
        dates = "" if has_dates else f", as no dates are given: all since {first}"
        periods = format_count(count, "period")
        _log.info("%s in %s of %s%s", format_count(images, "image"), f"{used:,}", periods, dates)

    def _grow(self, earlier: EarlierPlan) -> AddedUnits:
        return add_composites(earlier.units, self.get_requests())

    def find_end(self, until: dt.date, units: Iterable[Unit]) -> dt.date | None:
        """Return the end of the last whole period before the day of the latest image.

        Raises:
            UsageError: if the run has no end.
        """
        imagery = self.imagery
        last = find_last_day(imagery.source.dataset_id, imagery.region.geometry(), self.options.end, until)
        return None if last is None else self.step.last_end(parse_day(next(iter(units))["start"]), last)

    def get_result(self, index: int, unit: Unit) -> Chip | NoData | dict[str, Chip]:
        """Describe the composite of a period: one request by computePixels, two by URL, none without images."""
        if unit["images"] == 0:
            return NoData()
        treatment, grid = self._shown(unit).treatment(unit), Grid.from_json(unit["grid"])
        composite = _Composite(self.imagery.source.dataset_id, treatment, self.options.reducer, unit_tests(unit), grid)
        image = Template(_composite, (composite,), {"start": unit["start"], "end": unit["end"]}, passes_values=True)
        dtype = None if self.is_picture else treatment.dtype
        return self._described(unit, image, treatment.bands, dtype, unit["sources"], unit["times"])

    def _places(self, selection: ImageSelection) -> Iterator[tuple[dict[str, Any], Grid, Sequence[Scene]]]:
        """Yield the field of a unit that names its region, if there are several, the pixel grid, and the images."""
        query = selection.query
        if self.imagery.regions is not None:
            for region_scenes in find_grid_scenes(query, self.imagery.find_regions(query)):
                yield self.imagery.region_fields(region_scenes.region), region_scenes.grid, region_scenes.scenes
            return
        grid = self._grid(selection)
        yield {}, grid, inventory.list_scenes(query.over(grid_rectangle(grid)))

    def _grid(self, selection: ImageSelection) -> Grid:
        """Return the pixel grid of all composites."""
        earliest = inventory.fetch_first_scene(selection.query.over(selection.region))
        if earliest is None:
            raise self.imagery.none_found()
        base_grid = self.imagery.alignment.resolved().base_grid(earliest.grid, region_centre(selection.polygon))
        return cover_region(base_grid, selection.polygon)

    def _periods(self, scenes: list[Scene]) -> Iterator[tuple[dict[str, Any], list[Scene]]]:
        """Yield each period as a unit, and its images."""
        days = [scene.day for scene in scenes if scene.day is not None]
        start = parse_day(self.options.start) if self.options.start else self.step.floor(days[0])
        end = parse_day(self.options.end) if self.options.end else days[-1] + dt.timedelta(days=1)
        place = 0
        for period in self.step.periods(start, end):
            first = place
            while place < len(days) and days[place] < period.end:
                place += 1
            unit = {"kind": "dates", "start": period.start.isoformat(), "end": period.end.isoformat()}
            yield unit, scenes[first:place]

    def _band_fields(self, imagery: ResolvedImagery, selection: ImageSelection, name: str = "") -> dict[str, Any]:
        """Return the part of a unit that depends on its bands, and note their type."""
        own = {**super()._band_fields(imagery, selection, name), **self._dtype(selection)}
        return own | ({"where": [test.to_json() for test in selection.tests]} if selection.tests else {})

    def _dtype(self, selection: ImageSelection) -> dict[str, str]:
        """Return the type of the composites if it differs from the bands'."""
        if self.options.reducer == "count":
            return {"dtype": "uint16"}
        if is_fractional(self.options.reducer):
            is_narrow = all(np.can_cast(band.dtype, np.float32) for band in selection.bands)
            return {"dtype": "float32" if is_narrow else "float64"}
        return {}


@dataclass(frozen=True, slots=True)
class _Composite:
    """The parameters that all composites of a run share."""

    dataset: str
    treatment: ImageTreatment
    reducer: str
    tests: tuple[PropertyFilter, ...]
    grid: Grid

    def reduce(self, images: ee.ImageCollection) -> ee.Image:
        """Reduce images to one, and keep the names of the bands."""
        bands = list(self.treatment.bands)
        if self.reducer.startswith(QUALITY_PREFIX):
            best = self.reducer.removeprefix(QUALITY_PREFIX)
            composite: ee.Image = images.map(self._select(best)).qualityMosaic(best).select(bands)
            return composite
        images = images.map(self._select())
        if self.reducer == "mosaic":
            composite = images.sort("system:time_start").mosaic()
        elif self.reducer == "count":
            composite = images.reduce(ee.Reducer.count()).rename(bands).unmask(0)
        else:
            composite = images.reduce(make_reducer(self.reducer)).rename(bands)
        return composite

    def _select(self, *more: str) -> Callable[[Any], Any]:
        return lambda image: self.treatment.select(ee.Image(image), *more)


def _composite(composite: _Composite, start: str, end: str) -> ee.Image:
    # Composites also show images outside the region.
    images = asset_metadata.filter_images(composite.dataset, "collection", start, end).filterBounds(
        grid_rectangle(composite.grid)
    )
    return composite.treatment.finish(composite.reduce(apply_filters(images, composite.tests)))


@dataset_function(CompositesOptions)
def composites(dataset: str, *, out: str | Path | None = None, dry_run: bool = False, **options: Any) -> Run | Estimate:
    """Make one composite image for each period between two dates.

    Args:
        dataset: alias ("S2") or Earth Engine id of a collection.
        out: folder of the results; None for ``outputs/composites-<dataset>``.
        dry_run: plan and estimate only; send no request for pixels.
        options: fields of ``CompositesOptions`` and ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``estimate``, the run may be
        ``paused`` after the units of the estimate. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.composites("S2", roi="-105.3,39.9,-105.2,40.0", start="2020-05-01", end="2020-09-01",
        ...                          every="1 month", reducer="median", mask="auto", local=True)
        >>> run.units[["file", "valid_fraction"]]
    """
    return run_with_places(Composites, dataset=dataset, out=out, dry_run=dry_run, **options)
