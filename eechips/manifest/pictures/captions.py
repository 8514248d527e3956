"""Draw the captions of contact sheets and cards, cut with an ellipsis where they are wider than their pictures.

The letters are DejaVu Sans (https://dejavu-fonts.github.io/License.html); ``tools/caption_font.py`` writes
caption_font.json. It has Latin, Greek and Cyrillic letters; others are drawn as a replacement character.
"""

from __future__ import annotations

import base64
import json
import unicodedata
import zlib
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

_ELLIPSIS, _UNKNOWN = "…", "\N{REPLACEMENT CHARACTER}"


def draw_caption(text: str, width: int) -> npt.NDArray[np.uint8]:
    """Draw a text as dark letters on white, cut with an ellipsis if it is too long.

    Args:
        width: width of the picture, in pixels.

    Returns:
        Grey values, (rows, ``width``).
    """
    letters = _letters()
    line = "".join(letter if letter in letters else _UNKNOWN for letter in unicodedata.normalize("NFC", text))
    if _width(line) > width:
        while line and _width(line) + _width(_ELLIPSIS) > width:
            line = line[:-1]
        line += _ELLIPSIS
    ink = np.zeros((len(letters[_ELLIPSIS]), width), dtype=np.uint8)
    x = 0
    for letter in line:
        pixels = letters[letter][:, : width - x]
        ink[:, x : x + pixels.shape[1]] = pixels
        x += pixels.shape[1]
    return 255 - ink


def _width(line: str) -> int:
    return sum(_letters()[letter].shape[1] for letter in line)


@cache
def _letters() -> dict[str, npt.NDArray[np.uint8]]:
    """Return the ink of each letter, 0 to 255: (rows, columns)."""
    font = json.loads((files("eechips.manifest") / "caption_font.json").read_text(encoding="utf-8"))
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(font["pixels"])), dtype=np.uint8)
    ends = np.cumsum(font["widths"])
    pictures = np.split(pixels.reshape(font["height"], -1), ends[:-1], axis=1)
    return dict(zip(font["letters"], pictures, strict=True))
