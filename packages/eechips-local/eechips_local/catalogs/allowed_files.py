"""Decide which files an item of a catalogue may refer to (``--catalog-files``, ``--allow-remote``), and complete
relative references.

Items may come from lists by strangers, and any client of the server may request any of them. So a file of
this machine is read only if it lies, symbolic links followed, below the folder that the catalogue's is in, as do the
chips of a run whose catalogue this is, or below folders that the owner names; and files elsewhere only if that is
allowed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from eechips_local.assets.asset_errors import UnsafeHrefError
from eechips_local.assets.asset_names import check_url, is_remote, shown_url
from eechips_local.assets.ingestion.remote_rasters import gdal_name, is_stored
from eechips_local.protocol.request_errors import InvalidError

Links = Callable[[], Sequence[Mapping[str, Any]]]
"""Gives the links of an item."""


class AllowedFiles:
    """Files that items may refer to.

    Args:
        root: the catalogue's folder.
        folders: further ones whose files may be read.
        remote: whether files on web servers and in object stores may be.
    """

    def __init__(self, root: Path, folders: Sequence[Path], remote: bool) -> None:
        self._roots = tuple(dict.fromkeys(os.path.realpath(folder) for folder in (root.absolute().parent, *folders)))
        self._remote = remote

    def find(self, asset_id: str, href: str, links: Links) -> str:
        """Return GDAL's name of the file that an item refers to.

        Args:
            asset_id: id of the image, for messages.
            href: a URL, a path, or one relative to where the item came from.
            links: links of the item: ``self`` is where it came from.

        Raises:
            InvalidError: if it may not be read, or its location is unknown.
        """
        if "\0" in href or not href:
            raise InvalidError(f"Image asset '{asset_id}' refers to {href!r}, which is no file.")
        if not is_remote(href) and not is_stored(href):
            href = self._absolute(asset_id, href, links)
        if is_remote(href) or is_stored(href):
            return self._elsewhere(asset_id, href)
        return self._here(asset_id, href)

    def _absolute(self, asset_id: str, href: str, links: Links) -> str:
        if href.lower().startswith("file://"):
            return url2pathname(urlsplit(href).path)
        if len(urlsplit(href).scheme) > 1 or href.startswith("/vsi"):
            raise InvalidError(
                f"Image asset '{asset_id}' refers to {shown_url(href)}: what is read are files, and http(s)://, "
                "s3://, gs:// and az:// addresses."
            )
        if href.startswith("/"):
            return href
        own = next((str(link["href"]) for link in links() if link.get("rel") == "self" and link.get("href")), "")
        if is_remote(own):
            return urljoin(own, href)
        if is_stored(own):
            return f"{own.rpartition('/')[0]}/{href.removeprefix('./')}"
        if own.startswith("/"):
            return os.path.join(os.path.dirname(own), href)  # noqa: PTH118, PTH120 — of text
        raise InvalidError(
            f"Image asset '{asset_id}' refers to {href!r}, and its item does not say where it came from: "
            "a link 'self' with an absolute address would."
        )

    def _elsewhere(self, asset_id: str, href: str) -> str:
        if not self._remote:
            raise InvalidError(
                f"Image asset '{asset_id}' refers to {shown_url(href)}, and this server reads no remote files: "
                "start eechips-local serve with --allow-remote."
            )
        try:
            return gdal_name(href if is_stored(href) else check_url(href))
        except UnsafeHrefError as error:
            raise InvalidError(f"Image asset '{asset_id}': {error}.") from error

    def _here(self, asset_id: str, href: str) -> str:
        real = os.path.realpath(href if os.path.exists(href) else unquote(href))  # noqa: PTH110 — of text
        if not any(os.path.commonpath([real, root]) == root for root in self._roots):
            raise InvalidError(
                f"Image asset '{asset_id}' refers to {href}, and this server reads files below "
                f"{' and '.join(self._roots)}: start it with --catalog-files and the folder of the file."
            )
        return real
