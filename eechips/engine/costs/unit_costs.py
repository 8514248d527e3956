"""Estimate what a unit costs from its described result: requests, seconds, bytes and compute."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any, NamedTuple

import numpy as np

from eechips.client.chip_parts import PIXEL_LIMITS, count_requests
from eechips.datasets import find_dataset
from eechips.engine.config import RunConfig
from eechips.engine.fetch_result import chips_of
from eechips.errors import EechipsError
from eechips.formats import CHIP_FORMATS
from eechips.recipe import Chip, FrameStack, NoData, Recipe, SupportsSize, Table, Unit, traits_of, unit_value

_SECONDS = {"url": (0.15, 0.9), "pixels": (0.9,), "table": (1.5,)}
"""Seconds that the requests of a result take on the high-volume endpoint, by kind; medians measured by users."""
_MEGAPIXEL = 1 << 20
_MASKED, _EMPTY = frozenset({"a chip that may be masked"}), frozenset({"an empty table"})
_ASSUMED = {"pixels": ((0.02, 0.2), (1.0, 30.0)), "table": ((0.05, 0.0), (30.0, 0.0))}
"""EECU-seconds of a request, and for each megapixel of a chip, at least and at most, where nothing is measured.

No measurement of single requests is published. A chip of 256x256 pixels takes the service about a second; the range is
some hundredths of a core to three cores for that long. Composites of many images may take more.
"""
_HEADER = 600
"""Bytes of a GeoTIFF without its pixels: its header, bounds, coordinate reference system, and names of bands."""
_SHARES = {"classes": (0.06, 0.18, 0.6), "whole": (0.6, 1.0, 1.2), "fractions": (0.4, 0.7, 1.3)}
"""Compressed bytes by kind of the values, at least, usually and at most, divided by what a format says of itself.

