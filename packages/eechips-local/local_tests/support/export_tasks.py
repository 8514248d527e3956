"""A local Earth Engine that exports into folders, and the end of its tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from local_tests.support.local_earth_engine import Server, wait_until
from local_tests.support.stack_store import Stack

AnyServer = TypeVar("AnyServer", bound=Server)


@dataclass(frozen=True)
class Folders:
    """The folders of a server, in one folder."""

    root: Path

    @property
    def drive(self) -> Path:
        """Stands for Google Drive."""
        return self.root / "drive"

    @property
    def buckets(self) -> Path:
        """Has a folder for each bucket."""
        return self.root / "buckets"

    @property
    def assets(self) -> Path:
        """Takes exported assets."""
        return self.root / "assets"


def export_server(serve: Callable[..., AnyServer], stack: Stack, folders: Folders, *options: str) -> AnyServer:
    """Serve the stack, without a quota, and with further options."""
    return serve(
        "--no-demo", "--assets", str(stack.path), "--rate", "none", "--concurrency", "none", "--drive",
        str(folders.drive), "--buckets", str(folders.buckets), "--export-assets", str(folders.assets), *options,
    )  # fmt: skip


def finished(task: Any) -> dict[str, Any]:
    """Return the status of a task when it has ended."""
    wait_until(lambda: not task.active())
    status: dict[str, Any] = task.status()
    return status
