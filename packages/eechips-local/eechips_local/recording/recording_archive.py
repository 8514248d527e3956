"""Pack a recording into one file, and unpack one that others have made.

A name in an archive is that of a file of a recording, or the archive is not unpacked: no name leads out of the folder.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eechips_local.assets.store_files import commit, private_folder, workspace
from eechips_local.recording.recording_folder import RecordingError

_NAME = re.compile(r"recording\.json|results\.json|[A-Za-z][A-Za-z-]{0,60}/[0-9a-f]{64}\.[a-z0-9]{1,8}")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that ZIP has; the same recording is the same file
_MOST_FILES = 100_000
_MOST_BYTES = 1 << 30  # of all files of an archive from others
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may take gigabytes to unpack

DAMAGES: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError)
"""Errors of reading a damaged archive; RuntimeError is that of an encrypted one."""
with suppress(ImportError):  # some builds of Python have no lzma
    import lzma

    DAMAGES += (lzma.LZMAError,)


def list_recording(folder: Path) -> list[str]:
    """Return the names of the files of a recording, relative to its folder and sorted; others are left out."""
    file_names = []
    for parent, _, names in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        file_names += [(relative / name).as_posix() for name in names]
    return sorted(name for name in file_names if _NAME.fullmatch(name) and not (folder / name).is_symlink())


def pack_recording(folder: Path, target: Path) -> int:
    """Write a recording into a ZIP archive, which appears whole; return its bytes.

    Args:
        target: the archive, which is replaced.

    Raises:
        AssetWriteError: if it cannot be written.
    """
    with workspace(target.parent) as place:
        packed = place / target.name
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name in list_recording(folder):
                information = zipfile.ZipInfo(name, _EPOCH)
                information.compress_type = zipfile.ZIP_DEFLATED
                information.external_attr = 0o644 << 16
                archive.writestr(information, (folder / name).read_bytes())
        commit(packed, target)
    return target.stat().st_size


class _Unpacked:
    """An archive that is unpacked; its folder is removed with it."""


@contextmanager
def unpacked_recording(path: Path) -> Iterator[Path]:
    """Give the folder of a recording for the duration of the block: that of an archive is temporary.

    Args:
        path: a folder, which is given as it is, or an archive.

    Raises:
        RecordingError: if the archive is not that of a recording, or too large.
    """
    if path.is_dir():
        yield path
        return
    unpacked = _Unpacked()
    folder = private_folder(unpacked)
    try:
        _unpack(path, folder)
    except DAMAGES as error:
        raise RecordingError(f"{path} is not the archive of a recording: {error}.") from error
    yield folder
    del unpacked


def _unpack(path: Path, folder: Path) -> None:
    """Write the files of an archive; see :func:`unpacked_recording` for errors."""
    left = _MOST_BYTES
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MOST_FILES:
            raise RecordingError(f"{path} has more than {_MOST_FILES:,} files: it is not unpacked.")
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if not _NAME.fullmatch(member.filename) or kind not in (0, stat.S_IFREG):
                raise RecordingError(f"{path} has a file that no recording has ({member.filename[:80]!r}).")
            if member.compress_type not in _COMPRESSIONS:
                raise RecordingError(f"{path} has {member.filename} in a compression other than deflate.")
            with archive.open(member) as file:
                content = file.read(left + 1)
            left -= len(content)
            if left < 0:
                raise RecordingError(f"{path} has more than {_MOST_BYTES >> 20} MiB: it is not unpacked.")
            target = folder / member.filename
            target.parent.mkdir(exist_ok=True)
            with target.open("xb") as copy:
                copy.write(content)
