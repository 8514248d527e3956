"""A documented body of each error of the service."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Example:
    """What the service answers.

    Attributes:
        status: word of ``google.rpc.Code``.
        message: as the service writes it.
        reason: reason of ``google.rpc.ErrorInfo``; empty where none is sent.
        quota_limit: metadata of the ErrorInfo.
        quota_unit: metadata of the ErrorInfo.
    """

    code: int
    status: str
    message: str
    reason: str = ""
    quota_limit: str = ""
    quota_unit: str = ""


def _read() -> dict[str, Example]:
    path = Path(__file__).parents[1] / "client" / "service_examples.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {line.pop("row"): Example(int(line.pop("code")), **line) for line in csv.DictReader(file)}


EXAMPLES: Mapping[str, Example] = _read()
"""By the name of the row of :data:`eechips.client.service_errors.SERVICE_ERRORS` that it matches."""
