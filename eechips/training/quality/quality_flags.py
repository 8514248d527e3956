"""List the flags of chips, and set them from statistics, each by one test; find duplicates and near duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.manifest.export import planned_grid
from eechips.training.quality.chip_statistics import ChipStatistics, offset
from eechips.training.quality.class_weights import MOST_KINDS
from eechips.training.sample import SampleFile
from eechips.training.training_options import CheckOptions

FLAGS: Mapping[str, str] = {
    "unreadable": "the file is missing, or does not decode",
    "changed": "the sha256 of the file differs from the manifest",
    "size": "the size differs from the request or the manifest",
    "shifted": "the grid differs from the manifest, the request or the run's grid",
    "outside": "no part of the chip is in the region",
    "masked": "too few pixels are valid",
    "constant": "every band has one value",
    "black": "too many pixels are 0 in every band",
    "saturated": "too many pixels have the greatest value of their type",
    "cloudy": "too many pixels are cloud by the chip's own quality bands",
    "duplicate": "another chip has the same pixels",
    "near_duplicate": "another chip looks similar",
}
"""The flags with their meaning, in the order of output."""

DAMAGED = frozenset({"unreadable", "changed"})
"""Flags of damaged files, which are repaired by fetching them again."""

_OF_VALUES = ("constant", "black", "saturated")  # of images: they have no meaning in class maps
_OFFSET = 0.01  # pixels: more than rounding
_PLACED = frozenset({"sample", "images", "composites", "mosaic"})  # recipes whose parameters define the grid


@dataclass(slots=True)
class CheckedFile:
    """A file with its statistics and flags.

    Attributes:
        id: id of the unit.
        sha256: SHA-256 digest of the content that was read; None if there was none.
        measures: measures of the content; None if it did not decode.
        flags: what is wrong, in the order of ``FLAGS``.
        duplicate_of: id of the unit that shows the same.
    """

    id: str
    unit: Mapping[str, Any]
    file: SampleFile
    sha256: str | None
    measures: ChipStatistics | None
    flags: list[str] = field(default_factory=list)
    duplicate_of: str | None = None


def set_flags(
    files: Sequence[CheckedFile],
    options: CheckOptions,
    info: Mapping[str, Any],
    region: BaseGeometry | None,
    ignored: frozenset[tuple[str, str | None]],
) -> None:
    """Set the flags of all files of a run.

    Args:
        files: in the order of the plan; those of a unit together.
        ignored: flags that are not set, of one layer, or of all (None).
    """
    outside = _outside(files, region)
    maps = class_maps(files)
    is_on_lattice = lattice_of(info)
    for index, checked in enumerate(files):
        flags = _of_one(checked, options, info, is_on_lattice)
        if checked.file.layer in maps:
            flags -= set(_OF_VALUES)
        if outside[index]:
            flags.add("outside")
        checked.flags = [name for name in FLAGS if name in flags]
    _set_duplicates(files, options.bits, maps)
    for checked in files:
        layer = checked.file.layer
        checked.flags = [name for name in checked.flags if not {(name, None), (name, layer)} & ignored]
        if not {"duplicate", "near_duplicate"} & set(checked.flags):
            checked.duplicate_of = None


def class_maps(files: Sequence[CheckedFile]) -> frozenset[str]:
    """Return the layers that are maps of classes beside an image.

    They have one band of integers, and at most 40 values in any chip. A chip of one class is correct in them, also if
    the class is 0 or 255.
    """
    kinds: dict[str, list[int | None]] = defaultdict(list)
    for checked in files:
        if checked.measures is not None and checked.measures.min is not None:
            kinds[checked.file.layer].append(checked.measures.kinds)
    if len(kinds) < 2:
        return frozenset()
    class_layers = [layer for layer, counts in kinds.items() if all(n is not None and n <= MOST_KINDS for n in counts)]
    return frozenset(class_layers) if len(class_layers) < len(kinds) else frozenset()


def lattice_of(info: Mapping[str, Any]) -> Callable[[Grid], bool] | None:
    """Return whether the pixels of a grid lie where the options of a run place them; None if the source decides."""
    parameters = info.get("parameters") or {}
    crs, transform = parameters.get("crs"), parameters.get("transform")
    if info.get("recipe") not in _PLACED or not isinstance(crs, str) or crs == "native":
        return None
    if transform is not None:
        a, b, c, d, e, f = map(float, transform)
        lattice = Grid(crs, (a, b, c, d, e, f), 1, 1)
        return lambda grid: grid.crs == crs and _is_whole(lattice, grid)

    def is_at_multiples(grid: Grid) -> bool:
        a, b, _, d, e, _ = grid.transform
        return (crs == "utm" or grid.crs == crs) and _is_whole(Grid(grid.crs, (a, b, 0.0, d, e, 0.0), 1, 1), grid)

    return is_at_multiples


def _of_one(
    checked: CheckedFile, options: CheckOptions, info: Mapping[str, Any], is_on_lattice: Callable[[Grid], bool] | None
) -> set[str]:
    """Return the flags of a file that do not depend on others."""
    file, measures = checked.file, checked.measures
    if measures is None:
        return {"unreadable"}
    asked, grid = planned_grid(checked.unit), file.grid
    size = (measures.width, measures.height)
    sizes = [(file.width, file.height)] if file.width is not None else []
    sizes += [(asked.width, asked.height)] if asked is not None else _size(info)
    valid = measures.valid_fraction if file.valid_fraction is None else file.valid_fraction
    answers = {
        "changed": checked.sha256 != file.sha256,
        "size": any(size != expected_size for expected_size in sizes),
        "shifted": (measures.offset or 0.0) > _OFFSET
        or (asked is not None and grid is not None and _is_shifted(asked, grid))
        or (is_on_lattice is not None and grid is not None and not is_on_lattice(grid)),
        "masked": valid is not None and valid < options.least_valid,
        "constant": bool(measures.is_constant) and measures.min is not None,
        "black": _exceeds(measures.black, options.most_black),
        "saturated": _exceeds(measures.saturated, options.most_saturated),
        "cloudy": _exceeds(measures.cloud_fraction, options.most_clouds),
    }
    return {name for name, is_wrong in answers.items() if is_wrong}


def _exceeds(share: float | None, most: float) -> bool:
    return share is not None and share > most


def _size(info: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the size that the options of ``eechips sample`` ask for."""
    size = (info.get("parameters") or {}).get("size") if info.get("recipe") == "sample" else None
    return [(size[0], size[1])] if isinstance(size, list) and len(size) == 2 else []


