"""Find the archive that a user names: a known one, the address of a STAC API, a file, or a TOML description, whose
fields are checked.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from eechips_local.archives.archive_list import ARCHIVES, known_archive
from eechips_local.archives.archive_model import ArchiveDescription, Signing
from eechips_local.toml_text import parse_toml

_NAMES = ", ".join(archive.name for archive in ARCHIVES)
_CATALOGUES = (".json", ".geojson", ".parquet", ".geoparquet")
_DEFAULT = ArchiveDescription("", "")
_LISTS, _NUMBERS, _FLAGS = ("hosts",), ("page_items", "connections"), ("has_cql2",)


class ArchiveChoiceError(ValueError):
    """A text names no archive."""


def find_archive(text: str) -> ArchiveDescription:
    """Return the archive that a text names.

    Args:
        text: the name of a known archive; the address of a STAC API; the path of a static catalogue (``.json``), of
            STAC GeoParquet (``.parquet``), or of a description of an archive (``.toml``).

    Raises:
        ArchiveChoiceError: if it names none; says what does.
    """
    known = known_archive(text)
    if known is not None:
        return known
    if "://" in text:
        return _at(text)
    path = Path(text).expanduser().absolute()
    if path.suffix.lower() == ".toml":
        return _described(path)
    if path.suffix.lower() in _CATALOGUES:
        if not path.is_file():
            raise ArchiveChoiceError(f"there is no file {path}")
        return ArchiveDescription(name=path.stem, title=str(path), file=str(path))
    raise ArchiveChoiceError(
        f"{text!r} is no archive.{_suggestion(text)} Known archives are {_NAMES}; else give the address of a STAC API,"
        f" or a file that ends with {', '.join(_CATALOGUES)} or .toml"
    )


def _suggestion(text: str) -> str:
    """Return a question that names the archive which a wrong name may mean; empty for none."""
    names = [archive.name for archive in ARCHIVES]
    near = difflib.get_close_matches(text.lower().replace("_", "-"), names, 1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


def _at(address: str) -> ArchiveDescription:
    """Return the archive of an API. The records of a known archive hold where its address is the same."""
    try:
        parts = urlsplit(address)
        host, is_web = parts.netloc, parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        host, is_web = "", False
    if not is_web or "@" in host or parts.query or parts.fragment:
        raise ArchiveChoiceError(
            "the address of an archive is that of a STAC API, https://…, without a user and without a query"
        )
    api = address.rstrip("/")
    same = next((archive for archive in ARCHIVES if api in (archive.api, archive.index)), None)
    return same or ArchiveDescription(name=host, title=api, api=api, hosts=(host,))


def _described(path: Path) -> ArchiveDescription:
    """Return the archive that a TOML file describes. What it does not say is as of the archive that it is ``like``."""
    try:
        document: dict[str, Any] = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArchiveChoiceError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ArchiveChoiceError(f"{path} is no TOML: {error}") from error
    _check(document, path)
    like = document.get("like")
    base = ArchiveDescription(name=path.stem, title=str(path))
    if like is not None:
        known = known_archive(like)
        if known is None:
            raise ArchiveChoiceError(f"{path}: like = {like!r} is none of {_NAMES}.{_suggestion(like)}")
        base = replace(known, name=path.stem, title=str(path), like=known.name)
    if document.get("api"):
        # What an API can do is its own: it tells the language of its conditions.
        base = replace(base, index="", has_cql2=_DEFAULT.has_cql2, page_items=_DEFAULT.page_items)
    if document.get("file"):
        document["file"] = str((path.parent / document["file"]).absolute())
        base = replace(base, api="")
    field_values: dict[str, Any] = {name: tuple(value) if name in _LISTS else value for name, value in document.items()}
    description = replace(base, **field_values)
    if description.api and not description.api.startswith(("https://", "http://")):
        raise ArchiveChoiceError(f"{path}: api is the address of a STAC API, https://…; a path is given as file")
    if bool(description.api) + bool(description.file) + (bool(description.index) and not description.file) != 1:
        raise ArchiveChoiceError(f"{path} must have one of api, file and index, and no more")
    return description


def _check(document: Mapping[str, Any], path: Path) -> None:
    """Check names and types of a description.

    Raises:
        ArchiveChoiceError: naming the first that is wrong.
    """
    names = [field.name for field in fields(ArchiveDescription)]
    for name, value in document.items():
        if name not in names:
            raise ArchiveChoiceError(f"{path}: there is no field {name}; the fields are {', '.join(names)}")
        if name in _LISTS:
            is_right = isinstance(value, list) and all(isinstance(text, str) for text in value)
        elif name in _NUMBERS:
            is_right = isinstance(value, int) and not isinstance(value, bool) and value > 0
        else:
            is_right = isinstance(value, bool if name in _FLAGS else str)
        if not is_right:
            raise ArchiveChoiceError(
                f"{path}: {name} has a value of another type: {_LISTS[0]} is a list of texts, {_FLAGS[0]} a boolean,"
                f" {' and '.join(_NUMBERS)} are numbers of at least 1, the others are texts"
            )
    signing = document.get("signing")
    if signing is not None and signing not in get_args(Signing):
        raise ArchiveChoiceError(f"{path}: signing is one of {', '.join(get_args(Signing))}, not {signing!r}")
