"""Recipes: what to fetch, as two functions, and the small JSON units that pass between them.

A recipe is anything with the attributes of :class:`Recipe`. The built-in jobs are recipes; a Python file
with ``get_requests`` and ``get_result`` (or ``getRequests`` and ``getResult``) becomes one by
:func:`load_recipe`.
"""

from __future__ import annotations

from eechips.recipe.faults import RecipeErrors
from eechips.recipe.protocol import (
    Recipe,
    RecipeTraits,
    Redraw,
    SupportsAssembly,
    SupportsAssemblySettings,
    SupportsEstimate,
    SupportsInputs,
    SupportsInteractiveRun,
    SupportsLifespan,
    SupportsPreview,
    SupportsReplacement,
    SupportsSize,
    SupportsWorkerStart,
    traits_of,
)
from eechips.recipe.results import (
    Chip,
    NoData,
    Result,
    Single,
    Table,
)  # fmt: skip
from eechips.recipe.script import ScriptRecipe, convert_parameter, load_recipe, parse_script
from eechips.recipe.units import UNIT_KINDS, Unit, as_unit, canonical_json, identity_of, unit_id, unit_value

# Where recipes import them from: their name there is part of the identity of recipes that use them.
for _kind in (Chip, NoData, Table):
    _kind.__module__ = __name__

__all__ = [
    "UNIT_KINDS",
    "Chip",
    "NoData",
    "Recipe",
    "RecipeErrors",
    "RecipeTraits",
    "Redraw",
    "Result",
    "ScriptRecipe",
    "Single",
    "SupportsAssembly",
    "SupportsAssemblySettings",
    "SupportsEstimate",
    "SupportsInputs",
    "SupportsInteractiveRun",
    "SupportsLifespan",
    "SupportsPreview",
    "SupportsReplacement",
    "SupportsSize",
    "SupportsWorkerStart",
    "Table",
    "Unit",
    "as_unit",
    "canonical_json",
    "convert_parameter",
    "identity_of",
    "load_recipe",
    "parse_script",
    "traits_of",
    "unit_id",
    "unit_value",
]
