"""Show a run in a notebook: its status, some of its chips, the head of a table."""

from __future__ import annotations

import base64
import contextlib
import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eechips.formats import chip_suffixes
from eechips.manifest.display_styles import DisplayStyle, display_styles
from eechips.received_files import read_frame
from eechips.removal import temporary_folder
from eechips.text import format_bytes

if TYPE_CHECKING:
    from eechips.manifest.run import Run

CHIP_COUNT = 12
"""Chips that are shown: the first, the last, and some between them."""
MAX_BYTES = 300_000
"""Of the picture: notebooks are mailed and committed."""

_COLUMNS = 6
_EDGES = (128, 112, 96, 80, 64)  # pixels of a chip: the first that is small enough
_LARGE_EDGE = 512  # pixels of a picture that stands alone
_ROWS = 5  # of a table
_TABLES = frozenset({"csv", "parquet"})


def preview(run: Run) -> str:
    """Return HTML without scripts, styles or references to anything outside.

    Reads a dozen files at most, whatever the run's size.
    """

    if not run.counts:
        return f"<div>{html.escape(repr(run))}</div>"
    parts = [f"<div>{_summary(run)}</div>"]
    with _files(run) as files:
        pictures = [path for path in files if _suffix(path) in chip_suffixes()]
        tables = [path for path in files if _suffix(path) in _TABLES]
        if pictures:
            try:
                image = base64.b64encode(contact_sheet(pictures, display_styles(run.info))).decode()
                parts.append(f'<img alt="some of the results" src="data:image/png;base64,{image}">')
            except (OSError, ValueError) as error:  # the file has changed: the rest can still be shown
                parts.append(f"<div>No picture: {html.escape(str(error))}</div>")
        if tables:
            parts += [f"<div><code>{html.escape(tables[0].name)}</code></div>", _head(tables[0])]
    return "\n".join(parts)


@contextlib.contextmanager
def _files(run: Run) -> Iterator[list[Path]]:
    """Open assembled files, or some results; those in an object store are copied."""
    made = run.assembled
    if made or run.address is None:
        yield [path for path in made or run.sample_files(CHIP_COUNT) if path.is_file()]
        return
    store = run.store
    with temporary_folder() as folder:
        copies = []
        for number, path in enumerate(run.sample_files(CHIP_COUNT)):
            copy = Path(folder) / f"{number}-{path.name}"
            with contextlib.suppress(FileNotFoundError):
                copy.write_bytes(store.read(path.relative_to(run.path).as_posix()))
                copies.append(copy)
        yield copies


def contact_sheet(paths: Sequence[Path], styles: Sequence[DisplayStyle] = ()) -> bytes:
    """Render a PNG of chips side by side; a single chip is larger.

    It has at most ``MAX_BYTES``, as long as chips are not made smaller than 64 pixels.

    Args:
        paths: of chips of any format.
        styles: of the datasets that they may be of.

    Raises:
        OSError, ValueError: if a file is none of those.
    """
    from eechips.manifest.chip_pictures import encode_png, render_sheet

    rows = [paths[start : start + _COLUMNS] for start in range(0, len(paths), _COLUMNS)]
    image = b""
    for edge in (_LARGE_EDGE, 384, 256, *_EDGES) if len(paths) == 1 else _EDGES:
        image = encode_png(render_sheet(rows, edge, styles))
        if len(image) <= MAX_BYTES:
            break
    return image


def _summary(run: Run) -> str:
    status = run.status(intervals=1)
    counts = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in status.counts.items())
    text = f"<b>{html.escape(run.info.get('recipe') or 'run')}</b>: {counts or 'not planned yet'}"
    text += f"; {format_bytes(status.bytes)} in <code>{html.escape(run.address or str(run.path))}</code>"
    if run.interrupted:
        text += "; interrupted: run the cell again to resume"
    elif status.failures:
        text += "; what failed: <code>.failures</code>"
    notes = [html.escape(note) for note in run.info.get("notes") or ()]
    return "<br>".join([text, *notes])


def _head(path: Path) -> str:
    frame = read_frame(path, _suffix(path), rows=_ROWS)
    shown: str = frame.to_html(border=0, max_cols=12, index=False)
    return shown


def _suffix(path: Path) -> str:
    return path.suffix.lstrip(".").lower()


__all__ = ["CHIP_COUNT", "MAX_BYTES", "contact_sheet", "preview"]
