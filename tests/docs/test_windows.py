"""The decision on Windows lists the modules that use what only POSIX has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs.pages import DOCS, read_page, read_table, unquote

SOURCE = DOCS.parent / "eechips"
MODULES = {"fcntl", "grp", "pwd", "resource", "termios", "syslog", "pty", "posix"}
FUNCTIONS = {"fork", "getpgrp", "getpgid", "setsid", "setpgid", "killpg", "mkfifo", "geteuid", "getuid", "memfd_create",
             "posix_spawn", "pread", "sched_getaffinity"}  # fmt: skip
WORDS = re.compile(rf"\b({'|'.join(MODULES | FUNCTIONS | {'SIGKILL'})})\b")


def uses_posix(path: Path) -> bool:
    """Return whether a module imports a module of POSIX, or uses a function or a signal that only POSIX has."""
    source = path.read_text(encoding="utf-8")
    if not WORDS.search(source):  # parsing takes longer
        return False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name in MODULES for alias in node.names):
            return True
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr in FUNCTIONS:
                return True
            if node.value.id == "signal" and node.attr == "SIGKILL":
                return True
    return False


def test_modules_that_use_posix_are_listed() -> None:
    found = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if uses_posix(path)}
    listed = {unquote(row["module"]) for row in read_table(read_page("decisions/0013-posix-only.md"), "module", "uses")}
    guarded = {path for path in found if "hasattr(os" in (SOURCE / path).read_text(encoding="utf-8")}
    assert found - guarded == listed
