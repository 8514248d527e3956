"""Make thumbnails of a run's chips, as many of each stratum, within bounds of bytes, and measure their brightness."""

from __future__ import annotations

import base64
import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.formats import chip_suffixes
from eechips.formats.raster import encode_picture
from eechips.manifest.extensions import read_named_files
from eechips.manifest.pictures.chip_pictures import (
    BandColours,
    RenderedChip,
    StretchRanges,
    describe_colours,
    render_chip,
)
from eechips.manifest.pictures.display_styles import DisplayStyle, display_styles
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.reports.region_outlines import RegionOutlines
from eechips.reports.report_options import MOST_THUMBNAILS, THUMBNAILS
from eechips.reports.unit_columns import UnitColumns
from eechips.storage.local_copies import local_copies
from eechips.text.progress_bar import progress_bar

MOST_BYTES = 7_000_000
"""Maximum bytes of all pictures of a page."""
MOST_READ = 400_000_000
"""Maximum bytes of files read for thumbnails; of whole scenes, only a few are shown."""

_EDGE = 144  # pixels of a chip's picture
_LARGE_EDGE = 900  # of pictures of assembled files
_TIME = 16  # characters of a time: to the minute
_TINY = 32  # pixels: smaller chips are not resampled
_QUALITY = 80  # of JPEG
_TYPICAL = 64  # chips that determine the common stretch


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """The place of a file in a series of frames.

    Attributes:
        series: series of several series of frames; empty if there is one.
        number: number of the frame, from 0.
        time: time of its image, or the first day of its period; empty for a missing frame.
        clear: share of clear pixels; None if unknown.
    """

    series: str
    number: int
    time: str
    clear: float | None

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> FrameInfo | None:
        """Read the metadata of a file; None for a file that is no frame."""
        number, clear, dates = metadata.get("frame"), metadata.get("clear_fraction"), metadata.get("dates")
        if not isinstance(number, int):
            return None
        listed = dates if isinstance(dates, list) and len(dates) == 1 else [metadata.get("start")]
        return cls(
            series=str(metadata.get("series") or ""),
            number=number,
            time=str(listed[0] or "")[:_TIME],
            clear=float(clear) if isinstance(clear, (int, float)) else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """A picture of a file.

    Attributes:
        layer: layer of the file among those of its unit; empty if the unit has one file.
        data: PNG or JPEG.
        means: mean values of each band shown, over the pixels that are not masked; NaN if all are. None of codes of
            classes.
        file: below the run's folder; empty for an assembled one.
        frame: place in a series of frames, if the file is a frame.
    """

    layer: str
    data: bytes
    means: tuple[float, ...]
    file: str = ""
    frame: FrameInfo | None = None

    @property
    def address(self) -> str:
        """Data URL of the picture."""
        kind = "png" if self.data.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnails:
    """Thumbnails of some units.

    Attributes:
        of: pictures by index of the unit, one for each layer.
        candidates: number of units with a file that can be shown.
        unreadable: missing and unreadable files, with the reason.
        painted: rendering of the files of each layer; of frames, by their series.
        has_outlines: whether outlines of the requested region cross some.
    """

    of: Mapping[int, Sequence[Thumbnail]]
    candidates: int
    unreadable: Sequence[tuple[str, str]]
    painted: Mapping[str, Sequence[BandColours]] = field(default_factory=dict)
    has_outlines: bool = False


def make_thumbnails(
    run: Run, units: UnitColumns, *, count: int = THUMBNAILS, seed: int = 0, quiet: bool = False
) -> Thumbnails:
    """Make small pictures of some chips of a run, selected equally from each stratum."""
    shown = [number for number, file in enumerate(units.files) if file is not None and is_picture(file)]
    chosen = draw_units(shown, [] if units.stratum is None else units.stratum.values, min(count, MOST_THUMBNAILS), seed)
    wanted = _wanted_files(_layers(run.path), units, chosen)
    thumbnails: dict[int, list[Thumbnail]] = defaultdict(list)
    unreadable = []
    size, has_outlines = 0, False
    outlines = RegionOutlines.of(run) if wanted else None
    with local_copies(run.store) as fetched:
        styles = display_styles(run.info)
        stretches = _stretches(fetched, wanted, styles)
        looks: dict[str, list[RenderedChip]] = defaultdict(list)
        paths = fetched([name for _, _, name, _ in wanted])
        for (number, layer, name, frame), path in zip(
            wanted, progress_bar(len(wanted), "chips", quiet=quiet, things=paths, is_kept=False), strict=True
        ):
            try:
                seen = render_chip(path, _EDGE, enlarges=False, styles=styles)
                alike = _name(layer, frame)
                drawn = seen if outlines is None else outlines.draw(seen, name)
                data, means = _encoded(drawn, stretches.get(alike))
            except (OSError, ValueError) as error:  # a changed file: the page lists it, and shows the others
                unreadable.append((name, str(error)))
                continue
            if size + len(data) <= MOST_BYTES:
                size += len(data)
                has_outlines |= drawn.outline is not None
                thumbnails[number].append(Thumbnail(layer, data, means, name, frame))
                # The others are similar, and would take memory.
                if seen.has_classes or all(seen.names != other.names for other in looks[alike]):
                    looks[alike].append(seen)
        painted = {layer: describe_colours(some, stretches.get(layer)) for layer, some in looks.items()}
    return Thumbnails(thumbnails, len(shown), unreadable, painted, has_outlines)


def _wanted_files(
    layers: Mapping[str, Sequence[tuple[str, str, FrameInfo | None]]], units: UnitColumns, chosen: Sequence[int]
) -> list[tuple[int, str, str, FrameInfo | None]]:
    """Return unit, layer, name and frame of the files of units, until ``MOST_READ`` bytes would be read."""
    wanted: list[tuple[int, str, str, FrameInfo | None]] = []
    read = 0
    for number in chosen:
        read += int(units.bytes[number])
        if wanted and read > MOST_READ:
            break
        file = units.files[number]
        assert file is not None
        every = layers.get(file, [("", file, None)])
        wanted += [(number, layer, name, frame) for layer, name, frame in every if is_picture(name)]
    return wanted


def make_thumbnail(path: Path, styles: Sequence[DisplayStyle] = ()) -> Thumbnail:
    """Return a large picture of a file, such as a mosaic.

    Raises:
        OSError, ValueError: if it is not a readable picture.
    """
    return Thumbnail("", *_encoded(render_chip(path, _LARGE_EDGE, styles=styles)))


def swatch(colour: str) -> str:
    """Return the data URL of a picture of one pixel with a hexadecimal colour, for a legend."""
    pixel = np.frombuffer(bytes.fromhex(colour), dtype=np.uint8).reshape(3, 1, 1)
    return f"data:image/png;base64,{base64.b64encode(encode_picture(pixel, 'PNG')).decode()}"


def draw_units(numbers: Sequence[int], strata: Sequence[Any], count: int, seed: int) -> list[int]:
    """Select units equally from each stratum: one of each, then the second of each, and so on.

    Args:
        numbers: to draw from.
        strata: stratum of each number; empty for one stratum.
        count: maximum number of units.
    """
    groups: dict[Any, list[int]] = defaultdict(list)
    for index in np.random.default_rng(seed).permutation(len(numbers)):
        number = numbers[index]
        groups[strata[number] if strata else None].append(number)
    turns = zip_longest(*(groups[stratum] for stratum in sorted(groups, key=str)))
    return list(islice((number for turn in turns for number in turn if number is not None), count))


def is_picture(file: str) -> bool:
    """Return whether a file can be shown, by its name."""
    return Path(file).suffix.lstrip(".").lower() in chip_suffixes()


def _layers(folder: Path) -> dict[str, list[tuple[str, str, FrameInfo | None]]]:
    """Return layer, path and frame of every file of units with several files, by their first file."""
    units: dict[int, list[tuple[str, str, FrameInfo | None]]] = defaultdict(list)
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        for position, _, layer, file, _, _, metadata in read_named_files(ledger):
            if layer:
                units[position].append((layer, file, FrameInfo.of(json.loads(metadata))))
    return {files[0][1]: files for files in units.values()}


def _name(layer: str, frame: FrameInfo | None) -> str:
    """Return the name of the files that are rendered alike: a layer, or all frames of a series."""
    return layer if frame is None else frame.series


def _stretches(
    fetched: Callable[[Sequence[str]], Iterator[Path]],
    wanted: Sequence[tuple[int, str, str, FrameInfo | None]],
    styles: Sequence[DisplayStyle],
) -> dict[str, StretchRanges]:
    """Compute one stretch per layer or series, from some of its files, so that chips and frames are comparable."""
    names: dict[str, list[str]] = defaultdict(list)
    for _, layer, name, frame in wanted:
        if len(names[_name(layer, frame)]) < _TYPICAL:
            names[_name(layer, frame)].append(name)
    stretches = {}
    for layer, some in names.items():
        looks = []
        for path in fetched(some):
            with contextlib.suppress(OSError, ValueError):  # reported by the thumbnail
                looks.append(render_chip(path, _EDGE, enlarges=False, styles=styles))
        stretches[layer] = StretchRanges.of(looks)
    return stretches


def _encoded(seen: RenderedChip, stretches: StretchRanges | None = None) -> tuple[bytes, tuple[float, ...]]:
    picture = seen.picture(stretches)
    is_exact = seen.has_classes or max(picture.shape[1:]) <= _TINY
    data = encode_picture(picture, "PNG", zlevel=9) if is_exact else encode_picture(picture, "JPEG", QUALITY=_QUALITY)
    return data, () if seen.has_classes else tuple(_mean(band, seen.valid) for band in seen.values)


def _mean(band: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> float:
    known = band[valid & np.isfinite(band)]
    return float(known.mean(dtype=np.float64)) if known.size else float("nan")
