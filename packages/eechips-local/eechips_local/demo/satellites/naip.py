"""USDA/NAIP/DOQQ: aerial photographs of the conterminous United States: years and days of flights by state, bands and
pixels of films, ids.

Naming, collars of about 300 m, NAD83 / UTM grids and resolutions (1 m, 0.6 m from 2018) are those of the National
Agriculture Imagery Program: https://developers.google.com/earth-engine/datasets/catalog/USDA_NAIP_DOQQ

As that page says, ids that begin with ``n_`` have red, green and blue, with ``c_`` near infrared, red and green, with
``m_`` all four; some older images have pixels of 2 m; states were flown once in the five years from 2003 on, and 2008
was a transition. Nebraska in 2007 is such a year: n_4010064_se_14_2_20070725
(https://github.com/OSGeo/gdal/blob/master/autotest/gdrivers/eedai.py). Which other states had which film, and when, is
invented: red, green and blue in the first flight, and one of the three films in the second.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from eechips_local.demo import synthetic_label
from eechips_local.demo.borders import state_outlines
from eechips_local.demo.image_search import is_in_time, wanted_indices
from eechips_local.demo.land import ground_cover
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import PaintedSource
from eechips_local.demo.satellites.naip_quarters import Quarter, count_quarters, quarters_in, states_of_quarters
from eechips_local.evaluation.asset_model import BandInfo, Bounds, ImageAsset, PixelType, Query
from eechips_local.geometry.longitude_boxes import box_meets
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer

ID = "USDA/NAIP/DOQQ"
FIRST_YEARS = (2010, 2011)
"""Of the states that are flown in even and in odd years; all have four bands from then on."""

FIRST_CYCLE = 2003
"""The first of five years in which every state was flown once."""

COARSE = frozenset(("Montana", "Nebraska", "Nevada", "North Dakota", "South Dakota", "Wyoming"))
"""States whose first flight has pixels of 2 m."""

INFRARED = frozenset(("Illinois", "Indiana", "Ohio", "Washington"))
"""States whose second flight has no blue."""

EVEN_YEARS = frozenset(
    (
        "California",
        "Connecticut",
        "Indiana",
        "Kentucky",
        "Massachusetts",
        "Michigan",
        "Mississippi",
        "Missouri",
        "Nebraska",
        "New Hampshire",
        "New Mexico",
        "North Carolina",
        "North Dakota",
        "Oregon",
        "Rhode Island",
        "South Dakota",
        "Tennessee",
        "Texas",
        "Utah",
        "Vermont",
        "Virginia",
        "West Virginia",
        "Wisconsin",
        "Wyoming",
    )
)
"""States that are flown in even years, all others in odd ones. Real flights have exceptions to it."""

BANDS = ("R", "G", "B", "N")
LAYOUTS: Mapping[str, tuple[str, ...]] = {"c": ("N", "R", "G"), "m": BANDS, "n": ("R", "G", "B")}
"""Bands of an image by the first letter of its id, in the order of ids."""

_SPECTRUM = ("red", "green", "blue", "nir")
_COLLAR = 300.0
_SIZES = {"060": 0.6, "1": 1.0, "2": 2.0}
"""Edges of a pixel in metres by their part of an id, in the order of ids."""

_NAME = re.compile(r"([cmn])_(\d{2})(\d{3})(\d{2})_(ne|nw|se|sw)_(\d{2})_(060|1|2)_(\d{4})(\d{2})(\d{2})")

# The film is more sensitive to dark than to bright: values grow with the square root of the reflectance.
_FULL_SCALE = (0.38, 0.38, 0.38, 0.60)
_CONTRAST = 1.10


@dataclass(frozen=True, slots=True)
class Film:
    """What the flight of a state in a year brings.

    Attributes:
        layout: key of ``LAYOUTS``.
        size: key of ``_SIZES``.
    """

    layout: str
    size: str


@dataclass(frozen=True, slots=True)
class Photograph:
    """Scene of the day of a flight."""

    when: date

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        # Wet and dry years differ a little.
        vigour = 0.82 + 0.30 * float(noise.random(self.when.year, 0, 601)[0])
        seen = ground_cover.ground(rect, self.when).reflectance([_SPECTRUM[b] for b in bands], vigour)
        for n, band in enumerate(bands):
            # numpy clips several times as fast as it takes the maximum with a number.
            np.clip(seen[n], np.float32(0.0), np.float32(np.inf), out=seen[n])
            seen[n] *= np.float32(1.0 / _FULL_SCALE[band])
            np.sqrt(seen[n], out=seen[n])
            seen[n] *= np.float32(_CONTRAST * 255.0)
            seen[n] -= np.float32((_CONTRAST - 1.0) * 255.0)
        return seen, None

    def encode(self, values: npt.NDArray[Any], bands: Sequence[int]) -> npt.NDArray[np.uint8]:
        """See ``painted_source.PaintedScene``."""
        stored: npt.NDArray[np.uint8] = np.clip(np.rint(values), 1, 255).astype(np.uint8)
        return stored


@lru_cache(maxsize=16384)
def _grid(quarter: Quarter, size: float) -> tuple[PixelGrid, shapely.Polygon, Bounds]:
    """Return pixels of a quarter quad, their outline in degrees, and its bounds."""
    west, south, east, north = quarter.bounds
    middle = (west + east) / 2.0
    crs = f"EPSG:{26900 + quarter.zone}"
    forward, inverse = transformer("EPSG:4269", crs), transformer(crs, "EPSG:4269")
    x, y = forward.transform([west, middle, east, west, middle, east], [south, south, south, north, north, north])
    left, right = math.floor((min(x) - _COLLAR) / size), math.ceil((max(x) + _COLLAR) / size)
    bottom, top = math.floor((min(y) - _COLLAR) / size), math.ceil((max(y) + _COLLAR) / size)
    origin = (round(left * size, 1), round(top * size, 1))
    grid = PixelGrid(crs, Affine(size, 0.0, origin[0], 0.0, -size, origin[1]), right - left, top - bottom)
    x0, y0, x1, y1 = grid.bounds
    longitude, latitude = inverse.transform([x0, x1, x1, x0], [y0, y0, y1, y1])
    outline = shapely.Polygon(zip(longitude, latitude, strict=True))
    return grid, outline, outline.bounds


@cache
def seasons(until: date) -> Mapping[int, tuple[int, ...]]:
    """Return years of the flights of each state, by its number, whose season is over before a date."""
    last = until.year if until > date(until.year, 9, 15) else until.year - 1
    return {
        number: tuple(
            year
            for year in (*_early(number, name), *range(FIRST_YEARS[name not in EVEN_YEARS], last + 1, 2))
            if year <= last
        )
        for number, name in enumerate(state_outlines.states())
    }


def _early(number: int, name: str) -> tuple[int, int]:
    """Return the years of the first two flights of a state."""
    first = 2007 if name == "Nebraska" else FIRST_CYCLE + number % 5
    return first, FIRST_CYCLE + 5 + number % 2


@cache
def _names() -> tuple[str, ...]:
    return tuple(state_outlines.states())


@cache
def film(state: int, year: int) -> Film:
    """Return the film of a state's flight, by its number."""
    name = _names()[state]
    if year >= min(FIRST_YEARS):
        return Film("m", "060" if year >= 2018 else "1")
    if year == _early(state, name)[0]:
        return Film("n", "2" if name in COARSE else "1")
    return Film("c" if name in INFRARED else "nm"[state % 3 == 0], "1")


