"""Make the files of the page: HTML with its cards, fields and tables, style, scripts and data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files

from eechips_local.page.markup import Markup, element
from eechips_local.protocol.routes.static_files import StaticFile

_SCRIPTS = (
    "elements.js",
    "basemap.js",
    "service.js",
    "activity.js",
    "expressions.js",
    "tile_map.js",
    "layer.js",
    "assets.js",
    "start.js",
)
_STYLES = ("page.css", "dashboard.css")
_BASEMAP = ("basemap.json",)


def page_files() -> Mapping[str, StaticFile]:
    """Return the files of the page by their paths on the server. They refer to each other, and to nothing else."""
    return {
        "/": StaticFile("text/html", _page),
        "/_page/dashboard.css": StaticFile("text/css", partial(_joined, _STYLES)),
        "/_page/dashboard.js": StaticFile("text/javascript", _script),
        "/_page/basemap.json": StaticFile("application/json", partial(_joined, _BASEMAP)),
        "/_page/datasets.json": StaticFile("application/json", _datasets),
    }


@cache
def _datasets() -> bytes:
    from eechips_local.page.dataset_pictures import dataset_pictures  # the server starts without it

    return json.dumps(dataset_pictures(), separators=(",", ":")).encode()


@cache
def _joined(names: tuple[str, ...]) -> bytes:
    return b"".join((files("eechips_local.page") / name).read_bytes() for name in names)


@cache
def _script() -> bytes:
    """Return all scripts as one, in a scope of its own."""
    return b'(() => {\n"use strict";\n' + _joined(_SCRIPTS) + b"})();\n"


@cache
def _page() -> bytes:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", "Local Earth Engine · eechips"),
        element("link", rel="icon", href="data:,"),
        element("link", rel="stylesheet", href="/_page/dashboard.css"),
        element("script", src="/_page/dashboard.js", defer=True),
    )
    body = element(
        "body",
        _header(),
        element("main", _explorer(), _table("requests", "Requests"), _table("tasks", "Tasks")),
        _footer(),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n".encode()


def _header() -> Markup:
    return element(
        "header",
        element("h1", "Local Earth Engine"),
        element(
            "p",
            element("span", class_="dot"),
            element("span", "connecting", id="connection", role="status"),
            class_="note connection",
        ),
        element("noscript", element("p", "This page needs JavaScript.", class_="notice")),
        element(
            "dl",
            _card("slots", "Slots in use", is_wide=True),
            _card("rate", "Requests a second"),
            _card("rejected", "Rejected by the quota"),
            _card("failed", "Other errors"),
            _card("compute", "Compute this month"),
            class_="cards activity",
        ),
    )


def _card(name: str, title: str, *, is_wide: bool = False) -> Markup:
    value = element("dd", element("span", "–", id=name), " ", element("small", id=f"{name}-note"))
    meter = element("dd", element("span", id=f"{name}-meter"), class_="meter") if is_wide else None
    chart = element("dd", id=f"{name}-chart", class_="spark") if is_wide else None
    return element("div", element("dt", title), value, meter, chart, class_="wide-card" if is_wide else None)


def _explorer() -> Markup:
    return element(
        "section",
        element(
            "aside",
            element("h2", "Assets ", element("span", id="assets-count", class_="count")),
            element(
                "div",
                element(
                    "input",
                    type="search",
                    id="asset-query",
                    placeholder="Search ids and titles",
                    aria_label="search assets",
                    autocomplete="off",
                    spellcheck="false",
                ),
                element("button", "Reload", type="button", id="assets-reload"),
                class_="tools",
            ),
            element("div", id="assets", class_="assets"),
            _expression(),
            class_="catalogue",
        ),
        element("div", _layer(), _map(), element("div", id="value", class_="value", aria_live="polite")),
        id="explore",
        class_="explore",
    )


def _expression() -> Markup:
    hint = "What image.serialize() returns: an image, a collection of images or features, or any other value."
    return element(
        "details",
        element("summary", "Draw an expression"),
        element("p", hint, class_="note"),
        element("textarea", id="expression", rows="6", aria_label="serialized expression", spellcheck="false"),
        element("p", element("button", "Draw the expression", type="button", id="draw-expression")),
        class_="expression",
    )


def _layer() -> Markup:
    return element(
        "div",
        element("h2", "Map", id="layer-title"),
        element("p", "Choose an asset to draw it.", id="layer-note", class_="note"),
        element(
            "form",
            _field("from", "From", kind="date"),
            _field("until", "Until", kind="date"),
            _field("bands", "Bands"),
            _field("min", "Min"),
            _field("max", "Max"),
            _field("gamma", "Gamma"),
            _field("palette", "Palette"),
            element(
                "p",
                element("button", "Draw", type="submit", class_="main"),
                " ",
                element(
                    "button", "Stretch", type="button", id="stretch", title="Min and max from the values on the map"
                ),
                class_="field",
            ),
            id="look",
            class_="look",
            hidden=True,
        ),
        element("p", id="problem", class_="problem", role="alert", hidden=True),
        class_="layer-head",
    )


def _field(name: str, label: str, *, kind: str = "text") -> Markup:
    box = element("input", type=kind, id=f"look-{name}", autocomplete="off", spellcheck="false")
    return element("label", element("span", label), box, class_=f"field field-{name}")


def _map() -> Markup:
    tools = (
        element("button", "+", type="button", id="nearer", aria_label="zoom in"),
        element("button", "−", type="button", id="farther", aria_label="zoom out"),
        element("button", "Fit", type="button", id="fit"),
    )
    frame = element(
        "div",
        element("canvas"),
        element("canvas", class_="tiles"),
        element("canvas", class_="marks"),
        element("div", *tools, class_="zoom"),
        element("p", id="progress", class_="progress", hidden=True),
        element("p", "Click the map first, or hold Ctrl, to zoom with the wheel", id="hint", hidden=True),
        id="map",
        class_="map",
        tabindex="0",
        role="application",
        aria_label="map: arrow keys move, plus and minus zoom, Enter reads the value in the middle",
    )
    opacity = element(
        "label",
        element("span", "Opacity"),
        element("input", type="range", id="opacity", min="0", max="100", value="100"),
        class_="opacity",
    )
    return element("div", frame, element("div", element("div", id="layer-legend"), opacity, class_="below-map"))


def _table(name: str, title: str) -> Markup:
    return element(
        "section",
        element("h2", f"{title} ", element("span", id=f"{name}-count", class_="count")),
        element("div", id=f"{name}-table", class_="wide scroll"),
        id=name,
    )


def _footer() -> Markup:
    return element("footer", element("p", "Made by eechips. This page asks nothing of other machines."))
