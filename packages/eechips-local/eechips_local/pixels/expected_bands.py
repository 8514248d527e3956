"""Refuse collections of images that are not homogeneous: names, order and types of the bands must be those of the first
image.

The rule below fits all cases that users have reported; what Google documents is that collections may mix band types,
and that ``mosaic`` wants a cast then (https://developers.google.com/earth-engine/docs/release-notes).
``local_tests/functions/test_homogeneous_collections.py`` has the cases with their sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.graph_nodes import complete_error
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.types import is_within, type_text
from eechips_local.protocol.request_errors import InvalidError


@dataclass(frozen=True, slots=True)
class ExpectedBands:
    """Names and types of the bands of a collection's first image, which all others must fit.

    Attributes:
        bands: name and type of each band, in order.
    """

    bands: tuple[tuple[str, PixelType], ...]

    @classmethod
    def of(cls, image: Image) -> ExpectedBands:
        """Return the bands of an image."""
        return cls(tuple((band.name, band.type) for band in image.bands))

    def fits_all(self, examples: Iterable[Image] | None) -> bool:
        """Return whether there are examples (None: there are not) and all of them fit."""
        if examples is None:
            return False
        try:
            return all(map(self.check, examples))
        except InvalidError:
            return False

    def check(self, image: Image) -> Image:
        """Return an image that fits: the same band names in the same order, each type within the first image's.

        Raises:
            InvalidError: if it does not, as the service words it:
                github.com/leftfield-geospatial/geedim/issues/16, github.com/gee-community/geemap/issues/1058.
        """
        bands = image.bands
        if len(bands) != len(self.bands):
            raise self._other_bands(image)
        for (name, kind), band in zip(self.bands, bands, strict=True):
            if band.name != name:
                raise self._other_bands(image)
            if band.type is not kind and not is_within(band.type, kind):
                raise _complete(
                    "Expected a homogeneous image collection, but an image with an incompatible band was encountered. "
                    f"Mismatched type for band '{name}':\n"
                    f"Expected type: {type_text(kind)}.\n"
                    f"  Actual type: {type_text(band.type)}.\n"
                    f"     Image ID: {image.id or image.properties.get('system:index', '')}\n"
                    "This band might require an explicit cast."
                )
        return image

    def _other_bands(self, image: Image) -> InvalidError:
        both = [name for name, _ in self.bands], image.band_names
        kinds = [f"{len(names)} bands ([{', '.join(names)}])" for names in both]
        return _complete(
            "Expected a homogeneous image collection, but an image with incompatible bands was encountered: "
            f"First image type: {kinds[0]}. Current image type: {kinds[1]}. Some bands might require explicit casts."
        )


def _complete(message: str) -> InvalidError:
    """Return the error of a pixel: those have no name of a function, neither of a tile nor of ``getInfo``
    (github.com/gee-community/geemap/issues/1058).
    """
    return complete_error(InvalidError(message))
