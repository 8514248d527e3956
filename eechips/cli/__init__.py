"""Define the command line: one module for each command, a thin layer over the function of the same name.

Here belong options, their help, and what is printed. The work is done in the other packages."""

from __future__ import annotations

from eechips.cli.group import main

__all__ = ["main"]
