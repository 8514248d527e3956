"""When the images of a sample were taken: between two days, or near to a date of each place."""

from __future__ import annotations

from dataclasses import dataclass

from eechips.jobs.layers import Layer
from eechips.planning.chip_grids import Moments
from eechips.planning.date_matching import Pairing, iso, milliseconds, parse_window
from eechips.recipe import Unit


@dataclass(frozen=True, slots=True)
class Dates:
    """The dates of a sample.

    Attributes:
        start: first day, inclusive, YYYY-MM-DD; None for no bound.
        end: last day, exclusive.
        window: time, "30d", that an image may be older or younger than its place's date; None where places have none.
    """

    start: str | None
    end: str | None
    window: str | None

    def of(self, layer: Layer) -> tuple[str | None, str | None]:
        """The first day and that after the last of a layer's images."""
        return (self.start, self.end) if layer.is_dated else (None, None)

    def pairing(self, layer: Layer, unit: Unit) -> Pairing | None:
        """The date that a unit is paired with, if it is."""
        if "label_date" not in unit or not layer.is_dated:
            return None
        _, first, last = self.moments(unit["label_date"])
        return Pairing(unit["label_date"], iso(first), iso(last))

    def moments(self, label_date: str) -> Moments:
        """A place's date, and the first and the last moment that is near enough (exclusive), in milliseconds."""
        assert self.window is not None
        moment = milliseconds(label_date)
        window = round(parse_window(self.window).total_seconds() * 1000)
        return moment, moment - window, moment + window + 1
