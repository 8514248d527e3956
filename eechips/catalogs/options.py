"""Options of commands that write a catalogue: its layout, unreadable partitions, and mixed columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from eechips.catalogs.layout import By, Layout, Period, choose_grid

Mixed = Literal["keep", "cast", "refuse"]
"""Treatment of values of another kind than most of their property, such as text among numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOptions:
    """Options of commands that add items to a catalogue.

    None stands for the value of the catalogue, or for the default of a new one, which is fixed from then on.

    Attributes:
        by: first level of the partitions: ``collection``, or ``mission``, the item's ``mission``, ``constellation`` or
            ``platform``; default ``collection``.
        grid: of the cells: ``h3``, ``s2``, ``mgrs``, ``utm`` or ``tiles``; default ``h3``.
        resolution: of H3 and S2; default 2 and 5.
        tiles: GeoJSON file of named polygons, for ``tiles``.
        period: of the partitions: ``year``, ``month``, ``day`` or ``none``; default ``month``.
        most_cells: items that meet more cells go to ``global``; default 10.
        give_up_unreadable: remove unreadable partitions with their items; else they stay unchanged, and their new items
            are not merged.
        mixed: treatment of values of another kind than most of their property, such as ``n/a`` among numbers: ``keep``
            stores them unchanged in the column ``properties``; ``cast`` converts them where possible and keeps the
            rest; ``refuse`` stops before anything is changed. The column of a property has one type in the whole
            catalogue.
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
        """Return the requested layout.

        Args:
            known: that of the catalogue; None for a new one.

        Raises:
            UsageError: if options contradict each other.
        """
        cells = choose_grid(self.grid, self.resolution, self.tiles, known.grid if known else None)
        wanted = {"by": self.by, "period": self.period, "most_cells": self.most_cells}
        given: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        return replace(known or Layout(cells), grid=cells, **given)