_FEW_QUARTERS = 64
"""Quarter quads of a place whose flights are looked up one by one; a square degree has 256."""


def flights(quarter: Quarter, until: date) -> Mapping[int, int]:
    """Return the number of the state with which a quarter quad is flown, by year."""
    return _flights(states_of_quarters(quarter.latitude, quarter.longitude)[(quarter.quad, quarter.quarter)], until)


@lru_cache(maxsize=1024)
def _flights(states: tuple[int, ...], until: date) -> Mapping[int, int]:
    known = seasons(until)
    return {year: state for state in reversed(states) for year in known[state]}


def flown(quarter: Quarter, year: int, until: date) -> tuple[int, int]:
    """Return the month and day of the flight: one for each state and year, from mid June to mid September."""
    flight = _flight(flights(quarter, until)[year], year)
    return flight.month, flight.day


@lru_cache(maxsize=1024)
def _flight(state: int, year: int) -> date:
    return date(year, 6, 15) + timedelta(days=int(noise.random(state, year, 611)[0] * 92.0))


def _image(quarter: Quarter, year: int, until: date) -> ImageAsset:
    used = film(flights(quarter, until)[year], year)
    return _photographed(quarter, used, date(year, *flown(quarter, year, until)))


@lru_cache(maxsize=1024)
def _photographed(quarter: Quarter, used: Film, when: date) -> ImageAsset:
    names = LAYOUTS[used.layout]
    grid, footprint, _ = _grid(quarter, _SIZES[used.size])
    index = f"{used.layout}_{quarter.name}_{quarter.zone:02d}_{used.size}_{when:%Y%m%d}"
    start = synthetic_label.midnight(when)
    source = PaintedSource(grid, Photograph(when), "uint8")
    kind = PixelType("int", 0, 255)
    bands = tuple(BandInfo(name, kind, grid, source, BANDS.index(name)) for name in names)
    properties = {"system:index": index, "system:time_start": start, "system:time_end": start + synthetic_label.DAY}
    return synthetic_label.image(ID, bands, properties, footprint)


