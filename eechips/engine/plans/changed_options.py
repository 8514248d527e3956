"""Describe the options that decide the results of a run, and refuse to resume a run whose options or code differ
(``accept_changed_code``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from eechips.engine.config import RunConfig
from eechips.engine.plans.plan import name_template
from eechips.errors import RunMismatchError
from eechips.manifest.extensions import CODE_CHANGES, CodeChange, code_changes
from eechips.manifest.metadata_keys import CHECKSUMS_ONLY
from eechips.manifest.sqlite.database import check_origin
from eechips.manifest.sqlite.ledger import Ledger
from eechips.recipe import Recipe, SupportsCodeChanges, canonical_json, traits_of
from eechips.text.timestamps import utc_now
from eechips.web.redaction import REDACTED, redact_json

_log = logging.getLogger(__name__)

IDENTIFYING = ("recipe", "identity", "parameters", "source")
"""Of the description of a run: what tells its results from those of another plan."""
PLAN = "plan"
"""Key of an outcome: the identity of the plan that the unit belongs to."""

_SHOWN = 8  # differences
_CODE, _CHANGED = "the recipe's code", " has changed"


def describe(recipe: Recipe, config: RunConfig) -> dict[str, Any]:
    """Return the identity of a run as JSON without secrets; it is stored with the plan."""
    return {
        "recipe": recipe.name,
        "identity": recipe.identity,
        "parameters": redact_json(json.loads(canonical_json(dict(recipe.parameters)))),
        "name": name_template(recipe, config).text,
        "source": config.source if traits_of(recipe).needs_service else "",
        **({"results": config.results} if config.results else {}),
        **({CHECKSUMS_ONLY: True} if traits_of(recipe).is_foreign else {}),
    }


def plan_identity(described: Mapping[str, Any]) -> str:
    """Return the identity of a plan: the SHA-256, hexadecimal, of what decides the bytes of all its results.

    That is the identity of the recipe, which covers its code and parameters (data set, dates, bands, scale, format),
    and the source of the data. The id of a unit covers the rest: its place and dates.

    Args:
        described: identifies the run; see :func:`describe`.
    """
    return hashlib.sha256(canonical_json([described["identity"], described["source"]]).encode()).hexdigest()


def check_same(
    ledger: Ledger, described: Mapping[str, Any], folder: object, growing: frozenset[str] = frozenset()
) -> bool:
    """Compare the plan of a ledger with the one described.

    Args:
        described: the run of this command; see :func:`describe`.
        folder: folder of both, for the message.
        growing: parameters in which an extension may differ.

    Returns:
        True if it is the same; False if it is another without results, which may be replaced.

    Raises:
        RunMismatchError: if it is another that has results; the message shows the difference.
        StorageError: if the ledger does not say which run it is of.
    """
    check_origin(ledger.database)
    stored = ledger.meta()
    mismatches = list(differences({k: stored.get(k) for k in described}, described))
    if not mismatches:
        return True
    if not any(state.has_result for state in ledger.counts()):
        return False
    accept = ""
    if len(mismatches) == 1 and mismatches[0].startswith(_CODE) and mismatches[0].endswith(_CHANGED):
        accept = ", or give `accept_changed_code` to fetch what is left with the changed code"
    if growing and all(re.split(r"[:\[]", mismatch)[0] in growing for mismatch in mismatches):
        accept = ", or give `extend` to add what is new to it"
    raise _mismatch(folder, mismatches, f"output folder, or remove this one{accept}")


def check_same_place(stored: Mapping[str, Any], described: Mapping[str, Any], place: object) -> None:
    """Raise RunMismatchError, with the difference, if the place of the results holds results of another run.

    Args:
        stored: the existing run.json.
        described: the run, as of :func:`describe`; its parameters as run.json has them.
        place: address of the results.
    """
    mismatches = list(differences(stored, {name: described[name] for name in IDENTIFYING if name in described}))
    if mismatches:
        raise _mismatch(place, mismatches, "place, or remove what is there")


def _mismatch(place: object, mismatches: Sequence[str], cure: str) -> RunMismatchError:
    shown = "; ".join(mismatches[:_SHOWN])
    return RunMismatchError(f"{place} holds another run ({shown}): choose another {cure}")


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences of two runs, for messages.

    A file is the same, wherever it is, if its contents are, unless the recipe's identity covers its path.

    Args:
        stored: description of the run that is there, as returned by :func:`describe`.
        wanted: description of the run of this command.
    """
    stored = _without_secrets(stored)
    ignores_paths = stored.get("identity") == wanted.get("identity")
    for key, value in wanted.items():
        old = stored.get(key)
        if key == "parameters":
            yield from _changed_parameters(old if isinstance(old, dict) else {}, value, ignores_paths=ignores_paths)
        elif key == "identity":
            if old != value and stored.get("parameters") == wanted["parameters"]:
                has_secrets = REDACTED in json.dumps(wanted["parameters"])
                yield f"{_CODE}{', or a secret among its parameters,' if has_secrets else ''}{_CHANGED}"
        elif old != value:
            yield from _changed_values(key, old, value)


