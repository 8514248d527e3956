"""Make the units of a plan from what a recipe returns, with ids, and names by the template; draw some of them for an
estimate.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import Any

from eechips.client.error_classification import classify_exception
from eechips.engine.config import RunConfig
from eechips.errors import ConfigurationError, RecipeError, Stopped, TransientError, UsageError
from eechips.manifest.manifest_columns import WorkUnit
from eechips.recipe import Recipe, SupportsInputs, canonical_json, to_unit, traits_of, unit_id
from eechips.storage import NameTemplate, UniqueNames

DEFAULT_TEMPLATE = "chips/{id}"
_SPENT = "connecting and planning took all of the budget of requests or bytes, before the first unit: allow more"
_ADJOINING = 4
"""Units of an estimate that follow each other in the plan, so that they may share requests as the others do."""
_log = logging.getLogger(__name__)


class BudgetError(UsageError):
    """The budget of requests or bytes is spent before the first unit."""

    def __init__(self, text: str = _SPENT) -> None:
        super().__init__(text)


def name_template(recipe: Recipe, config: RunConfig) -> NameTemplate:
    """Return the template of the results' names: the user's, or that of the recipe, or ``chips/{id}``.

    Raises:
        UsageError: if it is malformed.
    """
    if config.name:
        return NameTemplate(config.name, prefers_values=True)
    return NameTemplate(traits_of(recipe).name_template or DEFAULT_TEMPLATE)


def read_inputs(recipe: Recipe) -> None:
    """Read the files that a recipe plans from, before anything is started; raise EechipsError if one cannot be used."""
    if isinstance(recipe, SupportsInputs):
        recipe.read_inputs()


def units_of(recipe: Recipe, template: NameTemplate) -> Iterator[WorkUnit]:
    """Yield the units of a recipe's plan.

    Raises:
        ConfigurationError, RequestError: if the service refuses a request of the planner.
        RecipeError: if the planner raises an exception.
        UsageError: see :func:`plan_units`.
        BudgetError: if the budget of requests or bytes is spent.
    """
    with planner_errors():
        yield from plan_units(recipe.get_requests(), recipe.identity, template)


@contextlib.contextmanager
def planner_errors() -> Iterator[None]:
    """Raise an error of a planner in this block as the error of the service that caused it, if one did.

    Raises:
        ConfigurationError, RequestError, RecipeError, UsageError: see :func:`units_of`.
    """
    try:
        yield
    except Stopped:  # nothing else stops a planner
        raise BudgetError from None
    except Exception as error:
        cause = service_error_of(error)
        if cause is error:
            raise
        raise cause from None


def service_error_of(error: Exception) -> Exception:
    """Return the error of the service that caused an error of a planner; the error itself if none did."""
    cause = error.__cause__ if isinstance(error, RecipeError) else error
    service_error = classify_exception(cause) if cause is not None else None
    if service_error is None:
        return error
    # Of others the place in the user's script says more.
    is_informative = isinstance(service_error, (ConfigurationError, TransientError))
    return error if isinstance(error, RecipeError) and not is_informative else service_error


def plan_units(
    values: Iterable[Any],
    identity: str,
    template: NameTemplate,
    positions: Iterable[int] | None = None,
    planned: Mapping[int, WorkUnit] = MappingProxyType({}),
) -> Iterator[WorkUnit]:
    """Yield units with ids and names; raise UsageError if a value is not JSON, or lacks a field of the template.

    A repeated value gets an id that depends on the number of its repetition. A name that another unit has already gets
    the beginning of the id appended.

    Args:
        values: values that ``get_requests`` returned, or some of them.
        positions: their positions in the plan; None for those from 0 on.
        planned: units that were planned before, by position: they keep their ids and names.
    """
    repeats: dict[int, int] = {}
    seen = {_key_of(unit.id) for unit in planned.values()}
    names = UniqueNames(unit.name for unit in planned.values())
    taken: list[str] = []
    for position, value in zip(count() if positions is None else positions, values, strict=False):
        unit = to_unit(value)
        text = canonical_json(unit)  # before the id, so that an error shows the unit alone
        if position in planned and planned[position].unit == text:
            yield planned[position]
            continue
        unit = json.loads(text)  # as it is stored: numbers of numpy are fields of names, too
        identifier = unit_id(unit, identity)
        key = _key_of(identifier)
        while _key_of(identifier) in seen:
            repeats[key] = repeats.get(key, 0) + 1
            identifier = unit_id(unit, identity, repeats[key])
        seen.add(_key_of(identifier))
        name = template.render(unit, identifier, position)
        if not template.is_unique:
            chosen = names.choose(name, identifier)
            taken += [name] if chosen != name else []
            name = chosen
        yield WorkUnit(position, identifier, text, name)
    if taken and template.prefers_values:
        _log.warning(
            "%s of the names by %r %s taken, as %s: the id of the unit is appended",
            f"{len(taken):,}",
            template.text,
            "was" if len(taken) == 1 else "were",
            taken[0],
        )


def _key_of(identifier: str) -> int:
    return int(identifier[:16], 16)


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
