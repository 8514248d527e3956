"""Locate the folder in which eechips caches data of a user between commands."""

from __future__ import annotations

import os
from pathlib import Path

from eechips.errors import UsageError
from eechips.files.local_paths import local_path

CACHE_VARIABLE = "EECHIPS_CACHE"


def cache_folder() -> Path | None:
    """Return the user's cache folder of eechips, which need not exist; None for a user without a home.

    ``EECHIPS_CACHE``, else ``eechips`` in ``XDG_CACHE_HOME`` or
    ``~/.cache`` (https://specifications.freedesktop.org/basedir-spec: relative paths do not count).

    Raises:
        UsageError: if ``EECHIPS_CACHE`` names no folder of this machine.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        try:
            return local_path(named)
        except UsageError as error:
            raise UsageError(f"{CACHE_VARIABLE}: {error}") from None
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:  # a container may run as a user without an entry in passwd
            return None
    return base / "eechips"
