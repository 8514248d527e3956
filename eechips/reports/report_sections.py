"""Build the sections of a report, one function for each; a section without content is None."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pandas as pd

from eechips.manifest.data_source import TRAFFIC, ArchiveTraffic, DataSource
from eechips.manifest.extensions import code_changes
from eechips.manifest.failures import group_failures
from eechips.reports.markup import Markup, element, join
from eechips.reports.page_data import load_basemap
from eechips.reports.report_data import ReportData
from eechips.reports.section_markup import fact_list, fill, html_table, plain_text, section, shorten, small_print
from eechips.reports.thumbnails import Thumbnails, swatch
from eechips.text.formatting import format_bytes, format_count, format_duration, rate_period

_FAILURES = 200  # rows of the table of failures
_KINDS = 12
_CLICKS = {
    "units": "Click a chip on the map.",
    "regions": "Click a region on the map.",
    "rows": "Click a place on the map.",
}
_STRATA = 200


def title(data: ReportData) -> str:
    """Return the title of the report: recipe, first dataset, and the number of others that the results show."""
    parameters = data.info.get("parameters") or {}
    layers = parameters.get("layers")
    every = layers if isinstance(layers, list) else [parameters]
    shown = {layer.get("dataset") for layer in every if isinstance(layer, dict)}
    datasets = data.info.get("datasets") or []
    # Others are read to plan: a table of regions, a map of classes, the collection of a mask.
    datasets = [dataset for dataset in datasets if dataset.get("id") in shown] or datasets
    used = [dataset.get("title") or dataset.get("id") for dataset in datasets]
    more = f" and {len(used) - 1:,} more" if len(used) > 1 else ""
    return ": ".join(str(part) for part in (data.info.get("recipe") or "run", *used[:1]) if part) + more


def head(data: ReportData) -> Markup:
    """Build the title, the notes, and the counts."""
    status = data.status
    results = status.counts.get("done", 0) + status.counts.get("empty", 0) - status.dropped
    failed = sum(count for state, count in status.counts.items() if state.startswith("failed"))
    cards: list[tuple[str, Any]] = [
        ("results", join(f"{results:,}", element("small", f" of {format_count(status.total, 'unit')}"))),
        ("failed", element("span", f"{failed:,}", class_="bad" if failed else "good")),
    ]
    if empty := status.counts.get("empty", 0):
        cards.append(("without data", f"{empty:,}"))
    if left := status.counts.get("planned", 0):
        cards.append(("still planned", f"{left:,}"))
    cards += [("size", format_bytes(status.bytes)), ("requests", f"{status.requests:,}")]
    if status.history.duration:
        cards.append(("time", format_duration(status.history.duration)))
    if status.rate is not None:
        period, seconds = rate_period(status.rate)
        cards.append(("speed", join(f"{status.rate * seconds:.1f}", element("small", f" units per {period}"))))
    return element(
        "header",
        element("h1", title(data)),
        small_print(element("code", data.run.address or data.run.path)),
        *(element("p", note, class_="notice") for note in data.info.get("notes") or ()),
        *(element("p", change.describe(), class_="notice") for change in code_changes(data.info)),
        element(
            "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in cards), class_="cards"
        ),
        _state_bar(data),
    )


def settings(data: ReportData) -> Markup:
    """Build the section of the command and its parameters."""
    info = data.info
    source = DataSource.parse(str(info.get("source") or ""))
    taken = ArchiveTraffic.from_json(info.get(TRAFFIC))
    pairs = [
        ("command", element("code", info["command"]) if info.get("command") else None),
        ("source", source.describe() if source.archives else info.get("source") or info.get("endpoint")),
        ("archive traffic", taken.describe() if taken.requests else None),
        ("project", info.get("project")),
        ("seed", info.get("seed")),
        ("started", info.get("started")),
        ("finished", info.get("finished") or "not finished"),
    ]
    parameters = [
        (name, value) for name, value in (info.get("parameters") or {}).items() if value not in (None, {}, [])
    ]
    versions = ", ".join(f"{name} {version}" for name, version in (info.get("versions") or {}).items())
    return section(
        "settings",
        "Settings",
        element(
            "div",
            fact_list([(name, value) for name, value in pairs if value not in (None, "")]),
            fact_list([(name, element("code", plain_text(value))) for name, value in parameters]),
            class_="columns",
        ),
        small_print(f"Made with {versions}.") if versions else None,
    )


def selection(data: ReportData) -> Markup | None:
    """Build the search box, which a script connects with the map, the chips, the histograms and the table."""
    return fill("selection.html", what=data.noun) if len(data.places) else None


def histograms(data: ReportData) -> Markup | None:
    """Build the section of histograms, which a script draws."""
    if not len(data.places):
        return None
    return section(
        "values",
        "Histograms",
        small_print("Click a bar to select its units; drag, or click with Shift, for several bars."),
        element("div", id="plots", class_="plots"),
        hidden=True,
    )


def unit_table(data: ReportData) -> Markup | None:
    """Build the table of units, which a script fills."""
    if not len(data.places):
        return None
    what = data.noun
    frame = element(
        "div",
        id="rows-frame",
        class_="table-frame",
        role="grid",
        tabindex="0",
        aria_label=f"Table of the selected {what}",
        aria_multiselectable="false",
    )
    note = "Click a column's name to sort, a row to show it, twice for full size. Keys: arrow up and down, Enter."
    return section("units", what.capitalize(), small_print(note), frame)


def unit_map(data: ReportData) -> Markup | None:
    """Build the map, which a script draws, and the panel of the selected unit."""
    if not data.places.has_places:
        return None
    places, what = data.places, data.noun
    share = "" if len(places) == places.total else f"{len(places):,} of {places.total:,} {what}, selected at random. "
    return fill(
        "map.html",
        count=f"{len(places):,}",
        what=what,
        share=share,
        region="Dashed: the requested region. " if data.roi else "",
        source=load_basemap()["source"],
        panel=_panel(_CLICKS[what]),
    )


def chips(data: ReportData) -> Markup | None:
    """Build the thumbnails by stratum, which a script lays out."""
    pictures = data.pictures
    if not pictures.of and not pictures.unreadable:
        return None
    share = "" if len(pictures.of) == pictures.candidates else " selected at random, equally from each stratum"
    if len(data.units) < data.units.total:
        share += f", of the {format_count(len(data.units), 'unit')} on the map"
    lost = None
    if pictures.unreadable:
        name, reason = pictures.unreadable[0]
        message = shorten(f"{format_count(len(pictures.unreadable), 'file')} cannot be read, such as {name}: {reason}")
        lost = element("p", message, class_="notice")
    return section(
        "chips",
        "Chips",
        element(
            "div",
            element("label", "Group by ", element("select", id="grouping")),
            element("span", f"{len(pictures.of):,} of {pictures.candidates:,}{share}.", class_="note"),
            class_="tools",
        ),
        *_painted(pictures),
        lost,
        None if data.places.has_places else _panel("Click a chip."),
        element("div", id="groups"),
    )


def _painted(pictures: Thumbnails) -> Iterator[Markup]:
    """Describe the rendering of each layer's chips: bands and values, or classes with their colours."""
    for layer, some in pictures.painted.items():
        name = f"{layer}: " if layer else ""
        for painting in some:
            if painting.text:
                yield element("p", f"{name}{painting.text}.", class_="note")
                continue
            shown = [
                element(
                    "li",
                    element("img", src=swatch(colour), alt="", class_="class-colour"),
                    f" {title or code}",
                    title=str(code),
                )
                for code, title, colour in painting.classes
            ]
            yield element("ul", *([element("li", name)] if name else ()), *shown, class_="legend classes")
    if pictures.has_outlines:
        yield element("p", "Yellow lines: outlines of the requested region.", class_="note")


