"""Plan, grow and describe files of images over a region: what ``eechips images`` and ``composites`` share.

Bands that are added to a run are a unit of their own, for the same place and images, with a file of its own: it names
the first unit (``completes``) and the bands (``layers``). That unit and its file stay as they are.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import ee

from eechips.builtin_recipes.chosen_dataset import ChosenDataset, with_dtypes
from eechips.builtin_recipes.extended_plans import GROWING, check_growth
from eechips.builtin_recipes.rasters.imagery import ImageSelection, ResolvedImagery
from eechips.builtin_recipes.rasters.imagery_options import ImageryOptions
from eechips.builtin_recipes.recipe_options import BuiltinRecipe
from eechips.builtin_recipes.samples.extended_samples import divide_bands
from eechips.builtin_recipes.samples.resolved_sample import LAYERS
from eechips.builtin_recipes.samples.sample_layers import SampleLayer
from eechips.engine.config import RunConfig
from eechips.errors import UsageError
from eechips.geo.grid import Grid
from eechips.planning.imagery.inventory import Scene
from eechips.recipe import AddedUnits, ChangedUnit, Chip, EarlierPlan, NoData, Unit, recipe_identity, unit_id
from eechips.recipe.results import Template
from eechips.recipe.units import COMPLETES

if TYPE_CHECKING:
    from typing_extensions import Self

_OF_BANDS = frozenset({"bands", "dtype", "casts", "where"})
"""Fields of a unit that depend on its bands. The others say where its pixels are, and which images it shows."""

OptionsT = TypeVar("OptionsT", bound=ImageryOptions)


class ImageryRecipe(ABC, BuiltinRecipe[OptionsT]):
    """A recipe whose units show images of a collection over a region.

    Args:
        imagery: the same, resolved.
        results: parameters that determine the pixels of a unit's file, besides those of the imagery.
        plan: parameters of the plan, besides those of the imagery.
        file_name: template of the names of files, below the folder of a region.
    """

    growing: frozenset[str] = GROWING

    def __init__(
        self,
        options: OptionsT,
        imagery: ResolvedImagery,
        results: Mapping[str, Any],
        plan: Mapping[str, Any],
        file_name: str,
    ) -> None:
        self.options, self.imagery = options, imagery
        all_results = {**imagery.results, **results}
        self.identity = recipe_identity(self.name, all_results)
        self.parameters: Mapping[str, Any] = {**all_results, **imagery.parameters, **plan}
        self.name_template = f"{self.name}/{imagery.folder}{file_name}"
        self.datasets = imagery.datasets
        self.is_picture = imagery.style.is_picture
        self.export_obstacle = imagery.style.export_obstacle
        self._dtypes: dict[str, str | None] = {}  # of bands that were surveyed, by the name of added ones

    def receive_config(self, config: RunConfig) -> None:
        """Raise UsageError if empty files cannot be treated as the run says."""
        if config.on_empty == "redraw":
            raise UsageError(f"on_empty='redraw': {self.name} has nothing else to draw; take keep or skip")
        self.imagery.style.check_empty(config.on_empty)

    @abstractmethod
    def get_result(self, index: int, unit: Unit) -> Chip | NoData | dict[str, Chip]:
        """Describe the file of a unit."""

    @abstractmethod
    def _grow(self, earlier: EarlierPlan) -> AddedUnits:
        """Return what an extension adds, with the bands of the first plan."""

    def extend_plan(self, earlier: EarlierPlan) -> AddedUnits:
        """Return the units of further dates, regions and bands; see :class:`eechips.recipe.SupportsExtension`.

        Raises:
            UsageError: if dates or regions are left out, or a file that is there would change.
        """
        check_growth(earlier, self.options.start, self.options.end, self.imagery.regions)
        growth, imagery = self._grow(earlier), self.imagery
        if not imagery.layers:
            return growth
        there: set[tuple[str, str]] = {
            (unit[COMPLETES], name) for unit in earlier.units if COMPLETES in unit for name in unit[LAYERS]
        }
        firsts = [*self._first_units(earlier, growth), *((unit_id(unit, self.identity), unit) for unit in growth.units)]
        added = list(growth.units)
        for layer in imagery.layers[1:]:
            lacking = [(name, unit) for name, unit in firsts if (name, layer.name) not in there and not _is_empty(unit)]
            if lacking:
                further = replace(imagery, source=layer, layers=())
                own = self._band_fields(further, further.select_images(), layer.name)
                for name, unit in lacking:
                    kept = {key: value for key, value in unit.items() if key not in _OF_BANDS}
                    added.append({**kept, **own, LAYERS: [layer.name], COMPLETES: name})
        return replace(growth, units=added, changed=(*growth.changed, *self._changed_further(earlier, growth)))

    def continuing_from(self, first: Mapping[str, Any], latest: Mapping[str, Any]) -> Self:
        """Return the recipe that knows the bands of the first units; see :class:`eechips.recipe.SupportsExtension`.

        Units have their images and dates, and later ones their bands. Bands that were added are layers, in the
        parameters too. The recipe itself is returned if none were.
        """
        imagery = self.imagery
        own = {field.name: getattr(imagery.source, field.name) for field in fields(ChosenDataset)}
        layers = None if imagery.style.is_picture else divide_bands(latest, (SampleLayer(**own),))
        if layers is None and LAYERS not in latest:
            return self
        continued = copy.copy(self)
        if layers is None:  # only the bands differ from those of the run, as its message says then
            continued.parameters = {**self.parameters, LAYERS: latest[LAYERS]}
            return continued
        continued.imagery = replace(imagery, layers=layers)
        described = [
            {"layer": layer.name, "dataset": layer.dataset_id, "bands": layer.compared_bands(layer.bands)}
            for layer in layers
        ]
        continued.parameters = {**self.parameters, LAYERS: described}
        continued.growing = self.growing | {"bands", LAYERS}
        return continued

    def request_window(self, unit: Unit) -> tuple[Hashable, Grid] | None:
        """Return the pixels of a unit: files of the same pixels and bands are bands of one request.

        Pictures keep the bytes of the response, and units without images have none.
        """
        if self.is_picture or _is_empty(unit):
            return None
        key = json.dumps(unit["grid"], sort_keys=True), tuple(unit.get(LAYERS, ()))
        return key, Grid.from_json(unit["grid"])

    def sized_result(self, index: int, unit: Unit) -> Any:
        """Describe the file with the type of its bands; see :class:`eechips.recipe.SupportsSize`."""
        result = self.get_result(index, unit)
        if self.is_picture:
            return result
        types = {"": self.imagery.source.expected_dtype}  # a resumed run surveys no images
        types |= {layer.name: layer.expected_dtype for layer in self.imagery.layers} | self._dtypes
        return with_dtypes(result, types)

    def _band_fields(self, imagery: ResolvedImagery, selection: ImageSelection, name: str = "") -> dict[str, Any]:
        """Return the part of a unit that depends on its bands, and note their type."""
        self._dtypes[name] = selection.dtype or selection.bands[0].dtype
        return imagery.unit_fields(selection)

    def _shown(self, unit: Unit) -> ResolvedImagery:
        """Return the imagery with the bands of a unit: those that it names, or else those of the first plan."""
        imagery = self.imagery
        if not imagery.layers:
            return imagery
        (name,) = unit.get(LAYERS) or [imagery.layers[0].name]
        layer = next(layer for layer in imagery.layers if layer.name == name)
        return replace(imagery, source=layer, layers=())

    def _described(
        self,
        unit: Unit,
        image: ee.Image | Template,
        bands: Sequence[str],
        dtype: str | None,
        names: Sequence[str],
        dates: Sequence[str],
        asset: str | None = None,
    ) -> Chip | dict[str, Chip]:
        """Return the chip of a unit; by the name of its bands if these were added."""
        imagery, dataset = self._shown(unit), self.imagery.source.dataset_id
        chip = Chip(
            image=image,
            grid=Grid.from_json(unit["grid"]),
            bands=tuple(bands),
            format=imagery.style.format,
            visualization=imagery.visualization(bands),
            dtype=dtype,
            sources=tuple(f"{dataset}/{name}" for name in names),
            dates=tuple(dates),
            asset=asset,
        )
        return {unit[LAYERS][0]: chip} if LAYERS in unit else chip

    def _first_units(self, earlier: EarlierPlan, growth: AddedUnits) -> Iterator[tuple[str, Unit]]:
        """Yield id and content of units of a run that have the first bands, with the images that are shown now."""
        now = {changed.index: changed.unit for changed in growth.changed}
        for index, (name, unit) in enumerate(zip(earlier.ids, earlier.units, strict=True)):
            if COMPLETES not in unit and name not in earlier.dropped:
                shown = now.get(index, unit)
                is_new = shown is not unit and _is_empty(unit)
                yield (unit_id(shown, self.identity) if is_new else name), shown

    def _changed_further(self, earlier: EarlierPlan, growth: AddedUnits) -> Iterator[ChangedUnit]:
        """Yield the units that complete changed ones, with the images of these."""
        numbers = {changed.index: changed.unit for changed in growth.changed}
        now = {name: numbers[index] for index, name in enumerate(earlier.ids) if index in numbers} if numbers else {}
        for index, unit in enumerate(earlier.units if now else ()):
            if (first := now.get(unit.get(COMPLETES, ""))) is not None:
                shown = {key: value for key, value in first.items() if key not in _OF_BANDS}
                own = {key: value for key, value in unit.items() if key in _OF_BANDS or key == LAYERS}
                yield ChangedUnit(index, {**shown, **own, COMPLETES: unit_id(first, self.identity)}, "")


def scene_fields(scenes: Sequence[Scene], most: int | None = None) -> dict[str, Any]:
    """Return the part of a unit that names its images: how many they are, and of some their index and time."""
    shown = scenes[:most]
    return {
        "images": len(scenes),
        "sources": [scene.index for scene in shown],
        "times": [scene.moment for scene in shown],
    }


def _is_empty(unit: Unit) -> bool:
    """Return whether a unit shows no image: it has no file, and is planned again once there is one."""
    return unit.get("images") == 0
