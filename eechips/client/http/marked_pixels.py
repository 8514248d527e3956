"""Mark requests for data of pixels, so that the response to another request is noticed.

Arrays have no place, and GeoTIFFs of one place at several times have the same one: a proxy or cache that exchanges
their responses would give a chip the pixels of another one. Requests for data have a mask band of eechips, which no
file keeps, and cubes give their last band its name: that name ends with a digest of the request. An array names its
bands as the fields of its type ("structured array",
https://developers.google.com/earth-engine/apidocs/ee-data-computepixels); a GeoTIFF does so by the descriptions of its
bands, and is not checked if it has none. Pictures, and stored pixels, which no expression names, have no mark.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from eechips.client.http.http_messages import HttpRequest
from eechips.client.http.marked_requests import digest_of
from eechips.formats import MASK_BAND

MASK_BAND_TO_MARK = f"{MASK_BAND}:to_mark"
"""Name of the mask band until it is marked: a text that no user has, as every occurrence of it is replaced."""

_ARRAY = b"\x93NUMPY"
_DESCRIPTION = b'role="description"'
"""Of the text in which GDAL stores the descriptions of bands (https://gdal.org/en/stable/drivers/raster/gtiff.html)."""


@dataclass(frozen=True, slots=True)
class MarkedPixels:
    """A request whose response names its mask band by the mark.

    Attributes:
        mark: name of the band; empty for a request without a mask band.
    """

    request: HttpRequest
    mark: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> MarkedPixels:
        """Mark a request for a chip, or for several."""
        text = request.text
        if MASK_BAND_TO_MARK not in text:
            return cls(request)
        mark = f"{MASK_BAND}_{digest_of(text)}"
        return cls(replace(request, body=text.replace(MASK_BAND_TO_MARK, mark)), mark)

    def is_of_other(self, body: bytes) -> bool:
        """Return whether a response is that to another request, as far as it names its bands."""
        names_bands = body.startswith(_ARRAY) or _DESCRIPTION in body
        return bool(self.mark) and names_bands and self.mark.encode() not in body
