"""Locate the folder in which eechips caches data of a user between commands."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "EECHIPS_CACHE"


def cache_folder() -> Path | None:
    """Return the user's cache folder of eechips, which need not exist; None for a user without a home.

    ``EECHIPS_CACHE``, else ``eechips`` in ``XDG_CACHE_HOME`` or
    ``~/.cache`` (https://specifications.freedesktop.org/basedir-spec: relative paths do not count).
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:  # a container may run as a user without an entry in passwd
            return None
    return base / "eechips"
