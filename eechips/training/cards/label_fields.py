"""Find the column of the user that holds the labels of a run's samples, and count the samples of each label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from eechips.training.sample import Sample

_NAMES = ("label", "class")
"""Names of fields that are labels whatever they hold; lower case."""
_MOST_LABELS = 60  # of a field: with more it is a name, a date or a measurement


class LabelFields:
    """Samples by the values of each field that may be a label.

    Candidates are the texts and whole numbers of the user's own columns that have few values.

    Args:
        chosen: the field by which the run was split; None for none.
    """

    def __init__(self, chosen: str | None) -> None:
        self._chosen = chosen
        self._samples = 0
        self._counts: dict[str, Counter[tuple[Any, str]]] = {}
        self._refused: set[str] = set()

    def add(self, sample: Sample) -> None:
        """Count a sample."""
        self._samples += 1
        own = sample.unit.get("properties")
        for name in own if isinstance(own, Mapping) else ():
            if name in self._refused or name in sample.unit:
                continue
            value = sample.fields.get(name, "")
            counts = self._counts.setdefault(name, Counter())
            counts["" if isinstance(value, float) else value, sample.split or ""] += 1
            if isinstance(value, float) or len({label for label, _ in counts}) > _MOST_LABELS:
                self._refused.add(name)
                del self._counts[name]

    def find(self) -> tuple[str, Counter[tuple[Any, str]]] | None:
        """Return the field and its samples by value and split; None if no field is a label.

        The field of the split comes first, then one that is called a label, then the first that has each of its values
        twice on average.
        """
        names = [name for name, counts in self._counts.items() if len({label for label, _ in counts}) > 1]
        named = [name for name in names if name == self._chosen]
        named += [name for name in names if name.lower() in _NAMES]
        named += [name for name in names if 2 * len({label for label, _ in self._counts[name]}) <= self._samples]
        return (named[0], self._counts[named[0]]) if named else None
