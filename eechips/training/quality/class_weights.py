"""Count the pixels of classes over many files, and compute the weights of classes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.errors import UsageError

MOST_CLASSES = 4096
"""Maximum number of values of a map of classes."""

MOST_KINDS = 40
"""Maximum number of values in a file of a map of classes that no record names."""


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """Classes of a band in the files of a split.

    Attributes:
        values: values of the classes, in order: those of the dataset's record, and further ones in the files.
        names: names of the classes; None for values that the record does not name.
        counts: number of valid pixels of each class.
        inverse_frequency: weights n / (k * n_c), for n pixels in k classes that occur and n_c pixels of the class:
            "balanced" weights of scikit-learn
            (https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html),
            after King and Zeng 2001, https://doi.org/10.1093/oxfordjournals.pan.a004868.
        median_frequency: weights median(f) / f_c, where f_c is the number of pixels of the class divided by the number
            of valid pixels in files where the class occurs (Eigen and Fergus 2015,
            https://arxiv.org/abs/1411.4734).

    A class without pixels has the weight 0.
    """

    values: tuple[int, ...]
    names: tuple[str | None, ...]
    counts: tuple[int, ...]
    inverse_frequency: tuple[float, ...]
    median_frequency: tuple[float, ...]


@dataclass(slots=True)
class ClassTotals:
    """Counts of classes; counts of files can be added.

    Attributes:
        counts: number of pixels, and number of valid pixels in files where the class occurs, by value.
    """

    counts: dict[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, known: npt.NDArray[Any]) -> ClassTotals:
        """Count the classes of one file, from its valid values."""
        values, counts = np.unique(known, return_counts=True)
        return cls({int(value): (int(n), known.size) for value, n in zip(values, counts, strict=True)})

    def add(self, other: ClassTotals) -> None:
        """Add the counts of other files.

        Raises:
            UsageError: if there are more than ``MOST_CLASSES`` values.
        """
        for value, (count, pixels) in other.counts.items():
            own_count, own_pixels = self.counts.get(value, (0, 0))
            self.counts[value] = own_count + count, own_pixels + pixels
        if len(self.counts) > MOST_CLASSES:
            raise UsageError(f"a map of classes has more than {MOST_CLASSES:,} values")

    def statistics(self, names: Mapping[int, str]) -> ClassStatistics:
        """Compute the weights of classes with these names."""
        values = sorted(names.keys() | self.counts.keys())
        counts = [self.counts.get(value, (0, 0))[0] for value in values]
        pixels, present = sum(counts), len(self.counts)
        frequencies = {value: count / within for value, (count, within) in self.counts.items()}
        median = statistics.median(frequencies.values()) if frequencies else 0.0
        return ClassStatistics(
            tuple(values),
            tuple(names.get(value) for value in values),
            tuple(counts),
            tuple(pixels / (present * count) if count else 0.0 for count in counts),
            tuple(median / frequencies[value] if value in frequencies else 0.0 for value in values),
        )
