"""Names that partitions have."""

from __future__ import annotations

GLOBAL = "global"
"""In the place of a cell: for items over many cells, and for those in none."""
