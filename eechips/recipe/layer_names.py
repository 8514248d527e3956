"""Check the names of a unit's layers against the names that loaders and packs reserve."""

from __future__ import annotations

from collections.abc import Collection

from eechips.errors import RecipeError
from eechips.text.formatting import replace_control_characters

RESERVED_LAYERS = (
    *("id", "label", "split", "stratum", "metadata"),  # keys of items of a training set, and columns of packs
    *("crs", "transform", "bounds"),
    *("sample", "coefficient", "band", "y", "x"),  # names of the axes of arrays
)
"""Names that loaders and packs use for data beside the pixels."""

MASK_SUFFIX = "_valid"
"""Suffix of the layer's name for the array of its valid pixels."""


def check_layer_names(names: Collection[str]) -> None:
    """Check that chips of layers with these names can be loaded later.

    Raises:
        RecipeError: if a name is reserved; the message lists the reserved names.
    """
    for name in names:
        if name in RESERVED_LAYERS:
            example = "'mask' or 'target'" if name in ("label", "y") else f"'{name}_image'"
            raise RecipeError(
                f"a layer cannot be called '{name}': what loads and packs chips has that name for itself, as it has"
                f" {', '.join(other for other in RESERVED_LAYERS if other != name)}. Call it {example}, for example"
            )
        if name.removesuffix(MASK_SUFFIX) in names and name.endswith(MASK_SUFFIX):
            raise RecipeError(
                f"a layer cannot be called '{name}' beside '{name.removesuffix(MASK_SUFFIX)}': packs use that name for"
                " the mask of the latter. Rename one of them"
            )
        if not name or "/" in name or name.startswith((".", "__")) or replace_control_characters(name) != name:
            raise RecipeError(
                f"a layer cannot be called '{replace_control_characters(name)}': names are not empty, have neither /"
                " nor control characters, and do not begin with . or __"
            )
