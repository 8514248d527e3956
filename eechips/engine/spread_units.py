"""Draw the units of an estimate from the whole plan."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from eechips.recipe import Recipe

_ADJOINING = 4
"""Units of an estimate that follow each other in the plan, so that they may share requests as the others do."""


def draw_spread(positions: Sequence[int], count: int, seed: int = 0, adjoining: int = _ADJOINING) -> list[int]:
    """Return some of the positions of units: a few that follow each other, at random in each part of the plan.

    The first rows of a list are often alike, for example rows of one district. A fixed interval would miss units that
    differ, where the plan has a period, such as the dates of each place.

    Args:
        positions: positions of all units, ascending.
        seed: seed of the random numbers.
        adjoining: units that follow each other.
    """
    parts = math.ceil(count / adjoining)
    if len(positions) <= parts * adjoining:
        return list(positions[:count])
    draw, chosen = random.Random(seed), list[int]()
    for part in range(parts):
        first, end = (len(positions) * number // parts for number in (part, part + 1))
        size = min(adjoining, count - len(chosen))
        start = first + draw.randrange(end - first - size + 1)
        chosen += positions[start : start + size]
    return chosen


def seed_of(recipe: Recipe) -> int:
    """Return the seed of a recipe's random choices; 0 if it makes none."""
    seed = recipe.parameters.get("seed")
    return seed if isinstance(seed, int) else 0
