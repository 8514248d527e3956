"""Names of the findings of `eechips doctor`, in their order."""

from __future__ import annotations

NAMES = [
    "python",
    "packages",
    "disk",
    "credentials",
    "project",
    "endpoint",
    "clock",
    "mode",
    "quota",
    "runs",
    "compute",
]
