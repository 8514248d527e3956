"""Records of optical and radar imagery."""

from __future__ import annotations

from eechips.datasets.dataset import COPERNICUS, USGS, Dataset

# Names of bands as in STAC's Electro-Optical extension, and Landsat's own.
_LANDSAT_BANDS = {
    "coastal": "SR_B1",
    "blue": "SR_B2",
    "green": "SR_B3",
    "red": "SR_B4",
    "nir": "SR_B5",
    "nir08": "SR_B5",
    "swir1": "SR_B6",
    "swir16": "SR_B6",
    "swir2": "SR_B7",
    "swir22": "SR_B7",
    "thermal": "ST_B10",
}

NAIP = Dataset(
    alias="NAIP",
    id="USDA/NAIP/DOQQ",
    kind="collection",
    title="NAIP: National Agriculture Imagery Program",
    bands=("R", "G", "B"),
    band_names={"red": "R", "green": "G", "blue": "B", "nir": "N"},
    # The programme's nominal ground sample distance; acquisitions since about 2018 are at 0.6 m.
    scale=1.0,
    dtype="uint8",
    start="2002-06-15",
    region="FAO/GAUL/2015/level1:ADM1_NAME=Colorado",
    licence="US public domain; credit is asked for",
    citation="USDA Farm Production and Conservation - Business Center, Geospatial Enterprise Operations",
)

S2 = Dataset(
    alias="S2",
    id="COPERNICUS/S2_SR_HARMONIZED",
    kind="collection",
    title="Harmonized Sentinel-2 MSI: MultiSpectral Instrument, Level-2A (SR)",
    bands=("B4", "B3", "B2"),
    synonyms=("SENTINEL2", "SENTINEL-2", "SENTINEL_2", "S2_L2A"),
    band_names={
        "coastal": "B1",
        "blue": "B2",
        "green": "B3",
        "red": "B4",
        "rededge": "B5",
        "rededge1": "B5",
        "rededge2": "B6",
        "rededge3": "B7",
        "nir": "B8",
        "nir08": "B8A",
        "nir09": "B9",
        "swir1": "B11",
        "swir16": "B11",
        "swir2": "B12",
        "swir22": "B12",
    },
    scale=10.0,
    dtype="uint16",
    start="2017-03-28",
    visualization={"min": 0, "max": 3000},
    licence=COPERNICUS,
    citation="Contains modified Copernicus Sentinel data (European Union/ESA/Copernicus)",
)

L8 = Dataset(
    alias="L8",
    id="LANDSAT/LC08/C02/T1_L2",
    kind="collection",
    title="USGS Landsat 8 Level 2, Collection 2, Tier 1",
    bands=("SR_B4", "SR_B3", "SR_B2"),
    synonyms=("LANDSAT8", "LANDSAT-8", "LANDSAT_8", "LC08"),
    band_names=_LANDSAT_BANDS,
    scale=30.0,
    dtype="uint16",
    start="2013-03-18",
    # Reflectance 0 to 0.3 under the catalog's factors: DN * 2.75e-5 - 0.2.
    visualization={"min": 7273, "max": 18182},
    licence=USGS,
    citation="Landsat-8 image courtesy of the U.S. Geological Survey",
)

L9 = Dataset(
    alias="L9",
    id="LANDSAT/LC09/C02/T1_L2",
    kind="collection",
    title="USGS Landsat 9 Level 2, Collection 2, Tier 1",
    bands=("SR_B4", "SR_B3", "SR_B2"),
    synonyms=("LANDSAT9", "LANDSAT-9", "LANDSAT_9", "LC09"),
    band_names=_LANDSAT_BANDS,
    scale=30.0,
    dtype="uint16",
    start="2021-10-31",
    visualization={"min": 7273, "max": 18182},
    licence=USGS,
    citation="Landsat-9 image courtesy of the U.S. Geological Survey",
)

S1 = Dataset(
    alias="S1",
    synonyms=("SENTINEL1", "SENTINEL-1", "SENTINEL_1", "S1_GRD"),
    id="COPERNICUS/S1_GRD",
    kind="collection",
    title="Sentinel-1 SAR GRD: C-band Synthetic Aperture Radar Ground Range Detected, log scaling",
    bands=("VV",),
    scale=10.0,
    dtype="float64",
    start="2014-10-03",
    visualization={"min": -25, "max": 5},
    licence=COPERNICUS,
    citation="Contains modified Copernicus Sentinel data (European Union/ESA/Copernicus)",
)
