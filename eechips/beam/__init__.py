"""Fetch units in Apache Beam pipelines.

``eechips … --executor beam`` runs a whole plan; this package is for your own pipelines::

    outcomes = units | eechips.beam.FetchUnits("recipe.py", out="gs://bucket/chips", project="my-project")

Beam is imported when a name is first used. It takes an extra: ``pip install 'eechips[beam]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from eechips.errors import ConfigurationError

if TYPE_CHECKING:
    from eechips.beam.transform import FetchedUnit as FetchedUnit
    from eechips.beam.transform import FetchUnits as FetchUnits

_MODULES = {"FetchUnits": "eechips.beam.transform", "FetchedUnit": "eechips.beam.transform"}

__all__ = ["FetchUnits", "FetchedUnit"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "apache_beam":
            raise
        raise ConfigurationError(f"eechips.beam.{name} needs Apache Beam: pip install 'eechips[beam]'") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
