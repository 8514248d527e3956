"""Make the report of a run: one self-contained HTML file, of at most 15 MB, with a content security policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from eechips.errors import UsageError
from eechips.manifest.reserved_names import REPORT_NAME
from eechips.manifest.run import Run, open_run
from eechips.reports import chart_sections, report_sections
from eechips.reports.markup import Markup, element, join
from eechips.reports.output_path import MARK, output_path
from eechips.reports.page_data import as_script, page_data
from eechips.reports.report_data import ReportData, read_report_data
from eechips.reports.report_options import MOST_THUMBNAILS, THUMBNAILS
from eechips.reports.section_markup import fill, read_file
from eechips.reports.unit_columns import MOST_UNITS
from eechips.storage import write_file

MOST_BYTES = 15_000_000
"""Default for the maximum size of a page."""

_LEAST_UNITS = 500  # included in any case
SCRIPTS = (
    "elements.js",
    "page.js",
    "colours.js",
    "selection.js",
    "basemap.js",
    "map.js",
    "histograms.js",
    "table.js",
    "sheets.js",
    "series.js",
    "viewer.js",
)
"""Scripts of a page, without the one that starts them."""

STYLES = ("page.css",)


def report(
    run: Run | str | Path,
    *,
    out: str | Path | None = None,
    thumbnails: int = THUMBNAILS,
    seed: int = 0,
    most_bytes: int = MOST_BYTES,
    quiet: bool = False,
) -> Path:
    """Make the report of a run: one HTML file that needs no network.

    It shows failures, a map, chips by stratum, histograms, a table of units, throughput and errors over time, settings
    and licences; for time series, a chart for each region. Its search box selects units. Of more than 100,000 units, a
    random sample of 100,000 is on the map; counts include all. The same run and seed give the same file.

    Args:
        run: the run, finished or in progress, or its folder. Of results in an object store, the displayed chips are
            downloaded.
        out: the file; None for report.html in the run's folder. In another folder it does not link to the run's
            files.
        thumbnails: maximum number of chips, selected equally from each stratum; 0 for none.
        seed: seed of the random selections.
        most_bytes: maximum size of the page in bytes; a larger page gets fewer units and chips. 100,000 units with a
            few fields take some 10 MB.
        quiet: show no progress.

    Returns:
        The path of the file.

    Raises:
        UsageError: if the folder holds no run, too many thumbnails are requested, or ``out`` does not end in .html.
        StorageError: if the file cannot be written.

    Example:
        >>> eechips.report("outputs/sample-naip")
    """
    if not 0 <= thumbnails <= MOST_THUMBNAILS:
        raise UsageError(f"a report shows 0 to {MOST_THUMBNAILS:,} chips, not {thumbnails:,}")
    run = open_run(run)
    path = output_path(run, out, REPORT_NAME)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: a report is a page of HTML: name it .html, and print it to PDF in a browser")
    is_beside = path.absolute().parent == run.path.absolute()
    most = MOST_UNITS
    while True:
        data = read_report_data(run, thumbnails=thumbnails, most=most, seed=seed, is_beside=is_beside, quiet=quiet)
        page = render(data).encode()
        if len(page) <= most_bytes or most <= _LEAST_UNITS:
            break
        most, thumbnails = min(most, len(data.places)) // 2, thumbnails // 2
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, page)
    return path


def render(data: ReportData) -> str:
    """Render the page."""
    builders = (
        report_sections.failures,
        report_sections.audits,
        report_sections.selection,
        report_sections.unit_map,
        report_sections.assembled,
        chart_sections.series,
        report_sections.chips,
        report_sections.histograms,
        report_sections.unit_table,
        report_sections.strata,
        report_sections.rows,
        chart_sections.throughput,
        chart_sections.compute,
        report_sections.settings,
        report_sections.licences,
    )
    parts = [part for build in builders if (part := build(data)) is not None]
    payload = page_data(data.places, data.pictures, roi=data.roi, info=data.info) | {"beside": data.is_beside}
    contents = (
        report_sections.head(data),
        element("main", *parts),
        element("footer", element("p", "Made by eechips; this file needs no network.")),
        element(
            "noscript",
            element("p", "The map, the chips, the histograms and the list of units need JavaScript.", class_="notice"),
        ),
    )
    return assemble_page(report_sections.title(data), contents, payload)


def assemble_page(
    title: str,
    contents: Sequence[Markup],
    payload: Mapping[str, Any],
    *,
    scripts: Sequence[str] = (*SCRIPTS, "start.js"),
    styles: Sequence[str] = STYLES,
) -> str:
    """Assemble a page that is allowed its own scripts and styles only.

    Args:
        contents: contents of its body, before the dialog of the full-size view.
        payload: JSON value that the scripts read.
        scripts: names of files of this package, in their order.
    """
    script, style = _script(tuple(scripts)), "".join(map(read_file, styles))
    page = fill(
        "page.html",
        mark=Markup(MARK),
        policy=Markup(_policy(script, style)),
        title=title,
        style=Markup(style),
        contents=join(*contents),
        viewer=fill("viewer.html"),
        data=Markup(as_script(payload)),
        script=Markup(script),
    )
    return f"<!doctype html>\n{page}\n"


def _policy(script: str, style: str) -> str:
    """Return the content security policy: only own scripts, styles and pictures may load."""
    return (
        "default-src 'none'; img-src data: 'self' file:; "
        f"script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _script(names: tuple[str, ...]) -> str:
    """Join scripts to one in strict mode, whose names are its own."""
    return "".join(['(() => {\n"use strict";\n', *map(read_file, names), "})();"])
