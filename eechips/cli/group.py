"""Find the verbs of the command ``eechips`` without importing them; print errors and bugs as one sentence (``--debug``:
a traceback); define the exit statuses 1, 2, 3 and 130.
"""

from __future__ import annotations

import errno
import gc
import importlib
import logging
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

import click

from eechips.cli.terminal import echo_lines, open_closed_streams, show_exception
from eechips.commands.command import similar_names
from eechips.commands.option_names import OptionFormatter, as_typed
from eechips.errors import (
    DISK_FAULTS,
    FULL_DISK,
    EechipsError,
    InternalError,
    RecipeError,
    RequestError,
    TooLargeError,
    UsageError,
    describe_shortage,
)
from eechips.processes.deferred_imports import defer_imports
from eechips.text.library_log import LineFormatter
from eechips.text.suggestion import suggest_option
from eechips.web.redaction import redact

# Help texts stand here so that `eechips --help` imports none of the verbs, which import numpy, pandas and ee.
VERBS = {
    "Get data": {
        "sample": "Image chips at random points, on a grid, or at your points.",
        "images": "Every image of a collection over a region, one file each.",
        "composites": "One image per period, made of all images of the period.",
        "mosaic": "A region of any size as one cloud-optimised GeoTIFF.",
        "timeseries": "A table of values over time for each region.",
        "points": "Values at the points or polygons of a table.",
        "features": "The features of a table, or of GEDI's tables, as GeoParquet.",
        "scenes": "Whole scenes of a STAC catalogue; downloads resume.",
        "run": "Your recipe (two Python functions), or an existing script.",
        "init": "Write a recipe to start from.",
    },
    "Runs": {
        "status": "Show the progress of a run: counts, failures, speed, time left.",
        "report": "Make the HTML report of a run: map, chips, charts.",
        "preview": "Make a contact sheet of chips of a run.",
        "plot": "Plot the time series of a run.",
        "smooth": "Smooth the time series of a run and fill their gaps.",
        "georeference": "Write world files beside the pictures of a run.",
        "failures": "List the failed units of a run.",
        "retry": "Run failed units again.",
        "update": "Extend a run by what is new in its archive.",
        "verify": "Check the files of a run against their recorded checksums.",
        "trust": "Take over a run that somebody else made.",
        "lock": "Write a lockfile: what a run needs to be fetched again elsewhere.",
        "rebuild": "Fetch the run of a lockfile, and find what has changed.",
    },
    "Training sets": {
        "check": "Find black, masked, cloudy, duplicate or shifted chips.",
        "split": "Split chips into training, validation and test sets.",
        "stats": "Compute means, percentiles and class weights.",
        "pack": "Write shards: WebDataset, TFRecord, Parquet, Zarr or HDF5.",
        "card": "Write a data card: README.md and croissant.json.",
    },
    "Catalogues": {"catalog": "Write and query catalogues of STAC items in GeoParquet."},
    "Local Earth Engine": {
        "serve": "Start a local Earth Engine on this machine.",
        "assets": "Add rasters and tables to the local Earth Engine, and list them.",
    },
    "Queues of work": {
        "plan": "Write the units of a command as JSON lines, for a queue.",
        "work": "Fetch units of `eechips plan` on a worker.",
        "join": "Check the results of workers and join them into one run.",
        "submit": "Write the scripts that run a job on a cluster.",
    },
    "Set-up": {
        "doctor": "Check credentials, project, quota and disk before a run.",
        "datasets": "List, search and show datasets that have a short name.",
    },
}
"""Every verb with one line of help, by the heading under which ``eechips --help`` lists it."""

_NAMES = tuple(name for group in VERBS.values() for name in group)

_MODULES = {
    "fetch_commands": ("sample", "images", "composites", "mosaic", "timeseries", "points", "features", "scenes", "run"),
    "inspect_commands": ("status", "failures"),
    "report_commands": ("report", "preview", "plot", "smooth", "georeference"),
    "retry_commands": ("retry", "trust", "update", "verify"),
    "lock_commands": ("lock", "rebuild"),
    "training_commands": ("check", "split", "stats", "pack", "card"),
    "catalog_commands": ("catalog",),
    "queue_commands": ("plan", "work", "join"),
    "cluster_commands": ("submit",),
    "dataset_commands": ("datasets",),
    "setup_commands": ("doctor", "init", "serve", "assets"),
}
"""The modules of the commands. ``retry_commands.retry_command`` is the command, or a function that makes it."""

