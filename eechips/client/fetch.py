"""From a chip to bytes, from a table to rows: the requests themselves, and what happens if one is too large."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from eechips.client.classify import can_split, classify_exception
from eechips.client.connection import Connection
from eechips.client.pixels import Method, file_format, placement, rendered
from eechips.client.split import LEAST_SIDE, LIMITS, MOST_CUTS, Sizes, check_bands, cut, fits, likeness, part_of
from eechips.errors import TooLargeError, ValidationError
from eechips.grid import Grid, Part, Window
from eechips.series import Series

if TYPE_CHECKING:
    import ee

    from eechips.recipe import Chip

T = TypeVar("T")

PAGE_SIZE = 1000
"""Features a page: the default, and the most, of ``table:computeFeatures``."""

_FEWER = 4  # what was too large is asked for by a quarter: rows a page, days a range
_ROWS, _DAYS = "rows", "days"  # kinds of requests whose sizes are remembered
_LESS = "ask for fewer bands or a coarser scale, or simplify what is computed"


class Fetcher:
    """Fetches results through a connection. Threads may share it, if they may share the connection.

    What the service finds too large is asked for in parts: a chip by quarters, a table by shorter pages, a series
    by ranges of dates. The sizes that worked are remembered for later results.

    Args:
        connection: an initialised client.
        method: ``url`` creates a thumbnail or download and fetches it (two requests); ``pixels`` computes
            and fetches in one.
    """

    def __init__(self, connection: Connection, method: Method) -> None:
        self._transport = connection.transport
        self._method = method
        self._sizes = Sizes()

    def chip(self, chip: Chip, accept: Callable[[Chip, bytes], T], assemble: Callable[[Sequence[Part[T]]], T]) -> T:
        """Fetches a chip, in parts if it is too large for one request.

        A part is a chip with a grid of its own. A chip by region has the grid that the service says it would use;
        finding that out takes one more request.

        Args:
            chip: what to fetch.
            accept: receives the chip or part that was asked for and each body that comes back; a ValidationError
                sends the request again.
            assemble: makes one of what ``accept`` returned for parts, which are in row-major order and tile the chip.
                Parts of a JPEG are PNGs.

        Returns:
            What ``accept`` or ``assemble`` returned.

        Raises:
            TooLargeError: if even the smallest parts are too large.
            RequestError: classified.
            ee.EEException: if the service refuses the expression; see
                :func:`eechips.client.classify.classify_exception`.
        """
        limits, kind = LIMITS[self._method], likeness(chip)
        check_bands(chip, limits)
        most = self._sizes.most(kind)
        rejection: TooLargeError | None = None
        if chip.size is None or fits(chip, Window(0, 0, *chip.size), limits, most):
            try:
                return self._ask(chip, accept)
            except TooLargeError as error:
                if not can_split(error):
                    raise
                rejection = error
        grid = chip.grid or self._locate(chip, rejection)
        whole = Window(0, 0, grid.width, grid.height)
        quarters = whole.split(LEAST_SIDE)
        if rejection is not None and len(quarters) == 1:
            raise _hopeless(rejection, f"{whole.width}x{whole.height} pixels are") from None
        windows = [part for quarter in quarters for part in cut(quarter, lambda w: fits(chip, w, limits, most))]
        found, was_rejected = self._collect(chip, grid, windows, accept)
        if rejection is not None or was_rejected:
            self._sizes.settle(kind, max(part.window.pixels for part in found))
        else:
            self._sizes.succeed(kind, len(found))
        return assemble(found)

    def rows(self, source: ee.FeatureCollection | Series) -> list[dict[str, Any]]:
        """Fetches the features of a collection, page by page, or the rows of a series.

        Returns:
            Properties, and ``system:index`` (the feature's id) and ``.geo`` (its geometry as GeoJSON).

        Raises:
            TooLargeError: if even a single row is too large.
            RequestError: classified.
            ee.EEException: if the service refuses the expression.
        """
        return self._series(source) if isinstance(source, Series) else self._table(source)

    def _collect(
        self, chip: Chip, grid: Grid, windows: Sequence[Window], accept: Callable[[Chip, bytes], T]
    ) -> tuple[list[Part[T]], bool]:
        """Fetches windows of a chip, those that are too large by quarters.

        Returns:
            The parts in row-major order, and whether anything was too large.
        """
        found: list[Part[T]] = []
        pending = [(window, 0) for window in reversed(windows)]
        rejected = False
        while pending:
            window, cuts = pending.pop()
            try:
                found.append(Part(window, self._ask(part_of(chip, grid, window), accept)))
            except TooLargeError as error:
                if not can_split(error):
                    raise
                quarters = window.split(LEAST_SIDE)
                if cuts == MOST_CUTS or len(quarters) == 1:
                    raise _hopeless(error, f"{window.width}x{window.height} pixels are") from None
                pending.extend((quarter, cuts + 1) for quarter in reversed(quarters))
                rejected = True
        return sorted(found, key=lambda part: (part.window.row, part.window.column)), rejected

    def _ask(self, chip: Chip, accept: Callable[[Chip, bytes], T]) -> T:
        """Fetches a chip in one request, or two by URL.

        Raises:
            TooLargeError: whichever request it was that was too large.
        """
        with _raising_too_large():
            if self._method == "pixels":
                return self._compute(chip, lambda body: accept(chip, body))
            return self._transport.get(self._create(chip), lambda body: accept(chip, body))

    def _locate(self, chip: Chip, rejection: TooLargeError | None) -> Grid:
        """The grid that the service uses for a chip by region: it is asked what the image would be, not for pixels.

        Raises:
            TooLargeError: if it does not say.
        """
        image, _ = rendered(chip).prepare_for_export(placement(chip))
        with _raising_too_large():
            described = image.getInfo()
        band = described["bands"][0] if isinstance(described, dict) and described.get("bands") else {}
        size = tuple(band.get("dimensions") or ())
        if len(size) != 2 or chip.dimensions not in (None, size):
            reason = rejection or "More was asked for than fits one request."
            raise TooLargeError(f"{reason} The chip's region does not settle its pixels: give it a grid.")
        a, b, c, d, e, f = map(float, band["crs_transform"])
        column, row = band.get("origin") or (0, 0)
        return Grid(band.get("crs") or band["crs_wkt"], (a, b, c, d, e, f), *size).window(column, row, *size)

    def _table(self, source: ee.FeatureCollection) -> list[dict[str, Any]]:
        """The rows of a collection, with shorter pages if those are too large.

        The first page of the new size is the first of all: a token leads to the page after one of its own size, and
        that it may be used with another one is not documented.
        """
        size, rejected = min(PAGE_SIZE, self._sizes.most(_ROWS) or PAGE_SIZE), False
        while True:
            try:
                found, pages = self._pages(source, size)
            except TooLargeError as error:
                if not can_split(error):
                    raise
                if size == 1:
                    raise _hopeless(error, "a page of one row is") from None
                size, rejected = max(1, size // _FEWER), True
                continue
            if rejected:
                self._sizes.settle(_ROWS, size)
            else:
                self._sizes.succeed(_ROWS, pages)
            return found

    def _series(self, series: Series) -> list[dict[str, Any]]:
        """The rows of a series, by ranges of dates if the whole is too large."""
        most = self._sizes.most(_DAYS)
        rejection: TooLargeError | None = None
        if most is None:
            try:
                return self._pages(series.rows(), PAGE_SIZE)[0]
            except TooLargeError as error:
                if not can_split(error):
                    raise
                rejection = error
        with _raising_too_large():
            span = series.days()
        if span is None:
            return self._table(series.rows())
        start, end = span
        if most is None:
            most = max(1, (end - start) // _FEWER)
        found: list[dict[str, Any]] = []
        while start < end:
            days = min(most, end - start)
            part = series.rows(start, start + days)
            try:
                rows = self._table(part) if days == 1 else self._pages(part, PAGE_SIZE)[0]
            except TooLargeError as error:
                if days == 1 or not can_split(error):
                    raise
                most, rejection = max(1, days // _FEWER), error
                continue
            found.extend(rows)
            start += days
            if rejection is not None:
                self._sizes.settle(_DAYS, days)
                rejection = None
            else:
                self._sizes.succeed(_DAYS)
                most = self._sizes.most(_DAYS) or most
        return found

    def _pages(self, source: ee.FeatureCollection, size: int) -> tuple[list[dict[str, Any]], int]:
        """The rows of a collection, page by page, and how many pages there were."""
        import ee

        found: list[dict[str, Any]] = []
        pages, token = 0, None
        while pages == 0 or token:
            parameters = {"expression": source, "pageSize": size}
            if token:
                parameters["pageToken"] = token
            with _raising_too_large():
                page = ee.data.computeFeatures(parameters)
            if not isinstance(page, dict):
                raise ValidationError("no table came back")
            found.extend(_row(feature) for feature in page.get("features", []))
            pages, token = pages + 1, page.get("nextPageToken")
        return found, pages

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


def _row(feature: Mapping[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties") or {}
    return {**properties, "system:index": feature.get("id"), ".geo": feature.get("geometry")}


@contextlib.contextmanager
def _raising_too_large() -> Iterator[None]:
    """Raises TooLargeError for the client's exception that stands for one; others pass as they are."""
    from ee.ee_exception import EEException

    try:
        yield
    except EEException as error:
        found = classify_exception(error)
        if isinstance(found, TooLargeError):
            raise found from None
        raise


def _hopeless(error: TooLargeError, what: str) -> TooLargeError:
    """The error of what cannot be cut further, saying how small it was."""
    return TooLargeError(f"{error} Even {what} too much: {_LESS}.", status=error.status)
