"""What Sentinel-2 sees: reflectances and masks (``SCL``, ``QA60``), cloud scores, cloud probabilities and Dynamic
World, cell by cell.

Bands and scales: https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S2_SR_HARMONIZED and the
records that ``sentinel2`` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.demo.land import ground_cover, landcover
from eechips_local.demo.land.ground_layers import Ground
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.weather import climate, cloud_cover
from eechips_local.demo.weather.cloud_regime import CloudRegime

# Band, pixel in metres, spectral band (None: not a reflectance).
BANDS: tuple[tuple[str, int, str | None], ...] = (
    ("B1", 60, "blue"),
    ("B2", 10, "blue"),
    ("B3", 10, "green"),
    ("B4", 10, "red"),
    ("B5", 20, "edge1"),
    ("B6", 20, "edge2"),
    ("B7", 20, "edge3"),
    ("B8", 10, "nir"),
    ("B8A", 20, "nir"),
    ("B9", 60, "nir"),
    ("B11", 20, "swir1"),
    ("B12", 20, "swir2"),
    ("AOT", 10, None),
    ("WVP", 10, None),
    ("SCL", 20, None),
    ("TCI_R", 10, "red"),
    ("TCI_G", 10, "green"),
    ("TCI_B", 10, "blue"),
    ("MSK_CLDPRB", 20, None),
    ("MSK_SNWPRB", 20, None),
    ("QA10", 10, None),
    ("QA20", 20, None),
    ("QA60", 60, None),
    ("MSK_CLASSI_OPAQUE", 60, None),
    ("MSK_CLASSI_CIRRUS", 60, None),
    ("MSK_CLASSI_SNOW_ICE", 60, None),
)
# At the top of the atmosphere there is one more band, and nothing that the correction of the atmosphere yields.
TOP_BANDS: tuple[tuple[str, int, str | None], ...] = (*BANDS[:10], ("B10", 60, None), *BANDS[10:12], *BANDS[-6:])
_SPECTRUM = {name: part for name, _, part in (*BANDS, *TOP_BANDS)}
# What the air adds.
_HAZE = {"blue": 0.06, "green": 0.03, "red": 0.018, "edge1": 0.012, "edge2": 0.008, "edge3": 0.006, "nir": 0.004}
_CLOUD = {"swir1": 0.42, "swir2": 0.34}
DYNAMIC_WORLD = (
    "water",
    "trees",
    "grass",
    "flooded_vegetation",
    "crops",
    "shrub_and_scrub",
    "built",
    "bare",
    "snow_and_ice",
)
# Where Dynamic World keeps each of landcover.CLASSES.
_WORLD_OF = {"tree": 1, "shrub": 5, "grass": 2, "crop": 4, "built": 6, "bare": 7, "snow": 8, "water": 0}


@dataclass(frozen=True, slots=True)
class Sentinel2Overpass:
    """Scene of a pass of the satellite.

    Attributes:
        north: latitude of the tile's middle.
    """

    when: date
    north: float
    regime: CloudRegime = "climate"

    def ground(self, rect: Rect) -> Ground:
        """Return the ground without clouds."""
        return ground_cover.ground(rect, self.when, climate.snow_line(self.when, self.north))

    def sky(self, rect: Rect) -> cloud_cover.Sky:
        """Return the clouds over it."""
        return cloud_cover.sky(rect, self.when, self.north, self.regime)


@dataclass(frozen=True, slots=True)
class Reflectance:
    """Bands of a reflectance product that share a grid.

    Attributes:
        seen: the pass.
        at_top: at the top of the atmosphere, not at the surface.
        offset: added to the stored reflectances.
    """

    seen: Sentinel2Overpass
    names: tuple[str, ...]
    at_top: bool = False
    offset: int = 0

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        ground = self.seen.ground(rect)
        clouds = self.seen.sky(rect)
        spectrum = [_SPECTRUM[self.names[band]] for band in bands]
        wanted = sorted({band for band in spectrum if band is not None})
        vigour = climate.season_of_growth(self.seen.north, self.seen.when)
        surface = dict(zip(wanted, ground.reflectance(wanted, vigour), strict=True)) if wanted else {}
        values = np.empty((len(bands), rect.height, rect.width), dtype=np.float32)
        for n, band in enumerate(bands):
            name, part = self.names[band], spectrum[n]
            if part is not None:
                top = clouds.over(part, _CLOUD.get(part, 0.68), surface[part])
                if self.at_top:
                    haze = np.float32(_HAZE.get(part, 0.0))
                    top = top * (np.float32(1.0) - np.float32(0.5) * haze) + haze
                values[n] = top * np.float32(720.0) if name.startswith("TCI") else top * np.float32(10_000.0)
            elif name == "B10":
                values[n] = 12.0 + clouds.cloud * np.float32(40.0) + clouds.cirrus * np.float32(10_000.0)
            elif name == "AOT":
                values[n] = 100.0 + 60.0 * clouds.haze
            elif name == "WVP":
                values[n] = 1500.0 + 900.0 * vigour
            else:
                values[n] = _mask(name, ground, clouds)
        return values, None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.uint16]:
        """See ``painted_source.PaintedScene``."""
        result = np.clip(np.rint(values), 0, 65535)
        for n, band in enumerate(bands):
            if self.names[band].startswith("TCI"):
                result[n] = np.clip(result[n], 1, 255)
            elif self.names[band].startswith("B"):
                result[n] = np.maximum(result[n], 1) + self.offset
        stored: npt.NDArray[np.uint16] = result.astype(np.uint16)
        return stored


def _mask(name: str, ground: Ground, clouds: cloud_cover.Sky) -> npt.NDArray[Any]:
    if name == "MSK_CLDPRB":
        return np.asarray(np.floor(clouds.cloud * np.float32(100.0)))
    if name in ("QA10", "QA20", "QA60"):
        # Bit 10: opaque clouds. Bit 11: cirrus.
        flags = np.where(clouds.cloud > 0.5, 1024.0, np.where(clouds.is_cirrus, 2048.0, 0.0))
        return flags if name == "QA60" else np.zeros_like(flags)
    if name == "MSK_CLASSI_OPAQUE":
        return np.where(clouds.cloud > 0.5, 1.0, 0.0)
    if name == "MSK_CLASSI_CIRRUS":
        return np.where(clouds.is_cirrus & (clouds.cloud <= 0.5), 1.0, 0.0)
    parts = landcover.shares(ground)
    snow = landcover.fraction(parts, "snow")
    if name == "MSK_SNWPRB":
        return np.asarray(np.floor(np.clip(snow, 0.0, 1.0) * np.float32(100.0)))
    if name == "MSK_CLASSI_SNOW_ICE":
        return np.where((snow > 0.5) & (clouds.cloud <= 0.5), 1.0, 0.0)
    #       tree shrub grass crop built bare snow water
    classes = landcover.dominant(parts, (4, 5, 5, 4, 5, 5, 11, 6)).astype(np.float32)
    # Fields and grass that are not green count as bare.
    green = ground.open_green > np.float32(0.45)
    crop = ground.layers.get("crop")
    if crop is not None and crop.mix is not None:
        green = np.where(crop.share > 0.5, crop.mix > 0.4, green)
    grassy = np.isin(landcover.dominant(parts, range(8)), (1, 2, 3))
    classes = np.where(grassy, np.where(green, 4.0, 5.0), classes)
    classes = np.where(clouds.shadow > 0.45, 3.0, classes)
    classes = np.where(clouds.is_cirrus, 10.0, classes)
    classes = np.where(clouds.cloud > cloud_cover.CLOUDY, 8.0, classes)
    return np.where(clouds.cloud > 0.75, 9.0, classes)


@dataclass(frozen=True, slots=True)
class CloudScore:
    """Bands cs and cs_cdf: 1 where the ground is seen clearly, 0 under clouds."""

    seen: Sentinel2Overpass

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        clouds = self.seen.sky(rect)
        clear = np.float32(0.97) - np.float32(0.95) * clouds.cloud - np.float32(0.45) * clouds.shadow
        clear = clear - np.float32(6.0) * clouds.cirrus
        known = (clear, clear * (np.float32(0.55) + np.float32(0.45) * clear))
        return np.stack([known[band] for band in bands]), None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float32]:
        """See ``painted_source.PaintedScene``; in steps of 1/250."""
        steps = np.clip(np.rint(np.asarray(values, dtype=np.float32) * np.float32(250.0)), 0.0, 250.0)
        result: npt.NDArray[np.float32] = (steps * np.float32(1.0 / 250.0)).astype(np.float32)
        return result


@dataclass(frozen=True, slots=True)
class CloudProbability:
    """Band probability: 0 where there is no cloud, up to 100 under opaque ones."""

    seen: Sentinel2Overpass

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        clouds = self.seen.sky(rect)
        likely = np.float32(2.0) + np.float32(97.0) * np.sqrt(np.clip(clouds.cloud + 4.0 * clouds.cirrus, 0.0, 1.0))
        return np.stack([likely] * len(bands)), None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.uint8]:
        """See ``painted_source.PaintedScene``."""
        stored: npt.NDArray[np.uint8] = np.clip(np.rint(values), 0, 100).astype(np.uint8)
        return stored


@dataclass(frozen=True, slots=True)
class DynamicWorld:
    """Probabilities of nine classes, and the label; masked under clouds and shadows."""

    seen: Sentinel2Overpass

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        parts = landcover.shares(self.seen.ground(rect))
        clouds = self.seen.sky(rect)
        likely = np.full((len(DYNAMIC_WORLD), rect.height, rect.width), 0.03, dtype=np.float32)
        for n, name in enumerate(landcover.CLASSES):
            likely[_WORLD_OF[name]] += parts[n] * np.float32(0.73)
        label = landcover.dominant(parts, (_WORLD_OF[name] for name in landcover.CLASSES)).astype(np.float32)
        values = np.stack([likely[band] if band < len(DYNAMIC_WORLD) else label for band in bands])
        clear = (clouds.cloud < 0.12) & (clouds.shadow < 0.45)
        return values, np.broadcast_to(clear, values.shape)

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.float32]:
        """See ``painted_source.PaintedScene``; probabilities in steps of 1/1000, labels as they are."""
        likely = np.asarray(values, dtype=np.float32)
        result: npt.NDArray[np.float32] = np.rint(likely * np.float32(1000.0)) * np.float32(0.001)
        for n, band in enumerate(bands):
            if band == len(DYNAMIC_WORLD):
                result[n] = likely[n]
        return result
