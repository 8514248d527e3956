"""Complete the addresses of items' assets, which may be relative to their item."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.assets.asset_names import is_remote

_MOST_ASSETS = 2_000  # of an item; items of known archives have fewer than 100
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # RFC 3986, 3.1


def with_remote_addresses(item: Mapping[str, Any], page: str) -> dict[str, Any]:
    """Return an item of an API whose assets have whole addresses.

    They are relative to the item's link to itself or, where it has none, to the page that it is on.

    Args:
        page: address of that page.

    Raises:
        ArchiveRefusedError: if it has too many assets.
    """
    links = item.get("links")
    own = [link["href"] for link in links if _is_own(link)] if isinstance(links, list) else []
    base = _join(page, own[0]) if own else page
    return _with_hrefs(item, lambda href: _join(base if is_remote(base) else page, href))


def with_paths(item: Mapping[str, Any], document: Path) -> dict[str, Any]:
    """Return an item of a file whose assets have whole addresses, or absolute paths.

    Raises:
        ArchiveRefusedError: if it has too many assets.
    """
    folder, assets = document.absolute().parent, item.get("assets")
    own = {name: asset for name, asset in assets.items() if _has_href(asset)} if isinstance(assets, dict) else {}
    return _with_hrefs(
        {**item, "assets": own},
        lambda href: href if _SCHEME.match(href) else os.path.normpath(place_beside(folder, href)),
    )


def place_beside(folder: Path, href: str) -> Path:
    """Return the file to which a reference without a scheme leads: as it is written or, if there is none, decoded.

    References are URIs, where a blank is %20; many catalogues have paths instead.
    """
    written = folder / href
    if "%" not in href or os.path.lexists(written):
        return written
    return folder / unquote(href)


def _with_hrefs(item: Mapping[str, Any], complete: Callable[[str], str]) -> dict[str, Any]:
    assets = item.get("assets")
    if not isinstance(assets, dict):
        return dict(item)
    if len(assets) > _MOST_ASSETS:
        raise ArchiveRefusedError(f"Item {str(item.get('id'))[:200]!r} has {len(assets):,} assets: it is not used.")
    return {**item, "assets": {name: _with_href(asset, complete) for name, asset in assets.items()}}


def _with_href(asset: Any, complete: Callable[[str], str]) -> Any:
    """Return an asset with whole addresses, in which blanks are encoded as GDAL and requests do."""
    if not _has_href(asset):
        return asset
    href = complete(asset["href"])
    whole = {**asset, "href": href.replace(" ", "%20") if is_remote(href) else href}
    others = asset.get("alternate")
    if isinstance(others, dict):
        whole["alternate"] = {name: _with_href(other, complete) for name, other in others.items() if _has_href(other)}
    return whole


def _is_own(link: Any) -> bool:
    return _has_href(link) and link.get("rel") == "self"


def _has_href(asset: Any) -> bool:
    return isinstance(asset, dict) and isinstance(asset.get("href"), str)


def _join(base: str, href: str) -> str:
    """Return a whole address; the reference itself if it is empty, has a scheme or leads to no address."""
    if not href or _SCHEME.match(href):
        return href
    try:
        return urljoin(base, href)
    except ValueError:  # such as //[
        return href
