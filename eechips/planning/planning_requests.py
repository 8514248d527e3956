"""Send planning requests: several at once, in pages or halves where they are too large; recognise missing assets in
errors, and log the progress. ``ee`` must be initialised.
"""

from __future__ import annotations

import contextvars
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from eechips.client import retry
from eechips.client.error_classification import classify_exception, classify_response
from eechips.client.http.response_cache import RESPONSE_CACHE
from eechips.client.quota.congestion import USUAL
from eechips.client.table_rows import PAGE_SIZE, feature_pages, repeated_keys
from eechips.errors import RequestError, ResponseTimeoutError, TooLargeError, ValidationError
from eechips.processes.parallel_map import parallel_map
from eechips.text.formatting import format_duration

if TYPE_CHECKING:
    import ee

T = TypeVar("T")
R = TypeVar("R")

PARALLEL_REQUESTS = int(USUAL)
"""Concurrent planning requests; the throttle delays requests that exceed the project's quota."""

_NOTICE_SECONDS = 5.0


@dataclass(slots=True)
class DividedItems:
    """Items that were divided into requests; estimates extrapolate the requests of more items.

    Attributes:
        requests: requests that they fill; a part of one, if there is room for more.
        timings: number of items and seconds of each request, one after the other.
    """

    items: int
    requests: float
    timings: list[tuple[int, float]] = field(default_factory=list)


DIVIDED_ITEMS: contextvars.ContextVar[list[DividedItems] | None] = contextvars.ContextVar("divided_items", default=None)
"""Where :func:`request_each` notes how it divides items; None does without."""

_log = logging.getLogger(__name__)

# "Image.load: Image asset '…' not found", "Asset '…' does not exist or doesn't allow this operation."
# What a local Earth Engine adds to the messages of the service, which end there.
_LOCAL_HINT = re.compile(r"(?:not found|does not have access\)|doesn't allow this operation)\. (.+)", re.DOTALL)
_NOT_FOUND = re.compile(r"\bnot found\b|\bdoes not exist\b", re.IGNORECASE)

# "Geometry.simplify: Geometry has too many edges (9180789 > 2000000)."
# https://github.com/Blue-Ventures-Conservation/GEM/issues/36
_MANY_EDGES = "has too many edges"

_SHRINK = 8  # factor by which a page shrinks if it is too large: 1000, 125, 15, 1


