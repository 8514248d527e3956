"""Pixels as features: ``Image.sample``, ``stratifiedSample``, ``sampleRegions``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.emulator.context import Context
from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.image_region import lattice_of, region_of
from eechips.emulator.functions.registry import function
from eechips.emulator.pixels.coverage import centres_inside
from eechips.emulator.pixels.grid import Grid
from eechips.emulator.pixels.image import Image, Pixels, Render
from eechips.emulator.projection import WGS84, Projection, transform_points
from eechips.emulator.randomness import random_words
from eechips.emulator.regions import blocks, covering_grid
from eechips.emulator.values import Collection, Feature, Geometry, Value

_UNLIMITED = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """Pixels that were taken from an image.

    Attributes:
        columns: of the lattice's pixels, shape (n,).
        rows: likewise.
        words: a random number of each pixel, by which pixels are chosen.
        values: of each band, shape (n, …).
        valid: of each band, shape (n,).
    """

    columns: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    words: npt.NDArray[np.uint64]
    values: tuple[npt.NDArray[Any], ...]
    valid: tuple[npt.NDArray[np.bool_], ...]

    def __len__(self) -> int:
        return len(self.columns)

    def take(self, chosen: npt.NDArray[Any]) -> Picked:
        """Some of the pixels."""
        return Picked(
            self.columns[chosen], self.rows[chosen], self.words[chosen],
            tuple(v[chosen] for v in self.values), tuple(v[chosen] for v in self.valid),
        )  # fmt: skip

    @staticmethod
    def joined(parts: Sequence[Picked]) -> Picked:
        """Pixels of several blocks."""
        bands = range(len(parts[0].values))
        return Picked(
            np.concatenate([p.columns for p in parts]),
            np.concatenate([p.rows for p in parts]),
            np.concatenate([p.words for p in parts]),
            tuple(np.concatenate([p.values[b] for p in parts]) for b in bands),
            tuple(np.concatenate([p.valid[b] for p in parts]) for b in bands),
        )


def _pick(
    pixels: Sequence[Pixels], block: Grid, corner: tuple[int, int], chosen: npt.NDArray[np.bool_], seed: int
) -> Picked:
    rows, columns = np.nonzero(chosen)
    column, row = columns + corner[0], rows + corner[1]
    return Picked(
        column, row, random_words(seed, row, column),
        tuple(p.values[rows, columns] for p in pixels), tuple(p.valid[rows, columns] for p in pixels),
    )  # fmt: skip


def features_of(image: Image, picked: Picked, projection: Projection, *, geometries: bool) -> Iterator[Feature]:
    """A feature for each pixel, with a property for each band that is valid there; indices count from 0."""
    names = [band.name for band in image.bands]
    centres = np.column_stack([picked.columns + 0.5, picked.rows + 0.5])
    points = transform_points(centres, projection, WGS84) if geometries else None
    for position in range(len(picked)):
        found: dict[str, Value] = {"system:index": str(position)}
        for name, values, valid in zip(names, picked.values, picked.valid, strict=True):
            if valid[position]:
                found[name] = values[position].item()
        geometry = None if points is None else Geometry(shapely.Point(points[position]), geodesic=True)
        yield Feature(geometry, found)


def _corner(block: Grid, projection: Projection) -> tuple[int, int]:
    """The lattice's column and row of a block's first pixel."""
    column, row = ~projection.transform * (block.transform.c, block.transform.f)
    return round(column), round(row)


@function("Image.stratifiedSample")
def stratified_sample(
    context: Context,
    image: Image,
    numPoints: int,
    classBand: str | None,
    region: Geometry | None,
    scale: float | None,
    projection: Projection | None,
    seed: int,
    classValues: list[int] | None,
    classPoints: list[int] | None,
    dropNulls: bool,
    tileScale: float,
    geometries: bool,
) -> Collection:
    """Random pixels of each value of a band; all of them where there are fewer than asked for.

    Each pixel has a random number of its own, from the seed and its place, and those with the least are taken: what is
    drawn does not depend on how the region is cut into blocks. Classes come in ascending order.
    """
    wanted = _class_sizes(classValues, classPoints)
    names = [band.name for band in image.bands]
    if not names:
        raise InvalidError("The image has no bands.")
    if classBand is not None and classBand not in names:
        raise InvalidError(f"The image has no band '{classBand}' to stratify by. Available bands: {names}.")
    which = 0 if classBand is None else names.index(classBand)
    lattice = lattice_of(image, scale, projection, None, _UNLIMITED)
    area = region_of(image, region)

    def sampled() -> Iterator[Feature]:
        kept: Picked | None = None
        for block in blocks(covering_grid(area, lattice)):
            context.check_time()
            inside = context.note(("centres", area, block), lambda block=block: centres_inside(area, block))  # type: ignore[misc]
            if not inside.any():
                continue
            pixels = Render(context.limits.memory).read(image.bands, block)
            valid = pixels[which].valid & inside
            if dropNulls:
                valid = np.logical_and.reduce([valid, *(p.valid for p in pixels)])
            found = _pick(pixels, block, _corner(block, lattice.projection), valid, seed)
            kept = _fewest(found if kept is None else Picked.joined([kept, found]), which, numPoints, wanted)
        if kept is not None:
            yield from features_of(image, kept, lattice.projection, geometries=geometries)

    return Collection.of("Feature", list(sampled()))


def _class_sizes(values: Sequence[int] | None, points: Sequence[int] | None) -> Mapping[int, int]:
    if (values is None) != (points is None) or len(values or ()) != len(points or ()):
        raise InvalidError("The lists classValues and classPoints must be of the same size.")
    return dict(zip(values or (), points or (), strict=True))


def _fewest(picked: Picked, which: int, count: int, wanted: Mapping[int, int]) -> Picked:
    """The pixels of each class with the least random numbers, in the order of class and number."""
    classes = picked.values[which]
    if classes.dtype.kind == "f" and len(classes) and not np.equal(classes, np.floor(classes)).all():
        raise InvalidError("The class band must hold whole numbers.")
    order = np.lexsort((picked.rows, picked.columns, picked.words, classes))
    ordered = classes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, dtype=np.intp)
    ends = np.r_[starts[1:], len(ordered)]
    chosen = [
        order[start : min(end, start + max(0, wanted.get(int(ordered[start]), count)))]
        for start, end in zip(starts, ends, strict=False)
    ]
    return picked.take(np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.intp))


@function("Image.sample")
def sample(
    context: Context,
    image: Image,
    region: Geometry | None,
    scale: float | None,
    projection: Projection | None,
    factor: float | None,
    numPixels: int | None,
    seed: int,
    dropNulls: bool,
    tileScale: float,
    geometries: bool,
) -> Collection:
    """The pixels whose centres lie in a region, all or a part taken at random.

    ``numPixels`` takes exactly so many of the region's pixels, before those with nulls are dropped.
    """
    if factor is not None and numPixels is not None:
        raise InvalidError("Cannot specify both 'factor' and 'numPixels'.")
    if factor is not None and not 0 < factor <= 1:
        raise InvalidError(f"The factor must be within (0, 1]; found {factor}.")
    lattice = lattice_of(image, scale, projection, None, _UNLIMITED)
    area = region_of(image, region)
    threshold = None if factor is None else np.uint64(min(int(factor * 2**64), 2**64 - 1))

    def chosen(inside: npt.NDArray[np.bool_], corner: tuple[int, int]) -> npt.NDArray[np.bool_]:
        if threshold is None:
            return inside
        rows = np.arange(inside.shape[0])[:, None] + corner[1]
        columns = np.arange(inside.shape[1])[None, :] + corner[0]
        return inside & (random_words(seed, rows, columns) <= threshold)

    parts: list[Picked] = []
    for block in blocks(covering_grid(area, lattice)):
        context.check_time()
        corner = _corner(block, lattice.projection)
        taken = chosen(centres_inside(area, block), corner)
        if not taken.any():
            continue
        pixels = Render(context.limits.memory).read(image.bands, block)
        found = _pick(pixels, block, corner, taken, seed)
        parts.append(found if numPixels is None else found.take(np.argsort(found.words, kind="stable")[:numPixels]))
    if not parts:
        return Collection.of("Feature", [])
    picked = Picked.joined(parts)
    if numPixels is not None:
        picked = picked.take(np.sort(np.argsort(picked.words, kind="stable")[:numPixels]))
    if dropNulls and picked.valid:
        picked = picked.take(np.logical_and.reduce(picked.valid))
    return Collection.of("Feature", list(features_of(image, picked, lattice.projection, geometries=geometries)))
