"""From a chip to bytes, from a table to rows: the requests themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from eechips.client.connection import Connection
from eechips.client.pixels import Method, file_format, placement, rendered
from eechips.errors import ValidationError

if TYPE_CHECKING:
    import ee

    from eechips.recipe import Chip

T = TypeVar("T")

PAGE_SIZE = 1000
"""Features a page: the default, and the most, of ``table:computeFeatures``."""


class Fetcher:
    """Fetches results through a connection.

    Args:
        connection: an initialised client.
        method: ``url`` creates a thumbnail or download and fetches it (two requests); ``pixels`` computes
            and fetches in one.
    """

    def __init__(self, connection: Connection, method: Method) -> None:
        self._transport = connection.transport
        self._method = method

    def chip(self, chip: Chip, accept: Callable[[bytes], T]) -> T:
        """Fetches a chip.

        Args:
            chip: what to fetch.
            accept: receives each body that comes back; a ValidationError sends the request again.

        Returns:
            What ``accept`` returned.

        Raises:
            RequestError: classified.
            ee.EEException: if the service refuses the expression; see
                :func:`eechips.client.classify.classify_exception`.
        """
        if self._method == "pixels":
            return self._compute(chip, accept)
        return self._transport.get(self._create(chip), accept)

    def rows(self, source: ee.FeatureCollection, page_size: int = PAGE_SIZE) -> Iterator[dict[str, Any]]:
        """Fetches the features of a collection, page by page.

        Yields:
            Properties, and ``system:index`` (the feature's id) and ``.geo`` (its geometry as GeoJSON).
        """
        import ee

        token = None
        while True:
            parameters = {"expression": source, "pageSize": page_size}
            if token:
                parameters["pageToken"] = token
            page = ee.data.computeFeatures(parameters)
            if not isinstance(page, dict):
                raise ValidationError("no table came back")
            for feature in page.get("features", []):
                yield {
                    **(feature.get("properties") or {}),
                    "system:index": feature.get("id"),
                    ".geo": feature.get("geometry"),
                }
            token = page.get("nextPageToken")
            if not token:
                return

    def _create(self, chip: Chip) -> str:
        """Creates a thumbnail or a download and returns its URL, which is a secret."""
        import ee

        image = rendered(chip)
        if chip.is_picture:
            thumbnail = image.getThumbId({**placement(chip), "format": chip.format})
            return str(ee.data.makeThumbUrl(thumbnail))
        parameters = {"image": image, "format": file_format(chip), "filePerBand": False}
        return str(ee.data.makeDownloadUrl(ee.data.getDownloadId({**parameters, **placement(chip)})))

    def _compute(self, chip: Chip, accept: Callable[[bytes], T]) -> T:
        import ee

        image = rendered(chip)
        parameters: dict[str, Any] = {"fileFormat": file_format(chip)}
        if chip.grid is not None:
            parameters["grid"] = chip.grid.to_pixel_grid()
        else:
            image, _ = image.prepare_for_export(placement(chip))
        found: list[T] = []
        with self._transport.checking(lambda body: found.append(accept(body))):
            ee.data.computePixels({**parameters, "expression": image})
        return found[-1]
