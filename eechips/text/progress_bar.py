"""Show a progress bar on a terminal when work takes longer than two seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_DELAY = 2.0  # seconds


def progress_bar(
    total: int | None = None,
    unit: str = "files",
    *,
    quiet: bool,
    things: Iterable[Any] | None = None,
    label: str | None = None,
    is_kept: bool = True,
) -> Any:
    """Return a bar of tqdm. Without a terminal nothing is shown.

    Args:
        total: number of steps; None if unknown.
        unit: name of the steps, plural.
        quiet: show nothing.
        things: items to iterate over with a step for each; None to call ``update``.
        label: text before the bar.
        is_kept: leave the bar on the terminal when it ends.
    """
    from tqdm import tqdm

    return tqdm(
        things,
        total=total,
        desc=label,
        unit=f" {unit}",
        dynamic_ncols=True,
        delay=_DELAY,
        leave=is_kept,
        disable=True if quiet else None,  # None: where there is no terminal
    )
