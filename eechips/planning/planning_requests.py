"""Send planning requests. ``ee`` must be initialised in this process."""

from __future__ import annotations

import contextvars
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from eechips.client.congestion import USUAL
from eechips.errors import ResponseTimeoutError
from eechips.parallel_map import parallel_map
from eechips.text import format_duration

if TYPE_CHECKING:
    import ee

T = TypeVar("T")
R = TypeVar("R")

PARALLEL_REQUESTS = int(USUAL)
"""Concurrent planning requests; the throttle delays requests that exceed the project's quota."""

_NOTICE_SECONDS = 5.0

_log = logging.getLogger(__name__)

# "Image.load: Image asset '…' not found", "Asset '…' does not exist or doesn't allow this operation."
_LOCAL_HINT = re.compile(r"(The demo planet|This local Earth Engine) .*", re.DOTALL)
_NOT_FOUND = re.compile(r"\bnot found\b|\bdoes not exist\b", re.IGNORECASE)

# Messages of the service for computations that exceed a limit; smaller computations may succeed.
_TOO_LARGE = re.compile(r"memory limit exceeded|computation timed out|payload size exceeds|too large", re.IGNORECASE)

# The service's own default; the reference does not name a greatest page.
# https://developers.google.com/earth-engine/reference/rest/v1/projects.table/computeFeatures
PAGE_SIZE = 1000


def fetch_features(
    collection: ee.FeatureCollection,
    page_size: int = PAGE_SIZE,
    *,
    noun: str = "features",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[dict[str, Any]]:
    """Yield all features of a computed collection as GeoJSON, page by page.

    Slow listings log the count so far; the total is unknown before the last page.

    Args:
        collection: to compute; unlike with ``getInfo``, it may have more than 5,000 elements.
        page_size: features per request, at most.
        noun: what the features are, for the log.
        clock: seconds, monotonic.

    Raises:
        ee.EEException: if a request fails.
    """
    import ee

    parameters: dict[str, Any] = {"expression": collection, "pageSize": page_size}
    noticed, count = clock(), 0
    while True:
        page = ee.data.computeFeatures(parameters)
        found = page.get("features", ())
        yield from found
        token = page.get("nextPageToken")
        if not token:
            return
        count += len(found)
        if clock() - noticed >= _NOTICE_SECONDS:
            noticed = clock()
            _log.info("Planning: %s %s so far", f"{count:,}", noun)
        parameters["pageToken"] = token


def request_each(
    items: Sequence[T],
    ask: Callable[[Sequence[T]], Sequence[R]],
    *,
    size: int,
    costs: Sequence[float] | None = None,
    noun: str = "points",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[R]:
    """Send requests for many items, several items a request, and several requests at once.

    Requests that are too large for the service, or take too long, are split in halves. Slow plans log the estimated
    time left.

    Args:
        items: inputs of the requests.
        ask: sends one request for some items and returns a result for each; called by several threads.
        size: items in one request, at most.
        costs: share of a request that each item takes; None if only their number counts.
        noun: what the items are, for the log.
        clock: seconds, monotonic.

    Yields:
        The results, in the order of the items. Only a few requests are sent before their results are consumed.

    Raises:
        ee.EEException: if a request fails for another reason than its size, or is too large even for a single item.
    """
    batches = list(_batches(items, size, costs))
    if len(batches) <= 1:
        answered = iter([_ask_in_parts(batch, ask) for batch in batches])
    else:
        context = contextvars.copy_context()  # each thread gets a copy, with the planner's cached responses
        answered = parallel_map(lambda batch: context.copy().run(_ask_in_parts, batch, ask), batches, PARALLEL_REQUESTS)
    began = noticed = clock()
    count = 0
    for answers in answered:
        count += len(answers)
        now = clock()
        if count < len(items) and now - noticed >= _NOTICE_SECONDS:
            noticed = now
            left = (now - began) / count * (len(items) - count)
            _log.info(
                "Planning: %s of %s %s, about %s left", f"{count:,}", f"{len(items):,}", noun, format_duration(left)
            )
        yield from answers


def _batches(items: Sequence[T], size: int, costs: Sequence[float] | None) -> Iterator[Sequence[T]]:
    """Divide items into requests, in their order; an item that costs more than a request is alone."""
    first, cost = 0, 0.0
    for number in range(len(items)):
        more = 0.0 if costs is None else costs[number]
        if number > first and (number - first == size or cost + more > 1.0):
            yield items[first:number]
            first, cost = number, 0.0
        cost += more
    if first < len(items):
        yield items[first:]


def _ask_in_parts(items: Sequence[T], ask: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
    """Request some items; in halves if the request is too large for the service, or takes too long."""
    import ee

    try:
        return list(ask(items))
    except (ee.EEException, ResponseTimeoutError) as error:
        if len(items) == 1 or not (isinstance(error, ResponseTimeoutError) or is_too_large(error)):
            raise
    half = len(items) // 2
    return [*_ask_in_parts(items[:half], ask), *_ask_in_parts(items[half:], ask)]


def is_not_found(error: ee.EEException) -> bool:
    """Return whether an error says that an asset does not exist, or may not be read: the messages are the same."""
    return bool(_NOT_FOUND.search(str(error)))


def local_hint(error: ee.EEException) -> str:
    """Return the sentence that a local Earth Engine adds to its message about a missing asset; else ""."""
    match = _LOCAL_HINT.search(str(error))
    return match[0] if match else ""


def is_too_large(error: ee.EEException) -> bool:
    """Return whether an error says that a request was too large."""
    return bool(_TOO_LARGE.search(str(error)))