Measured on chips of 64 to 256 pixels as GeoTIFF: NLCD and CDL; NAIP, Sentinel-2, Landsat and SRTM; and of fractions,
which composites have, whole numbers as float32 (0.2 to 0.38 of the pixels' bytes) and an interpolated elevation (0.55).
"""


class Range(NamedTuple):
    """A figure at least, usually, and at most."""

    low: float = 0.0
    usual: float = 0.0
    high: float = 0.0

    def plus(self, other: Range) -> Range:
        """Return the sum with another figure."""
        return Range(*map(add, self, other))

    def times(self, factor: float) -> Range:
        """Return the figure of a multiple."""
        return Range(*(factor * end for end in self))


NOTHING = Range()


@dataclass(frozen=True, slots=True)
class UnitCost:
    """Cost of a unit, or of several.

    Attributes:
        requests: at least if all chips of the unit share one; usually one for each chip, two by URL, without repeats;
            at most if all chips are computed after their stored image was read, and all tables are empty.
        seconds: seconds that the requests take one after the other.
        bytes: number of bytes of the files; None if that is unknown.
        compute: EECU-seconds, assumed.
        repeats: results that take more than their usual requests, in words.
    """

    requests: Range = NOTHING
    seconds: float = 0.0
    bytes: Range | None = NOTHING
    compute: Range = NOTHING
    repeats: frozenset[str] = frozenset()

    def __add__(self, other: UnitCost) -> UnitCost:
        return UnitCost(
            self.requests.plus(other.requests),
            self.seconds + other.seconds,
            None if self.bytes is None or other.bytes is None else self.bytes.plus(other.bytes),
            self.compute.plus(other.compute),
            self.repeats | other.repeats,
        )


def list_class_bands(recipe: Recipe) -> frozenset[str]:
    """Return the names of the bands that are maps of classes, of the datasets of a recipe of eechips."""
    records = map(find_dataset, recipe.datasets if traits_of(recipe).is_builtin else ())
    return frozenset(band.name for record in records if record is not None for band in record.bands if band.classes)


def cost_of(result: Any, config: RunConfig, class_bands: Collection[str] = (), dtype: str = "float32") -> UnitCost:
    """Estimate the cost of a result.

    Args:
        class_bands: names of bands that are maps of classes.
        dtype: type of pixels whose type is unknown.
    """
    if isinstance(result, Chip):
        return _chip_cost(result, config, class_bands, dtype)
    if (parts := _parts_of(result)) is not None:
        return sum((cost_of(part, config, class_bands, dtype) for part in parts), UnitCost())
    if isinstance(result, Table):
        if result.has_rows:
            return UnitCost(bytes=None)
        return UnitCost(Range(1, 1, 2), sum(_SECONDS["table"]), None, _assumed("table", 1, 0.0), _EMPTY)
    if result is None or isinstance(result, NoData):
        return UnitCost(bytes=None if result is None else NOTHING)
    size = float(getattr(result, "nbytes", len(result)))
    return UnitCost(bytes=Range(size, size, size))


def _parts_of(result: Any) -> Sequence[Any] | None:
    """Return the layers of a result, or its frames; None if it has none."""
    if isinstance(result, FrameStack):
        return result.chips
    return list(result.values()) if isinstance(result, Mapping) else None


def _chip_cost(chip: Chip, config: RunConfig, class_bands: Collection[str], dtype: str) -> UnitCost:
    size = _byte_range(chip, class_bands, dtype)
    if chip.empty_types and CHIP_FORMATS.get(chip.format).encode_empty is not None:
        return UnitCost(bytes=None if size is None else size._replace(low=0.0))
    latencies = _SECONDS[config.pixel_method]
    parts = count_requests(chip, PIXEL_LIMITS[config.pixel_method])
    requests = parts * len(latencies)
    megapixels = chip.size[0] * chip.size[1] / _MEGAPIXEL if chip.size is not None else 0.0
    is_read = config.reads_assets and chip.asset is not None and chip.grid is not None
    most, repeats = (2 * requests, _MASKED) if is_read else (requests, frozenset[str]())
    compute = _assumed("pixels", parts, megapixels)
    return UnitCost(Range(requests, requests, most), parts * sum(latencies), size, compute, repeats)


def _assumed(kind: str, requests: int, megapixels: float) -> Range:
    low, high = (requests * seconds + pixels * megapixels for seconds, pixels in _ASSUMED[kind])
    return Range(low, (low * high) ** 0.5, high)


def _byte_range(chip: Chip, class_bands: Collection[str], dtype: str) -> Range | None:
    """Return the bytes of a chip's file; None if the chip's size is unknown."""
    if chip.size is None:
        return None
    pixels = chip.size[0] * chip.size[1]
    bands = len(chip.bands) if chip.bands is not None else 3
    kind = np.dtype("uint8" if chip.is_picture else chip.dtype or dtype)
    chip_format = CHIP_FORMATS.get(chip.format)
    if chip_format.compression == 1.0:
        size = float(pixels * (bands * kind.itemsize + chip_format.has_mask))  # the mask is a band of bytes
        return Range(size, size, size)
    is_map = chip.bands is not None and all(band in class_bands for band in chip.bands)
    shares = _SHARES["classes" if is_map else "fractions" if kind.kind == "f" else "whole"]
    size = pixels * bands * kind.itemsize * chip_format.compression
    return Range(*((0 if chip.is_picture else _HEADER) + size * share for share in shares))


def sized_result(recipe: Recipe, position: int, unit: Unit) -> Any:
    """Return the result of a unit, with the type of its pixels if the recipe knows it; see :class:`SupportsSize`."""
    if isinstance(recipe, SupportsSize):
        return recipe.sized_result(position, unit_value(unit))
    return recipe.get_result(position, unit_value(unit))


def describe_results(recipe: Recipe, units: Iterable[tuple[int, Unit]]) -> list[Any]:
    """Return the results of units, with their positions, but those that fail by themselves in a worker.

    Raises:
        EechipsError: if all fail.
    """
    results: list[Any] = []
    failure: EechipsError | None = None
    for position, unit in units:
        try:
            results.append(sized_result(recipe, position, unit))
        except EechipsError as error:
            failure = error
    if failure is not None and not results:
        raise failure
    return results


def size_of(unit: Unit) -> tuple[int, int] | None:
    """Return width and height of a unit's grid in pixels, or of a window of a mosaic; None if it has none."""
    grid = unit if unit.get("kind") == "tile" else unit.get("grid")
    return (grid["width"], grid["height"]) if isinstance(grid, Mapping) and {"width", "height"} <= grid.keys() else None


def describe_kind(result: Any) -> str:
    """Describe what the compute of a result depends on besides its size: bands, number of chips, reading or not."""
    if (parts := _parts_of(result)) is not None:
        kinds = list(map(describe_kind, parts))
        return " + ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    if isinstance(result, Chip):
        return f"{'asset' if result.asset is not None else 'image'} {','.join(result.bands or ())}"
    return type(result).__name__


def count_pixels(result: Any) -> int:
    """Count the pixels of all chips of a result; 0 if there are none, or their size is unknown."""
    return sum(math.prod(chip.size) for chip in chips_of(result) if chip.size is not None)
