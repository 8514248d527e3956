"""Make a contact sheet of a run: a picture of some chips, a row for each stratum or each place of a time series."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eechips.errors import UsageError
from eechips.formats.raster import encode_picture
from eechips.manifest.pictures.captions import draw_caption
from eechips.manifest.pictures.chip_pictures import (
    GAP,
    BandColours,
    RenderedChip,
    arrange_sheet,
    describe_colours,
    encode_png,
)
from eechips.manifest.pictures.display_styles import class_names, display_styles
from eechips.manifest.pictures.frame_rows import FrameChip, draw_head, read_frame_rows, render_frame
from eechips.manifest.run import Run, open_run, reading_chips
from eechips.reports.output_path import output_path
from eechips.reports.region_outlines import RegionOutlines
from eechips.reports.thumbnails import draw_units, is_picture
from eechips.reports.unit_columns import UnitColumn, UnitColumns, read_units
from eechips.storage import write_file
from eechips.storage.local_copies import local_copies

PREVIEW_NAME = "preview.png"
MOST_CHIPS = 5000
"""Maximum chips of a sheet."""

_COLUMNS = 8
_MOST_FRAMES = 24
_ROWS = 12
_EDGE = 128
_QUALITY = 85  # of JPEG
_STRATUM, _NOTHING = "stratum", "nothing"


class PictureFile(type(Path())):  # type: ignore[misc]  # Path itself cannot be a base before Python 3.12
    """The path of a PNG or JPEG file; a notebook displays the picture instead of the path."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the picture, as base64, by its media type; nothing if the file is missing or no picture."""
        kind = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}.get(self.suffix.lower())
        return {kind: base64.b64encode(self.read_bytes()).decode()} if kind is not None and self.is_file() else {}


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A row of a contact sheet.

    Attributes:
        name: name of the stratum, or of the place; empty if the sheet has none.
        chips: with their dates, if they are frames of a time series.
        total: chips that the stratum has; None for a time series.
    """

    name: str
    chips: tuple[FrameChip, ...]
    total: int | None = None

    @property
    def caption(self) -> str:
        """The name, and how many of the stratum's chips are shown, or from when to when the frames are."""
        if self.total is None:
            ends = dict.fromkeys(chip.label for chip in (self.chips[0], self.chips[-1]) if chip.label)
            return ": ".join([self.name, *([" to ".join(ends)] if ends else [])])
        return f"{self.name}, {len(self.chips):,} of {self.total:,}" if self.name else ""

    def head(self, edge: int) -> npt.NDArray[np.uint8]:
        """Draw what stands above the row: grey values, (rows, columns)."""
        labels = [chip.label for chip in self.chips]
        if self.total is None or any(labels):
            return draw_head(self.name if self.total is None else self.caption, labels, edge)
        return draw_caption(self.caption, len(self.chips) * (edge + GAP) - GAP)


def preview(
    run: Run | str | Path,
    *,
    by: str = _STRATUM,
    rows: int = _ROWS,
    columns: int | None = None,
    edge: int = _EDGE,
    seed: int = 0,
    out: str | Path | None = None,
) -> PictureFile:
    """Make a contact sheet of a run's chips: PNG, or JPEG by the suffix of ``out``.

    Polygons of the run's vector file are outlined.

    Args:
        run: the run, finished or in progress, or its folder.
        by: column of the units, such as ``eco_name`` or ``class``: a row for each of its values. ``stratum``: the
            strata of the run, if any, or of a time series the places, with a column for each date; ``nothing``: chips
            in no order.
        rows: maximum number of rows.
        columns: maximum number of chips in a row; None for 8, and for 24 frames of a time series.
        edge: edge of a chip in the picture, in pixels.
        seed: seed of the random selection.
        out: output file; None for preview.png in the run's folder.

    Returns:
        The path of the file; notebooks display the picture.

    Raises:
        UsageError: if the run has no chips, or no such column.
        OSError, ValueError: if a chip cannot be read.

    Example:
        >>> eechips.preview("outputs/sample-naip", by="eco_name", columns=5)
    """
    run = open_run(run)
    path, _ = save(run, layout(run, by=by, rows=rows, columns=columns, seed=seed), edge, out)
    return PictureFile(path)


