"""Record changes of a run's plan between its commands: accepted code, extensions, units planned first for estimates,
and names of datasets once others were added.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import read_unit_files
from eechips.recipe import Unit, unit_value
from eechips.recipe.units import COMPLETES

CODE_CHANGES = "code_changes"
"""In the ledger and in run.json: a list of accepted changes, see :class:`CodeChange`."""

_DIGITS = 16  # of a hash
_SERIES = "series"


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A change of a recipe's code.

    Attributes:
        before: identity of the recipe before, SHA-256, hexadecimal.
        after: identity of the recipe since then.
        accepted: ISO 8601, UTC.
        position: place in the plan of the first unit that was fetched with the changed code; None if none was left.
        unit: its id.
        units: number of units that were left.
    """

    before: str
    after: str
    accepted: str
    position: int | None
    unit: str | None
    units: int

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CodeChange:
        """Return the change of a JSON value; values that are missing count as unknown."""
        position, unit = value.get("position"), value.get("unit")
        return cls(
            before=str(value.get("before")),
            after=str(value.get("after")),
            accepted=str(value.get("accepted")),
            position=position if isinstance(position, int) else None,
            unit=None if unit is None else str(unit),
            units=units if isinstance(units := value.get("units"), int) else 0,
        )

    def describe(self) -> str:
        """Return a sentence for the status and the report."""
        what = (
            f"The recipe's code was changed on {self.accepted[:10]} ({self.before[:_DIGITS]} to {self.after[:_DIGITS]})"
        )
        if self.position is None or self.unit is None:
            return f"{what}, when no unit was left."
        left = "1 unit was" if self.units == 1 else f"{self.units:,} units were"
        return f"{what}: {left} left for the changed code, from no. {self.position} ({self.unit[:_DIGITS]}) on."


def code_changes(stored: Mapping[str, Any]) -> Iterator[CodeChange]:
    """Yield the changes in run.json, or in the metadata of a ledger, in their order."""
    changes = stored.get(CODE_CHANGES)
    for change in changes if isinstance(changes, list) else ():
        if isinstance(change, dict):
            yield CodeChange.from_json(change)


EXTENSIONS = "extensions"
"""In the ledger and in run.json, of runs that were extended: a list of the plans, see :class:`PlanPart`."""

EXTENSION_COLUMN = "extension"
"""Column of manifest.parquet of such runs: the number of the plan that a unit came with, 0 for the first."""

KEPT_CHANGES = "kept_changes"
"""In the ledger: results that would be made of other images now, and that the last extension has kept: a sentence as
``text`` and the ``position`` of the unit each; the sentence is empty for units that complete another."""


@dataclass(frozen=True, slots=True)
class PlanPart:
    """Units that were planned together.

    Attributes:
        number: 0 for the first plan, 1 for the first extension.
        first: position of the first unit. Units from here to the first one of the next part came with it, also those
            that replace others.
        units: number of units when they were planned.
        planned: ISO 8601, UTC.
        command: as typed, without secrets; empty for a call of a program.
        parameters: parameters of the recipe, without secrets.
    """

    number: int
    first: int
    units: int
    planned: str
    command: str
    parameters: Mapping[str, Any]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PlanPart:
        """Return the part of a JSON value; values that are missing count as empty."""
        parameters = value.get("parameters")
        return cls(
            number=_number(value.get("number")),
            first=_number(value.get("first")),
            units=_number(value.get("units")),
            planned=str(value.get("planned") or ""),
            command=str(value.get("command") or ""),
            parameters=parameters if isinstance(parameters, dict) else {},
        )


@dataclass(frozen=True, slots=True)
class PlanUnits:
    """The units of a ledger, as the recipe planned them; may be iterated several times."""

    ledger: Ledger

    def __iter__(self) -> Iterator[Unit]:
        return (unit_value(json.loads(text)) for (text,) in self.ledger.rows(("unit",)))


