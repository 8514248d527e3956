"""Draw points stratified by the classes of a map, also of rare classes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ee
import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError, UsageError
from eechips.files.hashes import mix_bits
from eechips.geo.crs import parse_crs, unproject
from eechips.geo.ellipsoid import Booleans, Floats
from eechips.geo.grid import Grid, Window
from eechips.planning.grid_alignment import cover_region
from eechips.planning.imagery.map_bands import MapBand, is_class
from eechips.planning.sampling.samplers import DIGITS, PointStream
from eechips.planning.sampling.stratified_draw import Key, Point

MOST_CLASSES = 256
"""Maximum number of classes, unless the caller names them."""

MOST_PIXELS = 1 << 28
"""Maximum pixels of a region that is searched completely for rare classes: at 10 m, a square of 160 km."""

FEW_PIXELS = 1 << 26
"""Maximum pixels of a region that is searched completely from the start, by 16 requests, so that every class is found.
At 10 m this is a square of 80 km."""

_EDGE = 2048  # pixels of a window: 21 MB of 32-bit numbers and their masks, of the 48 MB that a request may hold
_FIRST = 1_000  # points of the first draw
_MOST_POINTS = 50_000  # whose classes are requested
_PIXELS_PER_POINT = 5_000  # pixels that are read in the time of one point's request; measured
# Pixels of each class that a search keeps as candidates: a fixed number, and a number for each wanted point.
_KEPT = 10_000
_KEPT_EACH = 100

Pixel = tuple[int, int]
_log = logging.getLogger(__name__)


class ClassPool:
    """Draw candidates of every class: centres of the map's pixels, with probabilities proportional to their areas.

    Random points are drawn in the region, and the server returns the classes of their pixels. If a class is too rare
    for this, all pixels of the region are searched, unless it is too large. In a small region all pixels are searched
    from the start. No pixel is drawn twice. The result depends on the seed, the map and the region only.

    Attributes:
        classes: the requested or found classes; available after :meth:`find_classes`.

    Args:
        layer: map whose values are the classes.
        region: polygons in longitude and latitude.
        seed: seed of the plan.
        classes: requested classes; None for all that are found.
        few_pixels: maximum pixels of a region that is searched completely from the start.
    """

    def __init__(
        self,
        layer: MapBand,
        region: BaseGeometry,
        seed: int,
        classes: Sequence[int] | None = None,
        *,
        few_pixels: int = FEW_PIXELS,
    ) -> None:
        self._map, self._region, self._seed = layer, region, seed
        self._wanted = tuple(classes) if classes is not None else None
        try:
            self._window: Grid | None = cover_region(layer.grid, region)
        except RegionError:  # it is too large for the projection: only points are drawn
            self._window = None
        self._stream = PointStream(region, seed, f"classes of {layer.name}")
        self._few, self._drawn = few_pixels, 0
        self._found: dict[int, list[Point]] = {}
        self._given: dict[int, int] = {}
        self._seen: set[Pixel] = set()
        self._cut: set[int] = set()  # classes of which not all pixels were remembered
        self._kept = 0
        self.is_complete = False
        shapely.prepare(region)

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes, in ascending order or as requested."""
        return self._wanted if self._wanted is not None else tuple(sorted(self._found))

    def find_classes(self, target: int) -> tuple[int, ...]:
        """Find the classes among the first candidates.

        Args:
            target: wanted points of each class.

        Raises:
            UsageError: if the map's values are not whole numbers, or there are too many of them.
            RegionError: if the map has no value in the region.
        """
        if self._pixels <= self._few:
            self._search(target)
        else:
            self._draw(max(_FIRST, 4 * target))
            if self._wanted is None:
                _log.info(
                    "Classes of which %s points of the region hit none are left out: name them, as in"
                    " `per_class` N:ID:BAND:10,40",
                    f"{self._drawn:,}",
                )
        if self._wanted is None and not self._found:
            raise RegionError(f"{self._map.name} has no value in the region")
        return self.classes

    def more(self, wanted: Mapping[Key, int], target: int) -> Mapping[Key, Sequence[Point]]:
        """Return further candidates; see :class:`eechips.planning.sampling.stratified_draw.PointPool`."""
        lacking = self._lacking(wanted)
        while lacking and not self.is_complete and self._is_worth_drawing(lacking):
            self._draw(max(_FIRST, min(self._effort(lacking), self._drawn)))
            lacking = self._lacking(wanted)
        is_cut = bool(self._cut & set(lacking)) and self._kept < _KEPT + _KEPT_EACH * target
        if lacking and self._pixels <= MOST_PIXELS and (not self.is_complete or is_cut):
            self._search(target)
        candidates: dict[Key, Sequence[Point]] = {}
        for key in wanted:
            points = self._found.get(int(key), [])[self._given.get(int(key), 0) :]
            if points:
                candidates[key] = points
                self._given[int(key)] = self._given.get(int(key), 0) + len(points)
        return candidates

    @property
    def _pixels(self) -> float:
        return self._window.width * self._window.height if self._window is not None else float("inf")

    def _lacking(self, wanted: Mapping[Key, int]) -> dict[int, int]:
        """Return the number of missing candidates by class."""
        left = {int(k): n - (len(self._found.get(int(k), ())) - self._given.get(int(k), 0)) for k, n in wanted.items()}
        return {key: number for key, number in left.items() if number > 0}

    def _effort(self, lacking: Mapping[int, int]) -> int:
        """Estimate the points needed to find the missing candidates, from the points drawn so far."""
        shares = {key: len(self._found.get(key, ())) / max(self._drawn, 1) for key in lacking}
        return max(round(n / shares[k]) + 1 if shares[k] else _MOST_POINTS for k, n in lacking.items())

    def _is_worth_drawing(self, lacking: Mapping[int, int]) -> bool:
        if self._drawn >= _MOST_POINTS:
            return False
        if not self._drawn:
            return self._pixels > self._few
        return self._pixels > MOST_PIXELS or self._effort(lacking) * _PIXELS_PER_POINT < self._pixels

    def _draw(self, count: int) -> None:
        """Request the classes under further points."""
        count = min(count, _MOST_POINTS - self._drawn)
        _log.info("Asking %s for the classes of %s points", self._map.name, f"{count:,}")
        points = self._stream.points(self._drawn, self._drawn + count)
        self._drawn += count
        pixels, centres = self._map.centres(points)
        inside = shapely.contains_xy(self._region, centres[:, 0], centres[:, 1])
        fresh: dict[Pixel, Point] = {}
        for (column, row), (lon, lat) in zip(
            pixels[inside].tolist(), centres[inside].round(DIGITS).tolist(), strict=True
        ):
            if (column, row) not in self._seen:
                fresh.setdefault((column, row), (lon, lat))
        values = self._map.values(list(fresh.values()))
        for (pixel, point), value in zip(fresh.items(), values, strict=True):
            if value is not None:
                self._note(value, pixel, point)

    def _note(self, value: float, pixel: Pixel, point: Point) -> None:
        number = self._class(value)
        if self._wanted is not None and number not in self._wanted:
            return
        self._seen.add(pixel)
        self._found.setdefault(number, []).append(point)
        if len(self._found) > MOST_CLASSES:
            raise UsageError(
                f"{self._map.name} has more than {MOST_CLASSES} different values: name those that are classes with"
                " classes='10,20,30'"
            )

    def _class(self, value: float) -> int:
        if not is_class(value):
            raise UsageError(f"{self._map.name} holds {value:g}, which is not a class: classes are whole numbers")
        return int(value)

    def _search(self, target: int) -> None:
        """Read every pixel of the region; of each class, keep the pixels with the lowest random numbers."""
        assert self._window is not None
        self._kept = keep = _KEPT + _KEPT_EACH * target
        _log.info("Looking for classes in all %s pixels of the region", f"{int(self._pixels):,}")
        self._cut = set()
        most = keep + len(self._seen)
        best: dict[int, _Lots] = {}
        for window in _windows(self._window):
            for number, lots in self._read(window, most).items():
                both = best[number].joined(lots) if number in best else lots
                if len(both.lots) > most:
                    self._cut.add(number)
                best[number] = both.lowest(most)
        for number in sorted(best):
            centres = self._map.locate(best[number].pixels).round(DIGITS).tolist()
            for (column, row), (lon, lat) in zip(best[number].pixels.tolist(), centres, strict=True):
                if (column, row) not in self._seen:
                    self._note(number, (column, row), (lon, lat))
        self.is_complete = True

    def _read(self, window: Window, most: int) -> dict[int, _Lots]:
        """Return the pixels of each class in a window of the region; of more than ``most``, the lowest lots."""
        assert self._window is not None
        grid = self._window.window(window.column, window.row, window.width, window.height)
        image = self._map.image()
        # 32-bit floats hold every class exactly, and keep fractions, which are rejected.
        whole = image.toFloat() if self._map.dtype.startswith("float") else image.toInt32()
        both = whole.rename("value").unmask(0).addBands(image.mask().gt(0).toInt32().rename("valid"))
        array = ee.data.computePixels({"expression": both, "fileFormat": "NUMPY_NDARRAY", "grid": grid.to_pixel_grid()})
        values, valid = array["value"], array["valid"] > 0
        origin = self._map.centres(unproject(grid.crs, [grid.xy(0.5, 0.5)]))[0][0]
        lots_by_class = {}
        for number in map(self._class, np.unique(values[valid]).tolist()):
            if self._wanted is None or number in self._wanted:
                rows, columns = np.nonzero((values == number) & valid)
                pixels = np.column_stack([columns, rows]).astype(np.int64) + origin
                drawn = self._inside(_Lots(self._lots(pixels), pixels), most)
                if len(drawn.lots):
                    lots_by_class[number] = drawn
        return lots_by_class

    def _inside(self, lots: _Lots, most: int) -> _Lots:
        """Return the pixels with the lowest lots whose centres lie in the region, at most ``most`` + 1.

        Locating pixels is the slowest step, so only as many are located as are needed.
        """
        tried = 2 * most
        while True:
            lowest = lots.lowest(tried)
            centres = self._map.locate(lowest.pixels)
            kept = lowest.where(shapely.contains_xy(self._region, centres[:, 0], centres[:, 1]))
            if len(kept.lots) > most or tried >= len(lots.lots):
                return kept.lowest(most + 1)
            tried *= 4

    def _lots(self, pixels: npt.NDArray[np.int64]) -> Floats:
        """Return a random number for each pixel; the lowest are a sample without replacement, weighted by area.

        The numbers are exponential variates divided by weights (Efraimidis and Spirakis, 2006). Each depends only on
        the seed and the pixel's position, by the finaliser of SplitMix64 (Steele, Lea and Flood, 2014). In degrees,
        weights decrease towards the poles; projections in metres are assumed to preserve areas.
        """
        digest = hashlib.sha256(json.dumps([self._seed, str(self._map.name)]).encode()).digest()
        salt = np.frombuffer(digest[:16], dtype=np.uint64)
        bits = mix_bits(mix_bits(pixels[:, 0].astype(np.uint64) ^ salt[0]) ^ pixels[:, 1].astype(np.uint64) ^ salt[1])
        uniform = np.ldexp((bits >> np.uint64(11)).astype(np.float64) + 0.5, -53)
        lots: Floats = -np.log(uniform)
        if parse_crs(self._map.grid.crs).is_geographic:
            lots /= np.maximum(np.cos(np.radians(self._map.locate(pixels)[:, 1])), 1e-12)
        return lots


