"""Render the preview of a run for a notebook: some of its chips, the head of a table."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from eechips.formats import TABLE_FORMATS, chip_suffixes
from eechips.manifest.pictures.display_styles import DisplayStyle
from eechips.storage.untrusted_files import read_frame
from eechips.text.formatting import escape_html, replace_control_characters

CHIP_COUNT = 12
"""Chips of a preview: the first, the last, and some between them."""
MAX_BYTES = 300_000
"""Of the picture: notebooks are mailed and committed."""

_COLUMNS = 6
_EDGES = (128, 112, 96, 80, 64)  # pixels of a chip: the first that is small enough
_LARGE_EDGE = 512  # pixels of a picture that stands alone
_ROWS = 5  # of a table


def render_preview(summary: str, files: Sequence[Path], styles: Sequence[DisplayStyle]) -> str:
    """Return HTML without scripts, styles or references to anything outside.

    Args:
        summary: HTML that describes the run.
        files: some of its results, which are read.
        styles: styles of the run's datasets.
    """
    parts = [f"<div>{summary}</div>"]
    pictures = [path for path in files if _suffix(path) in chip_suffixes()]
    tables = [path for path in files if _suffix(path) in TABLE_FORMATS]
    if pictures:
        try:
            image = base64.b64encode(contact_sheet(pictures, styles)).decode()
            parts.append(f'<img alt="some of the results" src="data:image/png;base64,{image}">')
        except (OSError, ValueError) as error:  # the file has changed: the rest can still be shown
            parts.append(f"<div>No picture: {escape_html(str(error))}</div>")
    if tables:
        parts += [f"<div><code>{escape_html(tables[0].name)}</code></div>", _head(tables[0])]
    return "\n".join(parts)


def contact_sheet(paths: Sequence[Path], styles: Sequence[DisplayStyle] = ()) -> bytes:
    """Render a PNG of chips side by side; a single chip is larger.

    It has at most ``MAX_BYTES``, as long as chips are not made smaller than 64 pixels.

    Args:
        paths: paths of chips of any format.
        styles: styles of the datasets that they may be of.

    Raises:
        OSError, ValueError: if a file is none of those.
    """
    from eechips.manifest.pictures.chip_pictures import encode_png, render_sheet

    rows = [paths[start : start + _COLUMNS] for start in range(0, len(paths), _COLUMNS)]
    image = b""
    for edge in (_LARGE_EDGE, 384, 256, *_EDGES) if len(paths) == 1 else _EDGES:
        image = encode_png(render_sheet(rows, edge, styles))
        if len(image) <= MAX_BYTES:
            break
    return image


def _head(path: Path) -> str:
    frame = read_frame(path, _suffix(path), rows=_ROWS)
    shown: str = frame.to_html(border=0, max_cols=12, index=False)
    return replace_control_characters(shown)


def _suffix(path: Path) -> str:
    return path.suffix.lstrip(".").lower()
