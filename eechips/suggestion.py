"""Suggest similar names for an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Suggest the name most like an unknown one.

    Args:
        name: the unknown name.
        names: the known ones.

    Returns:
        The end of a message: ``"; did you mean 'scale'?"``; empty if no name is similar.
    """
    alike = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {alike[0]!r}?" if alike else ""
