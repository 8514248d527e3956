"""Follow the pages of a list of a web service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from eechips.errors import ValidationError

T = TypeVar("T")
REPEATED_BY = "A proxy or cache on the way may repeat responses: try without it"
"""What to do about pages without end."""


def follow_pages(request: Callable[[str | None], tuple[T, str | None]], noun: str) -> Iterator[T]:
    """Yield the pages of a list until one has no token of another (https://google.aip.dev/158).

    Args:
        request: requests the page of a token, None for the first one; returns it and the token of the next one.
        noun: what the pages are of, for errors, such as "the table".

    Raises:
        ValidationError: if a token repeats, so that the pages have no end.
    """
    tokens: set[str] = set()
    token: str | None = None
    while True:
        page, token = request(token)
        yield page
        if not token:
            return
        if token in tokens:
            raise ValidationError(
                f"the pages of {noun} have no end: a token of page {len(tokens) + 1:,} repeats. {REPEATED_BY}"
            )
        tokens.add(token)
