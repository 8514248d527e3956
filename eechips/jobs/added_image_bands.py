"""Add bands to files of images and composites: a further file of each, which another unit has.

A unit and its file stay as they are. Added bands are a unit of their own, for the same place and images: it names the
first unit (``completes``) and the bands (``layers``).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Protocol, TypeVar

from eechips.geo.grid import Grid
from eechips.jobs.added_bands import divide_bands
from eechips.jobs.chosen_dataset import ChosenDataset
from eechips.jobs.imagery import ResolvedImagery
from eechips.jobs.resolved_sample import LAYERS
from eechips.jobs.sample_layers import SampleLayer
from eechips.recipe import AddedUnits, ChangedUnit, Chip, EarlierPlan, Unit, unit_id
from eechips.recipe.units import COMPLETES

_OF_BANDS = frozenset({"bands", "dtype", "casts", "where"})
"""Fields of a unit that depend on its bands. The others say where its pixels are, and which images it shows."""


class _Recipe(Protocol):
    imagery: ResolvedImagery
    parameters: Mapping[str, Any]
    growing: frozenset[str]


_AnyRecipe = TypeVar("_AnyRecipe", bound=_Recipe)


def continue_imagery(recipe: _AnyRecipe, latest: Mapping[str, Any]) -> _AnyRecipe:
    """Return a recipe with the bands of its first plan, and further ones as layers; itself if no bands were added.

    Args:
        recipe: with the bands that its options name.
        latest: parameters of the run that is there.
    """
    imagery = recipe.imagery
    own = {field.name: getattr(imagery.source, field.name) for field in fields(ChosenDataset)}
    layers = None if imagery.style.is_picture else divide_bands(latest, (SampleLayer(**own),))
    if layers is None and LAYERS not in latest:
        return recipe
    continued = copy.copy(recipe)
    if layers is None:  # only the bands differ from those of the run, as its message says then
        continued.parameters = {**recipe.parameters, LAYERS: latest[LAYERS]}
        return continued
    continued.imagery = replace(imagery, layers=layers)
    continued.parameters = {**recipe.parameters, LAYERS: [_layer_parameters(layer) for layer in layers]}
    continued.growing = recipe.growing | {"bands", LAYERS}
    return continued


def _layer_parameters(layer: SampleLayer) -> dict[str, Any]:
    return {"layer": layer.name, "dataset": layer.dataset_id, "bands": layer.compared_bands(layer.bands)}


def complete_images(
    earlier: EarlierPlan,
    growth: AddedUnits,
    imagery: ResolvedImagery,
    identity: str,
    describe: Callable[[ResolvedImagery, str], Mapping[str, Any]],
) -> AddedUnits:
    """Return what an extension adds, with units for the further bands of all images.

    Args:
        earlier: the run.
        growth: units with the first bands that it lacks.
        imagery: resolved imagery of the extension.
        identity: identity of the recipe, by which added units get their ids.
        describe: returns the fields of a unit that depend on its bands, of imagery with the bands of a layer and the
            name of this: a few requests.
    """
    if not imagery.layers:
        return growth
    there: set[tuple[str, str]] = {
        (unit[COMPLETES], name) for unit in earlier.units if COMPLETES in unit for name in unit[LAYERS]
    }
    firsts = [*_first_units(earlier, growth, identity), *((unit_id(unit, identity), unit) for unit in growth.units)]
    added = list(growth.units)
    for layer in imagery.layers[1:]:
        lacking = [(name, unit) for name, unit in firsts if (name, layer.name) not in there and not _is_empty(unit)]
        own = describe(replace(imagery, source=layer, layers=()), layer.name) if lacking else {}
        for name, unit in lacking:
            kept = {key: value for key, value in unit.items() if key not in _OF_BANDS}
            added.append({**kept, **own, LAYERS: [layer.name], COMPLETES: name})
    return replace(growth, units=added, changed=(*growth.changed, *_changed_further(earlier, growth, identity)))


def _first_units(earlier: EarlierPlan, growth: AddedUnits, identity: str) -> Iterator[tuple[str, Unit]]:
    """Yield id and content of units of a run that have the first bands, with the images that are shown now."""
    now = {changed.index: changed.unit for changed in growth.changed}
    for index, (name, unit) in enumerate(zip(earlier.ids, earlier.units, strict=True)):
        if COMPLETES in unit or name in earlier.dropped:
            continue
        shown = now.get(index, unit)
        yield (unit_id(shown, identity) if shown is not unit and _is_empty(unit) else name), shown


def _changed_further(earlier: EarlierPlan, growth: AddedUnits, identity: str) -> Iterator[ChangedUnit]:
    """Yield the units that complete changed ones, with the images of these."""
    numbers = {changed.index: changed.unit for changed in growth.changed}
    now = {name: numbers[index] for index, name in enumerate(earlier.ids) if index in numbers} if numbers else {}
    for index, unit in enumerate(earlier.units if now else ()):
        if (first := now.get(unit.get(COMPLETES, ""))) is not None:
            shown = {key: value for key, value in first.items() if key not in _OF_BANDS}
            own = {key: value for key, value in unit.items() if key in _OF_BANDS or key == LAYERS}
            yield ChangedUnit(index, {**shown, **own, COMPLETES: unit_id(first, identity)}, "")


def _is_empty(unit: Unit) -> bool:
    """Return whether a unit shows no image: it has no file, and is planned again once there is one."""
    return unit.get("images") == 0


def shown_imagery(imagery: ResolvedImagery, unit: Unit) -> ResolvedImagery:
    """Return the imagery with the bands of a unit: those that it names, or else those of the first plan."""
    if not imagery.layers:
        return imagery
    (name,) = unit.get(LAYERS) or [imagery.layers[0].name]
    layer = next(layer for layer in imagery.layers if layer.name == name)
    return replace(imagery, source=layer, layers=())


def as_layer(chip: Chip, unit: Unit) -> Chip | dict[str, Chip]:
    """Return the result of a unit: a chip by the name of its bands if these were added."""
    return {unit[LAYERS][0]: chip} if LAYERS in unit else chip


def pixels_of(unit: Unit) -> tuple[Hashable, Grid]:
    """Return the pixels and bands that units of one request share, and their grid."""
    return (json.dumps(unit["grid"], sort_keys=True), tuple(unit.get(LAYERS, ()))), Grid.from_json(unit["grid"])
