"""An asset store made of the real imagery beside the project."""

from __future__ import annotations

from pathlib import Path

from eechips_local.assets import ingest

NAIP = "USDA/NAIP/DOQQ"
LST = "MODIS/061/MOD11A2"
ECOREGIONS = "RESOLVE/ECOREGIONS/2017"

# Pieces at 0.6 to 5 m whose file names end with their date.
_DATED = ("m_4709963_se_14_1_*", "m_3607717_sw_18_1_*", "m_3607824_se_17_1_*", "m_3211605_ne_11_060_*")


def fill(store: Path, data: Path) -> None:
    """Ingest NAIP quads and pieces, 811 dates of land surface temperature, and the ecoregions."""
    fill_photographs(store, data)
    stack = data / "lst" / "MOD11A2.006_LST_Day_1km_buffalo_811dates_u16.tif"
    ingest(stack, store, LST, bands=["LST_Day_1km"], dates_from_bands=True)


def fill_photographs(store: Path, data: Path) -> None:
    """Ingest NAIP quads and pieces, and the ecoregions."""
    for pattern in _DATED:
        for path in sorted((data / "naip").glob(f"{pattern}.tif")):
            date = path.stem.removesuffix("_subset")[-8:]
            start = f"{date[:4]}-{date[4:6]}-{date[6:]}"
            ingest(path, store, f"{NAIP}/{path.stem}", time_start=start, bands=["R", "G", "B", "N"])
    ingest(data / "vector" / "resolve_ecoregions_2017_simplified_847.parquet", store, ECOREGIONS)
