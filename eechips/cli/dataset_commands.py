"""List, search and show datasets with their bands, classes, masks and open archives: ``eechips datasets`` and
``datasets show``.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from eechips.cli.group import OneSentence
from eechips.cli.terminal import echo, echo_coloured, echo_json, echo_lines
from eechips.commands.command import VerbCommand
from eechips.commands.parameters import HELP
from eechips.datasets import (
    Dataset,
    DatasetBand,
    Quantization,
    find_dataset,
    list_datasets,
    search_datasets,
    suggest_datasets,
)
from eechips.datasets.quality_bands import find_mask_sources
from eechips.datasets.spectral_indices import list_supported
from eechips.errors import UnknownDatasetError
from eechips.text.formatting import format_count, one_line

_SHOWN_BANDS = 4  # of a dataset, in the list
_SHOWN_INDICES = 8  # of a dataset
_USUAL_INDICES = ("NDVI", "EVI", "SAVI", "NDWI", "MNDWI", "NDMI", "NBR", "NDSI")
_LEAST_TEXT = 24  # columns for the last column of a table; below that it gets lines of its own
_GAP = "  "
_VERBS = ("find", "get", "info", "list", "ls", "search")  # that users may write for an option or for show


class _DatasetGroup(click.Group):
    """Commands of datasets; the name of a dataset is none of them."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; raise UsageError, which says how to search, if there is none of this name."""
        name = args[0]
        words = " ".join(word for word in args[name.lower() in _VERBS :] if not word.startswith("-"))
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(
                f"there is no command {name!r}. To search: {ctx.command_path} --search {shlex.quote(words or 'WORDS')};"
                f" to show one: {ctx.command_path} show {shlex.quote(words or 'NAME')}",
                ctx,
            )
        return super().resolve_command(ctx, args)


@click.group(
    "datasets",
    cls=_DatasetGroup,
    invoke_without_command=True,
    context_settings=HELP,
    subcommand_metavar="[COMMAND] [OPTIONS]",
)
@click.option("--search", metavar="WORDS", help="Those with all words in their names, title, provider or bands.")
@click.option("--json", "as_json", is_flag=True, help="Print all details as JSON.")
@click.option("--local", "is_local", is_flag=True, help="Those that the demo planet of --local has, by any name.")
@click.pass_context
def datasets_command(ctx: click.Context, search: str | None, as_json: bool, is_local: bool) -> None:
    """List the datasets that have a short name: id, bands, scale, dates, licence.

    Any other Earth Engine id works as well: eechips asks the server for its bands and scale. So does the path of a TOML
    file that describes a dataset.

    \b
    Examples:
      eechips datasets
      eechips datasets --search "land cover"
      eechips datasets show S2
      eechips datasets --json | jq '.[].id'
      eechips datasets --local
    """
    if ctx.invoked_subcommand is not None:
        return
    if is_local:
        if search is not None:
            raise click.UsageError("--search and --local exclude each other", ctx)
        _list_local(as_json)
        return
    datasets = list_datasets() if search is None else search_datasets(search)
    if not datasets:
        raise UnknownDatasetError(
            f"no dataset with a short name matches {search!r}{suggest_datasets(search or '')} (any Earth Engine asset"
            " id works as well)"
        )
    if as_json:
        echo_json([_details(dataset) for dataset in datasets], indent=2)
        return
    rows = [("ALIAS", "ID", "BANDS", "SCALE", "DATES", "SYNONYMS", "LICENCE")]
    for dataset in datasets:
        names, scale = dataset.default_bands, f"{dataset.pixel_size:.0f} m"
        bands = ",".join(names) if len(names) <= _SHOWN_BANDS else f"{len(names)} bands"
        dates = f"{dataset.start} - {dataset.end or ''}".rstrip()
        rows.append((dataset.alias, dataset.id, bands, scale, dates, ",".join(dataset.synonyms), dataset.licence))
    _print_table(rows)


@datasets_command.command("show", cls=VerbCommand, context_settings=HELP)
@click.argument("name", metavar="NAME|ID|FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--archive", metavar="NAME|URL|FILE", help="Of open archives, only this one; an error if it lacks the dataset."
)
def show_command(name: str, as_json: bool, archive: str | None) -> None:
    """Show all that is known of a dataset: names, dates, bands, classes, masks, licence, citation, and the archives.

    NAME is a short name, an asset id, or the path of a TOML file.

    \b
    Examples:
      eechips datasets show S2
      eechips datasets show ESA/WorldCover/v200
      eechips datasets show S2 --archive earth-search
      eechips datasets show fields.toml --json
    """
    dataset = find_dataset(name)
    dataset_id = name if dataset is None else dataset.id
    archives = _archives_of(dataset_id, archive)
    if dataset is None and archives:
        if as_json:
            echo_json({"id": dataset_id, "archives": archives}, indent=2)
        else:
            echo(f"{dataset_id}: {archives[0]['title']}")
            for description in archives:
                echo_lines(("", *_archive_lines(description)))
                if description["bands"]:
                    echo(f"{_GAP}Bands: {', '.join(description['bands'])}")
        return
    if dataset is None:
        raise UnknownDatasetError(
            f"there is no record of {name!r}{suggest_datasets(name)} (if it is an Earth Engine asset id, the other"
            " commands take it, and ask the server for its bands)"
        )
    if as_json:
        echo_json({**_details(dataset), "archives": archives}, indent=2)
        return
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else None
    has_colours = is_terminal and "NO_COLOR" not in os.environ
    for line in _sheet(dataset, archives, width, has_colours):
        echo_coloured(line)


