"""Paths of pictures that notebooks display."""

from __future__ import annotations

import base64
from pathlib import Path


class PictureFile(type(Path())):  # type: ignore[misc]  # Path itself cannot be a base before Python 3.12
    """The path of a PNG or JPEG file; a notebook displays the picture instead of the path."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the picture, as base64, by its media type; nothing if the file is missing or no picture."""
        kind = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}.get(self.suffix.lower())
        return {kind: base64.b64encode(self.read_bytes()).decode()} if kind is not None and self.is_file() else {}
