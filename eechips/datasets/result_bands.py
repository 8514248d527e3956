"""Describe the bands of a run's results by the records of their datasets: what they are, and in which units (scale,
offset, CF conventions).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eechips.datasets.catalogue import find_dataset
from eechips.datasets.dataset import Dataset, DatasetBand

_DIGITS = 12  # of quotients of factors: 0.02 / 0.02 is 1
_FREEZING = 273.15  # kelvin at 0 °C


def describe_bands(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the bands of a run's results, as far as records know them.

    Args:
        parameters: parameters of a built-in recipe: ``dataset``, ``bands`` and ``computed``, or ``layers`` with these.

    Returns:
        For each band ``dataset`` and ``band``, ``description`` if there is one, and, if the record has units,
        ``units``, ``scale`` and ``offset``: a value of the files times ``scale`` plus ``offset`` has the units.
    """
    layers = parameters.get("layers") or [parameters]
    return [described for layer in layers for described in _of_layer({**parameters, **layer})]


def describe_units(band: Mapping[str, Any]) -> str:
    """Return the units of a band as axes and legends have them; empty if they are not known.

    Args:
        band: as :func:`describe_bands` returns it, or as a file of somebody else has it.

    Example:
        >>> describe_units({"units": "K", "scale": 0.02, "offset": 0.0})
        'K = value × 0.02'
    """
    units, scale, offset = band.get("units"), band.get("scale"), band.get("offset")
    if not isinstance(units, str) or not isinstance(scale, (int, float)) or not isinstance(offset, (int, float)):
        return ""
    if (units, scale, offset) == ("K", 1, _FREEZING):
        return "°C"
    factor = "" if scale == 1 else f" × {scale:g}"
    summand = "" if offset == 0 else f" {'+' if offset > 0 else '−'} {abs(offset):g}"
    return f"{units} = value{factor}{summand}" if factor or summand else units


def cf_units(band: Mapping[str, Any]) -> str:
    """Return the units of the values of a band in files, as the CF conventions write them; empty if they are unknown.

    Values that have an offset from their units have none in CF, but degrees Celsius:
    https://cfconventions.org/cf-conventions/cf-conventions.html#units

    Args:
        band: as for :func:`describe_units`.

    Example:
        >>> cf_units({"units": "K", "scale": 0.02, "offset": 0.0})
        '0.02 K'
    """
    if describe_units(band) == "°C":
        return "degC"
    if not describe_units(band) or band["offset"] != 0:
        return ""
    return str(band["units"]) if band["scale"] == 1 else f"{band['scale']:g} {band['units']}"


def _of_layer(layer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    known = find_dataset(layer["dataset"]) if isinstance(layer.get("dataset"), str) else None
    if known is None or layer.get("quantization"):
        return
    computed = {band["name"]: band for band in layer.get("computed") or ()}
    for name in layer.get("bands") or known.default_bands:
        band, is_scaled = _source(name, known, computed)
        if band is not None:
            described = {"description": band.description} if band.description else {}
            yield {"dataset": known.id, "band": name, **described, **_units(band, layer, is_scaled=is_scaled)}


def _source(name: str, known: Dataset, computed: Mapping[str, Mapping[str, Any]]) -> tuple[DatasetBand | None, bool]:
    """Return the stored band whose values a band of the result has, None for an index, and whether they are scaled."""
    formula = computed[name]["formula"] if name in computed else name
    is_scaled = formula == "x"  # as `BandSelection` writes it
    stored_name = name if is_scaled else formula
    stored = {band.name: band for band in known.bands}
    return stored.get(stored_name) or stored.get(known.band_names.get(stored_name.lower(), "")), is_scaled


def _units(band: DatasetBand, layer: Mapping[str, Any], *, is_scaled: bool) -> dict[str, Any]:
    if not band.units:
        return {}
    factor, summand = layer.get("multiply"), layer.get("add")
    factor, summand = 1.0 if factor is None else factor, 0.0 if summand is None else summand
    scale, offset = (1.0, 0.0) if is_scaled else (band.scale, band.offset)
    if factor == 0:  # every value is the summand
        return {}
    scale = round(scale / factor, _DIGITS)
    return {"units": band.units, "scale": scale, "offset": round(offset - summand * scale, _DIGITS)}
