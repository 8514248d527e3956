"""Separate the options of a recipe from the options of its run, and check them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eechips.engine.config import LedgerOptions, RunConfig
from eechips.engine.costs import Estimate
from eechips.errors import UsageError
from eechips.manifest.run import Run
from eechips.option_fields import takes as takes
from eechips.recipe import Recipe
from eechips.storage import NameTemplate, is_address, local_path
from eechips.text.suggestion import did_you_mean
from eechips.text.timestamps import parse_timestamp

RecipeT = TypeVar("RecipeT")

_FORMAT_SYNONYMS = {"tiff": "tif", "geotiff": "tif", "jpeg": "jpg"}


RUN_OPTIONS = frozenset(
    {field.name for field in (*dataclasses.fields(RunConfig), *dataclasses.fields(LedgerOptions))}
) - {"results"}
"""Options of every run."""


def split_options(
    recipe: Callable[..., RecipeT],
    names: frozenset[str],
    options: Mapping[str, Any],
    out: Callable[[RecipeT], str] | None = None,
) -> tuple[RecipeT, RunConfig]:
    """Make a recipe and the config of its run from one set of options.

    Args:
        recipe: makes the recipe.
        names: options of the recipe; all others belong to the run.
        options: by name.
        out: returns the default folder of the recipe's run, in ``outputs``; None for the names of recipe and dataset.

    Raises:
        UsageError: if an option is unknown; the message suggests a similar one.
    """
    for option in options:
        if option not in names and option not in RUN_OPTIONS:
            raise UsageError(f"there is no option {option!r}{did_you_mean(option, names | RUN_OPTIONS)}")
    job_recipe = recipe(**{name: value for name, value in options.items() if name in names})
    rest = {name: value for name, value in options.items() if name not in names}
    folder, ledger = rest.pop("out", None), rest.pop("ledger", None)
    if folder is not None and is_address(str(folder)):
        rest["results"] = str(folder).rstrip("/")
        folder = Path("outputs") / slug(rest["results"]) if ledger is None else ledger
    elif ledger is not None:
        raise UsageError("`ledger` is for results in an object store: `out` s3://bucket/folder")
    if rest.get("credentials") is not None:
        rest["credentials"] = local_path(rest["credentials"])
    if rest.get("name"):
        NameTemplate(rest["name"])  # raises errors before the folder is made
    return job_recipe, RunConfig(
        out=Path("outputs") / (out or _named_by_dataset)(job_recipe) if folder is None else local_path(folder), **rest
    )


def _named_by_dataset(recipe: Any) -> str:
    return f"{recipe.name}-{slug(recipe.options.dataset)}"


def run_recipe(recipe: Recipe, config: RunConfig) -> Run | Estimate:
    """Run a recipe, or estimate it with ``dry_run``."""
    from eechips.engine.estimate import estimate  # a worker, which imports the recipe's module, needs neither
    from eechips.engine.run import run

    return estimate(recipe, config) if config.dry_run else run(recipe, config)


def option_names(config: type) -> frozenset[str]:
    """Return the names of the options of a config."""
    return frozenset(field.name for field in dataclasses.fields(config) if field.init)


def slug(text: str) -> str:
    """Convert a text to a folder's name: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def split_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Split names: ``"R, G, B"``, or a sequence of names."""
    return tuple(name.strip() for name in (names.split(",") if isinstance(names, str) else names))


def split_list(texts: str | Sequence[str]) -> tuple[str, ...]:
    """Split at the commas that are not within parentheses: ``"NDVI, low=min(B8, B4)"``, or several such texts."""
    parts: list[str] = []
    for text in [texts] if isinstance(texts, str) else texts:
        begin = depth = 0
        for place, character in enumerate(text):
            depth += (character == "(") - (character == ")")
            if character == "," and depth == 0:
                parts.append(text[begin:place])
                begin = place + 1
        parts.append(text[begin:])
    return tuple(part.strip() for part in parts)


def find_indices(computed: Sequence[str]) -> tuple[str, ...]:
    """Return the names of spectral indices among computed bands."""
    return tuple(name for name in computed if "=" not in name)


def find_formulas(computed: Sequence[str]) -> tuple[str, ...]:
    """Return the formulas, ``name=formula``, among computed bands."""
    return tuple(formula for formula in computed if "=" in formula)


def check_bands(bands: Sequence[str] | str | None) -> None:
    """Check the names of bands; None stands for the default bands.

    Raises:
        UsageError: if there is no name.
    """
    if bands is not None and (not bands or not all(bands)):
        raise UsageError("`bands` must name at least one band: A,B,C")


def check_dates(start: str | None, end: str | None) -> None:
    """Check that dates are valid, and that the end is after the start.

    Args:
        start: first day, inclusive, or moment, ISO 8601.
        end: last day, exclusive, or moment.

    Raises:
        UsageError: if they are not.
    """
    moments = [_moment(name, text) for name, text in (("start", start), ("end", end)) if text is not None]
    if len(moments) == 2 and moments[0] >= moments[1]:
        raise UsageError(f"the start ({start}) must be before the end ({end}), which is exclusive")


def parse_format(text: str, formats: Sequence[str]) -> str:
    """Return the name of a format; ``tiff`` and ``jpeg`` are accepted for ``tif`` and ``jpg``.

    Args:
        text: name, in upper or lower case.
        formats: names of the formats.

    Raises:
        UsageError: if the format is unknown; the message lists the formats.
    """
    name = text.strip().lower()
    name = _FORMAT_SYNONYMS.get(name, name)
    if name in formats:
        return name
    raise UsageError(f"unknown format {text!r}: one of {', '.join(formats)}")


def check_values(values: str, choices: Sequence[str] = ("stored", "scaled")) -> None:
    """Check what the bands of the results hold.

    Args:
        values: as the caller wrote it.
        choices: choices that the command has.

    Raises:
        UsageError: if it is none of the choices.
    """
    if values not in choices:
        raise UsageError(f"`values` must be {', '.join(choices[:-1])} or {choices[-1]}, not {values!r}")


def check_positive(name: str, value: float | None) -> None:
    """Check that a number is above zero; None is accepted.

    Raises:
        UsageError: if it is not; the message names the option.
    """
    if value is not None and not 0 < value < float("inf"):
        raise UsageError(f"{name} must be above 0, not {value:g}")


def _moment(name: str, text: str) -> dt.datetime:
    moment = parse_timestamp(text) if text == text.strip() else None
    if moment is None:
        raise UsageError(f"the {name} {text!r} is not a date (YYYY-MM-DD)")
    return moment
