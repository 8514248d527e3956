"""Fetch the pixels of chips and the rows of tables, in parts where a request is too large; stored images by
``getPixels``; expired thumbnail URLs anew.

``getPixels`` evaluates no expression. Its response has no mask band: "Masked or missing data will be encoded as zeroes"
(https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/getPixels), or as the value that a GeoTIFF
declares as nodata. It gives a chip's file only if no pixel has such a value, so that all are valid. Chips with a pixel
in doubt are requested again by ``computePixels``, with their mask.
"""

from __future__ import annotations

import contextlib
import functools
import json
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from eechips.client import retry
from eechips.client.access.connection import Connection
from eechips.client.chip_groups import ChipStack
from eechips.client.chip_parameters import Method, file_format, placement, rendered, request_format
from eechips.client.chip_parts import (
    MAX_SPLITS,
    MIN_SIDE,
    PIXEL_LIMITS,
    RequestSizes,
    check_bands,
    check_memory,
    earth_windows,
    fits,
    lies_beyond,
    part_request,
    size_class,
    split_window,
    unsplittable_error,
)
from eechips.client.error_classification import raising_too_large
from eechips.client.http.http_messages import HttpRequest
from eechips.client.http.marked_requests import MASK_BAND_TO_MARK, MarkedPixels, exchanged_error
from eechips.client.http.transport import Transport
from eechips.client.table_rows import RowFetcher
from eechips.client.template_requests import TemplateRequests
from eechips.errors import (
    ConfigurationError,
    EechipsError,
    PermanentError,
    ProjectUnavailableError,
    TooLargeError,
    ValidationError,
)
from eechips.formats import CHIP_FORMATS
from eechips.formats.chip_format import UncertainMaskError
from eechips.geo.grid import Grid, Part, Window
from eechips.recipe import Chip
from eechips.recipe.results import Series, SplittableTable

if TYPE_CHECKING:
    import ee

_MOST_SKIPPED = 31
"""Chips of a dataset that are computed at once, at most, before another request for stored pixels is tried."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredChip(Chip):
    """A chip whose response has the stored pixels of its asset, without a mask band."""


@dataclass(slots=True)
class _Tries:
    """Requests for the images of a dataset: those in succession that were of no use, and chips to skip after them."""

    failures: int = 0
    skips: int = 0

    def is_due(self) -> bool:
        """Return whether to try the next chip."""
        self.skips -= 1
        return self.skips < 0

    def settle(self, *, is_used: bool) -> None:
        """Record a request."""
        self.failures = 0 if is_used else self.failures + 1
        self.skips = min(2**self.failures // 2 - 1, _MOST_SKIPPED)


class StoredPixels:
    """Requests for stored pixels. Threads may share it.

    A chip in doubt costs two requests. After several in succession, the next 1, 3, 7, … chips of the dataset are
    computed at once.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._tries: dict[Hashable, _Tries] = {}
        self._lock = threading.Lock()

    def fetch(self, chip: Chip, accept: Callable[[Chip, bytes], T]) -> T | None:
        """Fetch a chip that shows an asset, if its response proves that all of its pixels are valid.

        Args:
            chip: with an exact grid.
            accept: as of :meth:`eechips.client.fetcher.Fetcher.chip`.

        Returns:
            The value that ``accept`` returned; None if the chip has to be computed, since the service refuses the
            request, or the response is of no use.

        Raises:
            RequestError: transient, or too large.
            ProjectUnavailableError: if the project cannot compute now, or its archive is not reached.
        """
        if chip.asset is None or chip.grid is None or CHIP_FORMATS.get(chip.format).decode is None:
            return None
        with self._lock:
            tries = self._tries.setdefault((chip.asset.rpartition("/")[0] or chip.asset, chip.bands), _Tries())
            if not tries.is_due():
                return None
        stored = StoredChip(
            image=chip.image, grid=chip.grid, format=chip.format, bands=chip.bands, dtype=chip.dtype, asset=chip.asset
        )

        def receive(body: bytes) -> T | None:
            try:
                return accept(stored, body)
            except (UncertainMaskError, ValidationError):
                return None

        request = self._transport.capture(lambda: _send(chip))
        # The error that concerns the user is that of the chip's own expression, unless no request can succeed now.
        try:
            content: T | None = self._transport.post(request, receive)
        except ProjectUnavailableError:
            raise
        except (PermanentError, ConfigurationError):
            content = None
        with self._lock:
            tries.settle(is_used=content is not None)
        return content


def _send(chip: Chip) -> None:
    """Send the request through the client."""
    import ee

    assert chip.grid is not None
    grid, bands = chip.grid.to_pixel_grid(), {} if chip.bands is None else {"bandIds": list(chip.bands)}
    ee.data.getPixels({"assetId": chip.asset, "fileFormat": file_format(chip), "grid": grid, **bands})


T = TypeVar("T")

_OTHER = "the pixels of another request came back"
_MOST_REPEATS = 4  # of a table whose rows are refused
_GONE = 404  # the status of a name that has expired
_MOST_NAMES = 5
"""Names that are created one after the other. If one name in a hundred expires, two in a row do in one unit of ten
thousand; a server that responds to all of them with 404 is not a case of expiry."""


