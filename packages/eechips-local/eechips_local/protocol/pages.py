"""Divide lists into pages: ``pageSize``, ``pageToken`` and ``nextPageToken``; usually 1,000 computed elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from eechips_local.protocol.request_errors import InvalidError

USUAL_PAGE = 1000
"""Size of a page of computed elements."""


def window(asked: Mapping[str, Any], most: int, default: int = USUAL_PAGE) -> tuple[int, int]:
    """Return the start and size of the page that ``pageToken`` and ``pageSize`` request.

    Args:
        asked: the fields of a body, or the parameters of a query.
        most: greatest size; the service may return fewer elements than requested.
        default: size without ``pageSize``.

    Raises:
        InvalidError: if they are malformed.
    """
    try:
        size = int(asked.get("pageSize") or 0) or default  # 0 is none given: https://google.aip.dev/158
    except ValueError as error:
        raise InvalidError(f"Invalid value at 'page_size' (TYPE_INT32), \"{asked['pageSize'][:20]}\"") from error
    token = str(asked.get("pageToken") or "0")
    if size < 0:
        raise InvalidError("Invalid page size: it must not be negative.")
    if not token.isdecimal() or len(token) > 12:
        raise InvalidError("Invalid page token.")
    return int(token), min(size, most)


def page(
    elements: Iterator[Any], start: int, size: int, *, is_begun: bool = False
) -> tuple[list[Any], Mapping[str, str]]:
    """Return one page of elements, and the field that leads to the next.

    Args:
        elements: all of them.
        start: where the page begins.
        size: how many it has.
        is_begun: whether the elements are those from ``start`` on.
    """
    page_elements = list(islice(elements, 0 if is_begun else start, (0 if is_begun else start) + size + 1))
    return page_elements[:size], {"nextPageToken": str(start + size)} if len(page_elements) > size else {}