def assembled(data: ReportData) -> Markup | None:
    """Build the pictures of the files that were assembled from all results."""
    if not data.made:
        return None
    figures = [
        element(
            "figure",
            element("figcaption", element("code", name)),
            element("img", src=picture.address, alt=f"{name}, made from all results", class_="made"),
            class_="plot",
        )
        for name, picture in data.made
    ]
    return section("assembled", "Made from all results", *figures)


def strata(data: ReportData) -> Markup | None:
    """Build the table of states by stratum."""
    column = data.units.stratum
    if column is None:
        return None
    counts = data.units.tallies[column.name]
    names = sorted({value for value, _ in counts}, key=lambda value: (isinstance(value, str), str(value).zfill(12)))
    states = [state for state in data.status.counts if any(counts.get((name, state)) for name in names)]
    texts = pd.Series([None if value is None else str(value) for value in column.values], dtype=object)
    fractions = pd.Series(data.units.valid).groupby(texts).mean().dropna()
    rows = [
        [
            str(name),
            *(f"{counts.get((name, state), 0):,}" for state in states),
            f"{fractions[str(name)]:.3f}" if str(name) in fractions else "",
        ]
        for name in names[:_STRATA]
    ]
    more = small_print(f"{len(names) - _STRATA:,} more are not shown.") if len(names) > _STRATA else None
    heads = [column.name, *(state.replace("_", " ") for state in states), "mean valid fraction"]
    return section("strata", f"By {column.name}", html_table(heads, rows, numbers=range(1, len(heads))), more)


