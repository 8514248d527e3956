"""Define recipes: what to fetch, as two functions, and the small JSON units that pass between them.

A recipe is anything with the attributes of :class:`Recipe`. The built-in recipes are such; a Python file
with ``get_requests`` and ``get_result`` (or ``getRequests`` and ``getResult``) becomes one by
:func:`load_recipe`.
"""

from __future__ import annotations

from eechips.recipe.code_hash import hash_code as hash_code
from eechips.recipe.protocol import AddedUnits as AddedUnits
from eechips.recipe.protocol import ChangedUnit as ChangedUnit
from eechips.recipe.protocol import EarlierPlan as EarlierPlan
from eechips.recipe.protocol import PlanPreview as PlanPreview
from eechips.recipe.protocol import Recipe as Recipe
from eechips.recipe.protocol import RecipeTraits as RecipeTraits
from eechips.recipe.protocol import Redraw as Redraw
from eechips.recipe.protocol import RequestWindow as RequestWindow
from eechips.recipe.protocol import SupportsAssembly as SupportsAssembly
from eechips.recipe.protocol import SupportsAssemblySettings as SupportsAssemblySettings
from eechips.recipe.protocol import SupportsCall as SupportsCall
from eechips.recipe.protocol import SupportsCodeChanges as SupportsCodeChanges
from eechips.recipe.protocol import SupportsEstimate as SupportsEstimate
from eechips.recipe.protocol import SupportsExtension as SupportsExtension
from eechips.recipe.protocol import SupportsImages as SupportsImages
from eechips.recipe.protocol import SupportsInputs as SupportsInputs
from eechips.recipe.protocol import SupportsInteractiveRun as SupportsInteractiveRun
from eechips.recipe.protocol import SupportsLifespan as SupportsLifespan
from eechips.recipe.protocol import SupportsPreview as SupportsPreview
from eechips.recipe.protocol import SupportsReplacement as SupportsReplacement
from eechips.recipe.protocol import SupportsSharedRequests as SupportsSharedRequests
from eechips.recipe.protocol import SupportsSize as SupportsSize
from eechips.recipe.protocol import SupportsWorkerStart as SupportsWorkerStart
from eechips.recipe.protocol import UnitImages as UnitImages
from eechips.recipe.protocol import request_window_of as request_window_of
from eechips.recipe.protocol import traits_of as traits_of
from eechips.recipe.recipe_file import CodeErrors as CodeErrors
from eechips.recipe.recipe_file import FileRecipe as FileRecipe
from eechips.recipe.recipe_file import convert_parameter as convert_parameter
from eechips.recipe.recipe_file import load_recipe as load_recipe
from eechips.recipe.recipe_file import parse_script as parse_script
from eechips.recipe.results import Chip as Chip
from eechips.recipe.results import Frame as Frame
from eechips.recipe.results import FrameStack as FrameStack
from eechips.recipe.results import NoData as NoData
from eechips.recipe.results import Result as Result
from eechips.recipe.results import Single as Single
from eechips.recipe.results import Table as Table
from eechips.recipe.units import UNIT_KINDS as UNIT_KINDS
from eechips.recipe.units import Unit as Unit
from eechips.recipe.units import canonical_json as canonical_json
from eechips.recipe.units import recipe_identity as recipe_identity
from eechips.recipe.units import to_unit as to_unit
from eechips.recipe.units import unit_id as unit_id
from eechips.recipe.units import unit_value as unit_value

# Recipes import them from here, and the name of this module is part of the identity of such recipes.
for _kind in (Chip, Frame, FrameStack, NoData, Table):
    _kind.__module__ = __name__
