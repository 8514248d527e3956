"""Serve the demo planet as a store of assets: the list of all its datasets by id, and old ids that still work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Any, Protocol, cast

from eechips_local.demo import mixed_images, synthetic_label
from eechips_local.demo.borders import boundary_tables, ecoregions
from eechips_local.demo.demo_tables import DemoTable
from eechips_local.demo.land import copernicus_dem, elevation, surface_water, us_landcover, worldcover
from eechips_local.demo.land.embedding import Embeddings
from eechips_local.demo.satellites import (
    hls,
    landsat,
    landsat_level1,
    landsat_tm,
    modis,
    modis_landcover,
    night_lights,
    sentinel1,
    sentinel2,
    vegetation,
)
from eechips_local.demo.satellites.naip import Naip
from eechips_local.demo.weather import chirps, era5
from eechips_local.demo.weather.cloud_regime import CloudRegime
from eechips_local.evaluation.asset_model import Asset, CollectionAsset, FolderAsset, ImageAsset, Query, child_ids


class DemoCollection(CollectionAsset, Protocol):
    """A collection that finds an image by its index at once."""

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""
        ...


DemoAsset = DemoCollection | DemoTable | ImageAsset

_OTHER_IDS = {"srtm90_v4": "CGIAR/SRTM90_V4"}
"""Old ids without a folder, which Earth Engine still accepts and images keep, and the present id of each."""


@cache
def catalogue(until: date, regime: CloudRegime = "climate") -> Mapping[str, DemoAsset]:
    """Return everything on the demo planet by its Earth Engine id, in the order of ids.

    Args:
        until: the first day without an image.
        regime: the sky over scenes of Sentinel-2 and Landsat.
    """
    assets: list[DemoAsset] = [
        Naip(until),
        *modis.collections(until),
        *vegetation.collections(until),
        *sentinel1.collections(until),
        *sentinel2.collections(until, regime),
        *landsat.collections(until, regime),
        *landsat_level1.collections(until, regime),
        *landsat_tm.collections(until, regime),
        *hls.collections(until, regime),
        *us_landcover.collections(until),
        *elevation.images(),
        *worldcover.collections(),
        Embeddings(until),
        chirps.collection(until),
        night_lights.collection(until),
        *modis_landcover.collections(until),
        *copernicus_dem.collections(),
        surface_water.image(),
        era5.collection(until),
        mixed_images.MixedImages(),
        ecoregions.table(),
        *boundary_tables.gaul_tables(),
    ]
    return {asset.id: asset for asset in sorted(assets, key=lambda asset: asset.id)}


@dataclass(frozen=True, slots=True)
class DemoStore:
    """An ``AssetStore`` that holds the demo planet.

    It has no state: stores are cheap to make and to pickle.

    Attributes:
        until: the first day without an image.
        regime: the sky over scenes of Sentinel-2 and Landsat.
    """

    until: date
    regime: CloudRegime = "climate"

    def get(self, asset_id: str) -> Asset | None:
        """See ``AssetStore.get``."""
        known = catalogue(self.until, self.regime)
        if asset_id in known:
            return cast("Asset", known[asset_id])
        if (other := _OTHER_IDS.get(asset_id)) is not None:
            return replace(cast("ImageAsset", known[other]), id=asset_id)
        parent, _, index = asset_id.rpartition("/")
        if parent in known:
            collection = known[parent]
            if not isinstance(collection, DemoTable | ImageAsset):
                return collection.image(index)
        if any(name.startswith(f"{asset_id}/") for name in known):
            return FolderAsset(asset_id, synthetic_label.marked({}))
        return None

    def children(self, parent: str) -> Iterable[str]:
        """See ``AssetStore.children``; the images of a collection are made one by one."""
        known = catalogue(self.until, self.regime)
        if parent in known:
            collection = known[parent]
            if not isinstance(collection, DemoTable | ImageAsset):
                yield from (image.id for image in collection.images(Query()))
            return
        yield from child_ids(parent, known)

    def ids(self) -> frozenset[str]:
        """Return the ids of all datasets."""
        return frozenset(catalogue(self.until, self.regime))

    def describe(self) -> Mapping[str, Any]:
        """See ``AssetStore.describe``."""
        return {
            "kind": "demo planet",
            "synthetic": True,
            "description": synthetic_label.NOTE,
            "version": synthetic_label.VERSION,
            "clouds": self.regime,
            "assets": list(catalogue(self.until, self.regime)),
        }
