"""What may be wrong with a catalogue while it is served, as the service reports it."""

from __future__ import annotations

from eechips.emulator.errors import EarthEngineError


class DamagedError(EarthEngineError):
    """A partition is missing, or cannot be read (HTTP 500)."""


class ReplacedError(Exception):
    """A file is no longer the one that was looked at before. Never leaves this package."""
