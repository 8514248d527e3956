"""Facts about the datasets that have a short name: what they hold, how fine they are, whose they are.

Everything here is from the Earth Engine data catalog (https://github.com/google/earthengine-catalog holds its
sources); each record names its page and the day it was read. Any other Earth Engine id works as well: its
facts are then asked from the server (``eechips.planning.asset_metadata``).
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["image", "collection"]

_CATALOG = "https://developers.google.com/earth-engine/datasets/catalog/"
_CHECKED = "2026-11-20"
_LP_DAAC = "No restrictions (NASA LP DAAC)"
_USGS = "US public domain (USGS); credit is asked for"
_COPERNICUS = "Copernicus Sentinel terms: free and open, with credit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset of Earth Engine's public catalog.

    Attributes:
        alias: the short name, upper case.
        also: other names that it goes by, upper case.
        id: asset id.
        kind: one image, or a collection of images.
        title: as the catalog has it.
        bands: those taken unless the caller names others.
        scale: nominal edge of a pixel in metres.
        dtype: numpy name of the type that holds the values of ``bands``.
        start: first day, YYYY-MM-DD.
        end: last day (inclusive), or None where it goes on.
        visualization: how ``bands`` become 8-bit colours (``min``, ``max``, ``gamma``, ``palette``); empty
            where the values fit 8 bits as they are (colours, or class codes, which a stretch would falsify).
        classes: names of the values of a map of classes, as the catalog has them.
        colours: of these classes, hexadecimal, where ``visualization`` does not say them.
        region: what ``--roi`` is unless given, or None where it must be given.
        licence: terms of use in short; the source has them in full.
        citation: how the producers want it cited.
        checked: the day on which ``source`` was read, YYYY-MM-DD.
    """

    alias: str
    also: tuple[str, ...] = ()
    id: str
    kind: Kind
    title: str
    bands: tuple[str, ...]
    scale: float
    dtype: str
    start: str
    end: str | None = None
    visualization: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, str] = field(default_factory=dict)
    region: str | None = None
    licence: str
    citation: str
    checked: str = _CHECKED

    @property
    def is_of_one_time(self) -> bool:
        """Whether it shows one time that is over, a year at most, such as a map of 2021: dates do not choose of it."""
        days = (dt.date.fromisoformat(self.end) - dt.date.fromisoformat(self.start)).days if self.end else None
        return days is not None and days <= 366

    @property
    def class_colours(self) -> dict[int, str]:
        """The colour of each class, hexadecimal; of those that are known."""
        palette = self.visualization.get("palette")
        if not self.classes or not palette:
            return dict(self.colours)
        low, high = self.visualization["min"], self.visualization["max"]
        step = (high - low) / (len(palette) - 1)
        return {value: palette[round((value - low) / step)] for value in self.classes if low <= value <= high}

    @property
    def source(self) -> str:
        """The dataset's page in the catalog."""
        return _CATALOG + self.id.replace("/", "_")


