"""Draw bar charts of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_PLAIN = "  .:-=+*#"  # as many steps, for terminals that have no blocks
_LABEL = 8  # columns for the numbers


def width_for(columns: int) -> int:
    """Return the number of bars that fit on a terminal of this many columns."""
    return max(10, columns - _LABEL - 2)


def bars(values: Sequence[float], *, height: int, top: float, end: str, is_plain: bool = False) -> list[str]:
    """Draw one bar for each value, from left to right.

    Args:
        values: not negative.
        height: rows.
        top: the value that fills all rows.
        end: what stands below the last bar; below the first one stands 0.
        is_plain: with ASCII characters only.

    Returns:
        Lines, the topmost first, with the numbers at the left and a last line for the axis.
    """
    steps = _PLAIN if is_plain else _EIGHTHS
    full = len(steps) - 1
    levels = [min(height * full, math.ceil(value / top * height * full)) if top > 0 else 0 for value in values]
    edge, corner = ("|", "+") if is_plain else ("┤", "┼")
    lines = []
    for row in reversed(range(height)):
        label = f"{top:.4g}" if row == height - 1 else ""
        text = "".join(steps[max(0, min(full, level - row * full))] for level in levels)
        lines.append(f"{label:>{_LABEL}}{edge}{text}".rstrip())
    axis = f"0{end:>{len(values) - 1}}" if len(values) > len(end) else end
    return [*lines, f"{0:>{_LABEL}}{corner}{axis}"]
