"""Define the limits of the service: 5000 elements, sizes of requests and pictures, bands, memory, seconds, depth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Limits of the service, with Earth Engine's values.

    Attributes:
        elements: elements of a collection that ``getInfo`` returns or that becomes a list.
        payload: bytes of a request's body.
        response: bytes of a value or table; "responses are limited to tens of megabytes of data" in
            developers.google.com/earth-engine/guides/processing_environments, read 2026-11.
        thumbnail_bytes: uncompressed bytes of a thumbnail or download, with a byte of mask for each value.
        thumbnail_side: pixels on a side of those.
        pixels_bytes: likewise of computePixels and getPixels.
        pixels_side: pixels on a side of those.
        bands: bands of computePixels and getPixels.
        seconds: seconds of one evaluation. Interactive computations end after about 5 minutes.
        memory: bytes of pixels that one evaluation holds at once.
        depth: nested function calls.

    Sources: developers.google.com/earth-engine/guides/usage, /reference/rest/v1/projects.image/computePixels and
    /apidocs/ee-image-getdownloadurl, read 2026-11.
    """

    elements: int = 5000
    payload: int = 10_485_760
    response: int = 67_108_864
    thumbnail_bytes: int = 33_554_432
    thumbnail_side: int = 10_000
    pixels_bytes: int = 50_331_648
    pixels_side: int = 32_768
    bands: int = 1024
    seconds: float = 300.0
    memory: int = 2 << 30
    depth: int = 500
