"""The command ``eechips``: finds its verbs without importing them, and turns errors into one sentence."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

import click

from eechips.errors import EechipsError, InternalError, RecipeError, RequestError

# Help texts stand here so that `eechips --help` imports none of the verbs, which import numpy, pandas and ee.
_VERBS = {
    "sample": "Image chips at random points of every ecoregion that meets a region.",
    "images": "Every image of a collection that meets a region, one file each.",
    "composites": "One image of all images of a period, for every period.",
    "mosaic": "One region of any size as one cloud-optimised GeoTIFF.",
    "timeseries": "A table of values over time for each region.",
    "points": "Values at points or over polygons of a table of yours.",
    "scenes": "Whole scenes by STAC search: resumed, checked, ingested.",
    "run": "A recipe of your own: a Python file with two functions.",
    "init": "Write a recipe to start from.",
    "status": "What a run folder holds, and how fast it came: counts, failures, time left.",
    "report": "What a run fetched as one HTML page: map, chips, charts.",
    "preview": "Some chips of a run as one picture.",
    "plot": "The time series of a run as a picture.",
    "failures": "The units of a run that failed, by kind and one by one.",
    "retry": "Try failed units of a run again.",
    "trust": "Use a run of somebody else as your own.",
    "verify": "Check that every file of a run is there and whole.",
    "check": "What is wrong with the chips of a run: black, masked, cloudy, doubled, shifted.",
    "split": "Chips as training, validation and test set, kept apart in space.",
    "pack": "Shards of a run for training: WebDataset, TFRecord, Parquet, Zarr or HDF5.",
    "card": "A run as a data set that others understand: README, Croissant, a picture.",
    "catalog": "Chips as STAC items in GeoParquet, for DuckDB and the like.",
    "plan": "The units of a verb as lines of JSON, for workers elsewhere.",
    "work": "Fetch units that were planned elsewhere.",
    "join": "Results that workers elsewhere have made, checked, as one run.",
    "doctor": "What would keep a run from working, and what to do about it.",
    "datasets": "The datasets that have a short name.",
    "serve": "The local Earth Engine, for this machine only.",
    "assets": "The folder of assets that the local Earth Engine serves.",
}

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""

WRONG = 2
"""Exit status of a wrong option, file or configuration."""


class OneSentence(click.ClickException):
    """An error that ends the command with status 2 and one sentence on stderr."""

    exit_code = WRONG


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the verbs, in the order of ``_VERBS``."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb."""
        if cmd_name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(f"eechips.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the verbs into the help without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb; errors become one sentence, unless ``--debug`` is given."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else ctx.command_path
            raise OneSentence(f"{error.format_message()} ({path} -h shows the options)") from error
        except EechipsError as error:
            if ctx.meta.get("debug"):
                raise
            raise OneSentence(_sentence(error)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click ends quietly when nobody reads any more, as with `| head`
        except Exception as error:  # a fault of ours is told in one sentence too
            if ctx.meta.get("debug"):
                raise
            fault = f"{type(error).__name__}: {error}"
            raise OneSentence(f"a fault of eechips, please report it: {fault} (--debug shows where)") from error


def _sentence(error: EechipsError) -> str:
    text = " ".join(str(error).split())  # Earth Engine breaks some of its messages into lines
    if isinstance(error, RequestError):  # units record theirs: this one was the planner's
        return f"Earth Engine refused a request of the plan: {text}"
    return f"{text} (--debug shows where)" if isinstance(error, (RecipeError, InternalError)) else text


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("eechips"), "-V", "--version", package_name="eechips", prog_name="eechips")
def main() -> None:
    """Chips and time series from Google Earth Engine: many, fast, and none lost.

    \b
    Examples:
      eechips sample --dataset NAIP --per-ecoregion 25 --local     # needs no account
      eechips sample --dataset NAIP --per-ecoregion 1000 --project my-project
      eechips COMMAND -h                                           # options and examples of a command

    Exit status: 0 all done, 1 some units failed, 2 wrong option or configuration, 130 interrupted (the same
    command goes on where it stopped).
    """