@dataclass(frozen=True, slots=True)
class _Lots:
    """Pixels with their random numbers.

    Attributes:
        lots: numbers, (n,).
        pixels: columns and rows, (n, 2).
    """

    lots: Floats
    pixels: npt.NDArray[np.int64]

    def where(self, mask: Booleans | npt.NDArray[np.int64]) -> _Lots:
        """Return the selected pixels."""
        return _Lots(self.lots[mask], self.pixels[mask])

    def joined(self, other: _Lots) -> _Lots:
        """Return these pixels and others."""
        return _Lots(np.concatenate([self.lots, other.lots]), np.concatenate([self.pixels, other.pixels]))

    def lowest(self, count: int) -> _Lots:
        """Return the pixels with the lowest numbers, in ascending order."""
        few = self if count >= len(self.lots) else self.where(np.argpartition(self.lots, count)[:count])
        return few.where(np.argsort(few.lots, kind="stable"))


def _windows(grid: Grid) -> Iterator[Window]:
    """Yield windows of at most ``_EDGE`` pixels a side that tile a grid, row by row."""
    for row in range(0, grid.height, _EDGE):
        for column in range(0, grid.width, _EDGE):
            yield Window(column, row, min(_EDGE, grid.width - column), min(_EDGE, grid.height - row))
