"""Explore a run in a notebook: its map and chips, filters by any column, marks of bad chips, a region."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eechips.errors import EechipsError, UsageError
from eechips.extras import import_extra
from eechips.manifest.exclusions import exclude_marked, mark_units, read_marks
from eechips.manifest.run import Run, open_run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.reports import report_sections
from eechips.reports.markup import element
from eechips.reports.page import SCRIPTS, STYLES, assemble_page
from eechips.reports.page_data import encode_picture, page_data
from eechips.reports.report_data import ReportData, read_report_data
from eechips.reports.report_options import MOST_THUMBNAILS, THUMBNAILS
from eechips.reports.section_markup import fill, read_file
from eechips.reports.thumbnails import make_thumbnails
from eechips.reports.unit_columns import MOST_UNITS
from eechips.storage import ID_LENGTH

if TYPE_CHECKING:
    import pandas as pd


def explore(
    run: Run | str | Path, *, thumbnails: int = THUMBNAILS, height: int = 760, seed: int = 0, quiet: bool = True
) -> Explorer:
    """Explore a run of chips in a notebook. No network is needed.

    The cell shows the map, the chips and the search box of the report. Chips are marked as bad with a button or the key
    X: splits, packs, cards and loaders are without them. A box that is drawn on the map with Shift becomes ``roi``.

    Args:
        run: the run, finished or in progress, or its folder.
        thumbnails: maximum number of chips shown at once, selected equally from each stratum. The picture of another
            one is read when it is clicked on.
        height: height of the cell, in pixels.
        seed: seed of the random selections.
        quiet: show no progress.

    Returns:
        What the notebook displays, with the selection, the marks and the region.

    Raises:
        UsageError: if the folder holds no run, or a run whose units are not chips, or anywidget is missing.

    Example:
        >>> explorer = eechips.explore("outputs/sample-naip")
        >>> explorer.roi, len(explorer.selected), explorer.marked
        ('-106,39,-105,40', 12, [])
    """
    if not 0 <= thumbnails <= MOST_THUMBNAILS:
        raise UsageError(f"an explorer shows 0 to {MOST_THUMBNAILS:,} chips at once, not {thumbnails:,}")
    return Explorer(open_run(run), thumbnails, height, seed, quiet=quiet)


class Explorer:
    """A run on display in a notebook.

    Args:
        run: the run.
        thumbnails: maximum number of chips shown at once.
        height: height of the cell, in pixels.
        seed: seed of the random selections.
        quiet: show no progress.

    Attributes:
        query: text of the search box.
        roi: box that is drawn on the map: ``W,S,E,N`` in degrees, as ``roi`` of other functions takes it; None without
            one.
    """

    def __init__(self, run: Run, thumbnails: int, height: int, seed: int, *, quiet: bool) -> None:
        self.run = run
        self.query = ""
        self.roi: str | None = None
        self._options = {"thumbnails": thumbnails, "most": MOST_UNITS, "seed": seed, "quiet": quiet}
        self._widget = create_widget(height, self._receive)
        self._data = self._read()
        self._shown = np.ones(len(self._data.units), dtype=np.bool_)

    @property
    def selected(self) -> pd.DataFrame:
        """The units that the search box selects, with the columns of :attr:`eechips.Run.units`."""
        chosen = {self._data.units.ids[number] for number in np.flatnonzero(self._shown).tolist()}
        units = self.run.units
        return units[units["id"].str[:ID_LENGTH].isin(chosen)]

    @property
    def marked(self) -> list[str]:
        """Ids of the units that are marked as bad, in the order of the plan; the ledger keeps them."""
        with Ledger(self.run.path / LEDGER_NAME, readonly=True) as ledger:
            return read_marks(ledger)

    def mark(self, ids: Iterable[str], *, is_bad: bool = True) -> None:
        """Mark units as bad, or remove their marks. The files stay; splits, packs, cards and loaders leave them out.

        Args:
            ids: ids of the units, or their first 16 digits.
            is_bad: False to remove the marks.

        Raises:
            UsageError: if the run has no such unit with a file, or a process is running in its folder.
        """
        wanted = {identifier[:ID_LENGTH] for identifier in ids}
        matching_ids = [full_id for full_id in self._full_ids() if full_id[:ID_LENGTH] in wanted]
        if len(matching_ids) < len(wanted):
            lacking = sorted(wanted - {full_id[:ID_LENGTH] for full_id in matching_ids})
            raise UsageError(f"{self.run.path} has no chip {lacking[0]} that can be marked")
        mark_units(self.run.path, matching_ids, is_bad=is_bad)
        self._widget.send({"kind": "marks", "units": self._marked_numbers()})

    def exclude(self) -> int:
        """Exclude the marked units, as ``eechips check --drop`` does: their files are removed.

        The next ``eechips retry`` draws others in their place, of the same strata.

        Returns:
            How many were excluded.

        Raises:
            UsageError: if something was made of all results, or a process is running in the folder.
        """
        count = exclude_marked(self.run.path)
        self._data = self._read()
        self._send_page(None)
        return count

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self._widget._repr_mimebundle_(**options)

    def _read(self) -> ReportData:
        data = read_report_data(self.run, is_beside=False, **self._options)  # type: ignore[arg-type]
        if data.noun != "units" or not len(data.units):
            raise UsageError(f"{self.run.path} holds no chips to explore; eechips.report() shows what it holds")
        return data

    def _full_ids(self) -> list[str]:
        with Ledger(self.run.path / LEDGER_NAME, readonly=True) as ledger:
            return [identifier for identifier, file in ledger.rows(("lower(hex(id))", "file")) if file is not None]

    def _marked_numbers(self) -> list[int]:
        number_of = {identifier: number for number, identifier in enumerate(self._data.units.ids)}
        return [number_of[marked_id[:ID_LENGTH]] for marked_id in self.marked if marked_id[:ID_LENGTH] in number_of]

    def _send_page(self, view: str | None) -> None:
        """Send the page to a view, or to all."""
        page = render_explorer(self._data, self._marked_numbers())
        self._widget.send({"kind": "page", "view": view}, [gzip.compress(page.encode(), 6, mtime=0)])

    def _receive(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Do what a view asks; the view shows errors of eechips."""
        try:
            self._answer(message, buffers)
        except EechipsError as error:
            self._widget.send({"kind": "error", "text": str(error)})

    def _answer(self, message: Any, buffers: Sequence[Any]) -> None:
        match message:
            case {"kind": "open", "view": str(view)}:
                self._send_page(view)
            case {"kind": "select", "query": str(query), "box": None | str() as box} if len(buffers) == 1:
                shown = np.frombuffer(buffers[0], dtype=np.uint8) != 0
                if len(shown) != len(self._data.units):
                    raise UsageError("the run has changed since it was displayed: run the cell again")
                self.query, self.roi, self._shown = query, box, shown
            case {"kind": "mark", "units": list(numbers), "bad": bool(is_bad)}:
                self.mark(self._ids_of(numbers), is_bad=is_bad)
            case {"kind": "exclude"}:
                self.exclude()
            case {"kind": "picture", "unit": number}:
                self._send_picture(number)
            case _:
                raise UsageError("the explorer does not know this message: run the cell again")

    def _ids_of(self, numbers: Collection[Any]) -> list[str]:
        ids = self._data.units.ids
        if not all(type(number) is int and 0 <= number < len(ids) for number in numbers):
            raise UsageError("the run has changed since it was displayed: run the cell again")
        return [ids[number] for number in numbers]

    def _send_picture(self, number: Any) -> None:
        """Send the picture of a unit that the page has none of; without pictures if its file cannot be shown."""
        (identifier,) = self._ids_of([number])
        names = ("ids", "states", "files", "bytes", "valid", "errors", "centres", "outlines")
        one: dict[str, Any] = {name: getattr(self._data.units, name)[number : number + 1] for name in names}
        units = dataclasses.replace(self._data.units, **one, columns=[], tallies={})
        thumbnails = make_thumbnails(self.run, units, count=1, quiet=True)
        pictures = [encode_picture(picture, identifier) for picture in thumbnails.of.get(0, ())]
        self._widget.send({"kind": "picture", "unit": number, "pictures": pictures})


