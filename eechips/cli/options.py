"""Options that several verbs share, and how a verb's run ends."""

from __future__ import annotations

import contextlib
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar

import click

from eechips.storage import written_whole

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_FETCHES = "eechips_fetches"  # attribute of the functions of verbs that do


# ParamType is generic in the newest click only, and cannot be subscripted in older ones.
class Names(click.ParamType):  # type: ignore[type-arg]
    """Names separated by commas: ``R,G,B``."""

    name = "A,B,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names, without the spaces around them."""
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(","))


class Size(click.ParamType):  # type: ignore[type-arg]
    """An edge, or width and height: ``256`` or ``512x256``."""

    name = "N|WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, int]:
        """The edge, or both."""
        if isinstance(value, (int, tuple)):
            return value
        try:
            numbers = [int(part) for part in str(value).lower().split("x")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            return numbers[0]
        if len(numbers) == 2:
            return numbers[0], numbers[1]
        return self.fail(f"{value!r} is not a number of pixels, nor WIDTHxHEIGHT", param, ctx)


class Assignment(click.ParamType):  # type: ignore[type-arg]
    """A name and a value: ``name=value``."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The two."""
        if isinstance(value, tuple):
            return value[0], value[1]
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            return self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, text


class AffineTransform(click.ParamType):  # type: ignore[type-arg]
    """Six numbers: ``a,b,c,d,e,f``."""

    name = "A,B,C,D,E,F"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 6:
            return self.fail(
                f"{value!r} is not six numbers: x = A*column + B*row + C, y = D*column + E*row + F", param, ctx
            )
        return numbers


class _NumberOr(click.ParamType):  # type: ignore[type-arg]
    """A number, or a word."""

    words: ClassVar[Mapping[str, str | float]]
    number: Callable[[str], float]
    meaning: str

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or what the word stands for."""
        if not isinstance(value, str):
            return value
        if value.lower() in self.words:
            return self.words[value.lower()]
        try:
            return self.number(value)
        except ValueError:
            return self.fail(f"{value!r} is not {self.meaning}", param, ctx)


class Slots(_NumberOr):
    """Requests in flight: ``auto`` or a number."""

    name = "auto|N"
    words: ClassVar[Mapping[str, str | float]] = {"auto": "auto"}
    number = staticmethod(int)
    meaning = "a number of requests, nor auto"


class Rate(_NumberOr):
    """Requests a second: ``auto``, ``none`` or a number."""

    name = "auto|none|N"
    words: ClassVar[Mapping[str, str | float]] = {"auto": "auto", "none": math.inf}
    number = staticmethod(float)
    meaning = "a number of requests a second, nor auto, nor none"


class Bytes(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: ``500MB``, ``2.5GB``, ``1000000``."""

    name = "N|NMB|NGB"
    _factors: ClassVar[Mapping[str, float]] = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?)B?\s*", str(value).upper())
        if found is None:
            return self.fail(f"{value!r} is not a number of bytes, such as 500MB or 2GB", param, ctx)
        return round(float(found[1]) * self._factors[found[2]])


def _noted(key: str, *names: str, help: str) -> Callable[[FunctionT], FunctionT]:
    """A flag that is no option of the function: click's ``meta`` has it under a key, for what comes after."""

    def note(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[key] = True

    return click.option(*names, is_flag=True, expose_value=False, callback=note, help=help)


OUTPUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
"""A file for lines that other commands read; ``-`` for standard output. See :func:`written`."""


@contextlib.contextmanager
def written(path: Path, *, keeps: bool = False) -> Iterator[IO[str]]:
    """Lines for a file that has its name once all are there.

    Args:
        path: of the file; ``-`` for standard output.
        keeps: whether the lines so far are kept if the block raises; a kill leaves none in any case.

    Raises:
        StorageError: if it cannot be written.
    """
    if str(path) == "-":
        yield sys.stdout
        return
    with written_whole(path, keeps=keeps) as file:
        yield file


def debug_option(function: FunctionT) -> FunctionT:
    """Adds ``--debug``, which shows tracebacks."""
    return _noted("debug", "--debug", help="Show where an error comes from.")(function)


def yes_option(function: FunctionT) -> FunctionT:
    """Adds ``--yes``, which answers the question that ``--estimate`` asks."""
    return _noted("yes", "-y", "--yes", help="With --estimate: go on unasked.")(function)


def date_options(function: FunctionT) -> FunctionT:
    """Adds the dates between which images are taken."""
    end = click.option("--end", metavar="DATE", help="Day after the last, YYYY-MM-DD. [default: the dataset's last]")
    start = click.option("--start", metavar="DATE", help="First day, YYYY-MM-DD. [default: the dataset's first]")
    return start(end(function))


def where_option(function: FunctionT) -> FunctionT:
    """Adds ``--where``, conditions on properties: what :func:`eechips.planning.image_filters.parse_condition` takes."""
    return click.option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        help="Only images whose property is so: 'CLOUD_COVER < 20', 'WRS_PATH in (33, 34)',"
        " 'SPACECRAFT_NAME = Sentinel-2A'. Repeat it for more conditions.",
    )(function)


