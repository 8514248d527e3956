"""Read the secrets of downloads from a file and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from eechips.errors import ConfigurationError
from eechips.storage.received_files import parse_json

AuthName = Literal["none", "bearer", "basic", "netrc", "oauth", "sas"]
AUTHS: tuple[AuthName, ...] = ("none", "bearer", "basic", "netrc", "oauth", "sas")

PREFIX = "EECHIPS_SCENES_"
"""Prefix of the environment variables: ``EECHIPS_SCENES_TOKEN``."""
NAMES = ("token", "username", "password", "client_id", "client_secret")
"""Names of secrets."""


class Secrets:
    """Secrets by name. Their representation omits the values.

    Args:
        values: by name.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def get(self, name: str) -> str | None:
        """Return a secret; None if it is missing."""
        return self._values.get(name)

    def need(self, name: str, use: str) -> str:
        """Return a secret that is required.

        Args:
            name: name of the secret.
            use: what requires it, for the message.

        Raises:
            ConfigurationError: if the secret is missing.
        """
        secret = self._values.get(name)
        if not secret:
            raise ConfigurationError(f"{use} needs {PREFIX}{name.upper()}, or a line {name}=… in the secrets file")
        return secret


def read_secrets(file: Path | None, environment: Mapping[str, str] | None = None) -> Secrets:
    """Read secrets from a file and the environment; the environment takes precedence.

    Args:
        file: lines ``name=value``, or a JSON object; None for none.
        environment: that of the process by default.

    Raises:
        ConfigurationError: if the file cannot be read or is malformed.
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
        secrets = parse_json(text) if text.lstrip().startswith("{") else dict(_pair(line) for line in _lines(text))
    except ValueError:  # its message quotes the file
        raise ConfigurationError(f"{file} must have lines name=value, or a JSON object") from None
    unknown = sorted(name for name in secrets if name not in NAMES)
    if unknown:
        raise ConfigurationError(f"{file} has the unknown name {unknown[0]!r}: known are {', '.join(NAMES)}")
    return {name: str(value) for name, value in secrets.items()}


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


def _pair(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise ValueError
    return name.strip().lower(), value.strip()
