"""Find the user's cache folder (``EECHIPS_CACHE``)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Beginning of a URL, of whose slashes a path has left one."""


def cache_folder() -> Path | None:
    """Return the folder that eechips may keep things in, as its users know it from ``EECHIPS_CACHE``; None if there is
    none.

    The server shares no code with what asks it, so the rule of ``eechips.files.local_paths`` stands here once more.
    """
    named = os.environ.get("EECHIPS_CACHE")
    if named:
        folder = Path(os.path.expanduser(named))  # noqa: PTH111 - that of an unknown user stays
        return None if _ADDRESS.match(named) and not folder.exists() else folder
    base = Path(os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            return None
    return base / "eechips"
