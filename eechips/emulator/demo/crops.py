"""What grows on the fields of the survey grid, in the codes of the Cropland Data Layer.

Codes: https://developers.google.com/earth-engine/datasets/catalog/USDA_NASS_CDL
"""

from __future__ import annotations

import numpy as np

from eechips.emulator.demo import mercator, noise
from eechips.emulator.demo.farmland import SurveyBlocks
from eechips.emulator.demo.mercator import Floats

CORN, COTTON, SORGHUM, SOYBEANS, WINTER_WHEAT, ALFALFA, HAY, FALLOW = 1, 2, 4, 5, 24, 36, 37, 61

# Greenness of a field's crop (see farmland.blocks) from which on it is: grass, a crop of winter, a crop of summer.
_HAY, _WINTER, _SUMMER = 0.10, 0.22, 0.66


def codes(blocks: SurveyBlocks, year: int) -> Floats:
    """Return the code of the crop of each block in a year, as if all were fields."""
    # What grows in a region follows its latitude; which of two, the field.
    north = mercator.latitude_of((blocks.rows + 0.5) * 128.0)[:, None]
    second = np.where(north < 35.0, COTTON, np.where(north < 38.0, SORGHUM, SOYBEANS))
    summer = np.where(noise.random(blocks.field, year, 512) < 0.55, CORN, second)
    watered = np.where(noise.random(blocks.field, year, 513) < 0.35, ALFALFA, CORN)
    crop = np.select(
        [blocks.circle > 0.0, blocks.green >= _SUMMER, blocks.green >= _WINTER, blocks.green >= _HAY],
        [watered, summer, np.full_like(summer, WINTER_WHEAT), np.full_like(summer, HAY)],
        default=FALLOW,
    )
    return crop.astype(np.float64)
