"""What a catalogue has beyond a stored plan of scenes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eechips.manifest.ledger import Ledger
from eechips.manifest.record import Planned
from eechips.recipe import Unit, canonical_json, unit_id, unit_value
from eechips.storage import ID_LENGTH, NameTemplate


class Further:
    """Tells units that a plan has from those that it has not.

    Attributes:
        changed: units whose asset is in the plan, by another address or with another promise.

    Args:
        ledger: has the plan.
        identity: of the recipe.
        template: of the names.
    """

    def __init__(self, ledger: Ledger, identity: str, template: NameTemplate) -> None:
        self._identity, self._template, self._end = identity, template, ledger.end
        self._ids: set[str] = set()
        self._keys: set[int] = set()
        self._names: set[int] = set()
        self.changed: list[Unit] = []
        for rows in ledger.batches(("id", "unit", "name")):
            for identifier, unit, name in rows:
                self._ids.add(identifier.hex() if isinstance(identifier, bytes) else str(identifier))
                self._keys.add(_key(unit_value(json.loads(unit))))
                self._names.add(hash(name.casefold()))

    def of(self, unit: Unit) -> Planned | None:
        """What is to be added to the plan for a unit; None if its asset is in there."""
        identifier = unit_id(unit, self._identity)
        if identifier in self._ids:
            return None
        self._ids.add(identifier)
        if _key(unit) in self._keys:
            self.changed.append(unit)
            return None
        self._keys.add(_key(unit))
        name = self._template.render(unit, identifier, self._end)
        # As in a plan that is made at once: folded, since some file systems do not tell upper from lower case.
        if not self._template.is_unique and hash(name.casefold()) in self._names:
            name = f"{name}-{identifier[:ID_LENGTH]}"
        self._names.add(hash(name.casefold()))
        self._end += 1
        return Planned(self._end - 1, identifier, canonical_json(unit), name)


def _key(unit: Mapping[str, Any]) -> int:
    return hash((unit["collection"], unit["item"], unit["asset"]))
