"""GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL: 64 numbers for each pixel and year that describe its land.

No model is behind them. Land cover, crops, relief and climate of a year are features of a pixel; a fixed rotation
carries them into 64 dimensions, and their length is made one. The cosine between two embeddings is that between the
features, so similar land has similar embeddings. Bands, tiles, dates and properties:
https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_SATELLITE_EMBEDDING_V1_ANNUAL
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import ImageSearch, is_in_time
from eechips_local.demo.land import crop_calendar, embedding_tiles, ground_cover, landcover
from eechips_local.demo.land.embedding_tiles import EmbeddingTile
from eechips_local.demo.land.farmland import Field32
from eechips_local.demo.land.ground_layers import Ground
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.derived_source import DerivedSource
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import AsPainted, Integers, PaintedSource
from eechips_local.demo.painting.upsampling import Upsampler
from eechips_local.demo.weather import climate
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query

ID = "GOOGLE/SATELLITE_EMBEDDING/V1/ANNUAL"
SIZE = 64
BANDS = tuple(f"A{n:02d}" for n in range(SIZE))
FIRST_YEAR = 2017
_KINDS = (
    crop_calendar.CORN,
    crop_calendar.COTTON,
    crop_calendar.SORGHUM,
    crop_calendar.SOYBEANS,
    crop_calendar.WINTER_WHEAT,
    crop_calendar.ALFALFA,
    crop_calendar.HAY,
    crop_calendar.FALLOW,
)
_CHARACTERS = ("green", "wet", "red", "bright", "needle", "shrub")
FEATURES = (
    *landcover.CLASSES,
    "conifer",
    "broadleaf",
    "houses",
    "open green",
    "crop green",
    *(f"crop {kind}" for kind in _KINDS),
    "height",
    "slope",
    "east",
    "south",
    "growth",
    "warmth",
    *_CHARACTERS,
    "spell",
)
"""What a pixel is described by."""

_SHELF = -12_000.0
"""Units out at sea up to which there are embeddings."""

_PIXELS = 4096
"""Pixels that are rotated at a time: they fit into the processor's cache."""

_NAME = re.compile(r"(\d{4})_(\d{2}[NS]_\d{2}_\d{3})")


@dataclass(frozen=True, slots=True)
class LandFeatures(AsPainted):
    """Scene of a year: ``FEATURES`` of the land."""

    year: int

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        ground = ground_cover.ground(rect, date(self.year, 7, 15))
        up = Upsampler(rect, ground.terrain.rect)
        known: dict[str, npt.NDArray[Any]] = {
            **self._cover(ground),
            **self._crops(ground),
            **{name: up(values) for name, values in self._land(ground).items()},
        }
        values = np.stack([np.broadcast_to(known[FEATURES[band]], (rect.height, rect.width)) for band in bands])
        inland = up(ground.terrain.character("coast")) > np.float32(_SHELF)
        return values, np.broadcast_to(inland, values.shape)

    def _cover(self, ground: Ground) -> dict[str, npt.NDArray[Any]]:
        parts = landcover.shares(ground)
        none = np.zeros((1, 1), dtype=np.float32)
        result = {name: landcover.fraction(parts, name) for name in landcover.CLASSES}
        for name in ("conifer", "broadleaf"):
            result[name] = ground.layers[name].share * np.float32(0.5) if name in ground.layers else none
        result["houses"] = none if ground.houses is None else ground.houses * np.float32(0.5)
        result["open green"] = ground.open_green * landcover.fraction(parts, "grass") * np.float32(0.5)
        return result

    def _crops(self, ground: Ground) -> dict[str, npt.NDArray[Any]]:
        """Return the greenness of crops in July, and the share of each kind of crop."""
        layer = ground.layers.get("crop")
        none = np.zeros((1, 1), dtype=np.float32)
        result = {"crop green": none, **{f"crop {kind}": none for kind in _KINDS}}
        if layer is None:
            return result
        if layer.mix is not None:
            result["crop green"] = layer.share * layer.mix * np.float32(0.5)
        share: Field32 = layer.share * np.float32(0.7)
        blocks = ground.blocks
        if blocks is None:
            result[f"crop {crop_calendar.CORN}"] = share
            return result
        kinds = blocks.spread(crop_calendar.codes(blocks, self.year))
        for kind in _KINDS:
            result[f"crop {kind}"] = share * (kinds == np.float32(kind))
        return result

    def _land(self, ground: Ground) -> dict[str, npt.NDArray[Any]]:
        """Return relief and climate, by node."""
        land, shape = ground.terrain, ground.terrain.height.shape
        north = climate.latitude(land.rect)
        summer, winter = (climate.growth(north, date(self.year, month, 15)) for month in (7, 1))
        usual = climate.mean_temperature(land, 106.0)
        result = {
            "height": np.clip(land.height * (1.0 / 4000.0), 0.0, 1.0) * 0.6,
            "slope": np.clip(land.slope, 0.0, 1.0) * 0.5,
            "east": np.clip(land.east, -1.0, 1.0) * 0.15,
            "south": np.clip(land.south, -1.0, 1.0) * 0.15,
            "growth": np.broadcast_to((summer - winter) * 0.25, shape),
            "warmth": (usual - 283.0) * (0.25 / 20.0),
            # Wet years and dry ones.
            "spell": climate.weather(land.rect, date(self.year, 1, 1), (21, 19)) * 0.08,
        }
        return result | {name: land.character(name) * 0.3 for name in _CHARACTERS}


