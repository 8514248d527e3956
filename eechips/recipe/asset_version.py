"""Define the version of an asset."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True, slots=True)
class AssetVersion:
    """The version of an asset, as Earth Engine or an open archive reports it.

    Attributes:
        version: ``system:version`` of an image, which is another once the image was replaced: microseconds since 1970,
            of its last change. None for other assets.
        updated: ``updateTime`` of another asset, ISO 8601. Of a collection it does not say which images have changed.
        etags: ETags of an image of an open archive, SHA-256 of the addresses and ETags of its files, hexadecimal.
    """

    version: int | None = None
    updated: str | None = None
    etags: str | None = None

    def is_later(self, moment: dt.datetime) -> bool:
        """Return whether an image has changed after a time; False if its version is no time."""
        try:
            return self.version is not None and _EPOCH + dt.timedelta(microseconds=self.version) > moment
        except OverflowError:
            return False