def layout(
    run: Run, *, by: str = _STRATUM, rows: int = _ROWS, columns: int | None = None, seed: int = 0
) -> list[SheetRow]:
    """Choose the chips of a sheet; see :func:`preview`."""
    most_frames = _MOST_FRAMES if columns is None else columns
    columns = _COLUMNS if columns is None else columns
    _check_size(rows, columns)
    if by == _STRATUM and (series := read_frame_rows(run.path, rows=rows, columns=most_frames, seed=seed)):
        _check_size(len(series), max(len(row.chips) for row in series))
        return [SheetRow(row.name, row.chips) for row in series]
    units = read_units(run.path, seed=seed)
    shown = [
        number
        for number, file in enumerate(units.files)
        if file is not None and is_picture(file) and number not in units.completing
    ]
    if not shown:
        raise UsageError(
            f"{run.path} has no chips to show: no PNG, JPEG, GeoTIFF or NPY files; `eechips plot` draws time series"
        )
    column = _column(units, by)
    dates = _dates(units) if run.info.get("recipe") == "images" else {}
    if column is None:
        chosen = sorted(draw_units(shown, [], rows * columns, seed))
        lines = [chosen[start : start + columns] for start in range(0, len(chosen), columns)]
        return [SheetRow("", _chips(units, line, dates), len(shown)) for line in lines]
    members: dict[str, list[int]] = defaultdict(list)
    for number in shown:
        value = column.values[number]
        members["none" if value is None else str(value)].append(number)
    names = sorted(members, key=lambda name: (name == "none", name.zfill(12) if name.isdigit() else name))
    titles = {str(code): f"{code} {title}" for code, title in class_names(run.info).items()}
    titles = titles if column.name == "class" else {}
    return [
        SheetRow(
            titles.get(name, name),
            _chips(units, sorted(draw_units(members[name], [], columns, seed)), dates),
            len(members[name]),
        )
        for name in names[:rows]
    ]


def _check_size(rows: int, columns: int) -> None:
    if rows < 1 or columns < 1 or rows * columns > MOST_CHIPS:
        raise UsageError(f"a contact sheet has 1 to {MOST_CHIPS:,} chips, not {rows:,} rows of {columns:,}")


def save(run: Run, rows: Sequence[SheetRow], edge: int, out: str | Path | None) -> tuple[Path, list[BandColours]]:
    """Draw a sheet and write it atomically.

    Returns:
        The file, and the rendering of its chips.

    Raises:
        UsageError: if the suffix is neither that of PNG nor of JPEG, or the file is a result of the run.
    """
    path = output_path(run, out, PREVIEW_NAME)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"{path}: a contact sheet is png or jpg, not {suffix.lstrip('.') or 'without a suffix'}")
    outlines = RegionOutlines.of(run)

    def rendered(chip: FrameChip, file: Path) -> RenderedChip:
        frame_picture = render_frame(chip, file, edge, styles)
        return frame_picture if outlines is None else outlines.draw(frame_picture, chip.file)

    with local_copies(run.store) as fetched:
        styles = display_styles(run.info)
        with reading_chips(run):
            looks = [
                [
                    rendered(chip, file)
                    for chip, file in zip(row.chips, fetched([chip.file for chip in row.chips]), strict=True)
                ]
                for row in rows
            ]
            heads = [row.head(edge) for row in rows] if any(row.name or row.chips[0].label for row in rows) else []
            picture = arrange_sheet(looks, edge, heads)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, encode_png(picture) if suffix == ".png" else encode_picture(picture, "JPEG", QUALITY=_QUALITY))
    return path, describe_colours([seen for row in looks for seen in row])


def _column(units: UnitColumns, by: str) -> UnitColumn | None:
    if by == _STRATUM:
        return units.stratum
    if by == _NOTHING:
        return None
    column = units.column(by)
    if column.kind == "number":
        raise UsageError(f"{by} is a continuous quantity: group by a column of categories")
    return column


def _chips(units: UnitColumns, numbers: Sequence[int], dates: Mapping[int, str]) -> tuple[FrameChip, ...]:
    shown = ((number, units.files[number]) for number in numbers)
    return tuple(FrameChip(dates.get(number, ""), file) for number, file in shown if file is not None)


def _dates(units: UnitColumns) -> dict[int, str]:
    """Return the days of images by the numbers of their units."""
    column = next((column for column in units.columns if column.name == "date"), None)
    values = () if column is None else enumerate(column.values)
    return {number: str(value)[:10] for number, value in values if value is not None}
