"""Find datasets by short name or asset id."""

from __future__ import annotations

import difflib
from functools import cache

from eechips.datasets.dataset import Dataset
from eechips.registry import Registry

_IMAGERY, _ENVIRONMENT, _LAND_COVER = (f"eechips.datasets.{name}" for name in ("imagery", "environment", "land_cover"))

DATASETS: Registry[Dataset] = Registry(
    "dataset",
    "eechips.datasets",
    {
        "NAIP": f"{_IMAGERY}:NAIP",
        "S2": f"{_IMAGERY}:S2",
        "S1": f"{_IMAGERY}:S1",
        "L8": f"{_IMAGERY}:L8",
        "L9": f"{_IMAGERY}:L9",
        "MODIS_LST": f"{_ENVIRONMENT}:MODIS_LST",
        "MOD13A2": f"{_ENVIRONMENT}:MOD13A2",
        "SRTM": f"{_ENVIRONMENT}:SRTM",
        "WORLDCOVER": f"{_LAND_COVER}:WORLDCOVER",
        "DYNAMICWORLD": f"{_LAND_COVER}:DYNAMICWORLD",
        "CDL": f"{_LAND_COVER}:CDL",
        "NLCD": f"{_LAND_COVER}:NLCD",
        "ERA5_LAND_MONTHLY": f"{_ENVIRONMENT}:ERA5_LAND_MONTHLY",
    },
    Dataset,
    "eechips.datasets.Dataset",
)
"""Every dataset with a short name, in the order in which ``eechips datasets`` lists them."""


@cache
def list_datasets() -> tuple[Dataset, ...]:
    """Return the records of all datasets: those of eechips, then those of other packages.

    Raises:
        ConfigurationError: if the record of another package cannot be used.
    """
    return tuple(DATASETS.get(name) for name in DATASETS.names)


def find_dataset(name: str) -> Dataset | None:
    """Find a dataset.

    Args:
        name: a short name or synonym in any case ("NAIP", "sentinel2"), or an asset id ("USDA/NAIP/DOQQ").

    Returns:
        The record; None for an asset id without one. Datasets of eechips come before those of other packages.
    """
    for dataset in list_datasets():
        if name.upper() in dataset.names or name == dataset.id:
            return dataset
    return None


def suggest_datasets(name: str) -> str:
    """Suggest the datasets most like an unknown name.

    Returns:
        The end of a message: ``"; did you mean NAIP?"``, or an empty string if none is like it.
    """
    known = {text.lower(): dataset.alias for dataset in list_datasets() for text in dataset.names}
    known |= {dataset.id.lower(): dataset.id for dataset in list_datasets()}
    matches = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    alike = list(dict.fromkeys(known[match] for match in matches))
    return f"; did you mean {' or '.join(alike)}?" if alike else ""
