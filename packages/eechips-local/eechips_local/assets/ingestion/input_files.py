"""Find the files to ingest by suffix or pattern, and make asset ids from their names by a template (``{stem}``,
``{folder}``, ``{path}``, ``{date}``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path

from eechips_local.assets.asset_errors import IngestError, UnreadableFileError
from eechips_local.assets.asset_names import join_id
from eechips_local.assets.date_parsing import date_within

RASTER_SUFFIXES = frozenset(
    (".asc", ".bil", ".dem", ".dt2", ".grb", ".grb2", ".grib", ".grib2", ".hdf", ".hgt", ".img", ".jp2", ".nc", ".nc4",
     ".tif", ".tiff", ".vrt")
)  # fmt: skip
VECTOR_SUFFIXES = frozenset(
    (".fgb", ".gdb", ".geojson", ".geojsonl", ".geoparquet", ".gml", ".gpkg", ".kml", ".parquet", ".pq", ".shp")
)
# Folders that are files to GDAL.
_FOLDER_FORMATS = (".zarr", ".gdb")
_FIELD = re.compile(r"\{([^{}]*)\}")
_FAR = re.compile(r"(^|/)(\w{2,}:|vsi\w+)/")
"""A part of URLs, and of GDAL's names of what is in archives and elsewhere."""
_FIELDS = ("stem", "folder", "path", "date")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that is to be ingested.

    Attributes:
        folder: where it lies below the folder that was named, with ``/``; "" right in it, or where none was named.
    """

    path: Path
    folder: str = ""

    @property
    def date(self) -> int:
        """The first date in its name, in milliseconds since 1970.

        Raises:
            IngestError: if there is none.
        """
        return date_within(self.path.stem)


def find_files(paths: Sequence[Path], *, pattern: str | None, recursive: bool) -> list[SourceFile]:
    """Return the files that are named, and those in folders that are named, in order of their paths.

    Args:
        paths: files and folders.
        pattern: pattern of the names of files in folders, like "*.tif"; None takes those that look like rasters or
            vector files by their suffix. Hidden files are left out.
        recursive: whether folders in folders are looked into; symbolic links to folders are not followed.

    Raises:
        UnreadableFileError: if one is missing, or a folder holds no such file.
        IngestError: if nothing is named, or a pattern without a folder.
    """
    if not paths:
        raise IngestError("There is no file to ingest.")
    source_files: list[SourceFile] = []
    folders = [path for path in paths if is_folder(path)]
    if not folders and (pattern is not None or recursive):
        raise IngestError("A pattern, and recursive, are for the files of a folder: name a folder.")
    for path in paths:
        if path in folders:
            source_files += _inside(path, pattern, recursive)
        elif path.exists():
            source_files.append(SourceFile(path))
        else:
            cure = " Files are read from local folders: download or unpack it first." if _FAR.search(str(path)) else ""
            raise UnreadableFileError(f"There is no file {path}.{cure}")
    return source_files


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder of files, and not a format that consists of one."""
    return path.is_dir() and path.suffix.lower() not in _FOLDER_FORMATS


def name_files(
    files: Sequence[SourceFile], asset_id: str, *, several: bool, template: str | None = None
) -> dict[str, SourceFile]:
    """Return ids of the assets that files become: children of ``asset_id``, or a single file that id itself.

    Args:
        files: one or more.
        asset_id: Earth Engine id.
        several: whether even a single one becomes a child, being that of a folder.
        template: names of the children, with the fields ``{stem}`` of the file's name, ``{date}`` in it as
            YYYYMMDD, ``{folder}`` and ``{path}``: the folders above it, joined by "_" and by "/". None for "{stem}".

    Raises:
        IngestError: if the template is not understood, or two files get the same name.
    """
    if len(files) == 1 and not several and template is None:
        return {asset_id: files[0]}
    named: dict[str, SourceFile] = {}
    for file in files:
        child = join_id(asset_id, _fill(template or "{stem}", file))
        if child in named:
            raise IngestError(
                f"{named[child].path} and {file.path} would both become {child}: rename one of them, "
                "or name them by a template like '{folder}_{stem}'."
            )
        named[child] = file
    return named


def _fill(template: str, file: SourceFile) -> str:
    def value(match: re.Match[str]) -> str:
        field = match[1]
        if field == "stem":
            return file.path.stem
        if field == "folder":
            return file.folder.replace("/", "_")
        if field == "path":
            return file.folder
        if field == "date":
            return datetime.fromtimestamp(file.date / 1000, timezone.utc).strftime("%Y%m%d")
        raise IngestError(f"{template!r} has the field {field!r}: a name has {', '.join(_FIELDS)}.")

    # What lies right in the folder has nothing before the first separator.
    return _FIELD.sub(value, template).strip("/")


def _inside(folder: Path, pattern: str | None, recursive: bool) -> list[SourceFile]:
    source_files = []
    for place, below, names in os.walk(folder):
        here = Path(place)
        formats = [name for name in below if not is_folder(here / name)]
        below[:] = [name for name in sorted(below) if recursive and name not in formats and not name.startswith(".")]
        relative = here.relative_to(folder).as_posix()
        for name in sorted([*names, *formats]):
            if not name.startswith(".") and _is_meant(name, pattern):
                source_files.append(SourceFile(here / name, "" if relative == "." else relative))
    if not source_files:
        what = "file that looks like a raster or a vector file" if pattern is None else f"file like {pattern!r}"
        raise UnreadableFileError(f"The folder {folder} holds no {what}.")
    return sorted(source_files, key=lambda file: (file.folder, file.path.name))


def _is_meant(name: str, pattern: str | None) -> bool:
    if pattern is not None:
        return fnmatchcase(name, pattern)
    return Path(name).suffix.lower() in RASTER_SUFFIXES | VECTOR_SUFFIXES
