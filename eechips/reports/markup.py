"""Write HTML and SVG with all text escaped."""

from __future__ import annotations

import re
from typing import Any

from eechips.text.formatting import escape_html

_VOID = frozenset({"br", "img", "input", "link", "meta"})
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


class Markup(str):
    """Text that is safe HTML."""

    __slots__ = ()


def escape(value: Any) -> Markup:
    """Escape a value for a page, without unsafe characters; markup stays unchanged."""
    if isinstance(value, Markup):
        return value
    return Markup(escape_html(str(value)))


def element(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return an element.

    Args:
        *children: markup, or values that are shown as text; None is omitted.
        **attributes: the underscore of ``class_`` and ``for_`` is removed, others become dashes. True makes an
            attribute without a value; None and False are omitted.
    """
    parts = [name]
    for key, value in attributes.items():
        attribute = key.removesuffix("_").replace("_", "-")
        if not _NAME.fullmatch(attribute):
            raise ValueError(f"{attribute!r} is no name of an attribute")
        if value is True:
            parts.append(attribute)
        elif value is not None and value is not False:
            parts.append(f'{attribute}="{escape(value)}"')
    opening = f"<{' '.join(parts)}>"
    if name in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{''.join(escape(child) for child in children if child is not None)}</{name}>")


def join(*parts: Any) -> Markup:
    """Concatenate markup; None is omitted."""
    return Markup("".join(escape(part) for part in parts if part is not None))