class Fetcher:
    """Fetcher of results through a connection. Threads may share it if they may share the connection.

    Requests that are too large for the service are split: a chip into quarters, a table into shorter pages, a series
    into ranges of dates. The sizes that worked are used for later results.

    Args:
        method: ``url`` creates a thumbnail or download and fetches it (two requests); ``pixels`` computes
            and fetches in one.
        recipe_code: surrounds what executes code of the recipe: its templates, and its expressions as the client
            turns them into requests.
        reads_assets: whether chips that show a stored image are read from it by ``getPixels`` where that gives the same
            file.
        divides_all: whether a chip or table is requested in parts also where a batch task may compute the whole
            instead, as its computation takes too long. Each attempt takes minutes.
        requests: makes the requests for chips; None for those of the client.
    """

    def __init__(
        self,
        connection: Connection,
        method: Method,
        recipe_code: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        *,
        reads_assets: bool = False,
        divides_all: bool = True,
        requests: TemplateRequests | None = None,
    ) -> None:
        self._recipe_code = recipe_code
        self._divides_all = divides_all
        self._transport = connection.transport
        self._method = method
        self._sizes = RequestSizes()
        self._rows = RowFetcher(self._sizes, divides_all=divides_all)
        self._stored = StoredPixels(connection.transport) if reads_assets else None
        # By URL, the size is part of the expression.
        self.requests = requests or TemplateRequests(
            lambda chip: self._transport.capture(lambda: self._send(chip)), fills_size=method == "pixels"
        )

    def chip(self, chip: Chip, accept: Callable[[Chip, bytes], T], assemble: Callable[[Sequence[Part[T]]], T]) -> T:
        """Fetch a chip, in parts if it is too large for one request.

        A part is a chip with a grid of its own. A chip in degrees across the antimeridian is always in parts. A chip by
        region has the grid that the service reports, which takes one more request.

        Args:
            accept: receives the requested chip or part and the body of each response; a ValidationError sends the
                request again.
            assemble: joins the values that ``accept`` returned for parts, which are in row-major order and tile the
                chip. Parts of a JPEG are PNGs.

        Returns:
            The value that ``accept`` or ``assemble`` returned.

        Raises:
            TooLargeError: if even the smallest parts are too large.
            RequestError: classified.
            ee.EEException: if the service refuses the expression; see
                :func:`eechips.client.error_classification.classify_exception`.
        """
        with retry.splitting():
            return self._chip(chip, accept, assemble)

    def _chip(self, chip: Chip, accept: Callable[[Chip, bytes], T], assemble: Callable[[Sequence[Part[T]]], T]) -> T:
        limits, kind = PIXEL_LIMITS[self._method], size_class(chip)
        check_bands(chip, limits)
        most = self._sizes.most(kind)
        rejection: TooLargeError | None = None
        is_beyond = chip.grid is not None and lies_beyond(chip.grid)
        if not is_beyond and (chip.size is None or fits(chip, Window(0, 0, *chip.size), limits, most)):
            try:
                with retry.alone(chip.size is not None and _is_smallest(Window(0, 0, *chip.size))):
                    return self._fetch(chip, accept)
            except TooLargeError as error:
                if not error.allows_parts(divides_all=self._divides_all):
                    raise
                rejection = error
        grid = chip.grid or self._locate(chip, rejection)
        whole = Window(0, 0, grid.width, grid.height)
        check_memory(chip, whole)
        quarters = earth_windows(grid) if is_beyond else whole.split(MIN_SIDE)
        if rejection is not None and chip.size is not None and len(quarters) == 1:
            raise unsplittable_error(rejection, f"{whole.width}x{whole.height} pixels are") from None
        windows = [
            part for quarter in quarters for part in split_window(quarter, lambda w: fits(chip, w, limits, most))
        ]
        parts, was_rejected = self._collect(chip, grid, windows, accept)
        largest = max(part.window.pixels for part in parts)
        self._sizes.note(kind, largest, len(parts), was_rejected=was_rejected or rejection is not None)
        return assemble(parts)

    def table(
        self, source: ee.FeatureCollection | Series | SplittableTable, accept: Callable[[list[dict[str, Any]]], T]
    ) -> T:
        """Fetch the rows of a table, and up to four times again if they are refused.

        Args:
            accept: receives what :meth:`rows` returns; a ValidationError requests it again.

        Returns:
            The value that ``accept`` returned.

        Raises:
            TooLargeError, RequestError, ee.EEException: see :meth:`rows`.
        """
        repeats = min(_MOST_REPEATS, self._transport.policy.retries)
        while True:
            rows = self.rows(source)
            try:
                return accept(rows)
            except ValidationError:
                if not repeats:
                    raise
            repeats -= 1

    def rows(self, source: ee.FeatureCollection | Series | SplittableTable) -> list[dict[str, Any]]:
        """Fetch the features of a collection, page by page, or the rows of a series or of many places.

        Returns:
            Properties, and ``system:index`` (the feature's id) and ``.geo`` (its geometry as GeoJSON).

        Raises:
            TooLargeError: if even a single row is too large.
            RequestError: classified.
            ee.EEException: if the service refuses the expression.
        """
        with self._recipe_code(), retry.splitting():
            if isinstance(source, SplittableTable):
                return self._rows.divisible(source)
            return self._rows.series(source) if isinstance(source, Series) else self._rows.table(source)

    def _collect(
        self, chip: Chip, grid: Grid, windows: Sequence[Window], accept: Callable[[Chip, bytes], T]
    ) -> tuple[list[Part[T]], bool]:
        """Fetch windows of a chip, large ones by quarters: the parts in row-major order, and if any was too large."""
        parts: list[Part[T]] = []
        pending = [(window, 0) for window in reversed(windows)]
        rejected = False
        while pending:
            window, cuts = pending.pop()
            try:
                with retry.alone(cuts == MAX_SPLITS or _is_smallest(window)):
                    parts.append(Part(window, self._fetch(part_request(chip, grid, window), accept)))
            except TooLargeError as error:
                if not error.allows_parts(divides_all=self._divides_all):
                    raise
                if cuts == MAX_SPLITS or _is_smallest(window):
                    raise unsplittable_error(error, f"{window.width}x{window.height} pixels are") from None
                pending.extend((quarter, cuts + 1) for quarter in reversed(window.split(MIN_SIDE)))
                rejected = True
        return sorted(parts, key=lambda part: (part.window.row, part.window.column)), rejected

    def _fetch(self, chip: Chip, accept: Callable[[Chip, bytes], T]) -> T:
        """Fetch a chip in one request, or two by URL."""
        with raising_too_large():
            if self._stored is not None and (stored := self._stored.fetch(chip, accept)) is not None:
                return stored
            with self._recipe_code():
                request = self.requests.fill(chip) or self._transport.capture(lambda: self._send(chip))
            marked = MarkedPixels.of(request)
            if self._method == "url":
                return self._download(marked, functools.partial(accept, chip))

            def accept_own(body: bytes) -> T:
                if marked.is_of_other(body):
                    raise exchanged_error(_OTHER)
                return accept(chip, body)

            return self._transport.post(marked.request, accept_own)

    def _download(self, marked: MarkedPixels, accept: Callable[[bytes], T]) -> T:
        """Create the URL of a chip and fetch its file; create another one if it has expired, or is of another chip."""

        def accept_own(body: bytes) -> tuple[T, ...]:
            return () if marked.is_of_other(body) else (accept(body),)

        error: EechipsError
        for _ in range(_MOST_NAMES):
            try:
                for file in self._transport.get(self._create(marked.request), accept_own):
                    return file
                error = exchanged_error(_OTHER)
            except PermanentError as refusal:
                if refusal.status != _GONE:
                    raise
                error = refusal
        raise error

    def _locate(self, chip: Chip, rejection: TooLargeError | None) -> Grid:
        """Ask for the grid that the service uses for a chip by region; no pixels are requested."""
        with raising_too_large(), self._recipe_code():
            image, _ = rendered(chip).prepare_for_export(placement(chip))
            described = image.getInfo()
        band = described["bands"][0] if isinstance(described, dict) and described.get("bands") else {}
        size = tuple(band.get("dimensions") or ())
        if len(size) != 2 or chip.dimensions not in (None, size):
            reason = rejection or "More was asked for than fits one request."
            raise TooLargeError(f"{reason} The chip's region does not settle its pixels: give it a grid.")
        return Grid.of_band(band)

    def _create(self, request: HttpRequest) -> str:
        """Create a thumbnail or a download and return its URL, which is a secret."""
        import ee

        return str(ee.data.makeThumbUrl({"thumbid": self._transport.post(request, _name)}))

    def _send(self, chip: Chip) -> None:
        """Send the first or only request for a chip through the client."""
        import ee

        image = chip.rendered() if isinstance(chip, ChipStack) else rendered(chip, MASK_BAND_TO_MARK)
        if self._method == "pixels":
            parameters: dict[str, Any] = {"fileFormat": file_format(chip)}
            if chip.grid is not None:
                parameters["grid"] = chip.grid.to_pixel_grid()
            else:
                image, _ = image.prepare_for_export(placement(chip))
            ee.data.computePixels({**parameters, "expression": image})
        elif chip.is_picture:
            image.getThumbId({**placement(chip), "format": request_format(chip)})
        else:
            ee.data.getDownloadId(
                {"image": image, "format": file_format(chip), "filePerBand": False, **placement(chip)}
            )


def _name(body: bytes) -> str:
    """Return the name of a thumbnail that was created."""
    try:
        return str(json.loads(body)["name"])
    except (ValueError, KeyError, TypeError):
        raise ValidationError("no name of a thumbnail came back") from None


def _is_smallest(window: Window) -> bool:
    """Return whether a window is too small to be split."""
    return len(window.split(MIN_SIDE)) == 1
