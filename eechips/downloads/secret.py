"""What a host wants to be shown: from the environment or a file, and never shown to anybody else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from eechips.errors import ConfigurationError
from eechips.received_files import parse_json

PREFIX = "EECHIPS_SCENES_"
"""Of variables of the environment: ``EECHIPS_SCENES_TOKEN``."""
NAMES = ("token", "username", "password", "client_id", "client_secret")
"""Secrets that there may be."""


class Secrets:
    """Secrets by name. They are not part of its text.

    Args:
        values: by name.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def get(self, name: str) -> str | None:
        """A secret, if it is there."""
        return self._values.get(name)

    def need(self, name: str, use: str) -> str:
        """A secret.

        Args:
            name: of it.
            use: what it is for, for the message.

        Raises:
            ConfigurationError: if it is not there.
        """
        found = self._values.get(name)
        if not found:
            raise ConfigurationError(f"{use} needs {PREFIX}{name.upper()}, or a line {name}=… in the file of --secrets")
        return found


def read_secrets(file: Path | None, environment: Mapping[str, str] | None = None) -> Secrets:
    """Secrets of a file, and those of the environment, which count more.

    Args:
        file: lines ``name=value``, or a JSON object; None for none.
        environment: of the process by default.

    Raises:
        ConfigurationError: if the file cannot be read, or has something else in it.
    """
    there = os.environ if environment is None else environment
    values = {} if file is None else _of_file(file)
    values |= {name: there[PREFIX + name.upper()] for name in NAMES if there.get(PREFIX + name.upper())}
    return Secrets(values)


def _of_file(file: Path) -> dict[str, str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        found = parse_json(text) if text.lstrip().startswith("{") else dict(_pair(line) for line in _lines(text))
    except ValueError:  # its message has a part of the file in it
        raise ConfigurationError(f"{file} is no file of secrets: lines name=value, or a JSON object") from None
    unknown = sorted(name for name in found if name not in NAMES)
    if unknown:
        raise ConfigurationError(f"{file} has {unknown[0]!r}: there are {', '.join(NAMES)}")
    return {name: str(value) for name, value in found.items()}


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


def _pair(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise ValueError
    return name.strip().lower(), value.strip()
