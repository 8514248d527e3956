"""Records of terrain, temperature, vegetation and climate."""

from __future__ import annotations

from eechips.datasets.dataset import LP_DAAC, Dataset

MODIS_LST = Dataset(
    alias="MODIS_LST",
    id="MODIS/061/MOD11A2",
    kind="collection",
    title="MOD11A2.061 Terra Land Surface Temperature and Emissivity 8-Day Global 1km",
    bands=("LST_Day_1km",),
    synonyms=("MOD11A2", "LST"),
    scale=926.625433055833,
    dtype="uint16",
    start="2000-02-18",
    visualization={
        "min": 13000.0,
        "max": 16500.0,
        "palette": ["040274", "307ef3", "86e26f", "fff705", "ff0000"],
    },
    licence=LP_DAAC,
    citation="NASA LP DAAC at the USGS EROS Center, https://doi.org/10.5067/MODIS/MOD11A2.061",
)

MOD13A2 = Dataset(
    alias="MOD13A2",
    id="MODIS/061/MOD13A2",
    kind="collection",
    title="MOD13A2.061 Terra Vegetation Indices 16-Day Global 1km",
    bands=("NDVI",),
    synonyms=("MODIS_NDVI",),
    scale=926.625433055833,
    dtype="int16",
    start="2000-02-18",
    visualization={
        "min": 0,
        "max": 9000,
        "palette": ["ffffff", "ce7e45", "fcd163", "74a901", "207401", "011301"],
    },
    licence=LP_DAAC,
    citation="NASA LP DAAC at the USGS EROS Center, https://doi.org/10.5067/MODIS/MOD13A2.061",
)

SRTM = Dataset(
    alias="SRTM",
    synonyms=("DEM", "ELEVATION"),
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
)

ERA5_LAND_MONTHLY = Dataset(
    alias="ERA5_LAND_MONTHLY",
    id="ECMWF/ERA5_LAND/MONTHLY_AGGR",
    kind="collection",
    title="ERA5-Land Monthly Aggregated - ECMWF Climate Reanalysis",
    bands=("temperature_2m",),
    synonyms=("ERA5", "ERA5_LAND"),
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
)
