"""Make and check the workload tag of a run: the label under which Google lists its compute."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from eechips.errors import UsageError

if TYPE_CHECKING:  # loads numpy, which help texts do without
    from eechips.recipe import Recipe

MOST_CHARACTERS = 63
_VARIABLE = "EECHIPS_WORKLOAD_TAG"
_TAG = re.compile(r"[a-z0-9]([-_a-z0-9]{0,61}[a-z0-9])?")
_DIGITS = 8  # of the recipe's identity


def check_workload_tag(tag: str) -> None:
    """Raise UsageError if a text is no workload tag.

    The service takes ``[a-z0-9][-_a-z0-9]*``, 1 to 63 characters
    (https://developers.google.com/earth-engine/guides/computation_overview#workload_tags); the client's documentation
    also wants an alphanumeric character at the end.
    """
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"the workload tag (`workload_tag` or {_VARIABLE}) has 1 to {MOST_CHARACTERS} lower-case letters, digits, -"
            f" and _, with a letter or digit at both ends: {tag[:70]!r} is not valid"
        )


def workload_tag_of(recipe: Recipe | None) -> str:
    """Return the tag of a run whose configuration names none; raise UsageError if the variable has no valid tag.

    It is that of ``EECHIPS_WORKLOAD_TAG``. Without the variable it is the same whenever the run is resumed, and another
    for another recipe or other parameters.

    Args:
        recipe: recipe of the run; None for requests outside of one.
    """
    if tag := os.environ.get(_VARIABLE):
        check_workload_tag(tag)
        return tag
    if recipe is None:
        return "eechips"
    name = re.sub(r"[^a-z0-9]+", "-", recipe.name.lower()).strip("-")
    room = MOST_CHARACTERS - len("eechips--") - _DIGITS
    return f"eechips-{name[:room].strip('-') or 'run'}-{recipe.identity[:_DIGITS].lower()}"
