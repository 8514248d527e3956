"""Write run.json, which describes a run."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eechips import datasets
from eechips.client.connection import ServiceTarget
from eechips.engine.config import RunConfig
from eechips.manifest.run import CHECKSUMS_ONLY, PLANS_GRADUALLY
from eechips.manifest.run_signature import FOLDER, SIGNATURE, sign_run, signed_folder
from eechips.recipe import Recipe, SupportsCall, SupportsInteractiveRun, traits_of
from eechips.text.timestamps import utc_now
from eechips.web.redaction import collect_secrets, redact, redact_json


def info_of(
    recipe: Recipe, config: RunConfig, described: Mapping[str, Any], target: ServiceTarget, notes: Sequence[str]
) -> dict[str, Any]:
    """Return the content of run.json for a run that starts.

    Args:
        recipe: recipe of the run.
        config: configuration of the run.
        described: identifies the run; see :func:`eechips.engine.resumed_options.describe`.
        target: service, project and workload tag; empty if there is none.
        notes: for users of the results, such as that they are synthetic.
    """
    parameters = described["parameters"]
    return {
        "command": redact(config.command, collect_secrets(dict(recipe.parameters))),
        "directory": str(Path.cwd()),
        FOLDER: signed_folder(config.out),
        "recipe": recipe.name,
        "identity": recipe.identity,
        "parameters": parameters,
        **{name: described[name] for name in ("name", CHECKSUMS_ONLY) if name in described},
        **({PLANS_GRADUALLY: True} if isinstance(recipe, SupportsInteractiveRun) else {}),
        "call": _call(recipe),
        "seed": parameters.get("seed"),
        "source": config.source if traits_of(recipe).needs_service else "",
        "results": config.results,
        "endpoint": target.endpoint,
        "project": target.project,
        "workload_tag": target.workload_tag or None,
        "datasets": [_dataset(identifier) for identifier in recipe.datasets],
        "notes": list(notes),
        "versions": _versions(),
        "started": utc_now(),
        "finished": None,
    }


def encode_info(info: Mapping[str, Any]) -> bytes:
    """Return the signed file, valid in the folder of the run that it names.

    Bytes of a path that are not UTF-8 become JSON escapes, and are read as they were.
    """
    signed = {**info, SIGNATURE: sign_run(info)}
    return (json.dumps(signed, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _call(recipe: Recipe) -> dict[str, Any] | None:
    """Return the command and the options that make a recipe again; None if no command does."""
    if not isinstance(recipe, SupportsCall):
        return None
    command, options = recipe.call
    return {"command": command, "options": redact_json(dict(options))}


def _dataset(identifier: str) -> dict[str, Any]:
    known = datasets.find_dataset(identifier)
    if known is None:
        return {"id": identifier}
    return {
        "id": known.id,
        "title": known.title,
        "licence": known.licence,
        "citation": known.citation,
        "source": known.source,
    }


def _versions() -> dict[str, str]:
    packages = ("eechips", "earthengine-api", "requests", "numpy", "rasterio", "pandas", "pyarrow")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}
