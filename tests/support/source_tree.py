"""The modules of both distributions, for tests of the code itself."""

from __future__ import annotations

from pathlib import Path

import eechips
import eechips_local

EECHIPS = Path(eechips.__file__).parent
LOCAL = Path(eechips_local.__file__).parent


def source_files() -> dict[str, Path]:
    """Return the modules by name: ``cli/terminal.py`` of eechips, ``eechips_local/server.py`` of the other."""
    own = {path.relative_to(EECHIPS).as_posix(): path for path in sorted(EECHIPS.rglob("*.py"))}
    return own | {path.relative_to(LOCAL.parent).as_posix(): path for path in sorted(LOCAL.rglob("*.py"))}
