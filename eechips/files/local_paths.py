"""Check the paths of files and folders of this machine that users name, and locate the cache folder of a user."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import re
import stat
from pathlib import Path

from eechips.errors import UsageError

_log = logging.getLogger(__name__)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""Beginning of a path of Windows: a drive, or a server."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Beginning of a URL."""
_STORE = re.compile(r"[a-z][a-z0-9+.-]+://[^/]")
"""Beginning of the URL of a store, as ``--out`` takes it."""


def local_path(path: str | Path) -> Path:
    """Return the path of a file or folder that a user names.

    ``~`` is the home folder. Libraries take relative paths such as ``a:b`` and ``~x`` for URLs and home folders of
    others: these are made absolute.

    Raises:
        UsageError: if it is empty, an address (also with one slash, as :class:`~pathlib.Path` leaves it), or no
            text that all libraries can open.
    """
    text = expand_home(path)
    if not text:
        raise UsageError("the path is empty: name a file or a folder")
    try:
        if "\0" in text:
            raise UsageError(f"{text!r} is not a path: it has a null character")
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{text!r} is not a path that all libraries can open: it, or this locale, is not UTF-8. Rename it, or set"
            " PYTHONUTF8=1"
        ) from None
    if os.name != "nt" and _WINDOWS.match(text):
        raise UsageError(
            f"{text} is a path of Windows, and this is {platform.system()}: write it with slashes, without a drive, as"
            " in /home/me/out; WSL has drive C: at /mnt/c"
        )
    named_path = Path(text)
    if _ADDRESS.match(text) and not named_path.exists():
        raise UsageError(f"{text!r} is an address, not a file or folder of this machine; {_address_hint(text)}")
    first = named_path.parts[0] if named_path.parts else ""
    return named_path.absolute() if first.startswith("~") or ":" in first else named_path


def is_url(path: str | Path) -> bool:
    """Return whether a text begins as a URL, also with one slash, as :class:`~pathlib.Path` leaves it."""
    return bool(_ADDRESS.match(str(path)))


def _address_hint(text: str) -> str:
    """Return what to write instead of an address, for the end of a message."""
    if text.startswith(("http:/", "https:/")):
        return "download it first"
    if _STORE.match(text):
        return (
            "copy it; a run with results there is named by the folder of its ledger, such as outputs/s3-bucket-folder"
        )
    return "a store is s3://bucket/folder"


def expand_home(path: str | Path) -> str:
    """Return a path with the home folder in the place of ``~``; of an unknown user, it stays as it is."""
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib raises for an unknown user


def is_file(path: Path) -> bool:
    """Return whether a path is that of a regular file; False for a text that is too long for one."""
    return os.path.isfile(path)  # noqa: PTH113 - pathlib raises for a text that is too long


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone, whatever the umask is.

    What lies in a cache is private, and is believed when it is read: https://specifications.freedesktop.org/basedir-spec.

    Raises:
        OSError: if it cannot be made.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


CACHE_VARIABLE = "EECHIPS_CACHE"


def cache_folder() -> Path | None:
    """Return the user's cache folder of eechips, which need not exist; None for a user without a home.

    ``EECHIPS_CACHE``, else ``eechips`` in ``XDG_CACHE_HOME`` or
    ``~/.cache`` (https://specifications.freedesktop.org/basedir-spec: relative paths do not count).

    Raises:
        UsageError: if ``EECHIPS_CACHE`` names no folder of this machine.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        try:
            folder = local_path(named)
        except UsageError as error:
            raise UsageError(f"{CACHE_VARIABLE}: {error}") from None
        _check_private(folder)
        return folder
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:  # a container may run as a user without an entry in passwd
            return None
    _check_private(base / "eechips")
    return base / "eechips"


@functools.cache  # once in a process
def _check_private(folder: Path) -> None:
    """Warn of a folder in which others may replace files; in one such as /tmp they may not."""
    with contextlib.suppress(OSError):  # it is not there, or cannot be used
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            _log.warning("every user may replace the files in %s, which eechips trusts: chmod o-w it", folder)
