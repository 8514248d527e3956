"""Look up spectral indices by name, and the bands and constants of a dataset that they need; list those that its bands
allow.

The list is that of Awesome Spectral Indices (Montero et al., 2023, https://doi.org/10.1038/s41597-023-02096-0), MIT
licence; ``spectral_indices.json`` holds it with its source, its licence, the defaults of its constants, and the central
wavelengths of sensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from eechips.datasets.dataset import Dataset, DatasetBand
from eechips.errors import UsageError
from eechips.text.suggestion import did_you_mean

_FILE = "spectral_indices.json"

# Common names, the preferred first, of the bands in formulas.
# https://github.com/awesome-spectral-indices/awesome-spectral-indices#expressions
_COMMON_NAMES = {
    "A": ("coastal",),
    "B": ("blue",),
    "G": ("green",),
    "G1": ("green05", "green1"),
    "N": ("nir",),
    "N2": ("nir08",),
    "R": ("red",),
    "RE1": ("rededge1", "rededge071", "rededge"),
    "RE2": ("rededge2", "rededge075"),
    "RE3": ("rededge3", "rededge078"),
    "S1": ("swir1", "swir16"),
    "S2": ("swir2", "swir22"),
    "T": ("thermal", "lwir"),
    "T1": ("thermal1", "lwir11", "thermal"),
    "Y": ("yellow",),
}
_POLARISATIONS = ("VV", "VH", "HV", "HH")  # are names of bands

_KERNEL = re.compile(r"\bk([A-Z])([A-Z])\b")
_WAVELENGTH = "lambda"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralIndex:
    """A spectral index.

    Attributes:
        long_name: full name.
        domain: domain of application: vegetation, water, burn, snow, soil, urban, clouds, radar or kernel.
        formula: over variables, in Python's notation.
        variables: bands, constants and wavelengths of the formula.
        reference: URL of the publication.
    """

    name: str
    long_name: str
    domain: str
    formula: str
    variables: tuple[str, ...]
    reference: str

    @property
    def expression(self) -> str:
        """The formula with kernels written out, as radial basis functions with the length scale ``sigma``.

        ``kNR`` is the kernel of near infrared and red, exp(-(N - R)² / (2 sigma²)).
        https://doi.org/10.1126/sciadv.abc7447
        """
        return _KERNEL.sub(
            lambda match: "1.0" if match[1] == match[2] else f"exp(-({match[1]} - {match[2]})**2/(2*sigma**2))",
            self.formula,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInputs:
    """The values of the variables of an index for a dataset.

    Attributes:
        bands: bands of the dataset, by variable.
        numbers: constants, and wavelengths in nanometres, by variable.
    """

    bands: Mapping[str, DatasetBand]
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _IndexList:
    indices: Mapping[str, SpectralIndex]
    constants: Mapping[str, float]
    wavelengths: Mapping[str, Mapping[str, float]]  # by the beginning of an asset id


@cache
def _read_list() -> _IndexList:
    content: Any = json.loads((files("eechips.datasets") / _FILE).read_text(encoding="utf-8"))
    indices = [
        SpectralIndex(
            name=entry["short_name"],
            long_name=entry["long_name"],
            domain=entry["domain"],
            formula=entry["formula"],
            variables=tuple(entry["bands"]),
            reference=entry["reference"],
        )
        for entry in content["indices"]
    ]
    return _IndexList({index.name: index for index in indices}, content["constants"], content["wavelengths"])


def list_indices() -> tuple[SpectralIndex, ...]:
    """Return all indices, by name."""
    return tuple(_read_list().indices.values())


def find_index(name: str) -> SpectralIndex | None:
    """Find an index by its short name, in any case unless several differ only in case, as BAI and BaI do."""
    indices = _read_list().indices
    alike = [index for index in indices.values() if index.name.lower() == name.lower()]
    return indices.get(name) or (alike[0] if len(alike) == 1 else None)


def get_index(name: str) -> SpectralIndex:
    """Return the index with a short name; see :func:`find_index`.

    Raises:
        UsageError: if there is none; the message suggests a similar one.
    """
    index = find_index(name)
    if index is not None:
        return index
    indices = _read_list().indices
    alike = [index_name for index_name in indices if index_name.lower() == name.lower()]
    hint = f"; did you mean {' or '.join(alike)}?" if alike else did_you_mean(name, indices)
    raise UsageError(
        f"there is no spectral index {name!r} among {len(indices)} of the Awesome Spectral Indices{hint or '; '}"
        f"{'' if hint else 'write its formula: NAME=FORMULA'}"
    )


def list_supported(dataset: Dataset) -> tuple[SpectralIndex, ...]:
    """Return the indices that the bands of a dataset allow."""
    return tuple(index for index in list_indices() if not _find_missing(index, dataset))


def match_bands(index: SpectralIndex, dataset: Dataset) -> IndexInputs:
    """Return the bands and numbers with which an index is computed from a dataset.

    Raises:
        UsageError: if the dataset lacks a band, or a number is not known; the message names it.
    """
    missing = _find_missing(index, dataset)
    if missing:
        there = ", ".join(dataset.band_names) or ", ".join(band.name for band in dataset.bands[:12])
        raise UsageError(f"{dataset.alias} has no {' and no '.join(missing)}, which {index.name} needs; it has {there}")
    names = _variables(index)
    numbers = {name: number for name in names if (number := _find_number(name, dataset)) is not None}
    bands = {name: band for name in names if name not in numbers and (band := _find_band(name, dataset))}
    return IndexInputs(bands=bands, numbers=numbers)


def _variables(index: SpectralIndex) -> tuple[str, ...]:
    """Return the variables of an index; a kernel counts as the variables of its formula."""
    variables: list[str] = []
    for name in index.variables:
        kernel = _KERNEL.fullmatch(name)
        variables += [name] if kernel is None else [kernel[1], kernel[2], "sigma"] if kernel[1] != kernel[2] else []
    return tuple(dict.fromkeys(variables))


def _find_missing(index: SpectralIndex, dataset: Dataset) -> list[str]:
    """Return descriptions of the variables that a dataset has no value for."""
    names = [
        name for name in _variables(index) if _find_number(name, dataset) is None and _find_band(name, dataset) is None
    ]
    return [_describe(name) for name in names]


def _find_band(name: str, dataset: Dataset) -> DatasetBand | None:
    wanted = name if name in _POLARISATIONS else None
    for common in _COMMON_NAMES.get(name, ()):
        wanted = wanted or dataset.band_names.get(common)
    return next((band for band in dataset.bands if band.name == wanted), None)


def _find_number(name: str, dataset: Dataset) -> float | None:
    index_list = _read_list()
    if not name.startswith(_WAVELENGTH):
        return index_list.constants.get(name)
    known = (wavelengths for start, wavelengths in index_list.wavelengths.items() if dataset.id.startswith(start))
    return next(known, {}).get(name.removeprefix(_WAVELENGTH))


def _describe(name: str) -> str:
    if name.startswith(_WAVELENGTH):
        return f"known wavelength of the band {_describe(name.removeprefix(_WAVELENGTH)).removeprefix('band ')}"
    if name in _POLARISATIONS:
        return f"band {name}"
    return f"band {_COMMON_NAMES[name][0]}" if name in _COMMON_NAMES else f"value of {name}"
