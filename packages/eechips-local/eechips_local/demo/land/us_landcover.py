"""Land cover of the conterminous United States at 30 m: USDA/NASS/CDL and the releases of the NLCD.

Grids, bands, codes and colours: https://developers.google.com/earth-engine/datasets/catalog/USDA_NASS_CDL,
https://developers.google.com/earth-engine/datasets/catalog/USGS_NLCD_RELEASES_2021_REL_NLCD,
https://developers.google.com/earth-engine/datasets/catalog/USGS_NLCD_RELEASES_2019_REL_NLCD
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips_local.demo.borders import state_outlines
from eechips_local.demo.global_image_series import GlobalSeries, legend, year_of, years
from eechips_local.demo.land import crop_calendar, ground_cover, landcover
from eechips_local.demo.land.ground_layers import Ground
from eechips_local.demo.land.landcover import CLASSES
from eechips_local.demo.painting import mercator
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import AsPainted
from eechips_local.pixels.grids.pixel_grid import PixelGrid

CDL_GRID = PixelGrid("EPSG:5070", Affine(30.0, 0.0, -2356095.0, 0.0, -30.0, 3172605.0), 153811, 96523)
NLCD_GRID = PixelGrid("EPSG:5070", Affine(30.0, 0.0, -2493045.0, 0.0, -30.0, 3310005.0), 161190, 104424)
FIRST_CDL = 2008
"""The first year that has all states."""

NLCD_YEARS = {"2019_REL": (2001, 2004, 2006, 2008, 2011, 2013, 2016, 2019), "2021_REL": (2021,)}

CDL_LEGEND = (
    (1, "Corn", "ffd400"),
    (2, "Cotton", "ff2626"),
    (4, "Sorghum", "ff9e0a"),
    (5, "Soybeans", "267000"),
    (24, "Winter Wheat", "a57000"),
    (36, "Alfalfa", "ffa5e2"),
    (37, "Other Hay/Non Alfalfa", "a5f28c"),
    (61, "Fallow/Idle Cropland", "bfbf77"),
    (111, "Open Water", "4970a3"),
    (112, "Perennial Ice/Snow", "d3e2f9"),
    (121, "Developed/Open Space", "999999"),
    (122, "Developed/Low Intensity", "999999"),
    (123, "Developed/Medium Intensity", "999999"),
    (124, "Developed/High Intensity", "999999"),
    (131, "Barren", "ccbfa3"),
    (141, "Deciduous Forest", "93cc93"),
    (142, "Evergreen Forest", "93cc93"),
    (143, "Mixed Forest", "93cc93"),
    (152, "Shrubland", "c6d69e"),
    (176, "Grassland/Pasture", "e8ffbf"),
)
"""The codes that the demo planet has."""

NLCD_LEGEND = (
    (11, "Open water", "466b9f"),
    (12, "Perennial ice/snow", "d1def8"),
    (21, "Developed, open space", "dec5c5"),
    (22, "Developed, low intensity", "d99282"),
    (23, "Developed, medium intensity", "eb0000"),
    (24, "Developed, high intensity", "ab0000"),
    (31, "Barren land (rock/sand/clay)", "b3ac9f"),
    (41, "Deciduous forest", "68ab5f"),
    (42, "Evergreen forest", "1c5f2c"),
    (43, "Mixed forest", "b5c58f"),
    (52, "Shrub/scrub", "ccb879"),
    (71, "Grassland/herbaceous", "dfdfc2"),
    (81, "Pasture/hay", "dcd939"),
    (82, "Cultivated crops", "ab6c28"),
)

_TREE, _CROP, _BUILT = CLASSES.index("tree"), CLASSES.index("crop"), CLASSES.index("built")
# Codes in the order of landcover.CLASSES: tree, shrub, grass, crop, built, bare, snow, water.
_CDL_CODES = (142, 152, 176, 61, 121, 131, 112, 111)
_NLCD_CODES = (42, 52, 71, 82, 21, 31, 12, 11)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Land:
    """The ground of a rectangle, and what both maps ask of it.

    Attributes:
        ground: what covers it.
        parts: shares of ``landcover.CLASSES``.
    """

    ground: Ground
    parts: npt.NDArray[np.float32]

    def codes(self, of_classes: Sequence[int], forests: tuple[int, int, int], built: int) -> Bytes:
        """Return codes of the land without fields.

        Args:
            of_classes: code of each of ``landcover.CLASSES``.
            forests: codes of deciduous, evergreen and mixed forest.
            built: code of the first of the four grades of built land.
        """
        result = landcover.dominant(self.parts, of_classes)
        leafy, needle = self._share("broadleaf"), self._share("conifer")
        kind = np.where(leafy > 3.0 * needle, forests[0], np.where(needle > 3.0 * leafy, forests[1], forests[2]))
        result = np.where(result == of_classes[_TREE], kind, result).astype(np.uint8)
        grade = np.clip(np.floor(self.parts[_BUILT] * np.float32(4.5)), 0, 3)
        town: Bytes = np.where(result == of_classes[_BUILT], built + grade, result).astype(np.uint8)
        return town

    @property
    def impervious(self) -> Bytes:
        """Percentage of sealed ground."""
        sealed: Bytes = np.rint(np.clip(self.parts[_BUILT], 0.0, 1.0) * np.float32(100.0)).astype(np.uint8)
        return sealed

    def _share(self, layer: str) -> npt.NDArray[np.float32] | float:
        ground_layer = self.ground.layers.get(layer)
        return ground_layer.share if ground_layer is not None else 0.0


def _land(rect: Rect, start: date) -> _Land:
    ground = ground_cover.ground(rect, start)
    return _Land(ground, landcover.shares(ground))


@cache
def _country() -> shapely.Geometry:
    country = shapely.union_all(list(state_outlines.states().values()))
    shapely.prepare(country)
    return country


def _inside(rect: Rect) -> npt.NDArray[np.bool_]:
    """Return whether each cell lies in one of the states."""
    longitude, latitude = mercator.longitude_of(rect.x), mercator.latitude_of(rect.y)
    box = shapely.box(longitude[0], latitude[-1], longitude[-1], latitude[0])
    if shapely.contains_properly(_country(), box):
        return np.ones((rect.height, rect.width), dtype=bool)
    x, y = np.meshgrid(longitude, latitude)
    result: npt.NDArray[np.bool_] = shapely.contains_xy(_country(), x, y)
    return result


@dataclass(frozen=True, slots=True)
class CroplandScene(AsPainted):
    """The Cropland Data Layer of the year that begins on a date: cropland, cultivated, confidence."""

    start: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        land = _land(rect, self.start)
        codes = land.codes(_CDL_CODES, (141, 142, 143), 121)
        fields = codes == _CDL_CODES[_CROP]
        codes = np.where(fields, self._grown(land.ground), codes)
        confidence = np.rint(60.0 + 39.0 * np.clip(land.parts.max(axis=0), 0.0, 1.0))
        known = (codes, np.where(fields, 2, 1), confidence)
        values = np.stack([known[band] for band in bands])
        return values, np.broadcast_to(_inside(rect), values.shape)

    def _grown(self, ground: Ground) -> npt.NDArray[Any]:
        """Return codes of what fields bear; where the cells are too coarse for fields, of the commonest crop."""
        if ground.blocks is None:
            return np.full((ground.rect.height, ground.rect.width), crop_calendar.CORN)
        return ground.blocks.spread(crop_calendar.codes(ground.blocks, self.start.year))


@dataclass(frozen=True, slots=True)
class NlcdScene(AsPainted):
    """The National Land Cover Database of the year that begins on a date: landcover, impervious."""

    start: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """See ``painted_source.PaintedScene``."""
        land = _land(rect, self.start)
        known = (land.codes(_NLCD_CODES, (41, 42, 43), 21), land.impervious)
        values = np.stack([known[band] for band in bands])
        return values, np.broadcast_to(_inside(rect), values.shape)


def collections(until: date) -> tuple[GlobalSeries, ...]:
    """Return the crops of every year before a day's, and two releases of the NLCD."""
    crops = GlobalSeries(
        id="USDA/NASS/CDL",
        title="USDA NASS Cropland Data Layers",
        grid=CDL_GRID,
        bands=(("cropland", "uint8"), ("cultivated", "uint8"), ("confidence", "uint8")),
        dates=partial(years, range(FIRST_CDL, until.year)),
        index=year_of,
        scene=CroplandScene,
        smooth=False,
        extra=partial(legend, "cropland", CDL_LEGEND),
    )
    releases = (
        GlobalSeries(
            id=f"USGS/NLCD_RELEASES/{release}/NLCD",
            title=f"NLCD {release[:4]}: USGS National Land Cover Database, {release[:4]} release",
            grid=NLCD_GRID,
            bands=(("landcover", "uint8"), ("impervious", "uint8")),
            dates=partial(years, release_years),
            index=year_of,
            scene=NlcdScene,
            smooth=False,
            extra=partial(legend, "landcover", NLCD_LEGEND),
        )
        for release, release_years in NLCD_YEARS.items()
    )
    return (crops, *releases)
