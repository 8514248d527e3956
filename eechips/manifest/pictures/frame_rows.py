"""List a run's pictures of places over time for a contact sheet, with captions: a row for each place."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.formats import chip_suffixes
from eechips.manifest.extensions import plan_parts, read_completions, read_named_files
from eechips.manifest.pictures.captions import draw_caption
from eechips.manifest.pictures.chip_pictures import GAP, Picture, RenderedChip, arrange_sheet, render_chip
from eechips.manifest.pictures.display_styles import DisplayStyle
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.recipe.units import COMPLETES, FURTHER
from eechips.storage import ID_LENGTH, unit_fields

_DAY = 10  # characters of a date
_IMAGE_KINDS = frozenset({"image", "dates"})  # kinds of units that show a region once
_NO_NAMES = frozenset(
    {"kind", "id", "index", "image", "latest", "date", "label_date", "lon", "lat", "longitude", "latitude"}
)
"""Fields of a unit that do not name its place."""

_FRACTION = re.compile(r"\s*[-+]?\d*\.\d+(?:[eE][-+]?\d+)?\s*")

_PLACE = ("coordinates", "label_date", "region")
"""Fields of a unit that its place has in every extension."""


@dataclass(frozen=True, slots=True)
class FrameChip:
    """A frame of a place.

    Attributes:
        label: its day, or the first day of its period; says if it has no data.
        file: below the folder of results.
        number: number of the frame in the file, from 0.
        bands: names of the bands of each frame of the file; empty if the file is the frame.
    """

    label: str
    file: str
    number: int = 0
    bands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameRow:
    """The frames of a place, of one dataset.

    Attributes:
        place: its name in the user's file, or its coordinates.
        series: name of the dataset; empty if there is one.
        chips: the frames, in the order of time.
    """

    place: str
    series: str
    chips: tuple[FrameChip, ...]

    @property
    def name(self) -> str:
        """Place and dataset."""
        return f"{self.place}, {self.series}" if self.series else self.place


def read_frame_rows(folder: Path, *, rows: int, columns: int, seed: int = 0) -> list[FrameRow]:
    """Return rows of frames: of places at random, in the order of the plan; empty for a run without time series.

    The images of a region of ``images`` or ``composites`` are a row, too.

    Args:
        rows: maximum number of rows.
        columns: maximum number of frames of a row, which are spread evenly over time.
        seed: seed of the random selection.
    """
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        chips_by_place: dict[int, dict[str, list[FrameChip]]] = defaultdict(lambda: defaultdict(list))
        firsts = _first_units(ledger)
        for position, _, _, file, _, _, text in read_named_files(ledger):
            metadata = json.loads(text)
            if isinstance(metadata.get("series"), str) and Path(file).suffix.lstrip(".").lower() in chip_suffixes():
                chips_by_place[firsts.get(position, position)][metadata["series"]] += _chips(file, metadata)
        for place in {*firsts.values()} & chips_by_place.keys():
            for chips in chips_by_place[place].values():
                chips.sort(key=lambda chip: chip.label)
        if not chips_by_place:
            return _region_rows(ledger, rows=rows, columns=columns, seed=seed)
        series_count = max(1, max(map(len, chips_by_place.values())))
        chosen = _draw(sorted(chips_by_place), max(1, rows // series_count), seed)
        names = _names([(ledger.unit(position).id, ledger.unit(position).unit) for position in chosen])
    return [
        FrameRow(name, series, _spread(chips, columns))
        for position, name in zip(chosen, names, strict=True)
        for series, chips in chips_by_place[position].items()
    ][:rows]


def draw_head(name: str, labels: Sequence[str], edge: int) -> npt.NDArray[np.uint8]:
    """Draw what stands above a row: its name, and the label of each chip.

    Args:
        edge: edge length of a chip, in pixels.

    Returns:
        Grey values, (rows, columns).
    """
    days = [np.pad(draw_caption(label, edge), ((0, 0), (0, GAP)), constant_values=255) for label in labels]
    line: npt.NDArray[np.uint8] = np.hstack(days)
    return np.vstack([draw_caption(name, line.shape[1]), line]) if name else line


def render_frame(chip: FrameChip, file: Path, edge: int, styles: Sequence[DisplayStyle]) -> RenderedChip:
    """Read the pixels of a frame; see :func:`eechips.manifest.pictures.chip_pictures.render_chip`.

    Args:
        edge: edge length of the square into which it fits, in pixels.
        styles: styles of the datasets that it may be of.

    Raises:
        OSError, ValueError: if the file cannot be read, or has no such frame.
    """
    return render_chip(file, edge, styles=styles, frame=chip.number, bands=chip.bands)


def render_frames(
    rows: Sequence[FrameRow], paths: Mapping[str, Path], edge: int, styles: Sequence[DisplayStyle]
) -> Picture:
    """Return rows of frames below their names and dates; files with the same bands are stretched alike.

    Args:
        rows: to show.
        edge: edge length of a chip, in pixels.
        styles: styles of the datasets that they may be of.

    Raises:
        OSError, ValueError: if a file cannot be read.
    """
    looks = [[render_frame(chip, paths[chip.file], edge, styles) for chip in row.chips] for row in rows]
    return arrange_sheet(looks, edge, [draw_head(row.name, [chip.label for chip in row.chips], edge) for row in rows])


def _first_units(ledger: Ledger) -> dict[int, int]:
    """Return the position of the first unit of a place, by that of each unit that an extension added to it."""
    if not plan_parts(ledger.meta()):
        return {}
    firsts: dict[int, int] = {}
    places: dict[str, list[int]] = defaultdict(list)
    repeats: Counter[tuple[str, str]] = Counter()
    for position, text in ledger.rows(("position", "unit")):
        unit = json.loads(text)
        place = json.dumps([unit.get(name) for name in _PLACE])
        if unit.get(FURTHER):  # of equal places in their order: each has the same frames
            frames = json.dumps([frame.get("start") for frame in unit.get("frames", ())])
            number, repeats[place, frames] = repeats[place, frames], repeats[place, frames] + 1
            if number < len(places[place]):
                firsts[position] = places[place][number]
        elif COMPLETES not in unit:
            places[place].append(position)
    for completed, positions in read_completions(ledger).items():
        firsts.update(dict.fromkeys(positions, firsts.get(completed, completed)))
    return firsts


def _region_rows(ledger: Ledger, *, rows: int, columns: int, seed: int) -> list[FrameRow]:
    """Return rows of the regions of units that each show one of them; empty for a run of other units."""
    chips_by_region: dict[str, list[FrameChip]] = defaultdict(list)
    for text, file, dates, valid in ledger.rows(("unit", "file", "dates", "valid_fraction")):
        if file is None:
            continue
        unit = json.loads(text)
        if not isinstance(unit, dict) or unit.get("kind") not in _IMAGE_KINDS or "region" not in unit:
            return []
        if Path(file).suffix.lstrip(".").lower() in chip_suffixes():
            times = {"dates": json.loads(dates) if dates else [], "start": unit.get("start"), "valid_fraction": valid}
            chips_by_region[str(unit["region"])].append(FrameChip(_label(times), file))
    names = list(chips_by_region)
    chosen = _draw(range(len(names)), max(1, rows), seed)
    return [FrameRow(names[number], "", _spread(chips_by_region[names[number]], columns)) for number in chosen]


def _chips(file: str, metadata: Mapping[str, Any]) -> list[FrameChip]:
    """Return the frames of a file."""
    if not metadata.get("frames"):
        return [FrameChip(_label(metadata), file)]
    bands = tuple(metadata.get("bands") or ())
    return [FrameChip(_label(frame), file, number, bands) for number, frame in enumerate(metadata["frames"])]


def _label(metadata: Mapping[str, Any]) -> str:
    dates = metadata.get("dates") or []
    day = str((dates[0] if len(dates) == 1 else metadata.get("start")) or "")[:_DAY]
    return f"{day} no data".strip() if metadata.get("valid_fraction") == 0 else day


def _draw(positions: Sequence[int], count: int, seed: int) -> list[int]:
    if len(positions) <= count:
        return list(positions)
    return sorted(np.random.default_rng(seed).choice(positions, count, replace=False).tolist())


def _spread(chips: Sequence[FrameChip], count: int) -> tuple[FrameChip, ...]:
    numbers = np.unique(np.linspace(0, len(chips) - 1, min(len(chips), count)).round().astype(int))
    return tuple(chips[number] for number in numbers)


def _names(units: Iterable[tuple[str, str]]) -> list[str]:
    """Return a name of each unit: the first of its fields that differs for all of them, or else where it is."""
    ids, fields, places = [], [], []
    for identifier, text in units:
        unit = json.loads(text)
        unit = unit if isinstance(unit, dict) else {}
        all_fields = unit_fields(unit)
        ids.append(identifier[:ID_LENGTH])
        fields.append({k: v for k, v in all_fields.items() if k.lower() not in _NO_NAMES and not _is_fraction(v)})
        places.append(_point(unit.get("coordinates")))
    for name in fields[0] if fields else ():
        values = [own_fields.get(name) for own_fields in fields]
        if None not in values and len({*values}) == len(values):
            return [str(value) for value in values]
    return [place or identifier for identifier, place in zip(ids, places, strict=True)]


def _is_fraction(value: Any) -> bool:
    """Return whether a value is a number with a decimal point, which tables of text have as text: no name."""
    return isinstance(value, float) or (isinstance(value, str) and _FRACTION.fullmatch(value) is not None)


def _point(place: Any) -> str:
    """Return longitude and latitude as a text; empty for anything else."""
    is_point = (
        isinstance(place, list)
        and len(place) == 2
        and all(isinstance(coordinate, (int, float)) for coordinate in place)
    )
    return ", ".join(f"{coordinate:.4f}" for coordinate in place) if is_point else ""
