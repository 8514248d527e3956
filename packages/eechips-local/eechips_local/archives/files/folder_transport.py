"""Read ranges of the files beside a static catalogue, as an HTTP server would give them; refuse rasters with a decisive
.msk or .aux.xml file.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from eechips_local.archives.archive_errors import ArchiveError, ArchiveRefusedError
from eechips_local.archives.files.file_ranges import RangeTransport
from eechips_local.archives.hosts.host_throttle import HostCounts, sum_counts
from eechips_local.archives.items.file_items import resolve_path
from eechips_local.pixels.file_source import open_file
from eechips_local.warning_filters import ignore

_TRANSIENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT})
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class FolderTransport:
    """Reads files below a folder; everything else is sent on. Threads may share it; it pickles.

    Args:
        file: file of the static catalogue, below whose folder files may be read.
        others: sends requests for addresses.
    """

    def __init__(self, file: Path, others: RangeTransport) -> None:
        self._file, self._others = file, others

    def counts(self) -> Mapping[str, HostCounts]:
        """Return what was sent for addresses."""
        return {"": sum_counts((self._others,))}

    def open(self, url: str, headers: Mapping[str, str], connect: float, silence: float) -> Any:
        """Return a range of a file, or what its host answers; see ``RangeTransport``.

        Raises:
            ArchiveRefusedError: if there is no such file, or it does not lie below the folder.
            ArchiveError: if the file cannot be read now, or the host wants no request now.
        """
        if not url.startswith(("/", "file:")):
            return self._others.open(url, headers, connect, silence)
        path = resolve_path(self._file.parent, url, self._file)
        asked = _RANGE.fullmatch(headers.get("Range", ""))
        if asked is None:
            raise ArchiveRefusedError(f"{path} is read by ranges only.")
        try:
            if not path.is_file():
                raise ArchiveRefusedError(f"{path} cannot be read: there is no such file beside {self._file.name}.")
            if asked[1] == "0":
                _check_beside(path)
            with path.open("rb") as file:
                status = path.stat()
                version = f'"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"'
                start, last = int(asked[1]), min(int(asked[2]), status.st_size - 1)
                if start > last:
                    return FileResponse(416, {}, b"")
                file.seek(start)
                content = file.read(last - start + 1)
        except OSError as error:
            kind = ArchiveError if error.errno in _TRANSIENT else ArchiveRefusedError
            raise kind(f"{path} cannot be read: {error.strerror}.") from error
        span = f"bytes {start}-{last}/{status.st_size}"
        return FileResponse(206, {"Content-Range": span, "Content-Length": str(len(content)), "ETag": version}, content)


def _check_beside(path: Path) -> None:
    """Refuse a raster that GDAL reads with a file beside it, which is not read here.

    Raises:
        ArchiveRefusedError: if there is a mask, or what says where the raster is or which values are no data.
    """
    masks = [path.with_name(f"{path.name}{suffix}") for suffix in (".msk", ".MSK")]
    about = path.with_name(f"{path.name}.aux.xml")
    try:
        decisive = next((mask for mask in masks if mask.is_file()), None)  # not opened: it may list other files
        if decisive is None and about.is_file():
            is_same = _seen_by_gdal(path, beside=True) == _seen_by_gdal(path, beside=False)
            decisive = None if is_same else about
    except RasterioError as error:
        raise ArchiveRefusedError(f"{path} cannot be read beside {about.name}: {error}") from error
    if decisive is not None:
        raise ArchiveRefusedError(
            f"{path} has a mask, grid or nodata values in {decisive.name}, which is not read: "
            "copy it with gdal_translate -of COG, which puts them into one file."
        )


def _seen_by_gdal(path: Path, *, beside: bool) -> str:
    """Return what decides places and masks of a TIFF's pixels, with or without its ``.aux.xml``."""
    ignore(NotGeoreferencedWarning)
    with rasterio.Env(GDAL_PAM_ENABLED=beside), open_file(str(path)) as dataset:
        points = [(point.row, point.col, point.x, point.y, point.z) for point in dataset.gcps[0]]
        return repr((dataset.transform, dataset.crs, points, dataset.nodatavals, dataset.mask_flag_enums))


class FileResponse:
    """A part of a file as a response of urllib3.

    Attributes:
        status: status of HTTP.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers = status, headers
        self._body = memoryview(body)

    def read(self, amount: int | None = None) -> bytes:
        """Return the next bytes."""
        chunk, self._body = self._body[:amount], self._body[len(self._body) if amount is None else amount :]
        return bytes(chunk)

    def release_conn(self) -> None:
        """Do nothing: the file is closed."""

    close = release_conn
