"""Find names that Earth Engine issues for some hours in values of a script, and know the requests that made them.

They are names of images and tables to fetch, and of maps. A name "will be valid for a moderate period (a few hours)"
(https://developers.google.com/earth-engine/reference/rest/v1/projects.thumbnails/create). A script that is run again
gets other names for the same requests, so a unit is identified by the request, not by the name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = (
    r"(?:https?://[^/\s\"']+/v\d\w*/)?(projects/[^/\s\"']+/(?:locations/[^/\s\"']+/)?"
    r"(thumbnails|videoThumbnails|filmstripThumbnails|tables|maps)/[\w-]+)"
)
_IN_TEXT, _IN_BYTES = re.compile(_NAME), re.compile(_NAME.encode())
_requests: dict[str, str] = {}
"""Digests of the requests that have made names, in this process or in calls whose results it has read."""


def learn(digests: Mapping[str, str]) -> None:
    """Record the digests of the requests that have made names."""
    _requests.update(digests)


def known_requests(data: bytes) -> dict[str, str]:
    """Return the digests of the known requests of the issued names in a pickle, by name."""
    names = {match[1].decode() for match in _IN_BYTES.finditer(data)}
    return {name: _requests[name] for name in sorted(names) if name in _requests}


def without_issued_names(text: str) -> str:
    """Return a text with a digest of its request in the place of each issued name, with or without its address.

    A name whose request is unknown stays: nothing else says what it stands for.
    """
    return _IN_TEXT.sub(lambda match: f"{match[2]}/{_requests[match[1]]}" if match[1] in _requests else match[0], text)


def has_issued_names(data: bytes) -> bool:
    """Return whether there is an issued name in a pickle."""
    return _IN_BYTES.search(data) is not None
