"""Find names that Earth Engine issues for some hours in values of a script: of images and tables to fetch, and of maps.

A name "will be valid for a moderate period (a few hours)"
(https://developers.google.com/earth-engine/reference/rest/v1/projects.thumbnails/create). A script that is run again
gets other names for the same requests.
"""

from __future__ import annotations

import re

_NAME = (
    r"(?:https?://[^/\s\"']+/v\d\w*/)?projects/[^/\s\"']+/(?:locations/[^/\s\"']+/)?"
    r"(thumbnails|videoThumbnails|filmstripThumbnails|tables|maps)/[\w-]+"
)
_IN_TEXT, _IN_BYTES = re.compile(_NAME), re.compile(_NAME.encode())


def without_issued_names(text: str) -> str:
    """Return a text with the kind of a resource in the place of each issued name, with or without its address."""
    return _IN_TEXT.sub(r"\1", text)


def has_issued_names(data: bytes) -> bool:
    """Return whether there is an issued name in a pickle."""
    return _IN_BYTES.search(data) is not None