def _is_shifted(asked: Grid, grid: Grid) -> bool:
    if asked.crs != grid.crs:
        return True
    return offset(asked.transform, grid.transform, asked.width, asked.height) > _OFFSET


def _is_whole(lattice: Grid, grid: Grid) -> bool:
    """Return whether a grid is a window of a lattice."""
    a, b, c, d, e, f = lattice.transform
    first = Grid(lattice.crs, (a, b, 0.0, d, e, 0.0), 1, 1)
    own = grid.transform
    if offset(first.transform, (own[0], own[1], 0.0, own[3], own[4], 0.0), grid.width, grid.height) > _OFFSET:
        return False
    places = Grid(lattice.crs, (a, b, c, d, e, f), 1, 1).pixel(own[2], own[5])
    return all(abs(place - round(place)) <= Fraction(_OFFSET) for place in places)


def _outside(files: Sequence[CheckedFile], region: BaseGeometry | None) -> npt.NDArray[np.bool_]:
    if region is None:
        return np.zeros(len(files), dtype=bool)
    outlines = footprints([checked.file.grid for checked in files])
    shapely.prepare(region)
    is_known = np.array([outline is not None for outline in outlines], dtype=bool)
    outside: npt.NDArray[np.bool_] = is_known & ~shapely.intersects(region, outlines)
    return outside


def _set_duplicates(files: Sequence[CheckedFile], bits: int | None, maps: frozenset[str]) -> None:
    """Flag units whose files all duplicate those of an earlier unit, at their first file."""
    units: dict[str, list[CheckedFile]] = defaultdict(list)
    for checked in files:
        units[checked.id].append(checked)
    ids = list(units)
    keys = [_key(own) for own in units.values()]
    same = find_equal(keys)
    for index, original in same.items():
        _flag(units[ids[index]][0], "duplicate", ids[original])
    if bits is None:
        return
    layers = [{c.file.layer: c.measures.dhash for c in own if c.measures is not None} for own in units.values()]
    shown = list(dict.fromkeys(checked.file.layer for checked in files if checked.file.layer not in maps))
    first = next((layer for layer in shown if any(own.get(layer) for own in layers)), None)
    if first is None:
        return

    def agree(one: int, other: int) -> bool:
        pairs = [(layers[one].get(layer), layers[other].get(layer)) for layer in shown]
        return all(
            a == b or (a is not None and b is not None and (int(a, 16) ^ int(b, 16)).bit_count() <= bits)
            for a, b in pairs
        )

    hashes = [None if index in same else own.get(first) for index, own in enumerate(layers)]
    for index, original in find_alike(hashes, bits, agree).items():
        _flag(units[ids[index]][0], "near_duplicate", ids[original])


