"""Make the page of the explorer: the report's search box, map, chips and table, with marks."""

from __future__ import annotations

from collections.abc import Sequence

from eechips.reports import report_sections
from eechips.reports.markup import Markup, element
from eechips.reports.page import SCRIPTS, STYLES, assemble_page
from eechips.reports.page_data import page_data
from eechips.reports.report_data import ReportData


def render_explorer(data: ReportData, marked: Sequence[int]) -> str:
    """Render the page.

    Args:
        data: bytes of the run's data.
        marked: numbers of the units that are marked as bad.
    """
    builders = (
        report_sections.selection,
        _tools,
        report_sections.unit_map,
        report_sections.chips,
        report_sections.histograms,
        report_sections.unit_table,
    )
    parts = [part for build in builders if (part := build(data)) is not None]
    payload = page_data(data.places, data.pictures, roi=data.roi) | {
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


def _tools(_: ReportData) -> Markup:
    """Build the buttons for marks, which a script connects."""
    return element(
        "div",
        element("button", "Mark selection as bad", type="button", id="mark-all"),
        element("button", "Remove marks of selection", type="button", id="unmark-all"),
        element("span", id="marked", role="status"),
        element("button", "Show marked", type="button", id="show-marked", disabled=True),
        element("button", "Exclude marked…", type="button", id="exclude", disabled=True),
        element(
            "span",
            element("button", "Exclude", type="button", id="yes"),
            " ",
            element("button", "Keep", type="button", id="no"),
            id="sure",
            hidden=True,
        ),
        element("code", id="roi"),
        element("p", id="trouble", class_="notice", role="alert", hidden=True),
        class_="explorer",
    )