_DEBUG_ELSEWHERE = frozenset({"debug", "verbose", "v", "log_level"})
"""Options that mean ``--debug``: its names in other programs, and ``--debug`` after a command, where it is unknown."""

DEBUG = "debug"
"""Key of click's ``meta``: whether errors show their traceback."""

FAILURES = 1
"""Exit status of a run with failed units."""

NEWS = 3
"""Exit status of ``eechips update --exit-code`` if there is something new."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT. Also after other signals, and if a budget is spent."""

WRONG = 2
"""Exit status of a wrong option, file or configuration."""


class OneSentence(click.ClickException):
    """End the command with status 2 and one sentence on stderr.

    Args:
        details: further lines, such as the mistakes of a run file.
    """

    exit_code = WRONG

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        message, *details = map(redact, (message, *details))
        super().__init__("\n  ".join([message, *details]))
        self._lines = (f"Error: {message}", *(f"  {line}" for line in details))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence and the details."""
        echo_lines(self._lines, err=True)


def show_messages(is_shown: Callable[[logging.LogRecord], bool] = lambda _: True) -> None:
    """Show messages of eechips on standard error, with options as they are typed; an earlier handler is replaced."""
    handler = logging.StreamHandler()
    handler.setFormatter(OptionFormatter("%(message)s"))
    handler.addFilter(is_shown)
    logging.getLogger("eechips").handlers = [handler]


def show_notes(*, is_quiet: bool) -> None:
    """Show notes on files of places, which are read while a recipe is made, unless its run is quiet."""
    logging.getLogger("eechips").setLevel(logging.WARNING if is_quiet else logging.INFO)


def _show_warnings() -> None:
    """Show warnings before a run shows its messages, each text once: `eechips update` reads files for two plans."""
    shown: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        is_first = text not in shown
        shown.add(text)
        return is_first

    show_messages(is_new)


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs, in the order of the help."""
        return list(_NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of a verb."""
        module = next((module for module, names in _MODULES.items() if cmd_name in names), None)
        if module is None:
            return None
        attribute = getattr(importlib.import_module(f"eechips.cli.{module}"), f"{cmd_name.replace('-', '_')}_command")
        return attribute if isinstance(attribute, click.Command) else attribute()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command of this process; errors and warnings that nothing else shows are cleaned like all texts."""
        open_closed_streams()
        sys.excepthook = show_exception
        gc.set_threshold(10_000)  # of 700, a seventh of a short command: nearly all that is imported stays
        defer_imports()
        _note_interrupts()
        if logging.lastResort is not None:
            logging.lastResort.setFormatter(LineFormatter("%(message)s"))
        _show_warnings()
        return super().__call__(*args, **kwargs)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the words before the verb; print errors as one sentence."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except (click.exceptions.NoArgsIsHelpError, BrokenPipeError):
            raise
        except OSError as error:  # the help cannot be written
            raise OneSentence(describe_fault(error)) from error
        except click.UsageError as error:
            raise OneSentence(f"{_describe(error)} (see {info_name} --help)") from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest similar names if there is none of this name."""
        name = args[0]
        if name not in _NAMES and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command {name!r}.{similar_names(name, _NAMES)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs into the help, by group, without importing them; the columns of all groups are aligned."""
        width = max(map(len, _NAMES))
        for heading, verbs in VERBS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in verbs.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; print errors as one sentence, unless ``--debug`` is given."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else ctx.command_path
            raise OneSentence(f"{_describe(error)} (see {path} --help)") from error
        except EechipsError as error:
            if ctx.meta.get(DEBUG):
                raise
            raise OneSentence(*_sentence(error)) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click ends quietly when the reader of the output is gone, as with `| head`
        except Exception as error:  # a bug of eechips ends in one sentence as well
            if ctx.meta.get(DEBUG):
                raise
            if _INTERRUPTED.is_set():  # an import that Ctrl-C ends is an ImportError of numpy
                raise click.exceptions.Exit(INTERRUPTED) from error
            raise OneSentence(describe_fault(error)) from error


_INTERRUPTED = threading.Event()
"""Set by Ctrl-C where nothing else handles it."""


def _note_interrupts() -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        _INTERRUPTED.set()
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def describe_fault(error: Exception) -> str:
    """Return the sentence for an exception that is not raised on purpose: a bug, unless the machine is the cause."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.strerror}: allow more with `ulimit -n 1024`, and repeat the command"
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return f"the disk is full{where}. Make room and repeat the command"
    if isinstance(error, OSError) and error.errno in DISK_FAULTS:
        return f"the disk does not work: {error.strerror}{where}. Repeat the command when it does"
    if isinstance(error, PermissionError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}. Have its owner permit it, or name another place"
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        return "the working directory was removed: change to another one, and repeat the command"
    if sys.flags.optimize > 1:
        return f"earthengine-api needs docstrings: start Python without -OO, and without PYTHONOPTIMIZE=2 ({error})"
    fault = f"{type(error).__name__}: {error}"
    return describe_shortage(error, "this command", "allow more, and repeat it") or (
        f"a bug in eechips, please report it: {fault} (eechips --debug shows the traceback)"
    )


def _has_working_directory() -> bool:
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def _sentence(error: EechipsError) -> tuple[str, Sequence[str]]:
    if isinstance(error, UsageError) and error.mistakes:  # a line for each
        return f"{error.args[0]}:", error.mistakes
    text = " ".join(str(error).split())  # Earth Engine breaks some of its messages into lines
    if isinstance(error, RequestError):  # failed requests of units are recorded: this one is the planner's
        helps = f" What helps: {error.advice}." if isinstance(error, TooLargeError) and error.advice else ""
        return f"a planning request was rejected: {text}{helps}", ()
    hint = " (eechips --debug shows the traceback)" if isinstance(error, (RecipeError, InternalError)) else ""
    return text + hint, ()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(None, "-V", "--version", package_name="eechips", prog_name="eechips")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; log every request of a run.")
@click.pass_context
def main(context: click.Context, /, debug: bool) -> None:
    """Fetch image chips and time series from Google Earth Engine in large numbers.

    \b
    Examples:
      eechips sample --dataset NAIP --per-ecoregion 25 --local     # needs no account
      eechips sample --dataset NAIP --per-ecoregion 1000 --project my-project
      eechips COMMAND --help                                       # options and examples of a command

    Exit status: 0 complete, 1 some units failed, 2 wrong option or configuration, 130 interrupted. To resume an
    interrupted run, repeat its command.
    """
    context.meta[DEBUG] = debug


def _options(context: click.Context) -> list[click.Option]:
    return [parameter for parameter in context.command.params if isinstance(parameter, click.Option)]


def _describe(error: click.UsageError) -> str:
    """Return the message of an error, without its full stop; of an unknown option, with the one that it means."""
    if isinstance(error, click.MissingParameter) and error.ctx is not None and isinstance(error.param, click.Option):
        words = error.ctx.params.get("pipeline_options") or ()
        if words:  # as in Python, where the first arguments need no name
            files = [option for option in _options(error.ctx) if option.name in ("points", "regions")]
            flag = max((files[0] if files and Path(words[0]).suffix else error.param).opts, key=len)
            return f"unexpected argument {words[0]!r}; write {flag} {shlex.quote(words[0])}"
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error.format_message().removesuffix(".")
    options = _options(error.ctx)
    name = error.option_name.lstrip("-").replace("-", "_")
    if name in _DEBUG_ELSEWHERE and (verb := error.ctx.info_name) in _NAMES:
        return f"there is no option {error.option_name}; write eechips --debug {verb} …"
    if name == "extend" and error.ctx.info_name == "run":
        return "there is no option --extend: a recipe plans its units once; fetch further ones with another --out"
    meant = suggest_option(name, [option.name for option in options if option.name])
    hint = "" if meant is None else f"; did you mean {as_typed(meant if '=' in meant else f'`{meant}`', options)}?"
    return f"there is no option {error.option_name}{hint}"
