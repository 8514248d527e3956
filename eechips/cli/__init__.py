"""The command line: one module for each verb, each a thin layer over the function of the same name."""

from __future__ import annotations

from eechips.cli.group import main

__all__ = ["main"]
