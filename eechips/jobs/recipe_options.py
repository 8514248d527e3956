"""Split the options of a verb into those of its recipe and those of the run, and check them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from eechips.datasets import Dataset, Kind, find_dataset, list_datasets, suggest_datasets
from eechips.engine import Estimate, RunConfig, estimate, run
from eechips.engine.config import LedgerOptions
from eechips.errors import UnknownDatasetError, UsageError
from eechips.manifest.run import Run
from eechips.recipe import Recipe
from eechips.signature import takes as takes
from eechips.storage import NameTemplate, is_address
from eechips.suggestion import did_you_mean

_PATHS = frozenset({"credentials", "local_assets"})
"""Options that are paths; in Python they may be given as text."""

RecipeT = TypeVar("RecipeT")

_FORMAT_SYNONYMS = {"tiff": "tif", "geotiff": "tif", "jpeg": "jpg"}


RUN_OPTIONS = frozenset(
    {field.name for field in (*dataclasses.fields(RunConfig), *dataclasses.fields(LedgerOptions))}
) - {"results"}
"""Options of every run."""


def split_options(
    recipe: Callable[..., RecipeT], names: frozenset[str], options: Mapping[str, Any], out: Callable[[RecipeT], str]
) -> tuple[RecipeT, RunConfig]:
    """Make a recipe and the config of its run out of one set of options.

    Args:
        recipe: makes the recipe.
        names: options that the recipe takes; the others are the run's.
        options: what the caller gave.
        out: the default folder for the recipe, in ``outputs``.

    Raises:
        UsageError: if there is no such option; the message names one that looks like it.
    """
    for option in options:
        if option not in names and option not in RUN_OPTIONS:
            raise UsageError(f"there is no option {option!r}{did_you_mean(option, names | RUN_OPTIONS)}")
    made = recipe(**{name: value for name, value in options.items() if name in names})
    rest = {name: value for name, value in options.items() if name not in names}
    folder, ledger = rest.pop("out", None), rest.pop("ledger", None)
    if folder is not None and is_address(str(folder)):
        rest["results"] = str(folder).rstrip("/")
        folder = ledger or Path("outputs") / slug(rest["results"])
    elif ledger is not None:
        raise UsageError("`ledger` is for results in an object store: `out` s3://bucket/folder")
    for name in _PATHS & rest.keys():
        rest[name] = None if rest[name] is None else Path(rest[name])
    if rest.get("name"):
        NameTemplate(rest["name"])  # errors in it are raised before the folder is made
    return made, RunConfig(out=Path(folder) if folder else Path("outputs") / out(made), **rest)


def run_recipe(recipe: Recipe, config: RunConfig) -> Run | Estimate:
    """Run a recipe, or estimate it with ``dry_run``."""
    return estimate(recipe, config) if config.dry_run else run(recipe, config)


def option_names(config: type) -> frozenset[str]:
    """Return the names of the options that a config takes."""
    return frozenset(field.name for field in dataclasses.fields(config) if field.init)


def slug(text: str) -> str:
    """Return a word for a folder's name: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


class DatasetRecipe:
    """Base of recipes that read one dataset."""

    dataset: str

    @cached_property
    def known(self) -> Dataset | None:
        """The record of the dataset, if it has one."""
        return find_dataset(self.dataset)

    @property
    def dataset_id(self) -> str:
        """The dataset's asset id."""
        return self.known.id if self.known else self.dataset

    @property
    def known_kind(self) -> Kind | None:
        """One image or a collection, if the dataset has a record; else the server knows."""
        return self.known.kind if self.known else None

    @property
    def known_bands(self) -> tuple[str, ...]:
        """The bands of the record, taken unless the user names others; empty if there is none."""
        return self.known.bands if self.known else ()


def split_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Split names: ``"R, G, B"``, or a sequence of names."""
    return tuple(name.strip() for name in (names.split(",") if isinstance(names, str) else names))


def check_bands(bands: Sequence[str] | str | None) -> None:
    """Check the names of bands; None stands for the default bands.

    Raises:
        UsageError: saying so.
    """
    if bands is not None and (not bands or not all(bands)):
        raise UsageError("`bands` must name at least one band: A,B,C")


def check_dataset(name: str) -> None:
    """Check a name that looks like a short name; the server knows which asset ids exist.

    Aliases are words; Earth Engine's ids have slashes, and ids of STAC collections, as catalogues are served by, often
    dashes.

    Raises:
        UnknownDatasetError: with the aliases that look like it.
    """
    if find_dataset(name) is None and not set("/-") & set(name) and (name.isupper() or suggest_datasets(name)):
        raise UnknownDatasetError(
            f"there is no dataset called {name!r}{suggest_datasets(name)} (short names are"
            f" {', '.join(known.alias for known in list_datasets())}; any Earth Engine asset id works as well)"
        )


def check_dates(start: str | None, end: str | None) -> None:
    """Check that dates are valid, and that the end is after the start.

    Args:
        start: first day, inclusive, or moment, ISO 8601.
        end: last day, exclusive, or moment.

    Raises:
        UsageError: saying which.
    """
    moments = [_moment(name, text) for name, text in (("start", start), ("end", end)) if text is not None]
    if len(moments) == 2 and moments[0] >= moments[1]:
        raise UsageError(f"the start ({start}) must be before the end ({end}), which is exclusive")


def parse_format(text: str, formats: Sequence[str]) -> str:
    """Return the name of a format; ``tiff`` and ``jpeg`` are accepted for ``tif`` and ``jpg``.

    Args:
        text: name as the caller gives it, in any case.
        formats: names of the formats.

    Raises:
        UsageError: if there is no such format; the message lists those there are.
    """
    name = text.strip().lower()
    name = _FORMAT_SYNONYMS.get(name, name)
    if name in formats:
        return name
    raise UsageError(f"unknown format {text!r}: one of {', '.join(formats)}")


def check_positive(name: str, value: float | None) -> None:
    """Check that a number is above zero; None is accepted.

    Raises:
        UsageError: naming the option.
    """
    if value is not None and not 0 < value < float("inf"):
        raise UsageError(f"{name} must be above 0, not {value:g}")


def _moment(name: str, text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(f"the {name} {text!r} is not a date (YYYY-MM-DD)") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
