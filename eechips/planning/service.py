"""The few questions that a planner asks the server. ``ee`` must be initialised in this process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import ee

# "Image.load: Image asset '…' not found", "Asset '…' does not exist or doesn't allow this operation."
_NOT_FOUND = re.compile(r"\bnot found\b|\bdoes not exist\b", re.IGNORECASE)

# What the service says when a computation exceeds one of its limits: a smaller one may not.
_TOO_LARGE = re.compile(r"memory limit exceeded|computation timed out|payload size exceeds|too large", re.IGNORECASE)

# The service's own default; the reference does not name a greatest page.
# https://developers.google.com/earth-engine/reference/rest/v1/projects.table/computeFeatures
PAGE_SIZE = 1000


def features(collection: ee.FeatureCollection, page_size: int = PAGE_SIZE) -> Iterator[dict[str, Any]]:
    """The features of a computed collection as GeoJSON, however many there are, page by page.

    Args:
        collection: what to compute; it has no limit of 5,000 elements here, as ``getInfo`` has.
        page_size: features per request, at most.

    Raises:
        ee.EEException: if the server refuses.
    """
    parameters: dict[str, Any] = {"expression": collection, "pageSize": page_size}
    while True:
        page = ee.data.computeFeatures(parameters)
        yield from page.get("features", ())
        token = page.get("nextPageToken")
        if not token:
            return
        parameters["pageToken"] = token


def is_not_found(error: ee.EEException) -> bool:
    """Whether an error says that an asset does not exist (or may not be read, which looks the same)."""
    return bool(_NOT_FOUND.search(str(error)))


def is_too_large(error: ee.EEException) -> bool:
    """Whether an error says that a request asked for too much at once."""
    return bool(_TOO_LARGE.search(str(error)))
