"""Search the images of a collection: one by its index, others by time and place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import shapely

from eechips_local.evaluation.asset_model import Bounds, ImageAsset, Query
from eechips_local.geometry.longitude_boxes import boxes_each_turn

_MARGIN = 1e-9  # degrees: boxes without an area meet nothing in older versions of GEOS


class ImageSearch(ABC):
    """A base of collections that find an image by its ``system:index``, and others by searching."""

    __slots__ = ()

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """See ``CollectionAsset.images``."""
        wanted = wanted_indices(query)
        if wanted is None:
            yield from self.search(query.timed())
            return
        yield from (image for index in wanted if (image := self.image(index)) is not None)

    @abstractmethod
    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""

    @abstractmethod
    def search(self, query: Query) -> Iterator[ImageAsset]:
        """Yield the images that may match a query without an index, in the order of their ids."""


def wanted_indices(query: Query) -> list[str] | None:
    """Return the values of ``system:index`` that a query asks for, in their order; None if it asks for any."""
    if "system:index" in query.equals:
        only = query.equals["system:index"]
        return [only] if isinstance(only, str) and (query.indices is None or only in query.indices) else []
    return None if query.indices is None else sorted(query.indices)


def is_in_time(start: int, query: Query) -> bool:
    """Return whether a time, milliseconds since 1970, lies in the time of a query."""
    return (query.start is None or start >= query.start) and (query.end is None or start < query.end)


def query_boxes(bounds: Bounds) -> list[shapely.Polygon]:
    """Return boxes that cover bounds in degrees, a little wider, also one turn further west and east."""
    return [
        shapely.box(west - _MARGIN, south - _MARGIN, east + _MARGIN, north + _MARGIN)
        for west, south, east, north in boxes_each_turn(bounds)
    ]