@dataclass(frozen=True, slots=True)
class Naip:
    """The collection: some two million images, created on request.

    Attributes:
        until: the first day without an image.
    """

    until: date

    @property
    def band_names(self) -> tuple[str, ...]:
        """The names of all bands; each image has some of them."""
        return BANDS

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return ID

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        return synthetic_label.dated("NAIP: National Agriculture Imagery Program", date(FIRST_CYCLE, 6, 15), self.until)

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """See ``CollectionAsset.images``."""
        wanted = wanted_indices(query)
        if wanted is not None:
            for index in wanted:
                image = self.image(index)
                if image is not None and _matches(image, query) and _meets(image.footprint.bounds, query):
                    yield image
            return
        for quarter, year in self._photographs(query):
            image = _image(quarter, year, self.until)
            if _matches(image, query):
                yield image

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``. Which bands images have is known as well."""
        if query != Query(start=query.start, end=query.end, having=query.having, lacking=query.lacking):
            return None
        layouts = {
            name for name, bands in LAYOUTS.items() if query.having <= set(bands) and not query.lacking & set(bands)
        }
        return sum(
            number
            for states, number in count_quarters().items()
            for year, state in _flights(states, self.until).items()
            if film(state, year).layout in layouts and is_in_time(_start(state, year), query)
        )

    def examples(self, query: Query) -> Sequence[ImageAsset]:
        """See ``Exemplified.examples``: one image of each layout."""
        time = Query(start=query.start, end=query.end)
        firsts = (next(self._of_layout(layout, time), None) for layout in LAYOUTS)
        return [_image(*first, self.until) for first in firsts if first is not None]

    def _photographs(self, query: Query) -> Iterator[tuple[Quarter, int]]:
        """Yield quarter quads and years of the images in the time and place of a query, in the order of their ids."""
        for layout, names in LAYOUTS.items():
            if query.having <= set(names) and not query.lacking & set(names):
                yield from self._of_layout(layout, query)

    def times(self, query: Query) -> Sequence[float]:
        """See ``Dated.times``. A place has few: a sort that is asked for all of its images looks once at each."""
        states = set(seasons(self.until))
        near = [] if query.bounds is None else list(islice(quarters_in(query.bounds, states), _FEW_QUARTERS + 1))
        if query.bounds is not None and len(near) <= _FEW_QUARTERS:
            flown = {flight for quarter in near for flight in flights(quarter, self.until).items()}
            starts = {_start(state, year) for year, state in flown}
        else:
            starts = {_start(state, year) for state, year in self._flights(query)}
        return sorted(start for start in starts if is_in_time(start, query))

    def _flights(self, query: Query) -> list[tuple[int, int]]:
        """Return state and year of the flights in the time of a query."""
        known = seasons(self.until).items()
        return [(n, year) for n, years in known for year in years if is_in_time(_start(n, year), query)]

    def _of_layout(self, layout: str, query: Query) -> Iterator[tuple[Quarter, int]]:
        """Yield those whose ids begin with a letter."""
        flown_then = {(state, year) for state, year in self._flights(query) if film(state, year).layout == layout}
        if not flown_then:
            return
        for quarter in quarters_in(query.bounds, {state for state, _ in flown_then}):
            films = {
                year: film(state, year)
                for year, state in flights(quarter, self.until).items()
                if (state, year) in flown_then
            }
            for year, used in sorted(films.items(), key=lambda item: (item[1].size, item[0])):
                if used.layout == layout and (query.bounds is None or _reaches(quarter, used, query)):
                    yield quarter, year

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None.

        A photograph of any day of the programme is answered, as scripts name real ones: only the archive has the list
        of the flights.
        """
        match = _NAME.fullmatch(index)
        if match is None:
            return None
        layout, size = match[1], match[7]
        latitude, longitude, quad, zone = (int(match[n]) for n in (2, 3, 4, 6))
        if (latitude, longitude) not in state_outlines.degrees() or not 1 <= quad <= 64:
            return None
        try:
            when = date(*(int(match[n]) for n in (8, 9, 10)))
        except ValueError:
            return None
        quarter = Quarter(latitude, longitude, quad, match[5])
        if zone != quarter.zone or not date(FIRST_CYCLE, 1, 1) <= when < self.until:
            return None
        return _photographed(quarter, Film(layout, size), when)


@lru_cache(maxsize=1024)
def _start(state: int, year: int) -> int:
    """Return the moment of a state's flight, in milliseconds since 1970."""
    when = _flight(state, year)
    return synthetic_label.midnight(when)


def _matches(image: ImageAsset, query: Query) -> bool:
    start = image.properties["system:time_start"]
    if query.start is not None and start < query.start:
        return False
    if query.end is not None and start >= query.end:
        return False
    return not any(name in image.properties and image.properties[name] != value for name, value in query.equals.items())


def _reaches(quarter: Quarter, used: Film, query: Query) -> bool:
    return _meets(_grid(quarter, _SIZES[used.size])[2], query)


def _meets(bounds: Bounds, query: Query) -> bool:
    return query.bounds is None or box_meets(bounds, query.bounds)
