"""COPERNICUS/S1_GRD and COPERNICUS/S1_GRD_FLOAT: which images there are, their modes and polarisations, speckle, angles
of incidence, properties.

Scenes differ in bands, as the catalog says: VV with VH, or VV alone, in the mode IW at 10 m; around the poles HH with
HV, or HH alone, in the mode EW at 40 m, or in IW. Which passes have one band only is invented: around the poles every
third, elsewhere every second until the end of 2015. Bands, scales, properties and dates:
https://developers.google.com/earth-engine/datasets/catalog/COPERNICUS_S1_GRD. Modes, the letters of names and the
number of looks of the speckle: https://sentiwiki.copernicus.eu/web/s1-products
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.demo import synthetic_label
from eechips_local.demo.image_search import ImageSearch
from eechips_local.demo.land import backscatter, ground_cover
from eechips_local.demo.land_character import wrapped
from eechips_local.demo.painting import mercator, noise
from eechips_local.demo.painting.derived_source import DerivedSource
from eechips_local.demo.painting.mercator import Rect
from eechips_local.demo.painting.painted_source import AsPainted, Integers, PaintedSource, Rounded
from eechips_local.demo.satellites import sentinel1_orbit
from eechips_local.demo.satellites.sentinel1_orbit import Slice
from eechips_local.demo.weather import climate
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query
from eechips_local.evaluation.lazy_values import LazyMapping, LazySequence

FIRST = date(2014, 10, 3)
"""No image is older."""

LOOKS = 4.4
"""Equivalent number of looks of the speckle at full resolution."""

_MIDDLE_ANGLE, _ANGLE_SPAN, _HALF_WIDTH = 38.3, 7.7, 125_000.0
_SINGLE_UNTIL = synthetic_label.midnight(date(2016, 1, 1))
_HORIZONTAL = np.float32(0.8)
"""Power in HH of that in VV; in HV it is that in VH."""

_POLARISATIONS = "transmitterReceiverPolarisation"
_COUNTED = {
    "instrumentMode", "instrumentSwath", "orbitProperties_pass", "relativeOrbitNumber_start", "resolution",
    "resolution_meters", _POLARISATIONS,
}  # fmt: skip
"""Properties by whose values scenes are counted without making them."""

_NAME = re.compile(r"S1A_(?:EW_GRDM|IW_GRDH)_1S[DS][HV]_(\d{8}T\d{6})_\d{8}T\d{6}_(\d{6})_[0-9A-F]{6}_[0-9A-F]{4}")


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Kind of a scene.

    Attributes:
        mode: mode of the instrument: EW or IW.
        bands: names, without that of the angle.
        pixel: edge of a pixel in metres.
    """

    mode: str
    bands: tuple[str, ...]
    pixel: int

    @property
    def label(self) -> str:
        """The beginning of names: mode, resolution and polarisation."""
        return f"S1A_{self.mode}_GRD{self.properties['resolution']}_1S{'SD'[len(self.bands) - 1]}{self.bands[0][0]}"

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties by which kinds differ."""
        return {
            "instrumentMode": self.mode,
            "instrumentSwath": self.mode,
            "resolution": "H" if self.mode == "IW" else "M",
            "resolution_meters": self.pixel,
            _POLARISATIONS: list(self.bands),
        }

    def meets(self, query: Query) -> bool:
        """Return whether scenes of the kind may match a query."""
        names = {*self.bands, "angle"}
        held = {name for field, name in query.holding if field == _POLARISATIONS}
        is_equal = all(query.equals.get(name, value) == value for name, value in self.properties.items())
        return is_equal and held <= set(self.bands) and query.having <= names and not query.lacking & names


_WIDE_PAIR, _WIDE = Acquisition("EW", ("HH", "HV"), 40), Acquisition("EW", ("HH",), 40)
_POLAR_PAIR = Acquisition("IW", ("HH", "HV"), 10)
_PAIR, _SINGLE = Acquisition("IW", ("VV", "VH"), 10), Acquisition("IW", ("VV",), 10)
_POLAR = (_WIDE_PAIR, _WIDE, _POLAR_PAIR)
_USUAL = (_PAIR, _SINGLE)


def acquisition(orbit: int, scene: Slice) -> Acquisition:
    """Return the kind of a scene."""
    if sentinel1_orbit.is_polar(scene):
        return _POLAR[orbit % len(_POLAR)]
    return _SINGLE if orbit % 2 and _is_early(orbit) else _PAIR


def _is_early(orbit: int) -> bool:
    return sentinel1_orbit.node_time(orbit) < _SINGLE_UNTIL


_ALIKE = 6
"""Orbits so far apart have alike kinds of scenes, on the same side of ``_SINGLE_UNTIL``."""


@cache
def _kinds_of_scenes(relative: int) -> Sequence[tuple[Slice, int]]:
    """Return a scene of a relative orbit for each direction, around the poles and elsewhere, and how many there are."""
    alike: dict[tuple[bool, str], list[Slice]] = {}
    for scene in sentinel1_orbit.slices(None).get(relative, ()):
        alike.setdefault((sentinel1_orbit.is_polar(scene), scene.direction), []).append(scene)
    return [(scenes[0], len(scenes)) for scenes in alike.values()]


def _orbits(start: float, end: float) -> range:
    """Return the orbits of which scenes may be seen between two times; all but three at each end lie in it wholly."""
    return range(sentinel1_orbit.orbit_at(start) - 1, sentinel1_orbit.orbit_at(max(start, end)) + 1)


@dataclass(frozen=True, slots=True)
class RadarPass(AsPainted):
    """Scene of a pass: power in the co-polarised and the cross-polarised band, without speckle.

    Attributes:
        scene: where the satellite is.
        when: date at the place itself.
        is_horizontal: in HH and HV, not in VV and VH.
    """

    scene: Slice
    when: date
    is_horizontal: bool = False

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        _, latitude, heading = sentinel1_orbit.middle(self.scene)
        north = round(latitude, 3)
        ground = ground_cover.ground(rect, self.when, climate.snow_line(self.when, north))
        east, south = _look(heading)
        look = backscatter.Look(east, south, incidence(self.scene, rect))
        power = backscatter.backscatter(ground, self.when, north, look)
        if self.is_horizontal:
            power[0] *= _HORIZONTAL
        return power[list(bands)], None


@dataclass(frozen=True, slots=True)
class IncidenceAngle(Rounded):
    """Angle of incidence from the ellipsoid, degrees."""

    scene: Slice

    def paint(self, rect: Rect, bands: Sequence[int]) -> tuple[npt.NDArray[Any], None]:
        """See ``painted_source.PaintedScene``."""
        return incidence(self.scene, rect)[None], None


def _look(heading: float) -> tuple[float, float]:
    """Return the eastward and southward parts of the direction to the right of the track."""
    return math.cos(math.radians(heading)), math.sin(math.radians(heading))


def incidence(scene: Slice, rect: Rect) -> npt.NDArray[np.float32]:
    """Return the angle of incidence in the cells of a rectangle, degrees: 30.6 to 46.0 across the swath."""
    longitude, latitude, heading = sentinel1_orbit.middle(scene)
    middle_x, middle_y = mercator.x_of(longitude), mercator.y_of(latitude)
    metres = mercator.EQUATOR_UNIT * float(mercator.cosine_of(middle_y))
    east, south = _look(heading)
    across = (wrapped(rect.x - middle_x) * east)[None, :] + ((rect.y - middle_y) * south)[:, None]
    angle = _MIDDLE_ANGLE + across * (metres * _ANGLE_SPAN / _HALF_WIDTH)
    return np.clip(angle, 20.0, 60.0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Speckle:
    """Multiplies the power with speckle that belongs to the pixel and the pass.

    Speckle has the gamma distribution of its number of looks, by the approximation of Wilson and Hilferty
    (https://doi.org/10.1073/pnas.17.12.684). Pixels of coarser levels are means of many: they have more looks.

    Attributes:
        seed: seed of the pass.
        is_log: in decibels.
    """

    seed: int
    is_log: bool

    def layers(self, bands: Sequence[int]) -> Sequence[int]:
        """See ``derived_source.Derivation``."""
        return bands

    def derive(
        self, layers: npt.NDArray[Any], bands: Sequence[int], columns: Integers, rows: Integers, factor: int
    ) -> npt.NDArray[Any]:
        """See ``derived_source.Derivation``; rounded to 2**-10 dB or 2**-20 so that machines agree."""
        power = np.stack(
            [
                layer.astype(np.float64) * speckle(columns, rows, self.seed * 8 + band * 4, LOOKS * factor * factor)
                for layer, band in zip(layers, bands, strict=True)
            ]
        )
        if not self.is_log:
            return np.rint(power * 1048576.0) * (1.0 / 1048576.0)
        decibels: npt.NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, 1e-5))
        return np.rint(decibels * 1024.0) * (1.0 / 1024.0)


def speckle(columns: Integers, rows: Integers, seed: int, looks: float) -> npt.NDArray[np.float64]:
    """Return speckle of mean 1 for pixels, by the number of looks."""
    normal = np.zeros(np.broadcast_shapes(columns.shape, rows.shape))
    for draw in range(4):
        normal += noise.random(columns, rows, seed + draw)
    # The sum of four uniform numbers is nearly normal, with mean 2 and variance 1/3.
    normal = (normal - 2.0) * math.sqrt(3.0)
    root = 1.0 - 1.0 / (9.0 * looks) + normal * (1.0 / (3.0 * math.sqrt(looks)))
    result: npt.NDArray[np.float64] = root * root * root
    return result


@dataclass(frozen=True, slots=True)
class Sentinel1(ImageSearch):
    """A ``CollectionAsset`` made of passes.

    Attributes:
        id: the full Earth Engine id.
        title: as in the catalogue.
        until: the first day without an image.
        is_log: in decibels, not as power.
    """

    id: str
    title: str
    until: date
    is_log: bool

    @property
    def band_names(self) -> tuple[str, ...]:
        """The names of all bands; each image has some of them."""
        return ("HH", "HV", "VV", "VH", "angle")

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection."""
        return synthetic_label.dated(self.title, FIRST, self.until)

    @property
    def _first(self) -> int:
        return synthetic_label.midnight(FIRST)

    @property
    def _end(self) -> int:
        return synthetic_label.midnight(self.until)

    def search(self, query: Query) -> Iterator[ImageAsset]:
        """See ``ImageSearch.search``."""
        direction = query.equals.get("orbitProperties_pass")
        scenes, span = sentinel1_orbit.slices(query.bounds), self._span(query)
        near = [orbit for orbit in _orbits(*span) if sentinel1_orbit.relative_orbit(orbit) in scenes]
        orbits = [orbit for orbit in near if sentinel1_orbit.may_match(query, orbit)]
        is_polar = {sentinel1_orbit.is_polar(scene) for scene_group in scenes.values() for scene in scene_group}
        kinds = [*(_POLAR if True in is_polar else ()), *(_USUAL if False in is_polar else ())]
        for kind in sorted((kind for kind in kinds if kind.meets(query)), key=lambda kind: kind.label):
            for orbit, scene in self._passes(scenes, orbits, *span):
                if acquisition(orbit, scene) is kind and (direction is None or scene.direction == direction):
                    yield self._image(orbit, scene)

    def examples(self, query: Query) -> Sequence[ImageAsset]:
        """See ``Exemplified.examples``: one image of each kind."""
        wanted = {kind for kind in (*_POLAR, *_USUAL) if kind.meets(query)}
        firsts: dict[Acquisition, ImageAsset] = {}
        scenes, span = sentinel1_orbit.slices(None), self._span(query)
        for orbit, scene in self._passes(scenes, _orbits(*span), *span) if wanted else ():
            kind = acquisition(orbit, scene)
            if kind in wanted and kind not in firsts:
                firsts[kind] = self._image(orbit, scene)
            if firsts.keys() == wanted:
                break
        return list(firsts.values())

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``. Modes, polarisations, bands, directions and orbits are known as well."""
        is_listed = query.bounds is not None or query.indices is not None or query.ranges
        if is_listed or not query.equals.keys() <= _COUNTED or {field for field, _ in query.holding} - {_POLARISATIONS}:
            return None
        wanted = {kind for kind in (*_POLAR, *_USUAL) if kind.meets(query)}
        direction = query.equals.get("orbitProperties_pass")
        scenes, (start, end) = sentinel1_orbit.slices(None), self._span(query)

        def is_wanted(orbit: int, scene: Slice) -> bool:
            return acquisition(orbit, scene) in wanted and direction in (None, scene.direction)

        orbits = _orbits(start, end)
        edges = [orbit for orbit in sorted({*orbits[:3], *orbits[-3:]}) if sentinel1_orbit.may_match(query, orbit)]
        alike: dict[tuple[int, int, bool], list[int]] = {}  # those that lie in the time as a whole, by what decides
        for orbit in orbits[3:-3]:
            key = sentinel1_orbit.relative_orbit(orbit), orbit % _ALIKE, _is_early(orbit)
            alike.setdefault(key, []).append(orbit)
        whole = sum(
            len(members) * sum(count for scene, count in _kinds_of_scenes(relative) if is_wanted(members[0], scene))
            for (relative, _, _), members in alike.items()
            if sentinel1_orbit.may_match(query, members[0])
        )
        return whole + sum(is_wanted(*seen) for seen in self._passes(scenes, edges, start, end))

    def _span(self, query: Query) -> tuple[float, float]:
        """Return the time of a query in which there are images."""
        start = self._first if query.start is None else max(self._first, query.start)
        return start, self._end if query.end is None else min(self._end, query.end)

    def _passes(
        self, scenes: Mapping[int, Sequence[Slice]], orbits: Sequence[int], start: float, end: float
    ) -> Iterator[tuple[int, Slice]]:
        """Yield orbit and slice of the scenes of some orbits that are seen between two times, in milliseconds."""
        for orbit in orbits:
            for scene in scenes.get(sentinel1_orbit.relative_orbit(orbit), ()):
                seen = _seconds(sentinel1_orbit.start_time(orbit, scene.number))
                if start <= seen < end:
                    yield orbit, scene

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of that ``system:index``, or None."""
        match = _NAME.fullmatch(index)
        if match is None:
            return None
        orbit = int(match[2])
        relative = sentinel1_orbit.relative_orbit(orbit)
        for scene in sentinel1_orbit.slices(None).get(relative, ()):
            if _name(orbit, scene.number) == index:
                seen = _seconds(sentinel1_orbit.start_time(orbit, scene.number))
                return self._image(orbit, scene) if self._first <= seen < self._end else None
        return None

    def _image(self, orbit: int, scene: Slice) -> ImageAsset:
        seen = _seconds(sentinel1_orbit.start_time(orbit, scene.number))
        index, kind = _name(orbit, scene.number), acquisition(orbit, scene)
        properties = {"system:index": index, "system:time_start": seen, "system:time_end": seen, **kind.properties}
        # A search reads some properties of many images, and the bands of few.
        return ImageAsset(
            f"{self.id}/{index}",
            LazySequence(lambda: self._bands(orbit, scene)),
            LazyMapping(properties, lambda: synthetic_label.marked(_properties(orbit, scene))),
            sentinel1_orbit.outline(scene),
            synthetic_label.VERSION,
        )

    def _bands(self, orbit: int, scene: Slice) -> tuple[BandInfo, ...]:
        longitude = sentinel1_orbit.middle(scene)[0]
        moment = _moment(sentinel1_orbit.start_time(orbit, scene.number))
        when = (moment + timedelta(hours=longitude / 15.0)).date()
        dtype, kind = "float64" if self.is_log else "float32", acquisition(orbit, scene)
        grid, (_, points) = sentinel1_orbit.grid(scene, kind.pixel), sentinel1_orbit.corners(scene)
        painted = PaintedSource(grid, RadarPass(scene, when, kind.bands[0] == "HH"), "float32", outline=points)
        source = DerivedSource(painted, Speckle(orbit * sentinel1_orbit.SLICES + scene.number, self.is_log), dtype)
        angle = PaintedSource(sentinel1_orbit.angle_grid(scene), IncidenceAngle(scene), "float32")
        bands = [BandInfo(name, PixelType.of(dtype), grid, source, n) for n, name in enumerate(kind.bands)]
        return (*bands, BandInfo("angle", PixelType("float"), angle.grid, angle, 0))


def _properties(orbit: int, scene: Slice) -> dict[str, Any]:
    start, stop = (time(orbit, scene.number) for time in (sentinel1_orbit.start_time, sentinel1_orbit.stop_time))
    node = sentinel1_orbit.node_time(orbit)
    heading = sentinel1_orbit.middle(scene)[2]
    properties: dict[str, Any] = {
        **sentinel1_orbit.numbers(orbit),
        "familyName": "SENTINEL-1",
        "instrument": "Synthetic Aperture Radar",
        "instrumentConfigurationID": 7,
        "missionDataTakeID": _datatake(orbit),
        "nssdcIdentifier": "2014-016A",
        "orbitProperties_ascendingNodeTime": node,
        "orbitProperties_pass": scene.direction,
        "phaseIdentifier": 1,
        "platformHeading": heading,
        "platform_number": "A",
        "productClass": "S",
        "productClassDescription": "SAR Standard L1 Product",
        "productComposition": "Slice",
        "productTimelinessCategory": "Fast-24h",
        "productType": "GRD",
        "segmentStartTime": start,
        "sliceNumber": scene.number + 1,
        "sliceProductFlag": "true",
        "startTimeANX": float(start - node),
        "stopTimeANX": float(stop - node),
        "totalSlices": sentinel1_orbit.SLICES,
        "S1TBX_Calibration_Operator_version": "6.0.4",
        "S1TBX_SAR_Processing_version": "6.0.4",
        "SNAP_Graph_Processing_Framework_GPF_version": "6.0.4",
    }
    return properties | _processing("SLC", start + 8_000_000) | _processing("GRD_Post", start + 8_200_000)


def _processing(step: str, start: int) -> dict[str, Any]:
    """Return the properties of a step of processing that begins at a time."""
    facility = {"country": "Germany", "name": "eechips demo planet", "organisation": "ESA", "site": "DEMO"}
    return {
        **{f"{step}_Processing_facility_{name}": value for name, value in facility.items()},
        f"{step}_Processing_software_name": "Sentinel-1 IPF",
        f"{step}_Processing_software_version": "003.10",
        f"{step}_Processing_start": _seconds(start),
        f"{step}_Processing_stop": _seconds(start + 120_000),
    }


def _datatake(orbit: int) -> int:
    """Return the number of the datatake: as in products, some eight and a half for each orbit."""
    return max(1, 225_956 + (orbit - 30_172) * 84 // 10)


def _name(orbit: int, number: int) -> str:
    times = (_moment(time(orbit, number)) for time in (sentinel1_orbit.start_time, sentinel1_orbit.stop_time))
    start, stop = (f"{moment:%Y%m%dT%H%M%S}" for moment in times)
    unique = int(noise.hashed(orbit, number, 1022)[0]) & 0xFFFF
    label = acquisition(orbit, Slice(sentinel1_orbit.relative_orbit(orbit), number)).label
    return f"{label}_{start}_{stop}_{orbit:06d}_{_datatake(orbit):06X}_{unique:04X}"


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, tz=timezone.utc)


def _seconds(milliseconds: int) -> int:
    """Return whole seconds, in milliseconds."""
    return milliseconds // 1000 * 1000


def collections(until: date) -> tuple[Sentinel1, Sentinel1]:
    """Return both collections up to a day."""
    title = "Sentinel-1 SAR GRD: C-band Synthetic Aperture Radar Ground Range Detected"
    return (
        Sentinel1("COPERNICUS/S1_GRD", f"{title}, log scaling", until, is_log=True),
        Sentinel1("COPERNICUS/S1_GRD_FLOAT", title, until, is_log=False),
    )