def _details(dataset: Dataset) -> dict[str, Any]:
    computed = {"dtype": dataset.dtype, "source": dataset.source, "archives": _archives_of(dataset.id, None)}
    return {**dataclasses.asdict(dataset), **computed, "indices": [index.name for index in list_supported(dataset)]}


def _sheet(
    dataset: Dataset, archives: Sequence[Mapping[str, Any]], width: int | None, has_colours: bool
) -> Iterator[str]:
    """Yield the lines that describe a dataset, wrapped to a width; None for lines of any length."""
    yield from _wrapped(one_line(f"{dataset.alias}: {dataset.title}"), "", width)
    yield ""
    facts = _facts(dataset)
    indent = max(map(len, facts)) + len(_GAP)
    for name, text in facts.items():
        yield from _wrapped(f"{name:<{indent}}{text}", " " * indent, width)
    yield ""
    for archive in archives:
        for line in _archive_lines(archive):
            yield from _wrapped(line, _GAP * 2, width)
        yield ""
    if not archives:
        yield from _wrapped(f"No open archive has it{_demo_clause(dataset.id)}.", _GAP, width)
        yield ""
    yield f"{format_count(len(dataset.bands), 'band')}:"
    yield from _table([_COLUMNS, *map(_row, dataset.bands)], width)
    for band in dataset.bands:
        if band.classes:
            yield ""
            yield f"Classes of {band.name}:"
            yield from _class_lines(band, width, has_colours)


def _facts(dataset: Dataset) -> dict[str, str]:
    """Return the texts of what is known, by their names, without those that do not apply."""
    masks = [
        f"{source.name} ({f'score below {source.score.threshold:g}' if source.score else ', '.join(source.usual)})"
        for source in find_mask_sources(dataset.id)
    ]
    pixel_size = f"{dataset.pixel_size:,.1f}".removesuffix(".0")
    colours = [f"{name} {value}" for name, value in dataset.visualization.items() if name != "palette"]
    palette = dataset.visualization.get("palette", ())
    if palette:
        is_long = len(palette) > _SHOWN_BANDS * 3
        colours.append(f"palette of {len(palette)} colours" if is_long else f"palette {','.join(palette)}")
    facts = {
        "id": dataset.id,
        "synonyms": ", ".join(dataset.synonyms),
        "kind": "one image" if dataset.kind == "image" else "collection of images",
        "provider": dataset.provider,
        "dates": f"{dataset.start} to {dataset.end}" if dataset.end else f"since {dataset.start}",
        "pixel size": f"{pixel_size} m",
        "default bands": ", ".join(dataset.default_bands),
        "unit vector": "the default bands" if dataset.is_unit_vector else "",
        "quantization": _describe_quantization(dataset.quantization),
        "default region": dataset.region or "",
        "picture": ", ".join(colours),
        "cloud masks": "; ".join(masks),
        "quality bands": ", ".join(dataset.quality_bands),
        "indices": _describe_indices(dataset),
        "licence": dataset.licence,
        "citation": dataset.citation,
        "source": f"{dataset.source}, read on {dataset.checked}",
    }
    return {name: one_line(text) for name, text in facts.items() if text}


def _describe_quantization(quantization: Quantization | None) -> str:
    if quantization is None:
        return ""
    formula = f"sign(x) * abs(x / {quantization.divisor:g}) ** {quantization.power:g}"
    return f"values are {formula} of the {quantization.dtype} x; {quantization.nodata} is nodata"


def _describe_indices(dataset: Dataset) -> str:
    """Return the number of spectral indices that the bands allow, and the most used; empty if there are none."""
    names = [index.name for index in list_supported(dataset)]
    shown = sorted(names, key=lambda name: name not in _USUAL_INDICES)[:_SHOWN_INDICES]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more (--json lists all)" if more else "")


_COLUMNS = ("NAME", "COMMON NAME", "UNITS", "SCALE", "OFFSET", "DTYPE", "PIXEL", "DESCRIPTION")


def _row(band: DatasetBand) -> tuple[str, ...]:
    return (
        band.name,
        ",".join(band.common_names),
        band.units,
        f"{band.scale:g}" if band.scale != 1 else "",
        f"{band.offset:g}" if band.offset else "",
        band.dtype or "",
        f"{band.pixel_size:.0f} m" if band.pixel_size else "",
        band.description,
    )


