"""Await the batch tasks that a script has started on the local Earth Engine of its run."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eechips.engine.progress import Progress
from eechips.errors import RecipeError
from eechips.files.hashes import hash_file
from eechips.files.removal import RecordedFile, remove
from eechips.text.formatting import format_count, some_of

_PAUSE = 0.3  # seconds between two requests for the states of all tasks
_OVERWRITES = "Cannot overwrite asset"
_NUMBERED = re.compile(r"^(.*) \(\d+\)(\..*)$", re.DOTALL)
_LOST = {"done": True, "error": {"message": "the local Earth Engine was started again meanwhile"}}


def await_tasks(folder: Path, *, is_repeated: bool, quiet: bool) -> int:
    """Wait until every task of the local Earth Engine has ended, and show how many have.

    Args:
        folder: folder of the exports, for the message.
        is_repeated: whether an earlier run of the script was interrupted, whose tasks this one has started again: one
            task may find its asset there.

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
    if is_repeated:
        there = {message: task for task in failed if (message := _message(task)).startswith(_OVERWRITES)}
        failed = [task for task in failed if task not in there.values()]
    count = format_count(len(tasks), "export task")
    if failed:
        raise RecipeError(
            f"{len(failed):,} of {count} failed: {_described(failed)}. Files of the others are in {folder}"
        )
    Progress(0, 0, None, quiet=quiet).say(f"{count} completed: {folder}")
    return len(tasks)


def _described(tasks: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for task in tasks:
        name = task.get("metadata", {}).get("description") or task["name"]
        texts.append(f"{name} ({_message(task).rstrip('.')})")
    return some_of(texts)


def _message(task: Mapping[str, Any]) -> str:
    return str(task["error"].get("message"))


def remove_repeats(folder: Path) -> None:
    """Remove numbered copies, such as "a (1).tif", of equal files: an interrupted run had exported them before."""
    for path in sorted(folder.rglob("*")):
        match = _NUMBERED.match(path.name)
        first = None if match is None else path.with_name(f"{match[1]}{match[2]}")
        if first is not None and first.is_file():
            remove(path, RecordedFile(first.stat().st_size, hash_file(first)))
