"""Write the sections of a data card: what is in a run, its sources, its use, and how it was made."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eechips.manifest.data_source import DataSource
from eechips.manifest.export import PARQUET_NAME
from eechips.manifest.extensions import plan_parts
from eechips.manifest.run import Run
from eechips.text.formatting import format_bytes, format_count, one_line
from eechips.training.cards.croissant import CROISSANT_NAME, Publication
from eechips.training.cards.huggingface import front_matter
from eechips.training.cards.summary import Summary
from eechips.training.quality.statistics_passes import STATS_NAME
from eechips.training.splits import split_table


def strip_markdown(markdown: str) -> str:
    """Convert escaped Markdown to plain text."""
    return html.unescape(markdown.replace("\\", ""))


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(one_line, line))} |" for line in lines)


def escape(value: Any) -> str:
    """Return a value as text with the syntax of Markdown escaped: names come from others."""
    escaped = html.escape(" ".join(one_line(str(value)).split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|#~" else c for c in escaped)


def code(value: Any) -> str:
    """Return a value as code, without characters that end it."""
    return f"`{' '.join(one_line(str(value)).split()).replace('`', '').replace('|', '/')}`"


def format_block(language: str, lines: Sequence[str]) -> str:
    """Return a block of code, between fences that are longer than any in it."""
    fence = "```"
    lines = [one_line(line, longest=max(1, len(line))) for line in lines]
    while any(fence in line for line in lines):
        fence += "`"
    return "\n".join([fence + language, *lines, fence])


SHEET_NAME = "contact_sheet.png"
MARK = "<!-- Made by eechips card, which replaces it: what is added by hand is lost. -->"
_MOST_STRATA = 60  # rows of a table
_SHOWN = 3  # values of one kind that are listed
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ADDRESS = re.compile(r"https?://[^\s<>()\\|`]+")  # without what ends a link of Markdown, or a cell
_CROISSANT = "https://mlcommons.org/croissant"

_SYNTHETIC = (
    "**Synthetic.** Nothing here was observed: all pixels were computed by the demo planet of eechips, which answers to"
    " the ids of real datasets. It is for trying out a pipeline, and says nothing about the Earth."
)


def render_card(
    run: Run, summary: Summary, publication: Publication, loading: Sequence[str], *, has_sheet: bool
) -> str:
    """Return the data card in Markdown, with the metadata that the Hub reads."""
    sections = [
        front_matter(summary, publication, loading),
        MARK,
        f"# {escape(publication.title)}",
        describe(summary),
        *([f"> {_SYNTHETIC}"] if summary.is_synthetic else []),
        *([_picture(summary)] if has_sheet else []),
        "## What is in it",
        _facts(run, summary),
        _layers(summary),
        *_strata(summary),
        *_splits(summary),
        *_quality(summary),
        *_statistics(run),
        "## Sources and licence",
        *_sources(summary),
        "## Using it",
        _using(run, summary),
        "## How it was made",
        _making(summary),
    ]
    return "\n\n".join(sections) + "\n"


def describe(summary: Summary) -> str:
    """Describe the dataset in two sentences."""
    titles = [escape(per_sample.get("title") or per_sample["id"]) for per_sample in _shown(summary)]
    of = f" of {_list(titles)}" if titles else ""
    if _has_pixels(summary):
        up_to = "" if all(layer.files == summary.samples for layer in summary.layers) else "up to "
        per_sample = f" of {up_to}{len(summary.layers)} files each" if len(summary.layers) > 1 else ""
        what = f"{format_count(summary.samples, 'sample')}{per_sample}"
    else:
        rows = sum(layer.rows for layer in summary.layers)
        what = f"Tables of {format_count(rows, 'row')}" if rows else format_count(summary.files, "file")
    return f"{what}{of}, {_origin(summary)}; {format_bytes(summary.bytes)}."


def _origin(summary: Summary) -> str:
    if summary.is_synthetic:
        return "from the synthetic demo planet, not from the Earth"
    source = DataSource.parse(str(summary.info.get("source") or ""))
    if source.archives:
        return f"from {escape(source.describe())}"
    if source.is_local:
        return "by a local Earth Engine from local files"
    try:
        host = urlsplit(str(summary.info.get("endpoint") or "")).hostname or ""
    except ValueError:
        return "by a service whose address is malformed"
    archives = sorted(
        {str(dataset["archive"]) for dataset in summary.info.get("datasets") or () if dataset.get("archive")}
    )
    if host in _LOOPBACK and archives:
        return f"from {escape(DataSource(archives=tuple(archives)).describe())}"
    if host in _LOOPBACK:
        return "by a local Earth Engine, which may have served the synthetic demo planet"
    return "by Google Earth Engine" if host.endswith(".googleapis.com") else f"by the service at {escape(host)}"


def _picture(summary: Summary) -> str:
    name = f"a row for each {escape(_label(summary.stratum))}" if summary.stratum else "some of the samples"
    if summary.has_frames:
        name = "a row for each place, a column for each date"
    return f"![{name}]({SHEET_NAME})"


def _facts(run: Run, summary: Summary) -> str:
    states = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in summary.states.items())
    lines = sum(layer.rows for layer in summary.layers)
    first = ("rows", f"{lines:,}") if lines and not _has_pixels(summary) else ("samples", f"{summary.samples:,}")
    rows = [first, ("files", f"{summary.files:,}, {format_bytes(summary.bytes)}"), ("units of the plan", states)]
    assembled_paths = [path for path in run.assembled if path.is_file()]
    if assembled_paths:
        files = (
            f"{code(path.relative_to(run.path).as_posix())} ({format_bytes(path.stat().st_size)})"
            for path in assembled_paths
        )
        rows.append(("assembled files", ", ".join(files)))
    if summary.bounds is not None:
        west, south, east, north = (f"{degrees:.4f}" for degrees in summary.bounds)
        over = " (across the antimeridian)" if summary.bounds[0] > summary.bounds[2] else ""
        rows.append(("bounds", f"{west}, {south}, {east}, {north}: west, south, east, north in degrees{over}"))
    period = summary.dates or _asked_for(summary)
    if period is not None:
        note = "" if summary.dates else " (requested)"
        rows.append(("dates", escape(" to ".join(dict.fromkeys(date[:10] for date in period))) + note))
    return format_table(("", ""), rows)


def _layers(summary: Summary) -> str:
    """Return a row for each layer of files."""
    header = ("files", "content", "format", "bands", "values", "pixels", "resolution", "CRS", "valid")
    rows = []
    for layer in summary.layers:
        dataset = next((dataset for dataset in _datasets(summary) if dataset["id"] == layer.dataset), None)
        columns = (
            f"{layer.files:,}{f' {code(layer.name)}' if layer.name else ''}",
            escape((dataset.get("title") or dataset["id"]) if dataset else layer.dataset or ""),
            _most(layer.suffixes, str),
            _most(layer.bands, ", ".join),
            _most(layer.dtypes, str),
            _most(layer.sizes, lambda size: f"{size[0]} x {size[1]}"),
            _most(layer.resolutions, lambda metres: f"{metres:g} m"),
            _most(layer.systems, _system),
            "" if layer.valid is None else "all" if not layer.partial else f"{layer.partial:,} only partly",
        )
        rows.append(columns)
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return format_table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _strata(summary: Summary) -> Iterator[str]:
    """Yield the table of samples by stratum and split."""
    if summary.stratum is None:
        return
    names = list(summary.splits) or [""]
    counts: dict[Any, Counter[str]] = {}
    for (stratum, split), count in summary.strata.items():
        counts.setdefault(stratum, Counter())[split] += count
    label = escape(_label(summary.stratum))
    yield f"### By {label}"
    header = [label, "samples", *(names if summary.splits else ())]
    rows = [
        [
            escape(name_stratum(summary, stratum)),
            f"{sum(own.values()):,}",
            *(f"{own[name]:,}" for name in names if summary.splits),
        ]
        for stratum, own in list(counts.items())[:_MOST_STRATA]
    ]
    yield format_table(header, rows)
    if len(counts) > _MOST_STRATA:
        yield f"And {len(counts) - _MOST_STRATA:,} more."


def name_stratum(summary: Summary, stratum: Any) -> str:
    """Return the name of a stratum, with that of a class if it is known."""
    name = summary.classes.get(stratum) if isinstance(stratum, int) else None
    return str(stratum) if name is None else f"{stratum} {name}"


def _splits(summary: Summary) -> Iterator[str]:
    if summary.split_options is None:
        return
    yield "### Splits"
    rows = [
        (escape(name), f"{count:,}", f"{100 * count / summary.samples:.1f} %") for name, count in summary.splits.items()
    ]
    yield format_table(("split", "samples", "share"), rows)
    left = ""
    if split_table.NONE in summary.splits:
        others = ", or to the footprints of other data" if summary.split_options.get("away_from") else ""
        left = f" Samples of `{split_table.NONE}` are too close to another split{others}."
    options_of_split = summary.split_options.items()
    shown = {name: value for name, value in options_of_split if value is not None and name != split_table.ABSENT}
    if "away_from" in shown:  # without the folders of one machine
        shown["away_from"] = [Path(path).name for path in shown["away_from"]]
    options = ", ".join(f"{name} {_value(value)}" for name, value in shown.items())
    yield (
        f"Made by `eechips split` with: {escape(options)}."
        f" The split of every sample is in `{split_table.SPLITS_NAME}`.{left}"
    )


def _quality(summary: Summary) -> Iterator[str]:
    if summary.checked is None:
        return
    yield "### Quality"
    of_all = "" if summary.checked == summary.samples else f"{summary.checked:,} of "  # the others came later
    checked = f"`eechips check` read {of_all}{format_count(summary.samples, 'sample')}"
    if not summary.flags:
        yield f"{checked} and flagged none."
        return
    yield f"{checked}; the statistics are in `quality.parquet`. A sample may have several flags:"
    yield format_table(("flag", "samples"), [(code(name), f"{count:,}") for name, count in summary.flags.items()])


def _statistics(run: Run) -> Iterator[str]:
    if (run.path / STATS_NAME).is_file():
        yield "### Statistics"
        yield f"`{STATS_NAME}` has means, standard deviations and percentiles of the bands, and weights of classes."


def _sources(summary: Summary) -> Iterator[str]:
    datasets = _datasets(summary)
    if not datasets:
        yield "The recipe names no dataset: see its code."
        return
    rows = [
        (
            _link(dataset),
            code(dataset["id"]),
            escape(dataset.get("licence") or "unknown: see its page"),
            escape(summary.cite(dataset.get("citation") or "")),
        )
        for dataset in datasets
    ]
    yield format_table(("dataset", "id", "licence", "citation"), rows)
    if summary.is_synthetic:
        yield "These are the terms of the real datasets; the pixels here are synthetic."
    for dataset in datasets:
        if dataset.get("archive"):
            differs = escape(dataset.get("differs") or "no difference is known.")
            origin = f"{code(dataset['id'])} is read from the open archive {escape(dataset['archive'])}."
            yield f"{origin} What differs from Earth Engine: {differs}"


def _using(run: Run, summary: Summary) -> str:
    has_pixels = _has_pixels(summary)
    lines = ["import eechips", "", 'table = eechips.load(".")  # a row for each unit, or the rows of the table']
    if has_pixels:
        lines = ["import eechips", "", 'samples = eechips.load(".")  # a row for each file, with its footprint']
        lines.append('cube = eechips.stack(".")  # the pixels as (sample, band, y, x)')
        if summary.splits:
            lines.append('train = eechips.stack(samples[samples.split == "train"])')
    lines += ["", "import datasets  # of Hugging Face, 4 or later", "", 'splits = datasets.load_dataset(".")']
    where = f"The files are at {code(run.address)}. " if run.address else ""
    records = f"`{PARQUET_NAME}` has a row for each unit: file, sha256, size, bands, crs, transform, source images."
    machines = f"[{CROISSANT_NAME}]({CROISSANT_NAME}) describes the dataset in [Croissant]({_CROISSANT})."
    pixels = "Pixels without data are masked: by alpha (PNG), the file's mask (GeoTIFF) or the field `mask` (NPY)."
    text = f"{where}{records} {machines}{f' {pixels}' if has_pixels else ''}"
    return f"{format_block('python', lines)}\n\n{text}"


def _making(summary: Summary) -> str:
    info = summary.info
    commands = [part.command for part in plan_parts(info) if part.command] or [str(info.get("command") or "")]
    versions = ", ".join(f"{name} {number}" for name, number in (info.get("versions") or {}).items())
    identity = str(info.get("identity") or "")
    rows = [
        ("seed", escape(_value(info.get("seed"))) if info.get("seed") is not None else "none"),
        ("service", _service(info)),
        ("started, finished", escape(f"{str(info.get('started'))[:19]}Z, {str(info.get('finished'))[:19]}Z")),
        ("versions", escape(versions)),
        ("recipe", f"{code(info.get('recipe'))}, sha256 of all that changes its results: {code(identity[:16])}"),
    ]
    lines = [
        line
        for command in commands
        for line in ([command] if command.startswith("eechips ") else [f"# {text}" for text in command.splitlines()])
    ]
    same = "The same command" if len(commands) == 1 else "The same commands in this order"
    again = f"{same}, seed and version request the same places and pixels"
    changes = "." if summary.is_synthetic else ", as long as the datasets are unchanged."
    rest = "`run.json` has all parameters; `eechips verify` checks the files."
    return "\n\n".join([format_block("sh", lines), format_table(("", ""), rows), f"{again}{changes} {rest}"])


def _has_pixels(summary: Summary) -> bool:
    return any(layer.sizes for layer in summary.layers)


def _datasets(summary: Summary) -> list[Mapping[str, Any]]:
    return list(summary.info.get("datasets") or ())


def _shown(summary: Summary) -> list[Mapping[str, Any]]:
    """Return the datasets of the files, without those used only for sampling."""
    shown = [layer.dataset for layer in summary.layers if layer.dataset is not None]
    datasets = _datasets(summary)
    return [dataset for dataset in datasets if dataset["id"] in shown] or datasets[:1]


def _link(dataset: Mapping[str, Any]) -> str:
    title = escape(dataset.get("title") or dataset["id"])
    address = str(dataset.get("source") or "")
    return f"[{title}]({address})" if _ADDRESS.fullmatch(address) else title


def _asked_for(summary: Summary) -> tuple[str, ...] | None:
    """Return the requested period."""
    parameters = summary.info.get("parameters") or {}
    period = tuple(str(parameters[name]) for name in ("start", "end") if parameters.get(name))
    return period or None


def _service(info: Mapping[str, Any]) -> str:
    source = DataSource.parse(str(info.get("source") or ""))
    return escape(source.describe()) if source.is_local else code(info.get("endpoint"))


def _label(stratum: str | None) -> str:
    return {"eco_name": "ecoregion", "eco_id": "ecoregion"}.get(stratum or "", stratum or "")


def _system(crs: str) -> str:
    """Return the code of a crs, or the name in its WKT."""
    return crs if len(crs) < 40 else crs.partition('"')[2].partition('"')[0]


def _most(values: Counter[Any], text: Any) -> str:
    """Return the most frequent values."""
    shown = [text(value) for value, _ in values.most_common(_SHOWN)]
    more = f" and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    return escape("; ".join(dict.fromkeys(shown)) + more)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(member)}" for key, member in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return str(value)


def _list(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
