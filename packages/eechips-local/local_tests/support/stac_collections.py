"""STAC collections in the form of Earth Engine's catalogue: datasets that nobody has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSES = {10: "Open water", 20: "Perennial snow and ice", 30: "Dense forest", 31: "Open forest", 40: "Cropland",
           50: "Grassland", 60: "Developed", 70: "Barren land"}  # fmt: skip
COLUMNS = {"name": "STRING", "height": "DOUBLE", "year": "INT", "codes": "INT_LIST", "opened": "DATETIME"}


def _extent(start: str, end: str | None, *box: float) -> dict[str, Any]:
    return {"spatial": {"bbox": [list(box)]}, "temporal": {"interval": [[start, end]]}}


RAIN: dict[str, Any] = {
    "type": "Collection",
    "id": "ACME/RAIN",
    "title": "Acme rain of eight days",
    "gee:type": "image_collection",
    "gee:interval": {"type": "cadence", "unit": "day", "interval": 8},
    "extent": _extent("2018-01-01T00:00:00Z", None, -180, -60, 180, 60),
    "summaries": {
        "gsd": [5566],
        "eo:bands": [
            {"name": "rain", "description": "Precipitation", "gee:units": "mm"},
            {"name": "error", "description": "Error of it", "gee:units": "mm", "gee:scale": 0.1},
            {"name": "NDVI", "description": "Index", "gsd": 250, "gee:scale": 0.0001},
            {
                "name": "QA",
                "description": "Flags",
                "gee:bitmask": {
                    "bitmask_parts": [
                        {"first_bit": 0, "bit_count": 1, "description": "Cloud"},
                        {"first_bit": 5, "bit_count": 4, "description": "Source"},
                    ],
                    "total_bit_count": 9,
                },
            },
        ],
        "rain": {"minimum": 0, "maximum": 350.5, "gee:estimated_range": True},
        "error": {"minimum": -20, "maximum": 300, "gee:estimated_range": True},
        "NDVI": {"minimum": -2000, "maximum": 10000, "gee:estimated_range": False},
        "gee:schema": [
            {"name": "orbit", "description": "Orbit", "type": "INT"},
            {"name": "PLATFORM", "description": "Platform", "type": "STRING"},
        ],
    },
}
LAND_COVER: dict[str, Any] = {
    "type": "Collection",
    "id": "ACME/LAND/COVER_V1",
    "title": "Acme land cover",
    "gee:type": "image",
    "extent": _extent("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", -110, 35, -100, 45),
    "summaries": {
        "eo:bands": [
            {
                "name": "class",
                "description": "Land cover",
                "gsd": 10,
                "gee:classes": [
                    {"value": value, "color": f"{value:06x}", "description": name} for value, name in CLASSES.items()
                ],
            },
            {"name": "height", "description": "Elevation", "gsd": 30, "gee:units": "m"},
        ],
        "height": {"minimum": -10, "maximum": 6000, "gee:estimated_range": True},
    },
}
STATIONS: dict[str, Any] = {
    "type": "Collection",
    "id": "ACME/STATIONS",
    "title": "Acme stations",
    "gee:type": "table",
    "extent": _extent("2011-01-01T00:00:00Z", None, -125, 25, -66, 50),
    "summaries": {
        "gee:schema": [{"name": name, "description": "One", "type": kind} for name, kind in COLUMNS.items()],
        "gee:visualizations": [
            {"display_name": "Stations", "table_visualization": {"color": "1f77b4", "point_size": 3}}
        ],
    },
}
CATALOG = {"type": "Catalog", "id": "ACME", "links": []}


def write_collections(folder: Path) -> Path:
    """Write the collections into a folder as the catalogue is published, and return it."""
    below = folder / "ACME"
    below.mkdir(parents=True)
    (below / "catalog.json").write_text(json.dumps(CATALOG))
    for collection in (RAIN, LAND_COVER, STATIONS):
        (below / f"{collection['id'].replace('/', '_')}.json").write_text(json.dumps(collection))
    return folder
