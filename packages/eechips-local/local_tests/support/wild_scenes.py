"""What scripts as people write them for Earth Engine share: the client, a place, collections over it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

SENTINEL, LANDSAT = "COPERNICUS/S2_SR_HARMONIZED", "LANDSAT/LC08/C02/T1_L2"


class Scene:
    """What the scripts share: the client, a place, collections over it."""

    def __init__(self, ee: Any) -> None:
        self.ee = ee
        self.point = ee.Geometry.Point(-105.27, 40.02)
        self.region = self.point.buffer(400).bounds()
        self.elevation = ee.Image("USGS/SRTMGL1_003")
        self.cover = ee.ImageCollection("ESA/WorldCover/v200").first()

    def sentinel(self, start: str = "2020-05-01", end: str = "2020-06-15") -> Any:
        return self.ee.ImageCollection(SENTINEL).filterBounds(self.point).filterDate(start, end)

    def landsat(self, start: str = "2019-01-01", end: str = "2019-05-01") -> Any:
        return self.ee.ImageCollection(LANDSAT).filterBounds(self.point).filterDate(start, end)

    def pixels(self, image: Any, scale: float = 30) -> np.ndarray:
        """Pixels around the point in UTM, as a masked record array."""
        return np.load(
            io.BytesIO(
                self.ee.data.computePixels(
                    {
                        "expression": image,
                        "fileFormat": "NPY",
                        "grid": {
                            "dimensions": {"width": 24, "height": 20},
                            "affineTransform": {
                                "scaleX": scale, "scaleY": -scale, "translateX": 476_400, "translateY": 4_430_400,
                            },
                            "crsCode": "EPSG:32613",
                        },
                    }
                )
            )
        )  # fmt: skip

    def first(self, image: Any, scale: float = 30) -> dict[str, Any]:
        found: dict[str, Any] = image.reduceRegion("first", self.point, scale).getInfo()
        return found