def _key(own: Sequence[CheckedFile]) -> str | None:
    """Return a key that is equal for units with equal pixels; None for units without valid pixels."""
    if any(checked.measures is None for checked in own) or all(c.measures and c.measures.is_constant for c in own):
        return None
    return "\n".join(f"{c.file.layer}={c.measures.pixels}" for c in own if c.measures is not None)


def _flag(checked: CheckedFile, name: str, original: str) -> None:
    checked.flags.append(name)
    checked.duplicate_of = original


Hashes = npt.NDArray[np.uint8]
"""A row of bytes for each hash."""

_BITS_SET = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
_AT_ONCE = 20_000_000  # bytes that are compared at a time


def find_equal(keys: Sequence[str | None]) -> dict[int, int]:
    """Return the index of the first equal key for each later one; None equals no key."""
    first: dict[str, int] = {}
    first_of = {}
    for index, key in enumerate(keys):
        if key is not None and first.setdefault(key, index) != index:
            first_of[index] = first[key]
    return first_of


def find_alike(
    hashes: Sequence[str | None], distance: int, agree: Callable[[int, int], bool] = lambda one, other: True
) -> dict[int, int]:
    """Return the rows with a hash similar to an earlier one, and the earlier rows.

    A place is a repetition of the first one before it whose hash differs in so few bits, and that is no repetition
    itself: what is found is like what is kept, never like something that is like it.

    Args:
        hashes: hexadecimal, all of one length; None is like nothing.
        distance: bits that may differ.
        agree: whether two places that are alike may count as such, by other features.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(hashes):
        if text is not None:
            places[text].append(index)
    texts = list(places)
    near: dict[int, list[int]] = defaultdict(list)
    for one, other in near_pairs(np.array([list(bytes.fromhex(text)) for text in texts], dtype=np.uint8), distance):
        near[one].append(other)
        near[other].append(one)
    number = {text: index for index, text in enumerate(texts)}
    kept: dict[int, list[int]] = defaultdict(list)
    originals = {}
    for index, text in enumerate(hashes):
        if text is None:
            continue
        own = number[text]
        candidates = sorted(place for hash_number in (own, *near[own]) for place in kept[hash_number])
        original = next((place for place in candidates if agree(place, index)), None)
        if original is None:
            kept[own].append(index)
        else:
            originals[index] = original
    return originals


def near_pairs(hashes: Hashes, distance: int) -> Iterator[tuple[int, int]]:
    """Find all pairs of different hashes that differ in few bits, each once, the lower index first.

    The bits are cut into one part more than may differ: of two hashes that are near, some part is the same. So only
    hashes that share a part are compared.

    Args:
        hashes: (n, bytes), no two the same.
        distance: bits that may differ.
    """
    if len(hashes) < 2 or distance < 1:
        return
    bits = np.unpackbits(hashes, axis=1)
    edges = np.linspace(0, bits.shape[1], distance + 2).astype(int)
    parts = [np.packbits(bits[:, start:end], axis=1) for start, end in pairwise(edges)]
    for number, part in enumerate(parts):
        for group in _groups(part):
            yield from _compared(hashes, group, distance, parts[:number])


def _groups(part: Hashes) -> Iterator[npt.NDArray[np.intp]]:
    """Return the groups of equal rows."""
    _, inverse, counts = np.unique(part, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    ends = np.cumsum(counts)
    for start, end in zip((ends - counts)[counts > 1], ends[counts > 1], strict=True):
        yield order[start:end]


def _compared(
    hashes: Hashes, group: npt.NDArray[np.intp], distance: int, earlier: Sequence[Hashes]
) -> Iterator[tuple[int, int]]:
    """Yield the near pairs of a group, without those that share an earlier part, which were found there."""
    rows = max(1, _AT_ONCE // (len(group) * hashes.shape[1]))
    for start in range(0, len(group), rows):
        ones = group[start : start + rows]
        differing = _BITS_SET[hashes[ones][:, None] ^ hashes[group[start:]][None]].sum(axis=-1, dtype=np.int64)
        first, second = np.nonzero(np.triu(differing <= distance, 1))
        for one, other in zip(ones[first].tolist(), group[start:][second].tolist(), strict=True):
            if not any((part[one] == part[other]).all() for part in earlier):
                yield min(one, other), max(one, other)
