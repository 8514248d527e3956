"""Define recipes: what to fetch, as two functions, and the small JSON units that pass between them.

A recipe is anything with the attributes of :class:`Recipe`. The built-in recipes are such; a Python file
with ``get_requests`` and ``get_result`` (or ``getRequests`` and ``getResult``) becomes one by
:func:`load_recipe`.
"""

from __future__ import annotations

from eechips.recipe.code_hash import hash_code
from eechips.recipe.protocol import (
    AddedUnits,
    ChangedUnit,
    EarlierPlan,
    PlanPreview,
    Recipe,
    RecipeTraits,
    Redraw,
    RequestWindow,
    SupportsAssembly,
    SupportsAssemblySettings,
    SupportsCall,
    SupportsCodeChanges,
    SupportsEstimate,
    SupportsExtension,
    SupportsImages,
    SupportsInputs,
    SupportsInteractiveRun,
    SupportsLifespan,
    SupportsPreview,
    SupportsReplacement,
    SupportsSharedRequests,
    SupportsSize,
    SupportsWorkerStart,
    UnitImages,
    request_window_of,
    traits_of,
)
from eechips.recipe.recipe_file import CodeErrors, FileRecipe, convert_parameter, load_recipe, parse_script
from eechips.recipe.results import Chip, Frame, FrameStack, NoData, Result, Single, Table  # fmt: skip
from eechips.recipe.units import UNIT_KINDS, Unit, canonical_json, recipe_identity, to_unit, unit_id, unit_value

# Recipes import them from here, and the name of this module is part of the identity of such recipes.
for _kind in (Chip, Frame, FrameStack, NoData, Table):
    _kind.__module__ = __name__

__all__ = [
    "UNIT_KINDS",
    "AddedUnits",
    "ChangedUnit",
    "Chip",
    "CodeErrors",
    "EarlierPlan",
    "FileRecipe",
    "Frame",
    "FrameStack",
    "NoData",
    "PlanPreview",
    "Recipe",
    "RecipeTraits",
    "Redraw",
    "RequestWindow",
    "Result",
    "Single",
    "SupportsAssembly",
    "SupportsAssemblySettings",
    "SupportsCall",
    "SupportsCodeChanges",
    "SupportsEstimate",
    "SupportsExtension",
    "SupportsImages",
    "SupportsInputs",
    "SupportsInteractiveRun",
    "SupportsLifespan",
    "SupportsPreview",
    "SupportsReplacement",
    "SupportsSharedRequests",
    "SupportsSize",
    "SupportsWorkerStart",
    "Table",
    "Unit",
    "UnitImages",
    "canonical_json",
    "convert_parameter",
    "hash_code",
    "load_recipe",
    "parse_script",
    "recipe_identity",
    "request_window_of",
    "to_unit",
    "traits_of",
    "unit_id",
    "unit_value",
]
