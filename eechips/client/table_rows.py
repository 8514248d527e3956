"""Fetch the rows of tables and series page by page, 1,000 at a time and fewer where they are too large; refuse rows
that come twice.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from eechips.client import retry
from eechips.client.chip_parts import RequestSizes, unsplittable_error
from eechips.client.error_classification import raising_too_large
from eechips.client.http.marked_requests import confirm_empty
from eechips.errors import TooLargeError, ValidationError
from eechips.recipe.results import Series, SplittableTable
from eechips.text.formatting import describe_exception
from eechips.web.list_pages import follow_pages

if TYPE_CHECKING:
    import ee

PAGE_SIZE = 1000
"""Features a page: the default of ``table:computeFeatures``, which names no maximum
(https://developers.google.com/earth-engine/reference/rest/v1/projects.table/computeFeatures)."""

_INDEX = "system:index"
_FEWER = 4  # divides the size of a request that was too large: rows a page, days a range
_ROWS, _DAYS, _PLACES = "rows", "days", "places"  # kinds of requests whose sizes are remembered


class RowFetcher:
    """Fetcher of rows, by the Earth Engine client of this process.

    Its methods raise RequestError, classified, and ee.EEException if the service refuses the expression.

    Args:
        sizes: sizes that worked after larger pages and ranges were rejected.
        divides_all: whether a table is requested in parts also where a batch task may compute the whole instead.
    """

    def __init__(self, sizes: RequestSizes, *, divides_all: bool = True) -> None:
        self._sizes, self._divides_all = sizes, divides_all

    def table(self, source: ee.FeatureCollection) -> list[dict[str, Any]]:
        """Return the rows of a collection, with shorter pages if those are too large.

        With a new size, fetching begins with the first page: it is not documented that a page token may be used with
        another size.

        Raises:
            TooLargeError: if a page of one row is too large.
        """
        size, rejected = min(PAGE_SIZE, self._sizes.most(_ROWS) or PAGE_SIZE), False
        while True:
            try:
                with retry.alone(size == 1):
                    rows, pages = self._pages(source, size)
            except TooLargeError as error:
                if not error.allows_parts(divides_all=self._divides_all):
                    raise
                if size == 1:
                    raise unsplittable_error(error, "a page of one row is") from None
                size, rejected = max(1, size // _FEWER), True
                continue
            self._sizes.note(_ROWS, size, pages, was_rejected=rejected)
            return rows

    def series(self, series: Series, *, by_pages: bool = True) -> list[dict[str, Any]]:
        """Return the rows of a series, by ranges of dates if the whole is too large.

        Args:
            by_pages: whether a single day that is too large is fetched in shorter pages; False where its places can be
                halved.

        Raises:
            TooLargeError: if a page of one row, or a day, is too large.
        """
        most = self._sizes.most(_DAYS)
        if most is None:
            try:
                return self._pages(series.rows(), PAGE_SIZE)[0]
            except TooLargeError as error:
                if not error.allows_parts(divides_all=self._divides_all):
                    raise
        with raising_too_large():
            span = series.days()
        if span is None:
            return self._day(series.rows(), by_pages)
        start, end = span
        most, was_rejected = most or max(1, (end - start) // _FEWER), most is None
        return self._ranges(series, start, end, most, was_rejected=was_rejected, by_pages=by_pages)

    def divisible(self, places: SplittableTable) -> list[dict[str, Any]]:
        """Return the rows of many places, by halves of them if they are too large.

        Raises:
            TooLargeError: if the rows of a single place are, or a page of one of them if it may be paged.
        """
        all_rows: list[dict[str, Any]] = []
        pending, was_rejected, largest = [places], False, 0
        while pending:
            part = pending.pop()
            if part.size > max(1, self._sizes.most(_PLACES) or part.size):
                pending.extend(reversed(part.halves()))
                continue
            try:
                rows = self._places(part)
            except TooLargeError as error:  # also of the request's body: half of the places are half of it
                if not self._divides_all and error.batch == "first":
                    raise
                if part.size == 1:
                    if part.is_paged:
                        raise
                    raise unsplittable_error(error, "one place is") from None
                pending.extend(reversed(part.halves()))
                was_rejected = True
                continue
            all_rows.extend(rows)
            largest = max(largest, part.size) if was_rejected else 0
            self._sizes.note(_PLACES, largest, was_rejected=was_rejected)
        return all_rows

    def _places(self, part: SplittableTable) -> list[dict[str, Any]]:
        is_single = part.size == 1
        if is_single and part.is_paged and not isinstance(part.source, Series):
            return self.table(part.source)
        with retry.alone(is_single):
            if isinstance(part.source, Series):
                return self.series(part.source, by_pages=False)
            return self._pages(part.source, PAGE_SIZE)[0]

    def _day(self, rows: ee.FeatureCollection, by_pages: bool) -> list[dict[str, Any]]:
        return self.table(rows) if by_pages else self._pages(rows, PAGE_SIZE)[0]

    def _ranges(
        self, series: Series, start: int, end: int, most: int, *, was_rejected: bool, by_pages: bool
    ) -> list[dict[str, Any]]:
        """Return the rows of a series from one day to another, by ranges of so many days at most, or fewer."""
        all_rows: list[dict[str, Any]] = []
        while start < end:
            days = min(most, end - start)
            part = series.rows(start, start + days)
            try:
                rows = self._day(part, by_pages and days == 1)
            except TooLargeError as error:
                if days == 1 or not error.allows_parts(divides_all=self._divides_all):
                    raise
                most, was_rejected = max(1, days // _FEWER), True
                continue
            all_rows.extend(rows)
            start += days
            self._sizes.note(_DAYS, days, was_rejected=was_rejected)
            most, was_rejected = self._sizes.most(_DAYS) or most, False
        return all_rows

    def _pages(self, source: ee.FeatureCollection, size: int) -> tuple[list[dict[str, Any]], int]:
        """Return the rows of a collection, page by page, and how many pages there were."""
        rows: list[dict[str, Any]] = []
        count = 0
        with raising_too_large():
            for page in feature_pages(source, size):
                rows.extend(map(_row, page))
                count += 1
        return rows, count


def feature_pages(source: ee.FeatureCollection, size: int) -> Iterator[list[dict[str, Any]]]:
    """Return an iterator of the features of a computed collection as GeoJSON, a list for each page.

    Args:
        size: features per request, at most.

    Raises:
        ValidationError: if the pages have no end, since a token repeats, a page repeats a feature of an earlier one, or
            the only page is empty and the collection is not.
        ee.EEException: if the service refuses the expression.
    """
    import ee

    earlier: dict[Any, dict[str, Any]] = {}

    def request(token: str | None) -> tuple[list[dict[str, Any]], str | None]:
        parameters = {"expression": source, "pageSize": size, **({"pageToken": token} if token else {})}
        page = ee.data.computeFeatures(parameters)
        if not isinstance(page, dict):
            raise ValidationError("no table came back")
        features, following = list(page.get("features", ())), page.get("nextPageToken")
        if not features and token is None and following is None:
            confirm_empty(source)
        # A recipe's collection may repeat features (``toList`` and back), but hardly on different pages only.
        by_id = {feature.get("id"): feature for feature in features}
        if size > 1 and None not in by_id and len(by_id) == len(features):
            repeated = next((key for key in by_id if earlier.get(key) == by_id[key]), None)
            if repeated is not None:
                raise ValidationError(f"two pages of the table have the same row, {repeated!r}")
            if following:
                earlier.update(by_id)
        return features, following

    return follow_pages(request, "the table")


def repeated_keys(keys: Iterable[Any]) -> list[Any]:
    """Return the keys that come more than once, in the order of their first place."""
    return [key for key, count in Counter(keys).items() if count > 1]


@contextlib.contextmanager
def refusing_other_values() -> Iterator[None]:
    """Surround code that reads rows: values of other types and columns than were asked for are no bug of eechips.

    Raises:
        ValidationError: for the exceptions that such values cause, as after a proxy that makes texts of all numbers.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        reason = describe_exception(error)
        raise ValidationError(f"the response has other values than were asked for: {reason}") from error


def _row(feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return a feature as a row. Its index is its ``id``, or a property, or None where the service sends neither.

    The reference has no ``id`` of features: https://developers.google.com/earth-engine/reference/rest/v1/Feature.
    """
    properties = feature.get("properties") or {}
    return {**properties, _INDEX: feature.get("id", properties.get(_INDEX)), ".geo": feature.get("geometry")}
