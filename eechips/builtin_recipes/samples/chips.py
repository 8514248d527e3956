"""Fetch image chips at random, regular or listed places, as ``eechips sample`` does: template of file names, redrawn
places, the chips of a unit.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eechips.builtin_recipes.chosen_dataset import with_dtypes
from eechips.builtin_recipes.extended_plans import find_last_day
from eechips.builtin_recipes.place_files import run_with_places
from eechips.builtin_recipes.recipe_options import dataset_function, option_names, slug, split_options
from eechips.builtin_recipes.samples.chip_plan import ChipPlan, plan_chips
from eechips.builtin_recipes.samples.extended_samples import (
    GROWING_SAMPLE,
    add_chips,
    check_sample_grows,
    divide_bands,
    find_first_layers,
    layer_parameters,
)
from eechips.builtin_recipes.samples.resolved_sample import LAYERS, ResolvedSample, resolve_sample
from eechips.builtin_recipes.samples.sample_frames import FrameSettings
from eechips.builtin_recipes.samples.sample_layers import SampleLayer
from eechips.builtin_recipes.samples.sample_options import SampleOptions
from eechips.builtin_recipes.samples.sample_validation import check_name_fields
from eechips.engine.config import RunConfig
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.option_fields import chosen_options
from eechips.planning.imagery.expressions import LayerImages, chip_image, missing_image, period_image, single_image
from eechips.planning.imagery.image_reducers import reduced_dtype
from eechips.planning.imagery.periods import parse_day, parse_step, warn_of_cut_period
from eechips.planning.sampling.sample_places import SamplePlace
from eechips.recipe import AddedUnits, Chip, EarlierPlan, Frame, FrameStack, NoData, PlanPreview, Unit
from eechips.recipe.units import FURTHER
from eechips.storage import NameTemplate

if TYPE_CHECKING:
    from eechips.engine.costs.cost_descriptions import Estimate
    from eechips.manifest.run import Run


class ChipSample:
    """The recipe of ``eechips sample``: resolve the options, plan the chips, describe each chip.

    Raises:
        UsageError: if an option is out of range, or contradicts another.
        RegionError: if the region, or the file of points, cannot be used.
    """

    name = "sample"
    is_builtin = True
    plans_gradually = True
    growing: frozenset[str] = GROWING_SAMPLE

    def __init__(self, **options: Any) -> None:
        self.sample: ResolvedSample = resolve_sample(SampleOptions(**options))
        self._declared: ResolvedSample | None = None  # of a run that was extended: as its options say
        self._plan: ChipPlan | None = None
        self._places: Sequence[SamplePlace] | None = None
        self.identity = self.sample.identity
        self.parameters: Mapping[str, Any] = self.sample.parameters
        self.datasets = self.sample.datasets

    @property
    def name_template(self) -> str:
        """The default template of file names."""
        options = self.sample.options
        if options.per_ecoregion is not None:
            return "chips/{eco_name}/{id}"
        if options.regions is not None:
            return "chips/{region}"
        return "chips/{class}/{id}" if options.per_class is not None else "chips/{id}"

    @property
    def call(self) -> tuple[str, Mapping[str, Any]]:
        """The command and its options; see :class:`eechips.recipe.SupportsCall`.

        Of the options of the run, ``on_empty`` is among them if it decides which frames a place needs.
        """
        sample = self.sample
        decides = sample.frames is not None and sample.frames.needs_all
        return self.name, chosen_options(sample.options) | ({"on_empty": sample.options.on_empty} if decides else {})

    @property
    def is_picture(self) -> bool:
        """Return whether the chips are pictures (PNG, JPEG), not values."""
        return self.sample.style.is_picture

    @property
    def export_obstacle(self) -> str | None:
        """Return why no chip can be exported: see :class:`eechips.recipe.RecipeTraits`."""
        return self.sample.style.export_obstacle

    def get_requests(self) -> Iterator[Unit]:
        """Plan the chips: a few requests, and one per 500 points for their grids.

        Points that have to be tested against a mask or a class image cost one more request per 2,000.

        Returns:
            Units ``{"kind": "point", "coordinates": [lon, lat], "grid": …}``; ``"image"`` (for native grids) or
            ``"latest"``, the ``system:index`` of the latest image at the point, and its ``"date"``; for a dataset
            without a record, ``"source"`` with its kind and bands; and by the strategy ``eco_id`` and ``eco_name``,
            ``class``, ``row`` and ``column``, or ``properties`` (the columns of the file) and ``label_date``.

        Raises:
            UnknownDatasetError: if a dataset or a band does not exist.
            RegionError: if the region or the ecoregions do not exist, or no place is left.
            UsageError: if a dataset has no image for the region and the dates.
        """
        plan = self._make_plan()
        self._places = plan.choose_places()
        return plan.units(self._places)

    def preview_plan(self) -> PlanPreview:
        """Choose the places; see :class:`eechips.recipe.SupportsPreview`.

        Raises:
            UnknownDatasetError, RegionError, UsageError: as :meth:`get_requests`.
        """
        plan, places = self._chosen()
        return plan.preview(places)

    def plan_units(self, positions: Sequence[int]) -> Iterator[Unit]:
        """Plan some of the units; see :class:`eechips.recipe.SupportsPreview`.

        Raises:
            UnknownDatasetError, RegionError, UsageError: as :meth:`get_requests`.
        """
        plan, places = self._chosen()
        return plan.units([places[position] for position in positions])

    def _chosen(self) -> tuple[ChipPlan, Sequence[SamplePlace]]:
        """Return the plan and its places, which are chosen once."""
        if self._plan is None or self._places is None:
            self._places = self._make_plan().choose_places()
        assert self._plan is not None
        return self._plan, self._places

    def extend_plan(self, earlier: EarlierPlan) -> AddedUnits:
        """Return the units of further places, frames and datasets; see :class:`eechips.recipe.SupportsExtension`.

        A unit with further frames of a place that is there has ``"further"``. One with the files of further datasets
        has ``"completes"``, the id of the unit that has the others.

        Raises:
            UsageError: if places or dates are left out, or a chip that is there would change.
        """
        check_sample_grows(earlier.parameters, self.sample)
        plan = self._make_plan()
        return add_chips(earlier, plan, plan.choose_places())

    def find_end(self, until: dt.date, units: Iterable[Unit]) -> dt.date | None:
        """Return the end of the last whole period before the day of the latest image.

        Raises:
            UsageError: if the sample has no periods.
        """
        options = self.sample.options
        if self.sample.frames is None or not self.sample.frames.periods or options.step is None:
            raise UsageError(
                "a sample without `every` shows one moment: no new dates are added. To add places, repeat its command"
                " with `extend` and more of them"
            )
        around = None if self.sample.region is None else self.sample.region.geometry()
        last = find_last_day(self.sample.first.dataset_id, around, options.end, until)
        if last is None or options.start is None:
            return None
        return parse_step(options.step).last_end(parse_day(options.start), last)

    def continuing_from(self, first: Mapping[str, Any], latest: Mapping[str, Any]) -> ChipSample:
        """Return the recipe that knows the datasets of the first units; see :class:`eechips.recipe.SupportsExtension`.

        Units have their frames, and later ones their datasets. Bands that were added are layers, in the parameters too.
        """
        declared = self._declared or self.sample
        divided = None if declared.style.is_picture else divide_bands(latest, declared.layers)
        sample = declared if divided is None else replace(declared, layers=divided)
        layers = find_first_layers(first, sample)
        if layers is None:
            return self
        recipe = copy.copy(self)
        recipe._declared = declared
        recipe.sample = replace(sample, first_layers=layers)
        recipe.parameters = recipe.sample.parameters
        recipe.growing = self.growing | layer_parameters(sample) | layer_parameters(declared)
        return recipe

    def redraw(self, wanted: Sequence[tuple[Unit, int]]) -> list[Unit | None]:
        """Draw further points of the same strata, to replace points without data.

        The points of a stratum are one sequence, of which the plan has the first ``count``. The n-th replacement of
        point p is point ``n * count + p``: it depends on nothing else and replaces no other point.

        Args:
            wanted: a unit of the plan and n, from 1.

        Returns:
            For each, another unit; None if the stratum is too small for so many points, or has changed, and for units
            with further frames of a place.
        """
        plan = self._plan if self._plan is not None else self._make_plan()
        first = [(unit, number) for unit, number in wanted if not unit.get(FURTHER)]
        replacements = iter(plan.replacements(first))
        return [None if unit.get(FURTHER) else next(replacements) for unit, _ in wanted]

    def get_result(self, index: int, unit: Unit) -> Chip | FrameStack | dict[str, Chip | FrameStack] | NoData:
        """Describe the chip of a point, or one for each dataset and frame.

        Each costs one request by computePixels, two by URL.
        """
        if self.sample.frames is not None:
            return self._frames(unit, self.sample.frames)
        grid = Grid.from_json(unit["grid"])
        chips: dict[str, Chip | FrameStack] = {
            layer.name: self._chip(layer, unit, grid) for layer in self.sample.layers_of(unit)
        }
        return chips.get("", chips)

    def request_window(self, unit: Unit) -> tuple[Hashable, Grid] | None:
        """Return what units share, and the grid; see :class:`eechips.recipe.SupportsSharedRequests`.

        Chips by bounds in degrees are on pixels of their own, and pictures keep the bytes of the response.
        """
        if self.sample.grid_mode == "thumb" or self.is_picture:
            return None
        shown = [frame.get("image") for frame in unit.get("frames", ())]
        key = (unit.get("image"), unit.get("label_date"), tuple(shown), tuple(unit.get(LAYERS, ())))
        return key, Grid.from_json(unit["grid"])

    def sized_result(self, index: int, unit: Unit) -> Any:
        """Describe the chip with the types of its bands; see :class:`eechips.recipe.SupportsSize`."""
        result, layers = self.get_result(index, unit), self.sample.layers
        if self.is_picture:
            return result
        types = {layer.name: layer.expected_dtype for layer in layers}
        if self._plan is not None:  # a resumed run surveys no images
            types = {layer.name: surveyed.dtype for layer, surveyed in zip(layers, self._plan.layers, strict=True)}
        return with_dtypes(result, {"": types[self.sample.first.name], **types})

    def __getstate__(self) -> dict[str, Any]:
        # Workers draw no points, and units contain their rows of a file of points.
        return {
            **self.__dict__,
            "_plan": None,
            "_places": None,
            "_declared": None,
            "sample": replace(self.sample, places=None, cells=None, away_from=None),
        }

    def _make_plan(self) -> ChipPlan:
        options = self.sample.options
        step = None if options.step is None else parse_step(options.step)
        warn_of_cut_period(step, options.start, options.end)
        self._plan = plan_chips(self.sample)
        return self._plan

    def _frames(self, unit: Unit, settings: FrameSettings) -> Chip | FrameStack | dict[str, Chip | FrameStack] | NoData:
        """Describe the frames of all datasets, and the chip of a dataset of one moment."""
        frames: list[dict[str, Any]] = unit["frames"]
        if settings.is_short(frames):
            return NoData()
        grid = Grid.from_json(unit["grid"])
        chips: dict[str, Chip | FrameStack] = {}
        settings = replace(settings, count=len(frames))
        for layer in self.sample.layers_of(unit):
            if self.sample.images(layer, unit).kind == "image" or not layer.is_dated:
                chips[layer.name] = self._chip(layer, unit, grid)
                continue
            series = [self._frame(layer, unit, grid, settings, number, frame) for number, frame in enumerate(frames)]
            if settings.is_stacked:
                chips[layer.name] = FrameStack(tuple(series))
            else:
                chips |= {settings.key(layer.name, number): chip for number, chip in enumerate(series)}
        return chips.get("", chips)

    def _frame(
        self, layer: SampleLayer, unit: Unit, grid: Grid, settings: FrameSettings, number: int, frame: dict[str, Any]
    ) -> Chip:
        """Describe one frame of a dataset."""
        images = self.sample.images(layer, unit)
        shown: dict[str, Any] | None = (
            (frame.get("near") or {}).get(layer.base or layer.name) if layer.is_further else frame
        )
        sources: tuple[str, ...] = ()
        dates: tuple[str, ...] = ()
        dtype = images.dtype
        empty_types: tuple[str, ...] = ()
        if settings.reducer is not None:
            image = period_image(images, grid, unit["coordinates"], settings.reducer, frame["start"], frame["end"])
            dtype = None if self.is_picture else reduced_dtype(settings.reducer) or images.dtype
        elif shown is not None and "image" in shown:
            sources, dates = (f"{layer.dataset_id}/{shown['image']}",), (shown["time"],)
            image = single_image(images, sources[0])
        else:
            image, empty_types = missing_image(images), images.types
        clear, score = (None, None) if layer.is_further else (frame.get("clear"), frame.get("score"))
        return Chip(
            image=image,
            grid=grid,
            bands=images.bands,
            format=self.sample.style.format,
            visualization=self.sample.style.visualization(images.bands, layer.stretched),
            dtype=dtype,
            sources=sources,
            dates=dates,
            frame=Frame(number, layer.name, frame.get("start"), frame.get("end"), clear, score),
            empty_types=empty_types,
        )

    def _chip(self, layer: SampleLayer, unit: Unit, grid: Grid) -> Chip:
        sample = self.sample
        images, is_first = sample.images(layer, unit), not layer.is_further
        image = chip_image(
            images,
            grid,
            unit["coordinates"],
            source=f"{layer.dataset_id}/{unit['image']}" if "image" in unit and is_first else None,
            date_match=sample.date_match(layer, unit),
            is_thumb=sample.grid_mode == "thumb",
            has_image=is_first and not unit.keys().isdisjoint(("image", "latest")),
        )
        latest = unit.get("image", unit.get("latest")) if is_first else None
        sources: Sequence[str] = (f"{layer.dataset_id}/{latest}",) if latest is not None else ()
        dates: Sequence[str] = (unit["date"],) if latest is not None and "date" in unit else ()
        if "provenance" in unit:
            provenance = unit["provenance"][layer.name] if layer.name else unit["provenance"]
            sources, dates = provenance["sources"], provenance["dates"]
        elif images.kind == "image" and layer.name:
            sources = (layer.dataset_id,)
        return Chip(
            image=image,
            grid=grid,
            bands=images.bands,
            format=sample.style.format,
            visualization=sample.style.visualization(images.bands, layer.stretched),
            dtype=images.dtype,
            sources=tuple(sources),
            dates=tuple(dates),
            asset=self._asset(layer, unit, images),
        )

    def _asset(self, layer: SampleLayer, unit: Unit, images: LayerImages) -> str | None:
        """Return the stored image whose pixels a chip shows unchanged where it is valid; None if there is none."""
        sample = self.sample
        is_stored = layer.has_stored_pixels and images.has_stored_pixels and images.area is None
        if not (is_stored and not layer.is_further and sample.grid_mode == "native" and sample.alignment.is_stored):
            return None
        if images.kind == "image":
            return layer.dataset_id
        return f"{layer.dataset_id}/{unit['image']}" if "image" in unit else None


_OPTIONS = option_names(SampleOptions) - {"on_empty"}


def sample_recipe(options: Mapping[str, Any]) -> tuple[ChipSample, RunConfig]:
    """Make the recipe and the config of the run from the options of ``sample``.

    Raises:
        UsageError: if an option is unknown, out of range, or contradicts another.
    """
    make = partial(ChipSample, on_empty=options.get("on_empty", "keep"))  # which decides on missing frames as well
    recipe, config = split_options(make, _OPTIONS, options, _folder, SampleOptions)
    chosen = recipe.sample.options
    strategy = next((name for name in ("cells", "points", "regions") if getattr(chosen, name) is not None), None)
    if config.on_empty == "redraw" and strategy is not None:
        raise UsageError(f"on_empty='redraw' draws further random points; `{strategy}` has none: use keep or skip")
    recipe.sample.style.check_empty(config.on_empty)
    if config.name and recipe.sample.places is not None:
        check_name_fields(NameTemplate(config.name), recipe.sample.places)
    return recipe, config


def _folder(recipe: ChipSample) -> str:
    return f"sample-{slug('-'.join(layer.dataset for layer in recipe.sample.layers))}"


@dataset_function(SampleOptions)
def sample(
    dataset: str | Sequence[str], *, out: str | Path | None = None, dry_run: bool = False, **options: Any
) -> Run | Estimate:
    """Fetch image chips at places that are drawn at random, lie in rows, or are listed in a file.

    Args:
        dataset: alias ("NAIP") or Earth Engine id; with several, each place has a file of each, on the same pixels.
        out: folder of the results; None for ``outputs/sample-<dataset>``.
        dry_run: plan and estimate only; send no request for pixels.
        options: fields of ``SampleOptions`` and ``RunConfig``.

    Returns:
        The finished run; its failures, if any, are in ``failures``. With ``estimate``, the run may be
        ``paused`` after the units of the estimate. With ``dry_run``, the estimate.

    Raises:
        UsageError: if an option is wrong.
        ConfigurationError: if credentials, project or endpoint are wrong.

    Example:
        >>> run = eechips.sample("NAIP", per_ecoregion=25, local=True)
        >>> run.units.head()
    """
    return run_with_places(sample_recipe, dataset=dataset, out=out, dry_run=dry_run, **options)
