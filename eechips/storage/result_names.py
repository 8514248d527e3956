"""Make the names of results from a template: safe components, unique names that cannot leave the output folder."""

from __future__ import annotations

import hashlib
import os
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from eechips.errors import UsageError

ID_LENGTH = 16
"""Hexadecimal digits of an id in a file name: 64 bits, so two of a million names agree once in 4e7 plans."""

_MAX_COMPONENT = 120  # bytes; file systems allow 255, and prefixes, suffixes and ids are still to come

_WHOLE_INDEX = re.compile(r"0?[0-9]{0,2}[dx]?")  # format specifications that keep numbers apart

_WIDE = re.compile(r"[0-9]{4}")  # a width or precision for which Python would make a text of gigabytes
_DELIMITERS = tuple("_-=@(),")

_GIVEN = ("id", "index", "kind")  # fields of a name that every unit has

_WINDOWS_RESERVED = re.compile(r"^(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³])(?=\.|$)", re.IGNORECASE)


def check_name(name: str) -> str:
    """Check the name of a result, and return it.

    Raises:
        UsageError: if it is absolute, or leads out of the output folder, on this system.
    """
    parts = name.replace(os.sep, "/").split("/")
    has_drive = os.sep == "\\" and ("\\" in name or ":" in name)
    if not name or name.startswith("/") or ".." in parts or "\0" in name or has_drive:
        raise UsageError(f"{name!r} is not a name for a result: it must stay inside the output folder")
    return name


def safe_component(value: Any) -> str:
    """Convert a value to one component of a path.

    Letters and digits of any script, and ``. _ - + = @ ( ) ,``, are kept; other characters become ``_``. The result is
    never empty, hidden, reserved by an operating system, or longer than 120 bytes.
    """
    text = unicodedata.normalize("NFC", str(value)).strip()
    text = "".join(c if c.isalnum() or c in "._-+=@()," else "_" for c in text).strip(".")
    encoded = text.encode()
    if len(encoded) > _MAX_COMPONENT:
        digest = hashlib.sha256(encoded).hexdigest()[:ID_LENGTH]
        text = encoded[: _MAX_COMPONENT - 1 - ID_LENGTH].decode(errors="ignore") + "-" + digest
    return _WINDOWS_RESERVED.sub(r"\1_", text) or "_"  # nul.txt is no name either


class NameTemplate:
    """Make names of results from units: ``{eco_name}/{id}``.

    The fields are the keys of the unit and of its ``properties``, and ``id`` (the first 16 digits of the unit's id),
    ``index`` (its position in the plan) and ``kind``. Format specifications are supported (``{index:06d}``). Slashes of
    the template make folders; slashes of values do not.

    Args:
        prefers_values: whether a key ``id``, ``index`` or ``kind`` of the unit, such as a column of the user's file,
            takes precedence over the field of that name; true for templates of users.

    Attributes:
        is_unique: whether the template gives different names to all units.

    Raises:
        UsageError: if the template is malformed or leads out of the output folder.
    """

    def __init__(self, text: str, *, prefers_values: bool = False) -> None:
        self.text, self.prefers_values = text, prefers_values
        try:
            self._parts = [list(string.Formatter().parse(part)) for part in text.strip("/").split("/")]
        except ValueError as error:
            raise UsageError(f"the name template '{text}' is malformed: {error}") from None
        fields = [f for part in self._parts for _, f, _, _ in part if f is not None]
        if any(not re.fullmatch(r"[\w .:-]+", f) for f in fields):
            raise UsageError(f"the name template '{text}' is malformed: fields are plain names, as in {{id}}")
        wide = [spec for part in self._parts for _, _, spec, _ in part if _WIDE.search(spec or "")]
        if wide:
            raise UsageError(f"the name template '{text}' is malformed: '{wide[0]}' makes more than 999 characters")
        if text.startswith("/") or any(part.strip() in ("", ".", "..") for part in text.strip("/").split("/")):
            raise UsageError(f"the name template '{text}' must be a path below the output folder")
        self.fields = frozenset(fields)
        self.is_unique = any(_keeps_apart(part) for part in self._parts) and not prefers_values

    def is_unique_for(self, unit: Mapping[str, Any]) -> bool:
        """Return whether the name of this unit differs from the name of any other unit."""
        if not self.prefers_values:
            return self.is_unique
        own = self.fields & {"id", "index"} & unit_fields(unit).keys()
        return not own and any(_keeps_apart(part) for part in self._parts)

    def render(self, unit: Mapping[str, Any], identifier: str, index: int) -> str:
        """Return the name of a unit's result, without suffix.

        Raises:
            UsageError: if the unit lacks a field; the message lists its fields.
        """
        values = name_fields(unit, identifier, index)
        if self.prefers_values:
            values |= {name: value for name, value in unit_fields(unit).items() if name in _GIVEN and value != ""}
        lacking = self.fields - values.keys()
        empty = {name for layer in _layers(unit) for name in lacking & layer.keys() if layer[name] is None}
        if empty:
            raise UsageError(
                f"the name template '{self.text}' asks for '{min(empty)}', which has no value in unit {index}"
                f"{_where(unit)}: give all units one, or take another field"
            )
        return "/".join(safe_component(self._render_part(part, values)) for part in self._parts)

    def render_unique(self, unit: Mapping[str, Any], identifier: str, index: int) -> str:
        """Return a name that no other unit has: with the beginning of the id if the template may give it twice.

        Raises:
            UsageError: see :meth:`render`.
        """
        name = self.render(unit, identifier, index)
        return name if self.is_unique_for(unit) else f"{name}-{identifier[:ID_LENGTH]}"

    def _render_part(
        self, part: list[tuple[str, str | None, str | None, str | None]], values: Mapping[str, Any]
    ) -> str:
        text = ""
        for literal, name, specification, _ in part:
            text += literal
            if name is None:
                continue
            if name not in values:
                there = ", ".join(values)
                raise UsageError(f"the name template '{self.text}' asks for '{name}'; a unit has: {there}")
            try:
                text += format(values[name], specification or "")
            except (TypeError, ValueError) as error:
                raise UsageError(f"the name template '{self.text}' cannot write '{name}': {error}") from None
        return text