DATASETS: tuple[Dataset, ...] = (
    Dataset(
        alias="NAIP",
        id="USDA/NAIP/DOQQ",
        kind="collection",
        title="NAIP: National Agriculture Imagery Program",
        bands=("R", "G", "B"),
        # The programme's nominal ground sample distance; acquisitions since about 2018 are at 0.6 m.
        scale=1.0,
        dtype="uint8",
        start="2002-06-15",
        region="FAO/GAUL/2015/level1:ADM1_NAME=Colorado",
        licence="US public domain; credit is asked for",
        citation="USDA Farm Production and Conservation - Business Center, Geospatial Enterprise Operations",
    ),
    Dataset(
        alias="MODIS_LST",
        id="MODIS/061/MOD11A2",
        kind="collection",
        title="MOD11A2.061 Terra Land Surface Temperature and Emissivity 8-Day Global 1km",
        bands=("LST_Day_1km",),
        scale=926.625433055833,
        dtype="uint16",
        start="2000-02-18",
        visualization={
            "min": 13000.0,
            "max": 16500.0,
            "palette": ["040274", "307ef3", "86e26f", "fff705", "ff0000"],
        },
        licence=_LP_DAAC,
        citation="NASA LP DAAC at the USGS EROS Center, https://doi.org/10.5067/MODIS/MOD11A2.061",
    ),
    Dataset(
        alias="MOD13A2",
        id="MODIS/061/MOD13A2",
        kind="collection",
        title="MOD13A2.061 Terra Vegetation Indices 16-Day Global 1km",
        bands=("NDVI",),
        scale=926.625433055833,
        dtype="int16",
        start="2000-02-18",
        visualization={
            "min": 0,
            "max": 9000,
            "palette": ["ffffff", "ce7e45", "fcd163", "74a901", "207401", "011301"],
        },
        licence=_LP_DAAC,
        citation="NASA LP DAAC at the USGS EROS Center, https://doi.org/10.5067/MODIS/MOD13A2.061",
    ),
    Dataset(
        alias="S2",
        id="COPERNICUS/S2_SR_HARMONIZED",
        kind="collection",
        title="Harmonized Sentinel-2 MSI: MultiSpectral Instrument, Level-2A (SR)",
        bands=("B4", "B3", "B2"),
        scale=10.0,
        dtype="uint16",
        start="2017-03-28",
        visualization={"min": 0, "max": 3000},
        licence=_COPERNICUS,
        citation="Contains modified Copernicus Sentinel data (European Union/ESA/Copernicus)",
    ),
    Dataset(
        alias="L8",
        id="LANDSAT/LC08/C02/T1_L2",
        kind="collection",
        title="USGS Landsat 8 Level 2, Collection 2, Tier 1",
        bands=("SR_B4", "SR_B3", "SR_B2"),
        scale=30.0,
        dtype="uint16",
        start="2013-03-18",
        # Reflectance 0 to 0.3 under the catalog's factors: DN * 2.75e-5 - 0.2.
        visualization={"min": 7273, "max": 18182},
        licence=_USGS,
        citation="Landsat-8 image courtesy of the U.S. Geological Survey",
    ),
    Dataset(
        alias="L9",
        id="LANDSAT/LC09/C02/T1_L2",
        kind="collection",
        title="USGS Landsat 9 Level 2, Collection 2, Tier 1",
        bands=("SR_B4", "SR_B3", "SR_B2"),
        scale=30.0,
        dtype="uint16",
        start="2021-10-31",
        visualization={"min": 7273, "max": 18182},
        licence=_USGS,
        citation="Landsat-9 image courtesy of the U.S. Geological Survey",
    ),
    Dataset(
        alias="SRTM",
        also=("DEM",),
        id="USGS/SRTMGL1_003",
        kind="image",
        title="NASA SRTM Digital Elevation 30m",
        bands=("elevation",),
        scale=30.922080775909325,  # 1 arc second of the equator
        dtype="int16",
        start="2000-02-11",
        end="2000-02-22",
        visualization={"min": 0, "max": 6000, "gamma": 1.6},
        licence="Free for any purpose (NASA JPL)",
        citation="Farr et al., 2007, https://doi.org/10.1029/2005RG000183",
    ),
    Dataset(
        alias="WORLDCOVER",
        id="ESA/WorldCover/v200",
        kind="collection",
        title="ESA WorldCover 10m v200",
        bands=("Map",),
        scale=10.0,
        dtype="uint8",
        start="2021-01-01",
        end="2021-12-31",
        # A colour for every fifth value, so that the classes (10, 20, … 80, 90, 95, 100) fall on their own.
        visualization={
            "min": 10,
            "max": 100,
            "palette": [
                *(
                    "006400",
                    "006400",
                    "ffbb22",
                    "ffbb22",
                    "ffff4c",
                    "ffff4c",
                    "f096ff",
                    "f096ff",
                    "fa0000",
                    "fa0000",
                ),
                *("b4b4b4", "b4b4b4", "f0f0f0", "f0f0f0", "0064c8", "0064c8", "0096a0", "00cf75", "fae6a0"),
            ],
        },
        classes={
            10: "Tree cover",
            20: "Shrubland",
            30: "Grassland",
            40: "Cropland",
            50: "Built-up",
            60: "Bare / sparse vegetation",
            70: "Snow and ice",
            80: "Permanent water bodies",
            90: "Herbaceous wetland",
            95: "Mangroves",
            100: "Moss and lichen",
        },
        licence="CC-BY-4.0",
        citation="Zanaga et al., 2022, ESA WorldCover 10 m 2021 v200, https://doi.org/10.5281/zenodo.7254221",
    ),
    Dataset(
        alias="DYNAMICWORLD",
        id="GOOGLE/DYNAMICWORLD/V1",
        kind="collection",
        title="Dynamic World V1",
        bands=("label",),
        scale=10.0,
        dtype="uint8",
        start="2015-06-27",
        visualization={
            "min": 0,
            "max": 8,
            "palette": [
                *("419bdf", "397d49", "88b053", "7a87c6", "e49635", "dfc35a", "c4281b", "a59b8f", "b39fe1"),
            ],
        },
        classes={
            0: "Water",
            1: "Trees",
            2: "Grass",
            3: "Flooded vegetation",
            4: "Crops",
            5: "Shrub and scrub",
            6: "Built",
            7: "Bare",
            8: "Snow and ice",
        },
        licence="CC-BY-4.0",
        citation="Brown et al., 2022, Dynamic World, https://doi.org/10.1038/s41597-022-01307-4",
    ),
    Dataset(
        alias="CDL",
        id="USDA/NASS/CDL",
        kind="collection",
        title="USDA NASS Cropland Data Layers",
        bands=("cropland",),
        scale=30.0,
        dtype="uint8",
        start="1997-01-01",
        licence="US public domain",
        citation="USDA National Agricultural Statistics Service Cropland Data Layer",
    ),
    Dataset(
        alias="NLCD",
        id="USGS/NLCD_RELEASES/2021_REL/NLCD",
        kind="collection",
        title="NLCD 2021: USGS National Land Cover Database, 2021 release",
        bands=("landcover",),
        scale=30.0,
        dtype="uint8",
        start="2021-01-01",
        end="2021-12-31",
        classes={
            11: "Open water",
            12: "Perennial ice/snow",
            21: "Developed, open space",
            22: "Developed, low intensity",
            23: "Developed, medium intensity",
            24: "Developed, high intensity",
            31: "Barren land (rock/sand/clay)",
            41: "Deciduous forest",
            42: "Evergreen forest",
            43: "Mixed forest",
            51: "Dwarf scrub",
            52: "Shrub/scrub",
            71: "Grassland/herbaceous",
            72: "Sedge/herbaceous",
            73: "Lichens",
            74: "Moss",
            81: "Pasture/hay",
            82: "Cultivated crops",
            90: "Woody wetlands",
            95: "Emergent herbaceous wetlands",
        },
        colours={
            11: "466b9f",
            12: "d1def8",
            21: "dec5c5",
            22: "d99282",
            23: "eb0000",
            24: "ab0000",
            31: "b3ac9f",
            41: "68ab5f",
            42: "1c5f2c",
            43: "b5c58f",
            51: "af963c",
            52: "ccb879",
            71: "dfdfc2",
            72: "d1d182",
            73: "a3cc51",
            74: "82ba9e",
            81: "dcd939",
            82: "ab6c28",
            90: "b8d9eb",
            95: "6c9fb8",
        },
        licence="CC0-1.0",
        citation="Dewitz, J., 2023, National Land Cover Database (NLCD) 2021 Products, https://doi.org/10.5066/P9JZ7AO3",
    ),
    Dataset(
        alias="ERA5_LAND_MONTHLY",
        id="ECMWF/ERA5_LAND/MONTHLY_AGGR",
        kind="collection",
        title="ERA5-Land Monthly Aggregated - ECMWF Climate Reanalysis",
        bands=("temperature_2m",),
        scale=11131.949079327358,  # a tenth of a degree of the equator
        dtype="float32",
        start="1950-02-01",
        visualization={
            "min": 250,
            "max": 320,
            "palette": ["000080", "0000d9", "4000ff", "00ffff", "ffff00", "ff0000"],
        },
        licence="Copernicus licence: free and open, with credit",
        citation="Muñoz Sabater, J., 2019, https://doi.org/10.24381/cds.68d2bb30",
    ),
)
"""Every dataset with a short name, in the order in which ``eechips datasets`` lists them."""


def find(name: str) -> Dataset | None:
    """The dataset of an alias (in any case) or of an asset id; None for any other id.

    Args:
        name: "NAIP", "naip" or "USDA/NAIP/DOQQ".
    """
    for dataset in DATASETS:
        if name.upper() in (dataset.alias, *dataset.also) or name == dataset.id:
            return dataset
    return None


def suggestion(name: str) -> str:
    """ "; did you mean …?" with what looks like a name that was not found, best first; nothing if nothing does."""
    names = {known.lower(): known for dataset in DATASETS for known in (dataset.alias, dataset.id)}
    alike = [names[match] for match in difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)]
    return f"; did you mean {' or '.join(alike)}?" if alike else ""
