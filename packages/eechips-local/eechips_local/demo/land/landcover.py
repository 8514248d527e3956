"""Classify the ground: shares of the classes that land-cover maps and masks use."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from eechips_local.demo.land.farmland import Field32
from eechips_local.demo.land.ground_layers import Ground
from eechips_local.demo.land.natural_cover import grass_cover
from eechips_local.demo.painting.upsampling import Upsampler

CLASSES = ("tree", "shrub", "grass", "crop", "built", "bare", "snow", "water")
_LAYERS = {
    "tree": ("conifer", "broadleaf"),
    "shrub": ("shrub",),
    "crop": ("crop",),
    "built": ("road", "road 0", "road 1", "street", "roof"),
    "bare": ("rock", "sand"),
    "snow": ("snow",),
    "water": ("water",),
}
_CLASS_OF = {layer: CLASSES.index(name) for name, layers in _LAYERS.items() for layer in layers}


def shares(ground: Ground) -> npt.NDArray[np.float32]:
    """Return the share of each of ``CLASSES`` in the cells of a ground, shape (8, height, width); they add up to
    one.
    """
    shape = (ground.rect.height, ground.rect.width)
    result = np.zeros((len(CLASSES), *shape), dtype=np.float32)
    grass = Upsampler(ground.rect, ground.terrain.rect)(grass_cover(ground.terrain))
    result[CLASSES.index("grass")] = grass
    result[CLASSES.index("bare")] = np.float32(1.0) - grass
    for name, layer in ground.layers.items():
        # Where shrubs stand as they do in a steppe, the land counts as theirs.
        share = np.minimum(layer.share * np.float32(3.0), np.float32(1.0)) if name == "shrub" else layer.share
        result *= np.float32(1.0) - share
        result[_CLASS_OF[name]] += share
    if ground.houses is not None:
        # A town is built, whatever grows in its gardens.
        result *= np.float32(1.0) - ground.houses * np.float32(0.6)
        result[CLASSES.index("built")] += ground.houses * np.float32(0.6)
    return result


def dominant(parts: npt.NDArray[np.float32], codes: Iterable[int]) -> npt.NDArray[np.uint8]:
    """Return codes of the classes that maps would name: trees from a third of the cell on, bare ground from most of
    it.
    """
    weights = np.array([1.7, 1.25, 1.0, 1.15, 1.5, 0.62, 1.0, 1.2], dtype=np.float32)
    best = np.argmax(parts * weights[:, None, None], axis=0)
    result: npt.NDArray[np.uint8] = np.array(list(codes), dtype=np.uint8)[best]
    return result


def fraction(parts: npt.NDArray[np.float32], name: str) -> Field32:
    """Return the share of one class."""
    result: Field32 = parts[CLASSES.index(name)]
    return result