@dataclass(frozen=True, slots=True)
class Rotation:
    """Makes embeddings of features: a rotation into 64 dimensions, and unit length."""

    def layers(self, bands: Sequence[int]) -> Sequence[int]:
        """See ``derived_source.Derivation``: the length depends on all of them."""
        return range(len(FEATURES))

    def derive(
        self, layers: npt.NDArray[Any], bands: Sequence[int], columns: Integers, rows: Integers, factor: int
    ) -> npt.NDArray[np.float64]:
        """See ``derived_source.Derivation``; rounded to 2**-24 so that machines agree."""
        features: npt.NDArray[np.float64] = layers.astype(np.float64)
        _, rows_here, columns_here = features.shape
        square = np.zeros((rows_here, columns_here))
        for feature in features:
            square += feature * feature
        # The climate is nowhere zero: neither is the length.
        features *= 1.0 / np.sqrt(np.maximum(square, 1e-12))
        result = np.zeros((len(bands), rows_here, columns_here))
        weights = rotation()[list(bands)].tolist()
        height = max(1, _PIXELS // columns_here)
        for top in range(0, rows_here, height):
            part = slice(top, top + height)
            strip = np.ascontiguousarray(features[:, part])
            product = np.empty_like(strip[0])
            # No matrix product: BLAS adds in an order that differs between machines.
            for band, of_band in zip(result[:, part], weights, strict=True):
                for feature, weight in zip(strip, of_band, strict=True):
                    np.multiply(feature, weight, out=product)
                    band += product
        result *= 16_777_216.0
        np.rint(result, out=result)
        result *= 1.0 / 16_777_216.0
        return result


@cache
def rotation() -> npt.NDArray[np.float64]:
    """Return a matrix whose columns are orthogonal and of unit length, shape (64, features)."""
    i, j = np.arange(SIZE)[:, None], np.arange(len(FEATURES))[None, :]
    draws = sum(noise.random(i, j, seed) for seed in range(1031, 1035)) - 2.0
    columns: list[npt.NDArray[np.float64]] = []
    for column in np.asarray(draws, dtype=np.float64).T:
        # Gram-Schmidt, twice: the first time leaves rounding errors.
        for other in columns * 2:
            column = column - other * float(np.sum(column * other))
        columns.append(column / np.sqrt(np.sum(column * column)))
    result = np.array(columns).T
    result.setflags(write=False)
    return result


@dataclass(frozen=True, slots=True)
class Embeddings(ImageSearch):
    """The ``CollectionAsset``.

    Attributes:
        until: the first day without an image.
    """

    until: date

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return ID

    @property
    def years(self) -> range:
        """Years that are over."""
        return range(FIRST_YEAR, max(FIRST_YEAR + 1, self.until.year))

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        return synthetic_label.dated(
            "Satellite Embedding V1", date(self.years[0], 1, 1), date(self.years[-1] + 1, 1, 1)
        )

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        zone = query.equals.get("UTM_ZONE")
        years = self._years(query)
        tiles = sorted(embedding_tiles.tiles(query.bounds), key=lambda tile: tile.name) if years else []
        for year in years:
            for tile in tiles:
                if zone is None or tile.zone_name == zone:
                    yield self._image(year, tile)

    def times(self, query: Query) -> Sequence[float]:
        """See ``Dated.times``."""
        return [synthetic_label.millis(year, 1, 1) for year in self._years(query)]

    def _years(self, query: Query) -> Sequence[int]:
        return [year for year in self.years if is_in_time(synthetic_label.millis(year, 1, 1), query)]

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""
        match = _NAME.fullmatch(index)
        tile = embedding_tiles.named(match[2]) if match else None
        if match is None or tile is None or int(match[1]) not in self.years:
            return None
        return self._image(int(match[1]), tile)

    def _image(self, year: int, tile: EmbeddingTile) -> ImageAsset:
        painted = PaintedSource(tile.grid, LandFeatures(year), "float32")
        source = DerivedSource(painted, Rotation(), "float64")
        properties = {
            "system:index": f"{year}_{tile.name}",
            "system:time_start": synthetic_label.millis(year, 1, 1),
            "system:time_end": synthetic_label.millis(year + 1, 1, 1),
            "DATASET_VERSION": "1.1",
            "MODEL_VERSION": "v2.1",
            "PROCESSING_SOFTWARE_VERSION": "eechips demo planet",
            "UTM_ZONE": tile.zone_name,
        }
        bands = tuple(BandInfo(name, PixelType("double"), tile.grid, source, n) for n, name in enumerate(BANDS))
        return synthetic_label.image(ID, bands, properties, embedding_tiles.outline(tile))
