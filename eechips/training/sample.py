"""Define a sample: a unit with its files, split and flags; name its layers and arrays, flatten the fields of its unit,
and find its stratum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from eechips.formats import chip_suffixes
from eechips.geo.grid import Grid
from eechips.storage import name_fields
from eechips.web.redaction import redact_unit

ONLY = ""
"""The layer of a unit that has one file."""

UNNAMED = ("image", "file")
"""Names of the layer of a sample that has one file: with pixels, and without."""

STRATA = ("class", "eco_name", "eco_id")
"""Fields of a unit with its stratum; the first that exists counts."""

_NOT_OF_THE_UNIT = frozenset({"id", "index", "kind"})
_OF_A_SERIES = frozenset({"kind", "coordinates", "grid", "frames", "types"})
"""Fields by which a unit of ``eechips sample`` with frames is known."""
_OF_THE_GRID = frozenset({"image", "date"})
"""Fields of the image that gave such a unit its grid, which need not be one of its frames."""


@dataclass(frozen=True, slots=True)
class SampleFile:
    """A file of a sample.

    Attributes:
        layer: layer of the file in the sample; empty if the sample has one file.
        name: path below the folder of results, with forward slashes.
        bytes: size.
        sha256: SHA-256 digest of the content, hexadecimal.
        bands: names of bands (of columns, in a table); None if unknown.
        dtype: numpy name of the pixels' type.
        width: columns of pixels.
        height: rows of pixels.
        crs: code, or WKT.
        transform: pixel corners to coordinates, (a, b, c, d, e, f).
        valid_fraction: share of pixels that are not masked, 0 to 1.
        rows: rows of a table.
        sources: ids of assets.
        dates: ISO 8601.
        series: name of the dataset whose frame it is, empty if there is one dataset; None for no frame.
        frame: number of the frame, from 0.
        start: start of the frame's period, ISO 8601.
        end: end of the frame's period, exclusive.
        clear_fraction: share of pixels that the frame's image shows clear, 0 to 1.
        score: by which the frame's image was chosen; None if it was chosen otherwise.
        frames: frames of a file with several frames, the columns ``frame``, ``start``, ``end``, ``clear_fraction``,
            ``score``, ``sources``, ``dates`` and ``valid_fraction`` of each. ``bands`` has the bands of one frame.
    """

    layer: str
    name: str
    bytes: int
    sha256: str
    bands: tuple[str, ...] | None = None
    dtype: str | None = None
    width: int | None = None
    height: int | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    valid_fraction: float | None = None
    rows: int | None = None
    sources: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    series: str | None = None
    frame: int | None = None
    start: str | None = None
    end: str | None = None
    clear_fraction: float | None = None
    score: float | None = None
    frames: tuple[Mapping[str, Any], ...] = ()

    def each_frame(self) -> tuple[SampleFile, ...]:
        """Return an entry for each frame of a file with several; otherwise the file itself."""
        return tuple(replace(self, frames=(), **frame) for frame in self.frames) or (self,)

    @property
    def grid(self) -> Grid | None:
        """The pixels; None if the file has none, or their location is unknown."""
        if self.crs is None or self.transform is None or not self.width or not self.height:
            return None
        a, b, c, d, e, f = self.transform
        return Grid(self.crs, (a, b, c, d, e, f), self.width, self.height)

    @property
    def suffix(self) -> str:
        """The suffix of the name, in lower case and without the dot; empty if there is none."""
        return suffix_of(self.name)

    @property
    def label(self) -> str:
        """The name of its layer: see ``UNNAMED``."""
        return label_of(self.layer, self.name)

    @property
    def array(self) -> str:
        """The name of the array that it is a part of: that of its series, or else its label."""
        return array_of(self.label, self.series)


@dataclass(frozen=True)
class Sample:
    """A unit with its results.

    Attributes:
        id: id of the unit, hexadecimal.
        position: in the plan; never its identity.
        unit: as the recipe planned it.
        state: ``done``, or ``empty`` if it has masked pixels only.
        valid_fraction: valid fraction of its least valid file; None if unknown.
        sources: ids of the assets of all its files.
        dates: dates of all its files, ISO 8601.
        split: its split; None if the run was not split, or without this unit.
        flags: set by ``eechips check``; None if it was not checked.
        files: in the order of the recipe.
        finished: time at which it was settled, ISO 8601, UTC.
    """

    id: str
    position: int
    unit: dict[str, Any]
    state: str
    valid_fraction: float | None
    sources: tuple[str, ...]
    dates: tuple[str, ...]
    split: str | None
    flags: tuple[str, ...] | None
    files: tuple[SampleFile, ...]
    finished: str | None = None

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The fields of the unit, flattened: texts and numbers of the unit and of its properties, without secrets.

        They go into cards, packs and catalogues, which people pass on.
        """
        return fields_of(redact_unit(self.unit))

    @property
    def grids(self) -> list[Grid]:
        """The grids of its files, without files that have no crs and transform."""
        return [grid for file in self.files if (grid := file.grid) is not None]

    @property
    def stratum(self) -> str | int | float | None:
        """The class, or else the ecoregion, that it was drawn in; None if in neither."""
        fields = self.fields
        return next((fields[name] for name in STRATA if name in fields), None)


def label_of(layer: str, name: str) -> str:
    """Return the name of the layer of a file: see ``UNNAMED``."""
    return layer or UNNAMED[suffix_of(name) not in chip_suffixes()]


def array_of(label: str, series: str | None) -> str:
    """Return the name of the array that a file is a part of: that of its series, or else its label.

    Args:
        series: series of a frame, empty if there is one dataset; None for a file that is no frame.
    """
    return label if series is None else series or UNNAMED[0]


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name, in lower case and without the dot; empty if it has none."""
    return PurePosixPath(name).suffix.lstrip(".").lower()


def fields_of(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a unit, flattened: texts and numbers of the unit and of its properties."""
    if unit.keys() >= _OF_A_SERIES:
        unit = {name: value for name, value in unit.items() if name not in _OF_THE_GRID}
    return {name: value for name, value in name_fields(unit, "", 0).items() if name not in _NOT_OF_THE_UNIT}
