"""Check the undocumented parts of Google's client that eechips uses."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Iterator

from eechips.errors import ConfigurationError

TESTED = ">=1.6.13,<2"
"""Versions of earthengine-api that pyproject.toml allows."""


def check_client() -> None:
    """Make sure that the installed client is one that can be initialised beside the user's own session.

    Raises:
        ConfigurationError: naming what has changed, and which versions will do.
    """
    changed = next(_changes(), None)
    if changed is None:
        return
    try:
        version = importlib.metadata.version("earthengine-api")
    except importlib.metadata.PackageNotFoundError:
        version = "of an unknown version"
    raise ConfigurationError(
        f"earthengine-api {version} differs from what eechips knows: {changed}. Install one that it was tried with:"
        f" pip install 'earthengine-api{TESTED}'"
    )


def _changes() -> Iterator[str]:
    import ee

    try:
        state = importlib.import_module("ee._state")
    except ImportError:
        yield "there is no ee._state, where it kept its session"
        return
    # connect() puts another session in the place of the user's, and puts that back.
    if not hasattr(state, "_state") or not callable(getattr(state, "get_state", None)):
        yield "ee._state does not have its session in _state"
    elif state._state is not None and not hasattr(state._state, "initialized"):
        yield "its session does not say whether it is initialised"
    # A list of deprecated assets would be fetched from elsewhere: it gets one.
    deprecation = getattr(ee, "deprecation", None)
    if not hasattr(deprecation, "deprecated_assets"):
        yield "ee.deprecation has no deprecated_assets"
    elif not _takes(getattr(deprecation, "DeprecatedAsset", None), "", None, None, None):
        yield "ee.deprecation.DeprecatedAsset takes other arguments"
    if not _takes(ee.Initialize, None, url="", project="", http_transport=None):
        yield "ee.Initialize takes no http_transport"
    if not callable(getattr(ee.data, "setMaxRetries", None)):
        yield "ee.data has no setMaxRetries"
    # Tasks are listed up to the page that has those of the run.
    if not callable(getattr(ee.data, "_get_cloud_projects", None)):
        yield "ee.data has no _get_cloud_projects"


def _takes(function: object, *arguments: object, **options: object) -> bool:
    """Return whether a function can be called with these arguments."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*arguments, **options)
    except (TypeError, ValueError):
        return False
    return True
