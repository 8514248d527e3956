"""Record what a function of a script reads and changes of places that threads share, under which conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eechips.scripts.pooling.called_functions import Place

ADDED, EXTENDED, SET, OTHER = "added", "extended", "set", "other"
"""Changes: a number is added; items are added to a container; a value is set; any other."""


@dataclass(frozen=True, slots=True)
class Test:
    """A condition under which something is done.

    Attributes:
        reads: places that it reads, with the kind of test.
    """

    reads: tuple[tuple[Place, str], ...]


@dataclass(frozen=True, slots=True)
class PlaceChange:
    """A change of a place.

    Attributes:
        tests: conditions under which it is made.
        order: number of the change or reading in the order of the source.
        sources: places from which a value that is set is made.
    """

    place: Place
    kind: str
    tests: tuple[Test, ...]
    order: int
    sources: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of a place. For the other attributes see `PlaceChange`."""

    place: Place
    tests: tuple[Test, ...]
    order: int


@dataclass(slots=True)
class SharedUses:
    """Changes and readings of shared places, in the order of the source.

    Attributes:
        named, known: functions that are read, and what they read.
    """

    changes: list[PlaceChange] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    named: set[Any] = field(default_factory=set)
    known: dict[Any, Any] = field(default_factory=dict)

    def change(self, place: Place | None, kind: str, tests: tuple[Test, ...], sources: Sequence[Place] = ()) -> None:
        """Add a change; none if the place is not shared."""
        if place is not None:
            order = len(self.changes) + len(self.readings)
            self.changes.append(PlaceChange(place, kind, tests, order, tuple(sources)))

    def read(self, place: Place, tests: tuple[Test, ...]) -> None:
        """Add a reading."""
        self.readings.append(Reading(place, tests, len(self.changes) + len(self.readings)))

    def take_readings(self, first: int) -> list[Place]:
        """Remove the readings from a number on, and return their places."""
        places = [reading.place for reading in self.readings[first:]]
        del self.readings[first:]
        return places
