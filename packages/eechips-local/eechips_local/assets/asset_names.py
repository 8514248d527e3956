"""Check asset ids, names of bands, references and URLs; turn ids into names of files and of the REST API; hide
passwords and queries of URLs in messages.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from eechips_local.assets.asset_errors import InvalidAssetIdError, UnsafeHrefError
from eechips_local.assets.ingestion.host_addresses import is_metadata_host

PUBLIC = "projects/earthengine-public/assets/"
"""Prefix of names of assets in the public catalogue."""
LEGACY = "projects/earthengine-legacy/assets/"
"""Prefix of names of assets in users' folders."""

# Ids that are names already: those of assets in Cloud projects.
_CLOUD = re.compile(r"projects/[^/]+/assets(/|$)")
_PLAIN = re.compile(rb"[A-Za-z0-9_-]")
_PLAIN_ID = re.compile(r"[A-Za-z0-9_/-]*")
_ROOT = re.compile(r"projects/[^/]+/assets(?=/|$)|(?:users|projects)/[^/]+")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LONGEST_FILE_NAME = 255
_SEGMENT = re.compile(r"[A-Za-z0-9_-]{1,100}")
_BAND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def check_id(asset_id: str) -> str:
    """Return the id if it can be one.

    Raises:
        InvalidAssetIdError: if it is empty, absolute or has empty, ``.`` or ``..`` segments, a backslash or
            control characters, or a segment too long for a file name.
    """
    problem = _problem(asset_id)
    if problem:
        raise InvalidAssetIdError(
            f"{asset_id!r} cannot be an asset id: {problem}. Ids look like 'USDA/NAIP/DOQQ/m_3008501_ne_16_1_20110815'."
        )
    return asset_id


def check_new_id(asset_id: str) -> str:
    """Return the id of an asset that a request makes, if Earth Engine would make one of that name.

    Its message is quoted at https://github.com/healthysustainablecities/global-indicators/issues/584. Folders of assets
    that were not made by requests may have other names.

    Raises:
        InvalidAssetIdError: if it would not, or `check_id` refuses it.
    """
    below = asset_id.removeprefix(root_of(asset_id) or "").strip("/")
    if not all(_SEGMENT.fullmatch(segment) for segment in below.split("/") if below):
        raise InvalidAssetIdError(
            f'Name "{asset_id[:300]}" is invalid. Each segment must contain only the following characters: a..z, A..Z,'
            ' 0..9, "_" or "-". Each segment must be at least 1 character long and at most 100 characters long.'
        )
    return check_id(asset_id)


def check_band_ids(names: Iterable[str]) -> None:
    """Check the names of bands that an asset is to have.

    https://github.com/eMapR/LT-GEE/issues/25 quotes the message, of 1999. A digit may begin a name here nevertheless:
    that is the only report, and scripts export what ``toBands`` names, as 0_B4.

    Raises:
        InvalidAssetIdError: for the first that Earth Engine stores in no asset.
    """
    for name in names:
        if not _BAND.fullmatch(name):
            raise InvalidAssetIdError(
                f'Band ID "{name[:300]}" is invalid. Band IDs must start with a..z or A..Z and must contain only the'
                ' following characters: a..z, A..Z, 0..9, "_", or "-". Band IDs must be at most 100 characters long.'
            )


def is_id(asset_id: str) -> bool:
    """Return whether an id could name an asset."""
    return _problem(asset_id) is None


def split_id(asset_id: str) -> tuple[str, str]:
    """Return the id of the parent ("" for the root), and the last segment."""
    parent, _, name = asset_id.rpartition("/")
    return parent, name


def join_id(parent: str, name: str) -> str:
    """Return the id of a child."""
    return f"{parent}/{name}" if parent else name


def ancestors(asset_id: str) -> list[str]:
    """Return ids above an id, from the root ("") down."""
    segments = asset_id.split("/")
    return ["/".join(segments[:count]) for count in range(len(segments))]


def root_of(asset_id: str) -> str | None:
    """Return the top folder of an asset's project or user, to which quotas apply; None for a public asset."""
    match = _ROOT.match(asset_id)
    return match.group() if match else None