def fetch_features(
    collection: ee.FeatureCollection,
    page_size: int = PAGE_SIZE,
    *,
    noun: str = "features",
    cure: str,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[dict[str, Any]]:
    """Yield all features of a computed collection as GeoJSON, page by page.

    If a page is too large for the service, or takes too long, the listing begins again with smaller pages, without the
    features that it had: a page token is valid only with the page size that it was made for
    (https://google.aip.dev/158: "all other parameters … must match"). Slow listings log the count so far; the total is
    unknown before the last page.

    Args:
        collection: to compute; unlike with ``getInfo``, it may have more than 5,000 elements.
        page_size: features per request, at most.
        noun: what the features are, for the log and for errors.
        cure: what the user can do if the service refuses even a page of one feature.

    Raises:
        TooLargeError: if a page of one feature is too large.
        ee.EEException: if a request fails for another reason.
    """
    import ee

    noticed, count = clock(), 0
    while True:
        position = 0
        try:
            for page in feature_pages(collection, page_size):
                if count and clock() - noticed >= _NOTICE_SECONDS:
                    noticed = clock()
                    _tell(f"{count:,} {noun} so far")
                _check_distinct(page, noun)
                fresh = page[max(count - position, 0) :]
                position, count = position + len(page), count + len(fresh)
                yield from fresh
        except (ee.EEException, RequestError) as error:
            if not is_too_large(error):
                raise
            if page_size == 1:
                raise refusal(error, noun, cure) from error
            page_size = max(page_size // _SHRINK, 1)
        else:
            return


def _check_distinct(page: Sequence[dict[str, Any]], noun: str) -> None:
    """Refuse a page with one element twice: elements of a stored collection have an index each."""
    repeated = repeated_keys(feature["id"] for feature in page if feature.get("id") is not None)
    if repeated:
        raise ValidationError(f"the list of {noun} has {repeated[0]!r} twice")


def request_each(
    items: Sequence[T],
    ask: Callable[[Sequence[T]], Sequence[R]],
    *,
    size: int,
    costs: Sequence[float] | None = None,
    is_sample: bool = False,
    noun: str = "points",
    cure: str = "fewer of them",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[R]:
    """Send requests for many items, several items a request, and several requests at once.

    Requests that are too large for the service, or take too long, are split in halves. Slow plans log the estimated
    time left.

    Args:
        ask: sends one request for some items and returns a result for each; called by several threads.
        size: items in one request, at most.
        costs: share of a request that each item takes; None if only their number counts.
        is_sample: whether the items are a sample, so that a larger plan has no more of them.
        noun: what the items are, for the log and for errors.
        cure: what the user can do if the service refuses even a request for one item.

    Yields:
        The results, in the order of the items. Only a few requests are sent before their results are consumed.

    Raises:
        TooLargeError: if a request is too large even for a single item.
        ee.EEException: if a request fails for another reason.
    """

    batches = list(_batches(items, size, costs))
    divided = DividedItems(len(items), _filled(batches, size, costs))
    if not is_sample and (noted := DIVIDED_ITEMS.get()) is not None:
        noted.append(divided)

    def answer(batch: Sequence[T]) -> list[R]:
        began = clock()
        with retry.splitting():
            answers = _ask_in_parts(batch, ask, noun, cure)
        divided.timings.append((len(batch), clock() - began))
        return answers

    if len(batches) <= 1:
        answered = iter([answer(batch) for batch in batches])
    else:
        context = contextvars.copy_context()  # each thread gets a copy, with the planner's cached responses
        answered = parallel_map(lambda batch: context.copy().run(answer, batch), batches, PARALLEL_REQUESTS)
    progress = _Progress(len(items), noun, clock)
    for answers in answered:
        progress.add(len(answers))
        yield from answers


class _Progress:
    """Logs from time to time how much of a slow plan is left.

    Args:
        noun: what the items are.
    """

    def __init__(self, total: int, noun: str, clock: Callable[[], float]) -> None:
        self._total, self._noun, self._clock = total, noun, clock
        self._count = 0
        self._began = self._noticed = clock()

    def add(self, count: int) -> None:
        """Count items that are planned."""
        self._count += count
        now = self._clock()
        if self._count < self._total and now - self._noticed >= _NOTICE_SECONDS:
            self._noticed = now
            left = format_duration((now - self._began) / self._count * (self._total - self._count))
            _tell(f"{self._count:,} of {self._total:,} {self._noun}, about {left} left")


def _tell(progress: str) -> None:
    """Log the progress of a plan, unless its run has stopped meanwhile."""
    answers = RESPONSE_CACHE.get()
    if answers is None or not answers.is_closed:
        _log.info("Planning: %s", progress)


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


def _filled(batches: Sequence[Sequence[T]], size: int, costs: Sequence[float] | None) -> float:
    """Return how many requests some batches fill: the last one perhaps a part of a request."""
    if not batches:
        return 0.0
    last = len(batches[-1])
    cost = 0.0 if costs is None else sum(costs[-last:])
    return len(batches) - 1 + min(1.0, max(last / size, cost))


def _ask_in_parts(items: Sequence[T], ask: Callable[[Sequence[T]], Sequence[R]], noun: str, cure: str) -> list[R]:
    """Request some items; in halves if the request is too large for the service, or takes too long."""
    import ee

    try:
        return list(ask(items))
    except (ee.EEException, RequestError) as error:
        if not is_too_large(error):
            raise
        if len(items) == 1:
            raise refusal(error, noun, cure) from error
    half = len(items) // 2
    return [*_ask_in_parts(items[:half], ask, noun, cure), *_ask_in_parts(items[half:], ask, noun, cure)]


def refusal(error: Exception, noun: str, cure: str) -> TooLargeError:
    """Make the error of a planning request that cannot be divided further.

    Args:
        noun: what the request is about, in the plural.
        cure: what the user can do, a clause.
    """
    status = getattr(classify_exception(error), "status", None)
    said = " ".join(str(error).split())
    return TooLargeError(f"{said} Even a request for one of the {noun} is too much. What helps: {cure}.", status=status)


def is_not_found(error: ee.EEException) -> bool:
    """Return whether an error says that an asset does not exist, or may not be read: the messages are the same."""
    return bool(_NOT_FOUND.search(str(error)))


def is_served(asset_id: str) -> bool:
    """Return whether the service has an asset, by a request."""
    import ee

    try:
        ee.data.getAsset(asset_id)
    except ee.EEException as error:
        if is_not_found(error):
            return False
        raise
    return True


def local_hint(error: ee.EEException) -> str:
    """Return the sentences that a local Earth Engine adds to its message about a missing asset; else ""."""
    match = _LOCAL_HINT.search(str(error))
    hint = match[1].replace("(--demo)", "(--local, without --archive)") if match else ""
    return re.sub(r"\beechips-local (?=serve\b|assets\b)", "eechips ", hint)


def missing_table_reason(error: ee.EEException) -> str:
    """Return why there is no table, from the error that says so."""
    return local_hint(error) or "it does not exist, or you may not read it"


def is_too_large(error: Exception) -> bool:
    """Return whether an error says that a request was too large or took too long: a smaller one may succeed."""
    classified = classify_exception(error) or classify_response(400, str(error))
    return isinstance(classified, (TooLargeError, ResponseTimeoutError))


def has_many_edges(error: Exception) -> bool:
    """Return whether an error says that a geometry has more edges than the service takes, before any operation."""
    return _MANY_EDGES in str(error)
