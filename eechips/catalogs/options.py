"""What a caller wants of a catalogue: how it is laid out, and what becomes of what cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from eechips.catalogs.layout import By, Layout, Period, choose_grid

Mixed = Literal["keep", "cast", "refuse"]
"""What becomes of a property's values of another kind than most of them have, such as a text among numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOptions:
    """Options of everything that brings items into a catalogue.

    None stands for what the catalogue has, or, if there is none yet, for what is usual: that is fixed once it is made.

    Attributes:
        by: what partitions are named by first: ``collection``, or ``mission``, which is an item's ``mission``,
            ``constellation`` or ``platform``, whichever it has; usually ``collection``.
        grid: of the partitions' cells: ``h3``, ``s2``, ``mgrs``, ``utm`` or ``tiles``; usually ``h3``.
        resolution: of H3 and S2; usually 2 and 5.
        tiles: GeoJSON file of named polygons, for ``tiles``.
        period: of the partitions: ``year``, ``month``, ``day`` or ``none``; usually ``month``.
        most_cells: items that meet more cells go to ``global``; usually 10.
        give_up_unreadable: whether partitions that cannot be read are removed, with what was in them; else they stay as
            they are, and what belongs there is not merged.
        mixed: what becomes of a property's values of another kind than most items have, such as ``n/a`` among numbers:
            ``keep`` stores them unchanged in the column ``properties``; ``cast`` makes them what the others are where
            that is possible, and keeps the rest; ``refuse`` stops before anything is changed. The column of a property
            has one type in the whole catalogue.
    """

    by: By | None = None
    grid: str | None = None
    resolution: int | None = None
    tiles: str | Path | None = None
    period: Period | None = None
    most_cells: int | None = None
    give_up_unreadable: bool = False
    mixed: Mixed = "keep"

    def layout(self, known: Layout | None) -> Layout:
        """The layout that is wanted.

        Args:
            known: that of the catalogue; None if there is none yet.

        Raises:
            UsageError: if what is wanted does not fit together.
        """
        cells = choose_grid(self.grid, self.resolution, self.tiles, known.grid if known else None)
        wanted = {"by": self.by, "period": self.period, "most_cells": self.most_cells}
        given: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        return replace(known or Layout(cells), grid=cells, **given)
