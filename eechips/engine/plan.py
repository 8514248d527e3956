"""Turn a recipe into a plan, and compare a stored plan with a recipe."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eechips.client.classification import classify_exception
from eechips.client.permits import Stopped
from eechips.engine.config import RunConfig
from eechips.errors import ConfigurationError, EechipsError, RecipeError, RunMismatchError, TransientError, UsageError
from eechips.manifest.ledger import Ledger
from eechips.manifest.run import CHECKSUMS_ONLY
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import Recipe, SupportsInputs, Unit, canonical_json, to_unit, traits_of, unit_id
from eechips.redaction import REDACTED, redact_json
from eechips.storage import ID_LENGTH, NameTemplate, fold_case

DEFAULT_TEMPLATE = "chips/{id}"
_log = logging.getLogger(__name__)
SPENT = "the budget of requests or bytes is spent before the first unit is asked for: allow more"


def name_template(recipe: Recipe, config: RunConfig) -> NameTemplate:
    """Return the template of the results' names: the user's, or that of the recipe, or ``chips/{id}``.

    Raises:
        UsageError: if it is malformed.
    """
    if config.name:
        return NameTemplate(config.name, prefers_values=True)
    return NameTemplate(traits_of(recipe).name_template or DEFAULT_TEMPLATE)


def read_inputs(recipe: Recipe) -> None:
    """Read the files that a recipe plans from, before anything is started.

    Raises:
        EechipsError: if one cannot be used.
    """
    if isinstance(recipe, SupportsInputs):
        recipe.read_inputs()


def describe(recipe: Recipe, config: RunConfig) -> dict[str, Any]:
    """Return what identifies a run, as JSON without secrets, stored with the plan."""
    return {
        "recipe": recipe.name,
        "identity": recipe.identity,
        "parameters": redact_json(json.loads(canonical_json(dict(recipe.parameters)))),
        "name": name_template(recipe, config).text,
        "source": config.source if traits_of(recipe).needs_service else "",
        **({"results": config.results} if config.results else {}),
        **({CHECKSUMS_ONLY: True} if traits_of(recipe).is_foreign else {}),
    }


def units_of(recipe: Recipe, template: NameTemplate) -> Iterator[WorkUnit]:
    """Yield the units of a recipe's plan.

    Raises:
        ConfigurationError, RequestError: if the service refuses a request of the planner.
        RecipeError: if the planner raises an exception.
        UsageError: see :func:`plan_units`; or if the budget of requests is spent.
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
        raise UsageError(SPENT) from None
    except Exception as error:
        found = service_error_of(error)
        if found is error:
            raise
        raise found from None


def service_error_of(error: Exception) -> Exception:
    """Return the error of the service that caused an error of a planner; the error itself if none did."""
    cause = error.__cause__ if isinstance(error, RecipeError) else error
    found = classify_exception(cause) if cause is not None else None
    if found is None or (isinstance(error, RecipeError) and not _is_informative(found)):
        return error
    return found


def _is_informative(error: EechipsError) -> bool:
    """Return whether an error of the service says more to the user than its place in their script."""
    return isinstance(error, (ConfigurationError, TransientError))


def plan_units(values: Iterable[Any], identity: str, template: NameTemplate) -> Iterator[WorkUnit]:
    """Yield units with ids and names.

    A repeated value gets an id that depends on the number of its repetition. A name that another unit has already gets
    the beginning of the id appended.

    Args:
        values: that ``get_requests`` returned.
        identity: of the recipe.
        template: of the names.

    Raises:
        UsageError: if a value is not JSON, or lacks a field of the template.
    """
    repeats: dict[int, int] = {}
    seen: set[int] = set()
    names: set[int] = set()
    taken: list[str] = []
    for position, value in enumerate(values):
        unit = to_unit(value)
        identifier = unit_id(unit, identity)
        key = int(identifier[:16], 16)
        if key in seen:
            repeats[key] = repeats.get(key, 0) + 1
            identifier = unit_id(unit, identity, repeats[key])
        else:
            seen.add(key)
        name = template.render(unit, identifier, position)
        if not template.is_unique:
            # Folded: some file systems ignore case.
            if hash(fold_case(name)) in names:
                taken.append(name)
                name = f"{name}-{identifier[:ID_LENGTH]}"
            names.add(hash(fold_case(name)))
        yield WorkUnit(position, identifier, canonical_json(unit), name)
    if taken and template.prefers_values:
        _log.warning(
            "%s of the names by %r were taken, as %s: the id of the unit is appended to these",
            f"{len(taken):,}",
            template.text,
            taken[0],
        )


def added_unit(unit: Unit, identifier: str, template: NameTemplate, position: int, replaces: int) -> WorkUnit:
    """Return a unit that is added to a plan to replace another. Its name includes its id, so that it is unique.

    Args:
        unit: the unit.
        identifier: its id.
        template: of the names.
        position: in the plan.
        replaces: position of the replaced unit.

    Raises:
        UsageError: if it lacks a field of the template.
    """
    name = template.render(unit, identifier, position)
    if not template.is_unique_for(unit):
        name = f"{name}-{identifier[:ID_LENGTH]}"
    return WorkUnit(position, identifier, canonical_json(unit), name, replaces=replaces)


def check_same(ledger: Ledger, described: Mapping[str, Any], folder: object) -> bool:
    """Compare the plan of a ledger with the one described.

    Returns:
        True if it is the same; False if it is another without results, which may be replaced.

    Raises:
        RunMismatchError: if it is another that has results; the message shows the difference.
    """
    stored = ledger.meta()
    differences = list(_differences({k: stored.get(k) for k in described}, described))
    if not differences:
        return True
    if not any(state.has_result for state in ledger.counts()):
        return False
    shown = "; ".join(differences[:8])
    raise RunMismatchError(f"{folder} holds another run ({shown}): choose another output folder, or remove this one")


def check_same_place(stored: Mapping[str, Any], described: Mapping[str, Any], place: object) -> None:
    """Raise an error if the place of the results holds those of another run.

    Args:
        stored: the existing run.json.
        described: the run, as of :func:`describe`; its parameters as run.json has them.
        place: address of the results.

    Raises:
        RunMismatchError: if it is another one; the message shows the difference.
    """
    wanted = {name: described[name] for name in ("recipe", "identity", "parameters", "source")}
    differences = list(_differences(stored, wanted))
    if differences:
        shown = "; ".join(differences[:8])
        raise RunMismatchError(f"{place} holds another run ({shown}): choose another place, or remove what is there")


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        old = stored.get(key)
        if key == "parameters":
            old = old if isinstance(old, dict) else {}
            for name in sorted({*old, *value}):
                if old.get(name) != value.get(name):
                    yield f"{name}: {_short(old.get(name))} there, {_short(value.get(name))} here"
        elif key == "identity":
            if old != value and stored.get("parameters") == wanted["parameters"]:
                has_secrets = REDACTED in json.dumps(wanted["parameters"])
                yield f"the recipe's code{', or a secret among its parameters,' if has_secrets else ''} has changed"
        elif old != value:
            yield f"{key}: {_short(old)} there, {_short(value)} here"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
