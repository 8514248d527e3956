"""Write the data card of a run: README.md (``card_text.py``), croissant.json and a contact sheet; replace no file that
eechips did not write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.formats import chip_suffixes
from eechips.manifest.export import PARQUET_NAME
from eechips.manifest.pictures.display_styles import display_styles
from eechips.manifest.run import Run, open_run, reading_chips
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.storage import write_file
from eechips.storage.local_copies import local_copies
from eechips.training.cards.card_text import MARK, SHEET_NAME, describe, name_stratum, render_card, strip_markdown
from eechips.training.cards.croissant import CROISSANT_NAME, Publication, croissant, to_bytes
from eechips.training.cards.huggingface import configs, is_table, tables
from eechips.training.cards.summary import Summary, summarize
from eechips.training.sample_reader import Samples, read_samples

README_NAME = "README.md"
_SHEET_ROWS = 8
_SHEET_COLUMNS = 8
_SHEET_EDGE = 96  # pixels of a chip


@dataclass(frozen=True, slots=True)
class Card:
    """The files of a data card.

    Attributes:
        readme: README.md.
        croissant: croissant.json.
        sheet: the picture; None for runs without pictures.
    """

    readme: Path
    croissant: Path
    sheet: Path | None


def card(
    run: Run | str | Path,
    *,
    title: str | None = None,
    creator: str | None = None,
    url: str | None = None,
    version: str = "1.0.0",
    overwrite: bool = False,
) -> Card:
    """Write the data card of a finished run: README.md, croissant.json and a contact sheet, in its folder.

    The same run gives the same bytes: neither date nor machine is recorded.

    Args:
        run: the finished run, or its folder.
        title: title of the dataset; None for the name of the folder.
        creator: creator of the dataset.
        url: URL of the published dataset.
        version: semantic version of the dataset.
        overwrite: replace a README.md that eechips did not write.

    Returns:
        The paths of the files.

    Raises:
        UsageError: if the run is not finished, has no results, or has a README.md that eechips did not write, or if a
            result has the name of one of the files.
        StorageError: if a file cannot be written.

    Example:
        >>> eechips.card("outputs/sample-naip", title="NAIP of Colorado's ecoregions").readme
    """
    run = open_run(run)
    if not (run.path / PARQUET_NAME).is_file():
        raise UsageError(f"{run.path} is not finished: it has no {PARQUET_NAME}; repeat its command")
    readme = run.path / README_NAME
    if readme.is_file() and not overwrite and MARK not in readme.read_text(errors="replace"):
        raise UsageError(f"{readme} was not written by eechips: move it away, or overwrite it (`overwrite`)")
    samples = read_samples(run)
    if not len(samples):
        raise UsageError(f"{run.path} has no results to describe")
    described_by = tables(samples)
    _check_names(run, described_by, overwrite=overwrite)
    summary = summarize(samples)
    publication = Publication(title=title or run.path.resolve().name, creator=creator, url=url, version=version)
    picture = _sheet(samples, summary)
    described = to_bytes(croissant(run, summary, publication, strip_markdown(describe(summary))))
    text = render_card(run, summary, publication, configs(samples, described_by), has_sheet=picture is not None)
    # First: it shows that the other files are a card's, also if this process is killed before it has written them.
    write_file(readme, text.encode())
    if picture is not None:
        write_file(run.path / SHEET_NAME, picture)
    write_file(run.path / CROISSANT_NAME, described)
    for name, content in described_by.items():
        write_file(run.path / name, content)
    return Card(readme, run.path / CROISSANT_NAME, run.path / SHEET_NAME if picture is not None else None)


def _check_names(run: Run, tables: Iterable[str], *, overwrite: bool) -> None:
    """Raise UsageError if a result of the run has the name of a file of the card."""
    for name in () if overwrite else tables:
        if (run.path / name).exists() and not is_table(run.path / name):
            raise UsageError(
                f"{run.path / name} was not written by eechips: move it away, or overwrite it (`overwrite`)"
            )
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        names = (README_NAME, CROISSANT_NAME, SHEET_NAME, *tables)
        taken = [name for name in names if ledger.owner(name) is not None]
    if taken:
        raise UsageError(
            f"{run.path / taken[0]} is a result of the run and would be overwritten: rename the result to make a card"
        )
    for name in () if overwrite or (run.path / README_NAME).exists() else (CROISSANT_NAME, SHEET_NAME):
        if (run.path / name).exists():  # a card has its README beside it
            raise UsageError(
                f"{run.path / name} was not written by eechips: move it away, or overwrite it (`overwrite`)"
            )


def _sheet(samples: Samples, summary: Summary) -> bytes | None:
    """Return a picture, a row for each stratum or each place of a time series; None if there is nothing to show."""
    from eechips.manifest.pictures.captions import draw_caption
    from eechips.manifest.pictures.chip_pictures import GAP, encode_png, render_sheet

    if summary.has_frames:
        return _series_sheet(samples)
    chosen: dict[Any, list[str]] = {}
    rows = list(dict.fromkeys(stratum for stratum, _ in summary.strata))[:_SHEET_ROWS]
    wanted = _SHEET_COLUMNS if len(rows) > 1 else _SHEET_COLUMNS * _SHEET_ROWS
    for sample in samples:
        stratum = sample.fields.get(summary.stratum or "", "") if sample.stratum is None else sample.stratum
        own = chosen.setdefault(stratum, [])
        file = next((file.name for file in sample.files if file.suffix in chip_suffixes()), None)
        if stratum in rows and len(own) < wanted and file is not None and sample.state == "done":
            own.append(file)
    shown = [stratum for stratum in rows if chosen.get(stratum)]
    names = [chosen[stratum] for stratum in shown]
    if not names:
        return None
    if len(names) == 1:
        names = [names[0][start : start + _SHEET_COLUMNS] for start in range(0, len(names[0]), _SHEET_COLUMNS)]
    wide = max(map(len, names)) * (_SHEET_EDGE + GAP) - GAP
    heads = [draw_caption(name_stratum(summary, stratum), wide) for stratum in shown] if len(shown) > 1 else []
    with local_copies(samples.store) as fetched, reading_chips(samples.run):
        paths = fetched([name for row in names for name in row])
        chips = [[next(paths) for _ in row] for row in names]
        return encode_png(render_sheet(chips, _SHEET_EDGE, display_styles(samples.run.info), heads))


def _series_sheet(samples: Samples) -> bytes | None:
    """Return a picture with a row for each place, and a column for each date; None if no file is a picture."""
    from eechips.manifest.pictures.chip_pictures import encode_png
    from eechips.manifest.pictures.frame_rows import read_frame_rows, render_frames

    rows = read_frame_rows(samples.run.path, rows=_SHEET_ROWS, columns=_SHEET_COLUMNS)
    if not rows:
        return None
    names = list(dict.fromkeys(chip.file for row in rows for chip in row.chips))
    with local_copies(samples.store) as fetched, reading_chips(samples.run):
        paths = dict(zip(names, fetched(names), strict=True))
        return encode_png(render_frames(rows, paths, _SHEET_EDGE, display_styles(samples.run.info)))
