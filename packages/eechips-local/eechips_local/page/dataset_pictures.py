"""Describe how the datasets with a record are usually drawn, for the scripts of the page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from eechips_local.stubs.record_descriptions import read_records

_BYTES = (0, 255)
_BANDS = 3  # of a picture: red, green, blue
_YEAR = 366  # days


def dataset_pictures() -> dict[str, dict[str, Any]]:
    """Return the pictures of the datasets with a record by their asset ids; see :func:`dataset_picture`."""
    pictures = {record["id"]: dataset_picture(record) for record in read_records()}
    if (decibels := pictures.get("COPERNICUS/S1_GRD")) is not None:  # the same images as power, without a record
        power = {"title": decibels["title"].removesuffix(", log scaling"), "units": "", "min": 0, "max": 0.5}
        pictures["COPERNICUS/S1_GRD_FLOAT"] = decibels | power
    return pictures


def dataset_picture(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usual picture of a dataset.

    Args:
        record: the content of its file.

    Returns:
        ``title``; ``bands``, one or three; ``min``, ``max``, ``gamma`` and ``palette`` as far as they are known;
        ``classes``, each a code, a name and a hexadecimal colour; ``units`` of the values; ``pixelSize`` in metres;
        ``isStatic``, whether dates select nothing; ``varyingBands``, the bands of the picture that some images lack.
    """
    names = record["default_bands"]
    defaults = [band for band in record["bands"] if band["name"] in names]
    look = dict(record.get("visualization", {}))
    if not look and {band.get("dtype") for band in defaults} == {"uint8"}:
        look = dict(zip(("min", "max"), _BYTES, strict=True))
    shown = names[: _BANDS if len(names) >= _BANDS else 1]
    units = {band.get("units", "") for band in defaults if band["name"] in shown}
    classes = defaults[0].get("classes", ()) if len(names) == 1 else ()
    return {
        "title": record["title"],
        "bands": list(shown),
        **{name: look[name] for name in ("min", "max", "gamma", "palette") if name in look},
        "classes": [
            [class_row["value"], class_row["name"], class_row["colour"]]
            for class_row in classes
            if class_row.get("colour")
        ],
        "units": units.pop() if len(units) == 1 else "",
        "pixelSize": record["pixel_size"],
        "isStatic": _is_static(record),
        "varyingBands": [name for name in shown if name in record.get("varying_bands", ())],
    }


def _is_static(record: Mapping[str, Any]) -> bool:
    """Return whether dates select nothing: the dataset is static, or shows one past period of at most a year."""
    end: date | None = record.get("end")
    return bool(record.get("static", False)) or (end is not None and (end - record["start"]).days <= _YEAR)
