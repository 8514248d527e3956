"""Suggest similar names for an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Suggest the name most like an unknown one.

    Returns:
        The end of a message: ``"; did you mean 'scale'?"``; empty if no name is similar.
    """
    alike = nearest_name(name, names)
    return "" if alike is None else f"; did you mean {alike!r}?"


def nearest_name(name: str, names: Collection[str]) -> str | None:
    """Return the name most like an unknown one; None if no name is similar."""
    alike = difflib.get_close_matches(name, names, n=5)
    # Of several the one with the same letters, which were typed in another order.
    return min(alike, key=lambda other: sorted(other) != sorted(name), default=None)


def describe_choices(wanted: str, there: list[str]) -> str:
    """Return a phrase with the similar names, or else with the first few names."""
    if not there:
        return "there are none"
    alike = difflib.get_close_matches(wanted.lower(), {name.lower(): name for name in there}, n=3, cutoff=0.6)
    if alike:
        by_lower = {name.lower(): name for name in there}
        return "did you mean " + " or ".join(repr(by_lower[name]) for name in alike) + "?"
    listed = ", ".join(there[:12])
    return f"there {'is' if len(there) == 1 else 'are'} {listed}" + (
        f" and {len(there) - 12:,} more" if len(there) > 12 else ""
    )