def _changed_parameters(old: Mapping[str, Any], new: Mapping[str, Any], *, ignores_paths: bool) -> Iterator[str]:
    """Yield the differences of parameters; of a file, its path in ``name`` and its hash in ``name_sha256`` are one."""
    for name in sorted({*old, *new}):
        file = name.removesuffix("_sha256")
        if file != name and file in new:
            if old.get(file) == new[file] and old.get(name) != new.get(name):
                yield f"{file}: {_short(new[file])} has other contents now"
            continue
        sha256 = new.get(f"{name}_sha256") if ignores_paths else None
        is_same_file = sha256 is not None and old.get(f"{name}_sha256") == sha256
        if old.get(name) != new.get(name) and not is_same_file:
            yield from _changed_values(name, old.get(name), new.get(name))


def _changed_values(name: str, old: Any, new: Any) -> Iterator[str]:
    """Yield what differs in a value: of lists of as many objects, such as datasets, only the members that do."""
    lists = [value for value in (old, new) if isinstance(value, list) and all(isinstance(v, dict) for v in value)]
    if len(lists) < 2 or len(old) != len(new):
        yield f"{name}: {_short(old)} there, {_short(new)} here"
        return
    for number, (before, now) in enumerate(zip(old, new, strict=True)):
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                yield from _changed_values(f"{name}[{number}].{key}", before.get(key), now.get(key))


def _without_secrets(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description without secrets, as :func:`describe` does: some of earlier versions have them."""
    return {**stored, "parameters": redact_json(stored.get("parameters"))}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def continue_plan(recipe: Recipe, config: RunConfig, ledger: Ledger) -> Recipe:
    """Return the recipe with the identity of the stored plan, if the change of its code is accepted.

    The plan and the ids of its units stay those of the first version. The ledger notes every accepted change; a later
    command with the same code needs no option.

    Returns:
        The recipe itself if its code has not changed, if the change is not accepted, or if more than the code has
        changed: then the run is another one.

    Raises:
        RunMismatchError: if the code is that of the plan, and was changed since.
    """
    if not (isinstance(recipe, SupportsCodeChanges) and ledger.has_plan):
        return recipe
    stored = _without_secrets(ledger.meta())
    changes = list(code_changes(stored))
    planned = str(stored.get("identity"))
    before = changes[-1].after if changes else planned
    if recipe.identity == before:
        return recipe.continuing(planned) if changes else recipe
    if recipe.identity == planned and not config.accept_changed_code:
        raise RunMismatchError(
            f"{config.out} was continued with changed code ({before[:16]}), and this is the earlier code"
            f" ({planned[:16]}): give `accept_changed_code` to fetch the remaining units with it"
        )
    same = {name: value for name, value in describe(recipe, config).items() if name != "identity"}
    if not config.accept_changed_code or any(stored.get(name) != value for name, value in same.items()):
        return recipe
    first = next(ledger.open_units(), None)
    change = CodeChange(
        before=before,
        after=recipe.identity,
        accepted=utc_now(),
        position=None if first is None else first.position,
        unit=None if first is None else first.id,
        units=ledger.count_open(),
    )
    ledger.note(CODE_CHANGES, list(map(asdict, (*changes, change))))
    _log.warning("%s", change.describe())
    return recipe.continuing(planned)
