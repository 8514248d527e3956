"""Write animated GIFs (https://www.w3.org/Graphics/GIF/spec-gif89a.txt): at most 256 colours in each frame."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eechips.emulator.errors import InvalidError

if TYPE_CHECKING:
    from PIL.Image import Image

# The last colour of each palette is that of pixels that are masked.
_COLOURS = 255

Frame = npt.NDArray[np.uint8]
"""Red, green, blue and opacity: shape (height, width, 4)."""


def write(frames: Sequence[Frame], frames_per_second: float) -> bytes:
    """Return an animation that repeats endlessly.

    A frame of up to 255 colours keeps them; of more, as many are chosen as suit it (median cut). Frames that are the
    same as the one before last longer instead.

    Args:
        frames: of one size.
        frames_per_second: is kept to a hundredth of a second for each frame.

    Raises:
        InvalidError: if Pillow is not there.
    """
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError as error:
        raise InvalidError("Animations need Pillow where the local Earth Engine runs: pip install pillow") from error
    first, *rest = (_paletted(frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(
        buffer, "GIF", save_all=True, append_images=rest, duration=round(1000.0 / frames_per_second), loop=0,
        disposal=2, transparency=_COLOURS, optimize=False,
    )  # fmt: skip
    return buffer.getvalue()


def _paletted(frame: Frame) -> Image:
    from PIL import Image

    height, width = frame.shape[:2]
    colours, places = np.unique(frame[..., :3].reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) <= _COLOURS:
        indices = places.reshape(height, width).astype(np.uint8)
    else:
        chosen = Image.fromarray(np.ascontiguousarray(frame[..., :3])).quantize(
            _COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        colours = np.array(chosen.getpalette(), dtype=np.uint8).reshape(-1, 3)[:_COLOURS]
        indices = np.array(chosen)
    indices[frame[..., 3] < 128] = _COLOURS
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(colours)] = colours
    image = Image.frombytes("P", (width, height), indices.tobytes())
    image.putpalette(palette.tobytes())
    return image