def is_root(asset_id: str) -> bool:
    """Return whether an id is the root of a store, or the top folder of a project or user."""
    return asset_id in ("", root_of(asset_id))


def folder_of(asset_id: str) -> str:
    """Return the folder of an asset, relative to the store, with ``/`` between segments; "" for the root.

    Bytes other than letters, digits, ``_`` and ``-`` become ``=`` and two hexadecimal digits, so that no
    segment looks like a document of the store, a hidden file, or a URL escape.
    """
    if _PLAIN_ID.fullmatch(asset_id):
        return asset_id
    return "/".join(_file_name(segment) for segment in asset_id.split("/"))


def asset_id(name: str) -> str:
    """Return the id of an asset's name: public and legacy assets are known without their project."""
    return name.strip("/").removeprefix(PUBLIC).removeprefix(LEGACY)


def asset_name(id: str) -> str:
    """Return the REST name of an asset's id."""
    if _CLOUD.match(id):
        return id
    return (LEGACY if id.startswith(("users/", "projects/")) else PUBLIC) + id


def resolve_href(root: Path, document: str, href: str) -> str:
    """Return the path to which a reference leads.

    Args:
        root: the store's folder.
        document: path of the file that holds the reference, relative to the root.

    Returns:
        The path relative to the root, normalised.

    Raises:
        UnsafeHrefError: if it is remote or absolute, or leads outside the root, also by symbolic links.
    """
    if not href or _SCHEME.match(href) or href.startswith(("/", "\\", "~")) or "\\" in href or "\0" in href:
        raise UnsafeHrefError(f"{document} refers to {href!r}: only relative paths inside the store are followed")
    path = os.path.normpath(os.path.join(os.path.dirname(document), href))  # noqa: PTH118, PTH120 — of text
    real_root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(real_root, path))  # noqa: PTH118
    if path.startswith("..") or os.path.commonpath([real_root, real]) != real_root:
        raise UnsafeHrefError(f"{document} refers to {href!r}, which lies outside the store {root}")
    return path


def is_remote(href: str) -> bool:
    """Return whether a reference leads to a web server."""
    return _WEB.match(href) is not None


def check_url(url: str) -> str:
    """Return the URL of a file on a web server if it can be one.

    Raises:
        UnsafeHrefError: if it names no host, or has a password, blanks, backslashes or control characters, or names a
            metadata service.
    """
    try:
        parts = urlsplit(url)
        good = is_remote(url) and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        good = False
    odd = any(character.isspace() or unicodedata.category(character) in ("Cc", "Cs") for character in url)
    if not good or odd or "\\" in url:
        raise UnsafeHrefError(f"'{shown_url(url)}' is not the URL of a file: http(s)://host/path, without a password")
    if is_metadata_host(parts.hostname or ""):
        raise UnsafeHrefError(f"'{shown_url(url)}' is at an address where no file is: nothing was sent")
    return url


def shown_url(url: str) -> str:
    """Return a URL as messages may show it: without its query, where signatures stand, and without a password.

    What is not printable is escaped: it may control a terminal, or reverse the order of what follows.
    """
    bare = re.sub(r"//[^/]*@", "//…@", re.split(r"[?#]", url, maxsplit=1)[0])
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in bare)


def resolve_source(root: Path, document: str, href: str) -> str:
    """Return the address of a raster: a URL as it is, else a path as ``resolve_href`` gives it.

    Raises:
        UnsafeHrefError: if it is neither a proper URL nor a relative path inside the store.
    """
    return check_url(href) if is_remote(href) else resolve_href(root, document, href)


def _file_name(segment: str) -> str:
    return "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"={byte:02X}" for byte in segment.encode("utf-8"))


def _problem(asset_id: str) -> str | None:
    if not asset_id:
        return "it is empty"
    if "\\" in asset_id:
        return "it has a backslash"
    # Cc: control characters, Cs: lone surrogates, Zl and Zp: line and paragraph separators.
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in asset_id):
        return "it has control characters"
    for segment in asset_id.split("/"):
        if segment in ("", ".", ".."):
            return f"it has the segment {segment!r}"
        if len(_file_name(segment)) > _LONGEST_FILE_NAME:
            return f"the segment {segment[:20]!r}… is too long for a file name"
    return None
