"""Name countries and provinces as GAUL 2015 of FAO does: names, codes, and a place within each.

Names and codes are those of the table of pygaul 0.3.4 (https://pypi.org/project/pygaul), which lists the asset. A place
is the middle of the province's towns in GeoNames (https://www.geonames.org); provinces that no town could be told to
belong to are left out. ``provinces.txt`` has a country a line: the atlas's name if it differs, name, code, provinces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

UNNAMED = "Administrative unit not available"
"""The province of a country that has none, in GAUL."""


@dataclass(frozen=True, slots=True)
class Province:
    """A province: its name, its code, and a place in it in degrees."""

    name: str
    code: int
    longitude: float
    latitude: float


@dataclass(frozen=True, slots=True)
class Country:
    """A country: its name and code, and its provinces in the order of their names."""

    name: str
    code: int
    provinces: tuple[Province, ...]


@dataclass(frozen=True, slots=True)
class Enclave:
    """A state that is too small for the atlas: its middle, in degrees, and its area in square kilometres."""

    country: Country
    longitude: float
    latitude: float
    area: float


# Places and areas: https://www.cia.gov/the-world-factbook
ENCLAVES: Mapping[str, Enclave] = {
    name: Enclave(Country(name, code, (Province(UNNAMED, province, longitude, latitude),)), longitude, latitude, area)
    for name, code, province, longitude, latitude, area in (
        ("Holy See", 110, 1419, 12.453, 41.903, 0.44),
        ("San Marino", 213, 2619, 12.46, 43.94, 61.0),
    )
}


@cache
def countries() -> Mapping[str, Country]:
    """Return the countries by the names that the atlas gives them."""
    by_name = {}
    for line in files(__package__).joinpath("provinces.txt").read_text("utf-8").splitlines():
        atlas_name, name, code, listed = line.split("|")
        provinces = []
        for entry in filter(None, listed.split(";")):
            province, number, longitude, latitude = entry.rsplit(":", 3)
            provinces.append(Province(province, int(number), float(longitude), float(latitude)))
        by_name[atlas_name or name] = Country(name, int(code), tuple(provinces))
    return by_name | {name: enclave.country for name, enclave in ENCLAVES.items()}
