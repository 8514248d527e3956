"""Tell requests of milliseconds by the functions that they call: single values and metadata, without loops."""

from __future__ import annotations

import re

from eechips_local.protocol.messages import WorkerRequest

_FUNCTION = re.compile(rb'"functionName"\s*:\s*"([^"]*)"')
_VALUES = frozenset(
    {b"Number", b"String", b"List", b"Dictionary", b"Date", b"DateRange", b"Projection", b"PixelType", b"Filter"}
)
_METADATA = frozenset(
    {
        *(b"Image.load", b"Image.bandNames", b"Image.bandTypes", b"Image.select", b"Image.projection", b"Image.id"),
        *(b"Element.get", b"Element.propertyNames", b"Element.toDictionary"),
    }
)
_LOOPS = frozenset({b"map", b"iterate", b"sequence", b"repeat", b"reduce"})
_MOST_BYTES = 20_000  # of a body: what one writes by hand


def is_light(request: WorkerRequest) -> bool:
    """Return whether a request takes some milliseconds: it asks for metadata, or computes a few single values.

    Args:
        request: request of a client, not yet checked.
    """
    if request.operation == "assets:get":
        return True
    if request.operation != "value:compute" or len(request.content) > _MOST_BYTES:
        return False
    for name in _FUNCTION.findall(request.content):
        family, _, method = name.partition(b".")
        if name not in _METADATA and (family not in _VALUES or method in _LOOPS):
            return False
    return True
