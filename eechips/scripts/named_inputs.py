"""Find the files and folders that a script names in its text, its arguments or the arguments of its calls."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

_MOST_FOLDERS = 1000
"""Maximum folders made in advance below folders that the script names."""

_MOST_TEXT = 250
"""Maximum characters of an argument that may name a file."""


def named_inputs(texts: Iterable[str], source: Path, out: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the texts that name files or folders below a folder by a relative path.

    A file may be named in parts, as by ``os.path.join("data", "fields.geojson")``: a folder, and a file in or below it.

    Args:
        texts: texts of the script, or its arguments.
        out: the run's folder: what is in it below the source is no input, if the script names a folder so, too.

    Returns:
        Files, with all files of a shapefile; and folders, with their subfolders.
    """

    def is_input(path: Path) -> bool:
        return out == source or not path.is_relative_to(out)

    files: dict[str, None] = {}
    folders: dict[str, None] = {}
    names: set[str] = set()
    for text in texts:
        path = PurePath(text)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in text:
            continue
        input_path = source / path
        if not is_input(input_path):
            continue
        if input_path.is_file():
            files.update(dict.fromkeys(with_siblings(input_path, source)))
        elif input_path.is_dir():
            folders.update(dict.fromkeys(name for name in subfolders(input_path, source) if is_input(source / name)))
        elif len(path.parts) == 1:
            names.add(text)
    for folder in folders:
        with os.scandir(source / folder) as entries:
            named = sorted(entry.name for entry in entries if entry.name in names and entry.is_file())
        for name in named:
            files.update(dict.fromkeys(with_siblings(source / folder / name, source)))
    return tuple(files), tuple(folders)


def with_siblings(file: Path, source: Path) -> list[str]:
    """Return a file, and all files of a shapefile, relative to a folder."""
    siblings = file.parent.glob(f"{glob.escape(file.stem)}.*") if file.suffix.lower() == ".shp" else (file,)
    return [sibling.relative_to(source).as_posix() for sibling in siblings]


def subfolders(top: Path, root: Path) -> list[str]:
    """Return a folder and its subfolders, except hidden ones, relative to another folder; at most a thousand."""
    relative_paths: list[str] = []
    for directory, names, _ in os.walk(top):
        names[:] = sorted(name for name in names if not name.startswith("."))
        relative_paths.append(Path(directory).relative_to(root).as_posix())
        if len(relative_paths) >= _MOST_FOLDERS:
            break
    return relative_paths


def named_texts(value: Any) -> Iterator[str]:
    """Yield the paths and short texts in the arguments of a call, some of which name files."""
    if isinstance(value, (str, PurePath)):
        text = str(value)
        if len(text) <= _MOST_TEXT and "\0" not in text:
            yield text
    elif isinstance(value, (tuple, list, set, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from named_texts(item)
