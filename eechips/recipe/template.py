"""Describe images of which only some values differ from unit to unit."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ee


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """An image that a function builds from values, for chips whose requests differ in nothing else.

    The Earth Engine client turns an image into JSON anew for every chip, which costs more processor time than all
    else that is done for it. Of a template it does so once in a process; then the values are written into the text.

    Attributes:
        build: makes the image. It is called with ``fixed`` and the values, and must pass the values on to Earth
            Engine as they are: what it computes with them, or decides by them, would be the same for all units. It
            is called with numbers and texts that refuse to be computed with, compared, looked up or formatted, so
            that a mistake is noticed; such chips are then built one by one. The first requests of each process, and
            some of the rest, are compared with what the client sends for the image itself. If one differs,
            values are not inserted into its requests, and the units since the last comparison are fetched again.
        fixed: arguments that are the same for many units, in order.
        values: arguments that differ, by name: numbers, texts, and lists of them.

    Example:
        >>> def scene(corners):
        ...     box = ee.Geometry.Rectangle(corners, None, False)
        ...     return ee.ImageCollection("USDA/NAIP/DOQQ").filterBounds(box).mosaic()
        >>> def get_result(index, unit):
        ...     return Chip(Template(scene, values={"corners": unit["bounds"]}), grid=Grid.from_json(unit["grid"]))
    """

    build: Callable[..., ee.Image]
    fixed: tuple[Hashable, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def image(self) -> ee.Image:
        """Return the image itself."""
        return self.build(*self.fixed, **self.values)
