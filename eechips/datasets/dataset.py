"""The record of a dataset."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["image", "collection"]

_CATALOG = "https://developers.google.com/earth-engine/datasets/catalog/"

LP_DAAC = "No restrictions (NASA LP DAAC)"
USGS = "US public domain (USGS); credit is asked for"
COPERNICUS = "Copernicus Sentinel terms: free and open, with credit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset of Earth Engine, as its page in the data catalog describes it.

    Attributes:
        alias: short name, upper case.
        synonyms: other short names, upper case.
        id: asset id.
        kind: one image, or a collection of images.
        title: title of the catalog page.
        bands: default bands, in order.
        band_names: common names of bands ("red"), lower case, and the bands that have them. They appear in error
            messages only.
        scale: nominal edge of a pixel in metres.
        dtype: numpy name of the type that holds the values of ``bands``.
        start: first day, YYYY-MM-DD.
        end: last day, inclusive; None if images are still added.
        visualization: parameters that make 8-bit colours of ``bands`` (``min``, ``max``, ``gamma``, ``palette``); empty
            if the values fit 8 bits unchanged (colours, or class codes, which a stretch would falsify).
        classes: names of the values of a map of classes.
        colours: colours of these classes, hexadecimal, where ``visualization`` has none.
        region: default region; None if the caller must name one.
        licence: terms of use in short; ``source`` has them in full.
        citation: citation that the producers ask for.
        checked: day on which ``source`` was read, YYYY-MM-DD.
        page: URL of the description, where it is not the page of Earth Engine's catalog.
    """

    alias: str
    synonyms: tuple[str, ...] = ()
    id: str
    kind: Kind
    title: str
    bands: tuple[str, ...]
    band_names: Mapping[str, str] = field(default_factory=dict)
    scale: float
    dtype: str
    start: str
    end: str | None = None
    visualization: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, str] = field(default_factory=dict)
    region: str | None = None
    licence: str
    citation: str
    checked: str = "2026-11-20"
    page: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The short name and its synonyms."""
        return (self.alias, *self.synonyms)

    @property
    def is_single_period(self) -> bool:
        """Return whether the dataset shows one past period of at most a year, so that dates select nothing."""
        days = (dt.date.fromisoformat(self.end) - dt.date.fromisoformat(self.start)).days if self.end else None
        return days is not None and days <= 366

    @property
    def is_photographic(self) -> bool:
        """Return whether the default bands are red, green and blue, so that a picture of them looks natural."""
        return len(self.bands) == 3 and not self.classes

    @property
    def class_colours(self) -> dict[int, str]:
        """The colours of the classes, hexadecimal, as far as they are known."""
        palette = self.visualization.get("palette")
        if not self.classes or not palette:
            return dict(self.colours)
        low, high = self.visualization["min"], self.visualization["max"]
        step = (high - low) / (len(palette) - 1)
        return {value: palette[round((value - low) / step)] for value in self.classes if low <= value <= high}

    @property
    def source(self) -> str:
        """The URL of the dataset's description."""
        return self.page or _CATALOG + self.id.replace("/", "_")