@dataclass(frozen=True, slots=True)
class PlanIds:
    """The ids of the units of a ledger, hexadecimal; may be iterated several times."""

    ledger: Ledger

    def __iter__(self) -> Iterator[str]:
        return (identifier for (identifier,) in self.ledger.rows(("lower(hex(id))",)))


def first_layer(stored: Mapping[str, Any]) -> str | None:
    """Return the name that the only dataset of a run has since others were added to it; None for other runs.

    Args:
        stored: run.json, or the metadata of a ledger.
    """
    layers = (stored.get("parameters") or {}).get("layers")
    parts = plan_parts(stored)
    if not layers or not parts or "layers" in parts[0].parameters:
        return None
    return str(layers[0]["layer"])


def name_file(layer: str | None, metadata: str, name: str) -> tuple[str, str]:
    """Return layer and metadata of a file with the name of its dataset, also of the time when it was the only one.

    Args:
        name: name of the dataset: see :func:`first_layer`.
    """
    values: dict[str, Any] = json.loads(metadata)
    if layer and values.get(_SERIES) != "":
        return layer, metadata
    if values.get(_SERIES) == "":
        values[_SERIES] = name
    return f"{name}-{layer}" if layer else name, json.dumps(values)


def read_named_files(ledger: Ledger) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of :func:`~eechips.manifest.sqlite.ledger_queries.read_unit_files`: see :func:`name_file`."""
    name = first_layer(ledger.meta())
    for row in read_unit_files(ledger.database):
        position, identifier, layer, *file, metadata = row
        if name is None:
            yield row
        else:
            named, metadata = name_file(layer, metadata, name)
            yield position, identifier, named, *file, metadata


def read_completions(ledger: Ledger) -> dict[int, list[int]]:
    """Return the positions of units with further files of others, by the position of the other one, in order."""
    if not plan_parts(ledger.meta()):
        return {}
    query = (
        f"SELECT position, json_extract(unit, '$.{COMPLETES}') FROM units WHERE instr(unit, '\"{COMPLETES}\"')"
        " ORDER BY position"
    )
    completed = {position: name for position, name in ledger.database.execute(query) if name is not None}
    if not completed:
        return {}
    names = set(completed.values())
    rows = ledger.rows(("position", "lower(hex(id))"))
    positions = {name: position for position, name in rows if name in names}
    further: dict[int, list[int]] = {position: [] for position in positions.values()}
    for position, name in completed.items():
        if name in positions:
            further[positions[name]].append(position)
    return further


def plan_parts(stored: Mapping[str, Any]) -> list[PlanPart]:
    """Return the parts in run.json, or in the metadata of a ledger, in their order; none if it was never extended."""
    parts = stored.get(EXTENSIONS)
    return [PlanPart.from_json(part) for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def part_numbers(parts: Sequence[PlanPart], positions: Sequence[int]) -> list[int]:
    """Return for each position of the plan the number of the part that its unit came with."""
    firsts = [part.first for part in parts]
    return [parts[bisect_right(firsts, position) - 1].number for position in positions]


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


_KEY = "previews"  # in meta


@dataclass(frozen=True, slots=True)
class PreviewRecord:
    """The previews of a plan.

    A later command plans the same units by the same requests, whose responses are kept. Requests for other units may
    have other responses, as new images appear.

    Attributes:
        drawn: positions of the units of each preview, ascending; empty without a preview.
        size: number of units of the whole plan; None if it is unknown.
    """

    drawn: tuple[tuple[int, ...], ...] = ()
    size: int | None = None

    @classmethod
    def read(cls, ledger: Ledger) -> PreviewRecord:
        """Return the record of a ledger."""
        stored = ledger.meta().get(_KEY)
        return cls() if stored is None else cls(tuple(map(tuple, stored["drawn"])), stored["size"])

    @property
    def values(self) -> dict[str, Any]:
        """The JSON value of the record in a ledger, by its name."""
        return {_KEY: {"drawn": self.drawn, "size": self.size}}
