"""Make the letters of captions in previews: DejaVu Sans, which matplotlib has, as grey pixels.

python tools/caption_font.py eechips/manifest/caption_font.json

DejaVu Sans may be used and embedded freely (https://dejavu-fonts.github.io/License.html).
"""

import base64
import json
import sys
import zlib
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font

PIXELS = 12  # of an em
HEIGHT, BASELINE = 16, 12  # of a line
RANGES = ((0x20, 0x7E), (0xA0, 0x17F), (0x370, 0x3FF), (0x400, 0x45F), (0x490, 0x493), (0x4A2, 0x4A3), (0x4AE, 0x4B1))
FURTHER = "–—‘’“”„…·×−≤≥ȘșȚț№"
SOURCE = "DejaVu Sans 2.37 (https://dejavu-fonts.github.io/License.html)"


def main(target: str) -> None:
    """Writes the letters."""
    font = FT2Font(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))
    font.set_size(PIXELS, 72)
    known = font.get_charmap()
    wanted = [chr(code) for first, last in RANGES for code in range(first, last + 1)] + list(FURTHER)
    letters = [letter for letter in wanted if ord(letter) in known] + ["\N{REPLACEMENT CHARACTER}"]
    pictures = [picture(font, letter) for letter in letters]
    pixels = np.hstack(pictures)
    found = {
        "source": SOURCE,
        "height": HEIGHT,
        "letters": "".join(letters),
        "widths": [each.shape[1] for each in pictures],
        "pixels": base64.b64encode(zlib.compress(pixels.tobytes(), 9)).decode(),
    }
    Path(target).write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


def picture(font: FT2Font, letter: str) -> np.ndarray:
    """The ink of a letter, 0 to 255, as wide as it advances."""
    glyph = font.load_char(ord(letter))
    font.set_text(letter, 0.0)
    font.draw_glyphs_to_bitmap(antialiased=True)
    ink = np.asarray(font.get_image())
    width = max(round(glyph.linearHoriAdvance / 65536), 1)
    found = np.zeros((HEIGHT, width), dtype=np.uint8)
    left, _, _, top = glyph.bbox  # in 64ths of a pixel
    x, y = max(left // 64, 0), BASELINE - -(-top // 64)
    for row in range(ink.shape[0]):
        if 0 <= y + row < HEIGHT:
            some = ink[row, : width - x]
            found[y + row, x : x + len(some)] = some
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