def _class_lines(band: DatasetBand, width: int | None, has_colours: bool) -> Iterator[str]:
    digits = max(len(str(value)) for value in band.classes)
    for value, name in band.classes.items():
        colour = band.colours.get(value, "")
        head = f"{_GAP}{value:>{digits}}{_GAP}"
        if band.colours:
            head += f"{colour:<6}{_GAP}"
        lines = _wrapped(head + one_line(name), " " * len(head), width)
        if has_colours and colour:
            red, green, blue = bytes.fromhex(colour)
            patch = click.style(colour, bg=(red, green, blue), fg="black" if red + green + blue > 380 else "white")
            lines[0] = lines[0].replace(colour, patch, 1)
        yield from lines


def _table(rows: Sequence[tuple[str, ...]], width: int | None) -> Iterator[str]:
    """Yield the lines of a table without its empty columns; the last one wraps, or has lines of its own."""
    used = [any(texts[1:]) for texts in zip(*rows, strict=True)]
    rows = [tuple(text for text, is_used in zip(row, used, strict=True) if is_used) for row in rows]
    rows = [tuple(map(one_line, row)) for row in rows]
    widths = [max(map(len, texts)) for texts in zip(*rows, strict=True)]
    indent = len(_GAP) + sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    is_narrow = width is not None and width - indent < _LEAST_TEXT and len(widths) > 1
    for row in rows:
        *cells, last = [text.ljust(size) for text, size in zip(row, widths, strict=True)]
        if not is_narrow:
            yield from _wrapped(_GAP + _GAP.join([*cells, last.rstrip()]).rstrip(), " " * indent, width)
            continue
        yield from _wrapped(_GAP + _GAP.join(cells).rstrip(), _GAP * 3, width)
        if last.strip():
            yield from _wrapped(_GAP * 3 + last.rstrip(), _GAP * 3, width)


def _wrapped(text: str, indent: str, width: int | None) -> list[str]:
    """Return the lines of a text, the first of which keeps its spaces."""
    if width is None or len(text) <= width:
        return [text]
    room = max(width, len(indent) + _LEAST_TEXT)
    return textwrap.wrap(text, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _archives_of(dataset: str, archive: str | None) -> list[dict[str, Any]]:
    """Return how open archives have a dataset, or one of them: those of the local Earth Engine, if it is installed.

    Raises:
        OneSentence: if that one is not known, or does not say what it has.
        UnknownDatasetError: if it has nothing of the dataset.
    """
    try:
        from eechips_local.archives.archive_summary import describe_dataset
        from eechips_local.archives.named_archive import ArchiveChoiceError, find_archive
    except ModuleNotFoundError as error:
        if archive is None:
            return []
        raise OneSentence(f"{error.name} is not installed: pip install 'eechips[local,archive]'") from error
    archives = describe_dataset(dataset)
    if archive is None:
        return archives
    try:
        own = describe_dataset(dataset, find_archive(archive))
    except ArchiveChoiceError as error:
        raise OneSentence(str(error)) from error
    if not own:
        having = [f"--archive {details['archive']}" for details in archives if not details["reason"]]
        if having:
            raise UnknownDatasetError(f"{archive} does not have {dataset}; {' or '.join(having)} does")
        raise UnknownDatasetError(f"no open archive has {dataset}{_demo_clause(dataset)}")
    return [{**details, "archive": archive} for details in own]


def _demo_clause(dataset: str) -> str:
    """Return the end of a sentence on a dataset that no archive has: whether the demo planet has it."""
    try:
        from eechips_local.demo import dataset_list
    except ModuleNotFoundError:
        return ""
    has_it = any(entry.id == dataset for entry in dataset_list.entries())
    return "; the demo planet (--local) has a synthetic one" if has_it else ""


def _archive_lines(archive: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on how an archive has a dataset, and a line for each difference."""
    if archive["reason"]:
        instead = f" It has {archive['instead']}." if archive["instead"] else ""
        yield one_line(f"--archive {archive['archive']} refuses it: {archive['reason']}{instead}")
        return
    yield one_line(f"--archive {archive['archive']} reads {archive['collection']}. What differs from Earth Engine:")
    for difference in archive["differences"] or ["No difference is known."]:
        yield one_line(f"{_GAP}- {difference}")


def _list_local(as_json: bool) -> None:
    try:
        from eechips_local.demo import dataset_list
    except ModuleNotFoundError as error:
        raise OneSentence(f"{error.name} is not installed: pip install 'eechips[local]'") from error
    entries = dataset_list.entries()
    if as_json:
        echo_json([dataclasses.asdict(entry) for entry in entries], indent=2)
        return
    rows = [("ID", "KIND", "DATES", "BANDS OR COLUMNS")]
    rows += [(entry.id, entry.kind, entry.dates, ",".join(entry.names)) for entry in entries]
    _print_table(rows)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; on a terminal without the last columns, as far as they do not fit."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        while len(widths) > 2 and sum(widths) + len(_GAP) * (len(widths) - 1) > columns:
            widths.pop()
    for row in rows:
        echo(_GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=False)).rstrip())
