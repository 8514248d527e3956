"""Make thumbnails of chips of a run, and measure their brightness."""

from __future__ import annotations

import base64
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.formats import chip_suffixes
from eechips.formats.raster import encode_picture
from eechips.manifest.chip_pictures import BandColours, RenderedChip, StretchRanges, describe_colours, render_chip
from eechips.manifest.display_styles import DisplayStyle, display_styles
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.run import Run
from eechips.removal import temporary_folder
from eechips.reports.unit_columns import UnitColumns, with_progress
from eechips.storage import LocalStore, Store

THUMBNAILS = 400
"""Chips that are shown unless the caller says how many."""
MOST_THUMBNAILS = 2000
"""Chips that a page can show: it is to open at once."""
MOST_BYTES = 7_000_000
"""Of all pictures of a page."""
MOST_READ = 400_000_000
"""Bytes of files that are read for them: of whole scenes, a few are shown."""

_EDGE = 144  # pixels of a chip's picture
_LARGE_EDGE = 900  # of what was made of all results
_TINY = 32  # pixels: smaller chips are kept to the pixel
_QUALITY = 80  # of JPEG
_TYPICAL = 64  # chips that say how all are stretched
_AT_ONCE = 8  # objects that are fetched from a store


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """A picture of a file.

    Attributes:
        layer: name of the file among those of its unit; empty if there is one only.
        data: PNG or JPEG.
        means: of each band shown, over the pixels that are not masked; NaN if all are. None of codes of classes.
    """

    layer: str
    data: bytes
    means: tuple[float, ...]

    @property
    def address(self) -> str:
        """A URL that holds the picture itself."""
        kind = "png" if self.data.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnails:
    """Thumbnails of some units.

    Attributes:
        of: pictures by number of the unit, one for each layer.
        candidates: units that have a file which can be shown.
        unreadable: files that should be there and cannot be read, with the reason.
        painted: how the files of each layer are painted.
    """

    of: Mapping[int, Sequence[Thumbnail]]
    candidates: int
    unreadable: Sequence[tuple[str, str]]
    painted: Mapping[str, Sequence[BandColours]] = field(default_factory=dict)


def make_thumbnails(
    run: Run,
    units: UnitColumns,
    *,
    count: int = THUMBNAILS,
    seed: int = 0,
    quiet: bool = False,
) -> Thumbnails:
    """Read some chips of a run, as many of each stratum as there are, and makes small pictures of them.

    Args:
        run: the run.
        units: of the run.
        count: chips at most.
        seed: of the draw.
        quiet: no progress, however long it takes.
    """
    layers = _layers(run.path)
    shown = [number for number, file in enumerate(units.files) if file is not None and is_picture(file)]
    chosen = draw_units(shown, [] if units.stratum is None else units.stratum.values, min(count, MOST_THUMBNAILS), seed)
    wanted: list[tuple[int, str, str]] = []
    read = 0
    for number in chosen:
        read += int(units.bytes[number])
        if wanted and read > MOST_READ:
            break
        file = units.files[number]
        assert file is not None
        wanted += [(number, layer, name) for layer, name in layers.get(file, [("", file)]) if is_picture(name)]
    found: dict[int, list[Thumbnail]] = defaultdict(list)
    unreadable = []
    size = 0
    with opened(run.store) as fetched:
        styles = display_styles(run.info)
        stretches = _stretches(fetched, wanted, styles)
        looks: dict[str, list[RenderedChip]] = defaultdict(list)
        paths = fetched([name for *_, name in wanted])
        for (number, layer, name), path in zip(
            wanted, with_progress(paths, len(wanted), "chips", quiet=quiet), strict=True
        ):
            try:
                seen = render_chip(path, _EDGE, enlarges=False, styles=styles)
                data, means = _encoded(seen, stretches.get(layer))
            except (OSError, ValueError) as error:  # somebody has changed it: the page says so, and shows the rest
                unreadable.append((name, str(error)))
                continue
            if size + len(data) <= MOST_BYTES:
                size += len(data)
                found[number].append(Thumbnail(layer, data, means))
                # The others are alike: they would only take memory.
                if seen.has_classes or all(seen.names != other.names for other in looks[layer]):
                    looks[layer].append(seen)
        painted = {layer: describe_colours(some, stretches.get(layer)) for layer, some in looks.items()}
    return Thumbnails(found, len(shown), unreadable, painted)


