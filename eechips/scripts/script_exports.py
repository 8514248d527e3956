"""Wait for the batch tasks that a script has started on the local Earth Engine of its run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eechips.engine.progress import Progress
from eechips.errors import RecipeError
from eechips.text.formatting import format_count

_PAUSE = 0.3  # seconds between two requests for the states of all tasks
_MOST_NAMED = 3
_LOST = {"done": True, "error": {"message": "the local Earth Engine was started again meanwhile"}}


def await_tasks(folder: Path, *, quiet: bool) -> int:
    """Wait until every task of the local Earth Engine has ended, and show how many have.

    Args:
        folder: of the exports, for the message.
        quiet: show nothing.

    Returns:
        The number of tasks.

    Raises:
        RecipeError: if tasks have failed; names them.
    """
    import ee

    known: dict[str, dict[str, Any]] = {task["name"]: task for task in ee.data.listOperations()}
    if not known:
        return 0
    with Progress(len(known), 0, None, quiet=quiet, unit="exports") as progress:
        waiting = set(known)
        while True:
            for name in [name for name in waiting if known[name].get("done")]:
                waiting.remove(name)
                progress.settle(failed="error" in known[name])
            progress.show(0, 0)
            if not waiting:
                break
            time.sleep(_PAUSE)
            listed = {task["name"]: task for task in ee.data.listOperations()}
            known |= {name: listed.get(name, {**known[name], **_LOST}) for name in waiting}
    tasks = list(known.values())
    failed = [task for task in tasks if "error" in task]
    count = format_count(len(tasks), "export task")
    if failed:
        raise RecipeError(
            f"{len(failed):,} of {count} failed: {_described(failed)}. Files of the others are in {folder}"
        )
    Progress(0, 0, None, quiet=quiet).say(f"{count} completed: {folder}")
    return len(tasks)


def _described(tasks: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for task in tasks[:_MOST_NAMED]:
        name = task.get("metadata", {}).get("description") or task["name"]
        texts.append(f"{name} ({str(task['error'].get('message')).rstrip('.')})")
    return ", ".join(texts) + (", …" if len(tasks) > _MOST_NAMED else "")
