"""Continue a run whose recipe has changed since its plan was made, if the user accepts that."""

from __future__ import annotations

import logging

from eechips.engine.config import RunConfig
from eechips.engine.run_identity import describe
from eechips.errors import RunMismatchError
from eechips.manifest.code_changes import CODE_CHANGES, CodeChange, code_changes
from eechips.manifest.ledger import Ledger
from eechips.recipe import Recipe, SupportsCodeChanges
from eechips.text.timestamps import utc_now

_log = logging.getLogger(__name__)


def continue_plan(recipe: Recipe, config: RunConfig, ledger: Ledger) -> Recipe:
    """Return the recipe with the identity of the stored plan, if the change of its code is accepted.

    The plan and the ids of its units stay those of the first version. The ledger notes every accepted change; a later
    command with the same code needs no option.

    Args:
        recipe: of the command.
        config: of the run.
        ledger: of the run.

    Returns:
        The recipe itself if its code has not changed, if the change is not accepted, or if more than the code has
        changed: then the run is another one.

    Raises:
        RunMismatchError: if the code is that of the plan, and was changed since.
    """
    if not (isinstance(recipe, SupportsCodeChanges) and ledger.has_plan):
        return recipe
    stored = ledger.meta()
    changes = list(code_changes(stored))
    planned = str(stored.get("identity"))
    before = changes[-1].after if changes else planned
    if recipe.identity == before:
        return recipe.continuing(planned) if changes else recipe
    if recipe.identity == planned and not config.accept_changed_code:
        raise RunMismatchError(
            f"{config.out} was continued with changed code ({before[:16]}), and this is the code of before"
            f" ({planned[:16]}): give `accept_changed_code` to fetch what is left with it"
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
    ledger.note(CODE_CHANGES, [each.to_json() for each in (*changes, change)])
    _log.warning("%s", change.describe())
    return recipe.continuing(planned)