def make_thumbnail(path: Path, styles: Sequence[DisplayStyle] = ()) -> Thumbnail:
    """Return a large picture of a file, such as a mosaic.

    Args:
        path: of the file.
        styles: of the datasets that it may be of.

    Raises:
        OSError, ValueError: if it is none.
    """
    return Thumbnail("", *_encoded(render_chip(path, _LARGE_EDGE, styles=styles)))


def swatch(colour: str) -> str:
    """Return a URL that holds a picture of one pixel, for a legend.

    Args:
        colour: hexadecimal.
    """
    pixel = np.frombuffer(bytes.fromhex(colour), dtype=np.uint8).reshape(3, 1, 1)
    return f"data:image/png;base64,{base64.b64encode(encode_picture(pixel, 'PNG')).decode()}"


def draw_units(numbers: Sequence[int], strata: Sequence[Any], count: int, seed: int) -> list[int]:
    """Select units equally from each stratum: one of each, then the second of each, and so on.

    Args:
        numbers: to draw from.
        strata: stratum of each number; empty for one stratum.
        count: how many, at most.
        seed: of the draw.
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


def _layers(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Layer and path of every file of units that have several, by their first file."""
    with Ledger(folder / LEDGER_NAME, readonly=True) as ledger:
        rows = [(position, layer, file) for position, _, layer, file, *_ in ledger.layers()]
    units: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for position, layer, file in rows:
        units[position].append((layer, file))
    return {files[0][1]: files for files in units.values()}


def _stretches(
    fetched: Callable[[Sequence[str]], Iterator[Path]],
    wanted: Sequence[tuple[int, str, str]],
    styles: Sequence[DisplayStyle],
) -> dict[str, StretchRanges]:
    """Compute one stretch per layer, from some of its files, so that chips are comparable."""
    names: dict[str, list[str]] = defaultdict(list)
    for _, layer, name in wanted:
        if len(names[layer]) < _TYPICAL:
            names[layer].append(name)
    found = {}
    for layer, some in names.items():
        looks = []
        for path in fetched(some):
            with contextlib.suppress(OSError, ValueError):  # reported when it is shown
                looks.append(render_chip(path, _EDGE, enlarges=False, styles=styles))
        found[layer] = StretchRanges.of(looks)
    return found


def _encoded(seen: RenderedChip, stretches: StretchRanges | None = None) -> tuple[bytes, tuple[float, ...]]:
    picture = seen.picture(stretches)
    is_exact = seen.has_classes or max(picture.shape[1:]) <= _TINY
    data = encode_picture(picture, "PNG", zlevel=9) if is_exact else encode_picture(picture, "JPEG", QUALITY=_QUALITY)
    return data, () if seen.has_classes else tuple(_mean(band, seen.valid) for band in seen.values)


def _mean(band: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> float:
    known = band[valid & np.isfinite(band)]
    return float(known.mean(dtype=np.float64)) if known.size else float("nan")


@contextlib.contextmanager
def opened(store: Store) -> Iterator[Callable[[Sequence[str]], Iterator[Path]]]:
    """Yield local paths of files of a run; files of an object store are downloaded ahead.

    Args:
        store: that has the results.

    Yields:
        What gives the paths of files by their names. Files that are missing have paths, too.
    """
    if isinstance(store, LocalStore):
        local = store
        yield lambda names: (local.file(name) for name in names)
        return
    with temporary_folder() as scratch, ThreadPoolExecutor(_AT_ONCE) as pool:

        def fetch(numbered: tuple[int, str]) -> Path:
            number, name = numbered
            copy = Path(scratch) / f"{number}{Path(name).suffix}"
            with contextlib.suppress(OSError):  # reading the copy tells
                copy.write_bytes(store.read(name))
            return copy

        yield lambda names: pool.map(fetch, enumerate(names))
