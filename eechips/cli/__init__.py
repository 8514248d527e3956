"""Define the command line: a module for each group of commands, thin layers over the functions of the same names.

Here belong options, their help, and what is printed. The work is done in the other packages."""

from __future__ import annotations

from eechips.cli.group import main

__all__ = ["main"]