def rows(data: ReportData) -> Markup | None:
    """Build the first rows of a table."""
    table = data.head
    if table is None:
        return None
    more = f", {format_count(table.left_out, 'more column')}" if table.left_out else ""
    caption = f"{table.name}: the first of {format_count(table.total, 'row')}{more}"
    return section("rows", "Table", html_table(table.columns, table.rows, caption=caption))


def failures(data: ReportData) -> Markup | None:
    """Build the tables of failures: by kind, and unit by unit."""
    if not data.failures:
        return None
    kinds = group_failures(data.failures)
    summary = html_table(
        ["count", "class", "message"],
        [[f"{kind.count:,}", kind.error_class, shorten(kind.error)] for kind in kinds[:_KINDS]],
        numbers=(0,),
        caption=f"{format_count(len(data.failures), 'unit')} failed"
        + (f", in {len(kinds)} kinds" if len(kinds) > 1 else ""),
    )
    failure_table = html_table(
        ["unit", "name", "class", "message", "attempts", "finished"],
        [
            [f.id[:16], f.name, f.error_class, shorten(f.error), f"{f.attempts}", (f.finished or "")[:19]]
            for f in data.failures[:_FAILURES]
        ],
        numbers=(4,),
        caption=f"The first {_FAILURES} of {len(data.failures):,}; failures.csv lists all"
        if len(data.failures) > _FAILURES
        else None,
    )
    command = element("code", f"eechips retry {shlex.quote(str(data.run.path))}")
    return section(
        "failures",
        "Failures",
        summary,
        element("details", element("summary", "All units"), failure_table),
        element("p", element("button", "Select these units", type="button", id="select-failed")),
        element("p", "To retry: ", command),
    )


def audits(data: ReportData) -> Markup | None:
    """Build the list of audits: random samples that were fetched again and compared."""
    if not data.audits:
        return None
    shown = []
    for audit in reversed(data.audits):
        lost = f"; {format_count(audit.failed, 'unit')} could not be fetched again" if audit.failed else ""
        text = f"{audit.time[:19]}: {audit.describe()}{lost}."
        shown.append(element("li", element("span", text, class_="bad" if audit.different else "good")))
    note = "Random samples of the finished units, fetched again over new connections; pixels and values were compared."
    return section("audits", "Audits", small_print(note), element("ul", *shown))


def licences(data: ReportData) -> Markup | None:
    """Build the licences and citations of the datasets."""
    datasets = data.info.get("datasets") or []
    if not datasets:
        return None
    parts = []
    for dataset in datasets:
        source = str(dataset.get("source") or "")
        pairs = [
            ("id", element("code", dataset.get("id", ""))),
            ("licence", dataset.get("licence") or "unknown: see the data catalog"),
            ("citation", dataset.get("citation")),
            ("open archive", dataset.get("archive")),
            ("differs from Earth Engine", dataset.get("differs")),
            ("page", element("a", source, href=source, rel="noreferrer") if source.startswith("https://") else source),
        ]
        parts.append(
            element(
                "div",
                element("h3", dataset.get("title") or dataset.get("id", "")),
                fact_list([(n, v) for n, v in pairs if v]),
            )
        )
    return section("licence", "Licence and citation", element("div", *parts, class_="columns"))


def _state_bar(data: ReportData) -> Markup | None:
    """Draw the shares of the states as one bar."""
    if not data.status.total:
        return None
    colours = {"done": "s2", "empty": "s3", "planned": "s5", "skipped": "s4"}
    parts, at = [], 0.0
    for state, count in data.status.counts.items():
        share = 100.0 * count / data.status.total
        kind = colours.get(state, "s1")
        tip = element("title", f"{state.replace('_', ' ')}: {count:,}")
        parts.append(element("rect", tip, x=f"{at:.3f}", y="0", width=f"{share:.3f}", height="10", class_=kind))
        at += share
    summary = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in data.status.counts.items())
    drawing = element("svg", *parts, viewBox="0 0 100 10", preserveAspectRatio="none", role="img", aria_label=summary)
    return join(element("div", drawing, class_="bar"), small_print(summary))


def _panel(text: str) -> Markup:
    return element(
        "aside", small_print(text), id="chip", class_="panel", aria_live="polite", aria_label="selected unit"
    )
