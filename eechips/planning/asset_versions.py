"""Fetch the versions of assets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import ee

from eechips.planning import planning_requests
from eechips.recipe.asset_version import AssetVersion

_ASSETS = 500  # in one request
_NO_IMAGE = "is not an Image"
"""Part of the message about an asset of another kind, as in "Asset 'USDA/NAIP/DOQQ' is not an Image."."""


def fetch_versions(ids: Iterable[str]) -> dict[str, AssetVersion]:
    """Fetch the versions of assets: one request for 500 images, and one for each asset of another kind.

    Args:
        ids: ids of images, collections or tables.

    Returns:
        Their versions; assets that do not exist, or may not be read, are left out.

    Raises:
        ee.EEException: if a request fails for another reason.
    """
    wanted = list(dict.fromkeys(ids))
    versions = planning_requests.request_each(wanted, _versions, size=_ASSETS, noun="assets")
    return {name: version for name, version in zip(wanted, versions, strict=True) if version is not None}


def _versions(ids: Sequence[str]) -> list[AssetVersion | None]:
    """Return the versions of some assets; in halves if one of them is missing or no image."""
    try:
        numbers = ee.List([ee.Image(name).get("system:version") for name in ids]).getInfo()
    except ee.EEException as error:
        if not planning_requests.is_not_found(error) and _NO_IMAGE not in str(error):
            raise
        if len(ids) == 1:
            return [_updated(ids[0])]
        half = len(ids) // 2
        return [*_versions(ids[:half]), *_versions(ids[half:])]
    return [AssetVersion(version=None if number is None else int(number)) for number in numbers or ()]


def _updated(name: str) -> AssetVersion | None:
    try:
        update_time = ee.data.getAsset(name).get("updateTime")
    except ee.EEException as error:
        if planning_requests.is_not_found(error):
            return None
        raise
    return AssetVersion(updated=None if update_time is None else str(update_time))
