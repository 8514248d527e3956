"""Describe images that differ between units only in some values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ee

    from eechips.geo.grid import Grid


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """An image that a function builds from values, for chips whose requests differ only in these values.

    The Earth Engine client converts the image of every chip to JSON, which takes more processor time than all other
    work for a chip. A template is converted once in a process; then the values are inserted into the JSON text.

    Attributes:
        build: makes the image. It is called with ``fixed`` and the values, and must pass the values unchanged to Earth
            Engine, since a result computed from them in Python would be the same for all units. It is called with
            placeholders that raise an error if they are used in arithmetic, comparisons, lookups or formatting; the
            images of such a function are built for each chip. The first requests of each process, and some later ones,
            are compared with the client's requests for the image itself. If one differs, the template is not used any
            longer, and the units since the last comparison are fetched again.
        fixed: positional arguments that are the same for many units.
        values: arguments that differ, by name: numbers, texts, and lists of them.
        window_values: returns the values that follow from the chip's grid. Chips whose other values are equal
            may then share a request: the template is built with the values of a window that covers them, and must give
            each chip the same pixels. None if no value follows from the grid.

    Example:
        >>> def scene(corners):
        ...     box = ee.Geometry.Rectangle(corners, None, False)
        ...     return ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(box).filterDate("2015", "2030").mosaic()
        >>> def get_result(index, unit):
        ...     return Chip(Template(scene, values={"corners": unit["bounds"]}), grid=Grid.from_json(unit["grid"]))
    """

    build: Callable[..., ee.Image]
    fixed: tuple[Hashable, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    window_values: Callable[[Grid], Mapping[str, Any]] | None = None

    def over(self, grid: Grid) -> Template:
        """Return the template with the values of another grid."""
        grid_values = {} if self.window_values is None else self.window_values(grid)
        return replace(self, values={**self.values, **grid_values})

    def image(self) -> ee.Image:
        """Return the image itself."""
        return self.build(*self.fixed, **self.values)
