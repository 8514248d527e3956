"""Describe how the datasets with a record are usually drawn, for the scripts of the page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eechips.datasets import Dataset, list_datasets

_BYTES = (0, 255)
_BANDS = 3  # of a picture: red, green, blue


def dataset_pictures(datasets: Iterable[Dataset] | None = None) -> dict[str, dict[str, Any]]:
    """Return the pictures of datasets by their asset ids.

    Args:
        datasets: all with a record by default.

    Raises:
        ConfigurationError: if the record of another package cannot be used.
    """
    return {each.id: dataset_picture(each) for each in (list_datasets() if datasets is None else datasets)}


def dataset_picture(dataset: Dataset) -> dict[str, Any]:
    """Return the usual picture of a dataset.

    Returns:
        ``title``; ``bands``, one or three; ``min``, ``max``, ``gamma`` and ``palette`` as far as they are known;
        ``classes``, each a code, a name and a hexadecimal colour; ``units`` of the values; ``pixelSize`` in metres;
        ``isStatic``, whether dates select nothing.
    """
    look = dict(dataset.visualization)
    if not look and dataset.dtype == "uint8":
        look = dict(zip(("min", "max"), _BYTES, strict=True))
    count = _BANDS if len(dataset.default_bands) >= _BANDS else 1
    bands = dataset.default_bands[:count]
    units = {band.units for band in dataset.bands if band.name in bands}
    colours = dataset.class_colours
    return {
        "title": dataset.title,
        "bands": list(bands),
        **{name: look[name] for name in ("min", "max", "gamma", "palette") if name in look},
        "classes": [[code, name, colours[code]] for code, name in dataset.classes.items() if code in colours],
        "units": units.pop() if len(units) == 1 else "",
        "pixelSize": dataset.pixel_size,
        "isStatic": dataset.is_single_period,
    }