def mask_option(function: FunctionT) -> FunctionT:
    """Add ``--mask``, which removes clouds from every image; see :func:`eechips.planning.cloud_masks.parse_mask`."""
    return click.option(
        "--mask",
        is_flag=False,
        flag_value="auto",
        default="none",
        show_default=True,
        metavar="[NAME[:KINDS]]",
        help="Mask clouds in every image, as the dataset's own quality bands see them. --mask alone: the usual way. Or"
        " one of its ways: scl, cs_cdf, qa60 (Sentinel-2), qa_pixel (Landsat), qc, summaryqa, state (MODIS), fmask"
        " (HLS); with what to mask (qa_pixel:cloud,shadow,snow), or the least score (cs:0.7).",
    )(function)


def colour_options(function: FunctionT) -> FunctionT:
    """Adds the options that say how values look in a picture, the fields of ``jobs.pictures.Look``."""
    options = [
        click.option("--min", "minimum", type=float, metavar="V", help="Value that is black. [default: the dataset's]"),
        click.option("--max", "maximum", type=float, metavar="V", help="Value that is white. [default: the dataset's]"),
        click.option("--palette", type=Names(), help="Colours of a picture of one band, as 000000,ffffff."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def report_option(function: FunctionT) -> FunctionT:
    """Adds ``--no-report``: the page that a run makes at its end is left out."""
    return _noted("no report", "--no-report", help="Do not make report.html at the end.")(function)


def repair_option(function: FunctionT) -> FunctionT:
    """Adds ``--repair``."""
    return click.option(
        "--repair", is_flag=True, help="Make valid polygons of those of a vector file that are not. [default: refuse]"
    )(function)


def grid_options(function: FunctionT) -> FunctionT:
    """Adds the options that say where pixels lie, the fields of ``planning.lattice.Placement``."""
    options = [
        click.option(
            "--crs",
            default="native",
            show_default=True,
            metavar="native|utm|EPSG:N",
            help="Coordinates of the pixels: the source's own, the UTM zone of the place, or any code.",
        ),
        click.option("--scale", type=float, metavar="M", help="Edge of a pixel in metres. [default: the source's]"),
        click.option("--align", metavar="IMAGE", help="Put all pixels exactly on those of this image."),
        click.option(
            "--transform",
            type=AffineTransform(),
            help="With --crs EPSG:N: the grid itself; x = A*column + B*row + C, y = D*column + E*row + F.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def chip_options(function: FunctionT) -> FunctionT:
    """Adds the option of verbs that may fetch chips without data."""
    return click.option(
        "--on-empty",
        type=click.Choice(["keep", "skip", "redraw"]),
        default="keep",
        show_default=True,
        help="Chips that are masked altogether. skip: no file. redraw: no file, and another point of the same"
        " ecoregion or class instead, up to 10 times. Not for jpg, which has no mask.",
    )(function)


def run_options(function: FunctionT) -> FunctionT:
    """Adds the options of a run, which every verb that fetches shares; and no other verb has, see :func:`fetches`."""
    options = [
        click.argument("pipeline_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]"),
        click.option("--local", is_flag=True, help="Start a local Earth Engine for this run; needs no account."),
        click.option(
            "--local-assets",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="With --local: serve this folder of assets, or catalogue, not the demo planet.",
        ),
        click.option(
            "--local-remote",
            is_flag=True,
            help="With --local-assets: read its files on web servers, and of a catalogue in object stores, too.",
        ),
        click.option(
            "--endpoint",
            envvar="EECHIPS_ENDPOINT",
            show_envvar=True,
            metavar="URL",
            help="Service to ask; Earth Engine's high-volume endpoint by default.",
        ),
        click.option(
            "--project",
            envvar="EECHIPS_PROJECT",
            show_envvar=True,
            help="Google Cloud project whose Earth Engine quota is used.",
        ),
        click.option(
            "--credentials",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Key of a service account; else the credentials of `earthengine authenticate`, or"
            " application-default ones.",
        ),
        click.option(
            "--send-credentials",
            is_flag=True,
            help="Send credentials to --endpoint although it is not https at one of Google's hosts.",
        ),
        click.option(
            "--out",
            metavar="DIR|URL",
            help="Folder of the results, or an object store: s3://bucket/folder. [default: outputs/<job>-<dataset>]",
        ),
        click.option(
            "--ledger",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="With an object store: local folder of the ledger and the log. [default: outputs/<url>]",
        ),
        click.option(
            "--name",
            metavar="TEMPLATE",
            help="Names of the results, as in '{eco_name}/{id}', of what units have: columns of a file, {index}, {id}."
            " {id} is the file's column if it has one of that name.",
        ),
        click.option(
            "--executor",
            type=click.Choice(["processes", "threads", "dask", "beam"]),
            default="processes",
            show_default=True,
            help="What does the work: processes of this machine, threads of this process, a Dask cluster, or a Beam"
            " pipeline, whose options follow after --.",
        ),
        click.option("--scheduler", metavar="ADDRESS", help="Of the Dask cluster. [default: one on this machine]"),
        click.option("--processes", type=click.IntRange(1), default=25, show_default=True, help="Worker processes."),
        click.option(
            "--retries",
            type=click.IntRange(0),
            default=10,
            show_default=True,
            help="Repeats of a request after a transient failure.",
        ),
        click.option(
            "--method",
            type=click.Choice(["auto", "url", "pixels"]),
            default="auto",
            show_default=True,
            help="How pixels are asked for: by URL (two requests a chip), or by computePixels (one). auto is pixels.",
        ),
        click.option(
            "--in-flight",
            type=Slots(),
            default="auto",
            show_default=True,
            help="Requests in flight at most. auto: learn the project's quota, and remember it.",
        ),
        click.option(
            "--rate",
            type=Rate(),
            default="auto",
            show_default=True,
            help="Requests a second at most. auto: 100, and no limit with --local.",
        ),
        click.option("--max-requests", type=click.IntRange(1), metavar="N", help="Stop after N requests."),
        click.option("--max-bytes", type=Bytes(), help="Stop after so many bytes were received."),
        click.option("--max-minutes", type=float, metavar="N", help="Begin nothing new after N minutes."),
        click.option(
            "--read-timeout",
            type=float,
            metavar="S",
            help="Seconds of silence after which a request is given up and repeated. [default: 330]",
        ),
        click.option(
            "--unit-timeout",
            type=float,
            metavar="S",
            help="Seconds that one result may take; then its worker is replaced. [default: 1800]",
        ),
        click.option("--dry-run", is_flag=True, help="Plan and estimate only: send no pixel request."),
        click.option(
            "--estimate",
            "estimate_first",
            type=click.IntRange(1),
            metavar="N",
            help="Fetch N results first, foresee what the others take, and ask whether to go on.",
        ),
        yes_option,
        report_option,
        click.option("-q", "--quiet", is_flag=True, help="No progress, errors only."),
        click.option("-v", "--verbose", is_flag=True, help="A line for every retry and failure."),
        debug_option,
    ]
    for option in reversed(options):
        function = option(function)
    function.__dict__[_FETCHES] = True
    return function


def fetches(command: click.Command) -> bool:
    """Whether a verb fetches: has the options of a run, and ends with ``finish``."""
    return getattr(command.callback, _FETCHES, False)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that have a value, so that the others keep the function's own default.

    ``--local`` overrules an endpoint in the environment, which was not meant for this command.
    """
    context = click.get_current_context()
    chosen = {name: value for name, value in options.items() if value is not None}
    source = context.get_parameter_source("endpoint")
    if chosen.get("local") and source is click.core.ParameterSource.ENVIRONMENT:
        chosen.pop("endpoint", None)
    return chosen
