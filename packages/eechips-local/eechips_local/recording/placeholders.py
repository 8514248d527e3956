"""Replace what belongs to a user or a server by placeholders (projects, e-mail addresses, credentials), and put the
values of another one in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PROJECT = "{project}"
SERVER = "{server}"
HIDDEN = "***"
"""Replaces e-mail addresses and credentials, which no replay puts back."""

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,}")
_NUMBERED_PROJECT = re.compile(r"\b(projects/|project |number )[0-9]{6,}\b")
_PUBLIC = ("earthengine-public", "earthengine-legacy")
_LITERAL = re.compile(r"\{((?:literal:)*)(project|server)\}")
_LEAST = 6
"""Characters of the id of a project: shorter ones occur in other words.
https://cloud.google.com/resource-manager/docs/creating-managing-projects"""


@dataclass(frozen=True, slots=True)
class Placeholders:
    """What the placeholders stand for in one request and its response.

    Attributes:
        project: id of the client's project; None if it is unknown.
        servers: base URLs that stand for the server, without a slash at the end; the first one is put in.
        secrets: credentials of the request.
    """

    project: str | None
    servers: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    def hide(self, text: str) -> str:
        """Replace the client's project in names of resources, base URLs of servers, e-mail addresses, and credentials.

        Texts that look like placeholders are marked as literal.
        """
        if "{" in text:
            text = _LITERAL.sub(r"{literal:\g<1>\g<2>}", text)
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        for server in self.servers:
            text = text.replace(server, SERVER)
        if self.project and self.project not in _PUBLIC:
            text = re.sub(rf"\bprojects/{re.escape(self.project)}(?![\w-])", f"projects/{PROJECT}", text)
        return _EMAIL.sub(HIDDEN, text) if "@" in text else text

    def hide_in_error(self, text: str) -> str:
        """Replace the client's project wherever an error names it, also by its number."""
        text = _NUMBERED_PROJECT.sub(rf"\g<1>{PROJECT}", self.hide(text))
        if self.project and len(self.project) >= _LEAST and self.project not in _PUBLIC:
            text = re.sub(rf"(?<![\w-]){re.escape(self.project)}(?![\w-])", PROJECT, text)
        return text

    def show(self, text: str) -> str:
        """Put project and base URL in for their placeholders."""
        values = {"project": self.project, "server": self.servers[0] if self.servers else None}

        def show(match: re.Match[str]) -> str:
            if match[1]:
                return f"{{{match[1].removeprefix('literal:')}{match[2]}}}"
            return values[match[2]] or match[0]

        return _LITERAL.sub(show, text)


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON with all texts and names of fields changed. Names that become equal are kept apart by asterisks.

    Raises:
        RecursionError: if it is nested too deeply.
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    if isinstance(value, dict):
        changed_fields: dict[str, Any] = {}
        for name, item in value.items():
            changed = change(name)
            while changed in changed_fields:
                changed += "*"
            changed_fields[changed] = map_texts(item, change)
        return changed_fields
    return value