def fold_case(name: str) -> str:
    """Return the form of a name that is equal for all names which some file systems treat as equal.

    Such file systems do not distinguish upper from lower case, or composed from decomposed letters (APFS, HFS+, NTFS,
    exFAT). This is the canonical caseless matching of the Unicode standard (3.13, D145).
    """
    text = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text))


class UniqueNames:
    """Names of results, each of one unit. Folded, as some file systems ignore case, and hashed: there may be a million.

    Args:
        names: names that are taken.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._taken = {hash(fold_case(name)) for name in names}

    def add(self, name: str) -> None:
        """Note a name that is taken."""
        self._taken.add(hash(fold_case(name)))

    def choose(self, name: str, identifier: str, others: Iterable[str] = ()) -> str:
        """Return a name, the first of the others that is free, or the name with the beginning of the id; take it."""
        names = (name, *others)
        chosen = next((n for n in names if hash(fold_case(n)) not in self._taken), f"{name}-{identifier[:ID_LENGTH]}")
        self.add(chosen)
        return chosen


def _keeps_apart(part: Sequence[tuple[str, str | None, str | None, str | None]]) -> bool:
    """Return whether a component of a name template is different for every unit.

    A complete ``id`` makes it different in any position, since all ids have the same length. ``index`` does if it can
    be parsed: at the beginning or the end of the component, separated from other fields by a delimiter.
    """
    for number, (literal, name, specification, _) in enumerate(part):
        if name == "id" and not specification:
            return True
        if name != "index" or not _WHOLE_INDEX.fullmatch(specification or ""):
            continue
        after, following = next(((text, field) for text, field, _, _ in part[number + 1 :]), ("", None))
        is_first, is_last = number == 0, following is None
        if (is_first and (is_last or after[:1] in _DELIMITERS)) or (is_last and literal[-1:] in _DELIMITERS):
            return True
    return False


def name_fields(unit: Mapping[str, Any], identifier: str, index: int) -> dict[str, Any]:
    """Return the fields that a name template can use: scalars of the unit, of its properties, id, index, kind."""
    own = unit_fields(unit)
    return {**own, "id": identifier[:ID_LENGTH], "index": index, "kind": unit.get("kind", "call")}


def unit_fields(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts, numbers and booleans of a unit and of its properties."""
    scalars = (item for layer in _layers(unit) for item in layer.items())
    return {name: scalar for name, scalar in scalars if isinstance(scalar, (str, int, float))}


def _layers(unit: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings that have fields of a unit: itself, its value, and the properties of both."""
    value = unit.get("value")
    layers = (unit, value, unit.get("properties"), value.get("properties") if isinstance(value, Mapping) else None)
    yield from (layer for layer in layers if isinstance(layer, Mapping))


def _where(unit: Mapping[str, Any]) -> str:
    return f" (region {unit['region']})" if "region" in unit else ""