def render_explorer(data: ReportData, marked: Sequence[int]) -> str:
    """Render the page."""
    builders = (
        report_sections.selection,
        lambda _: fill("explorer.html"),
        report_sections.unit_map,
        report_sections.chips,
        report_sections.histograms,
        report_sections.unit_table,
    )
    parts = [part for build in builders if (part := build(data)) is not None]
    payload = page_data(data.places, data.pictures, roi=data.roi, info=data.info) | {
        "beside": False,
        "marked": list(marked),
        "markable": "".join("0" if file is None else "1" for file in data.units.files),
    }
    return assemble_page(
        report_sections.title(data),
        [element("main", *parts)],
        payload,
        scripts=(*SCRIPTS, "explorer.js"),
        styles=(*STYLES, "explorer.css"),
    )


def create_widget(height: int, receive: Callable[[Any, Any, Any], None]) -> Any:
    """Create the widget of an explorer, which carries messages only: nothing of a run is saved in the notebook.

    Raises:
        UsageError: if anywidget is missing.
    """
    anywidget = import_extra("anywidget", "exploring a run needs anywidget", "explore")
    import traitlets

    script = read_file("explorer_widget.js")
    traits = {"_esm": traitlets.Unicode(script).tag(sync=True), "height": traitlets.Int(height).tag(sync=True)}
    widget = type("ExplorerWidget", (anywidget.AnyWidget,), traits)()
    widget.on_msg(receive)
    return widget
