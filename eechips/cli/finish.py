"""How a verb that fetches ends: its run or its estimate, and the exit status."""

from __future__ import annotations

import dataclasses
import shlex
import sys

import click

from eechips.cli.group import INTERRUPTED
from eechips.engine import RunConfig, estimate, run
from eechips.recipe import Recipe

FAILURES = 1
"""Exit status of a run some of whose units failed."""


def finish(recipe: Recipe, config: RunConfig) -> None:
    """Runs a recipe, or estimates it for ``--dry-run``, and leaves with the status that says how it went."""
    if config.dry_run:
        click.echo(str(estimate(recipe, config)))
        return
    ctx = click.get_current_context()
    typed = shlex.join(["eechips", *sys.argv[1:]])
    done = run(recipe, dataclasses.replace(config, command=typed))
    if done.interrupted:
        ctx.exit(INTERRUPTED)
    if not done.is_complete:
        ctx.exit(FAILURES)
