"""List the errors of requests that are too large, take too long, or need too much memory.

The message about aggregations is sent for two matters. One request may hold too many of them, and is refused however
often it is sent (https://developers.google.com/earth-engine/guides/debugging; sepal-contrib/se.plan#102,
gee-community/geemap#1309), or the load of the moment is the cause, and it succeeds later, as scripts with many requests
in flight report. So it is sent again once, and then split.

A request that is too small to be split can hardly need too much memory; then other requests at the same time may be the
cause, and it is sent again some times before it fails.
"""

from __future__ import annotations

from functools import partial

from eechips.client.service_errors.error_row import DEBUGGING, USAGE, ErrorAction, ServiceError

_PIXELS = "https://developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels"
_REDUCE = "https://developers.google.com/earth-engine/apidocs/ee-image-reduceregion"

_OF_THE_MOMENT = 5
"""Repeats of a request that cannot be split: with the usual waits, half a minute."""
_SIMPLIFY = "fewer regions, bands or dates, smaller chips, a coarser scale"

_indivisible = partial(ServiceError, kind=ErrorAction.INDIVISIBLE)
_too_large = partial(ServiceError, kind=ErrorAction.TOO_LARGE, cure=_SIMPLIFY, source=DEBUGGING)

SIZE_ERRORS: tuple[ServiceError, ...] = (
    _too_large("concurrent aggregations", message=r"too many concurrent aggregations", batch="first", repeats=1),
    _indivisible(
        "payload",
        "send less with each request, such as an asset's id instead of its geometry",
        USAGE,
        message=r"request payload size exceeds|request entity too large",  # the latter of fronts: RFC 9110, 15.5.14
    ),
    _indivisible(
        "edges",
        "fewer regions at once, or simpler outlines",
        "https://developers.google.com/earth-engine/docs/release-notes",
        message=r"geometry has too many edges",
    ),
    _indivisible(
        "maxPixels",
        "give it a coarser scale, maxPixels or bestEffort",
        _REDUCE,
        message=r"too many pixels in the region|export too large: specified|too many input pixels per output pixel",
    ),
    _indivisible(
        "size of an exported file",
        "smaller chips, fewer bands or a coarser scale",
        "https://github.com/mapbiomas-brazil/user-toolkit/issues/16",
        message=r"file dimensions are too large",
    ),
    _too_large(
        "request size",
        cure="fewer bands or a coarser scale",
        source=_PIXELS,
        message=r"total request size \(.*\) must be less than or equal to|pixel grid dimensions \(.*\) must be less"
        r"|output of image computation is too large|reprojection output too large|object too large \("
        r"|response size exceeds limit|computed value is too large",
    ),
    _too_large(
        "memory", message=r"user memory limit exceeded|\bout of memory", batch="last", repeats_alone=_OF_THE_MOMENT
    ),
    _too_large("time", message=r"computation timed out", batch="first"),
    _too_large("elements", message=r"collection query aborted after accumulating over|getregion: too many values"),
)
