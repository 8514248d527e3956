"""A file system whose calls have succeeded, and fail: NFS repeats a request whose answer was lost.

rename(2), "BUGS"; link(2), "BUGS".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eechips.files.removal import place_new, replace
from tests.support.programs import run_program

LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>

int rename(const char *source, const char *target) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    if (real(source, target) != 0) return -1;
    return real(source, target);
}

int link(const char *source, const char *target) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    if (real(source, target) != 0) return -1;
    return real(source, target);
}
"""
COMPILER = shutil.which("cc") or shutil.which("gcc")
CODE = """
import os
from pathlib import Path
from eechips.files.removal import place_new, replace
from eechips.storage import LocalStore
Path("a").write_text("new")
Path("b").write_text("old")
try:
    os.rename("a", "b")
except FileNotFoundError:
    Path("a").write_text("newer")
    replace("a", "b")
Path("c").write_text("mine")
print(place_new(Path("c"), Path("d")), place_new(Path("b"), Path("d")))
store = LocalStore(Path("store").absolute())
store.commit(store.stage("chips/x.png", b"pixels", "token"))
print(Path("b").read_text(), Path("d").read_text(), store.read("chips/x.png").decode(), Path("c").exists())
"""


@pytest.mark.skipif(
    COMPILER is None or not sys.platform.startswith("linux"), reason="needs a C compiler and LD_PRELOAD"
)
def test_a_rename_or_link_that_is_repeated_has_succeeded(tmp_path: Path) -> None:
    (tmp_path / "repeat.c").write_text(LIBRARY)
    library = tmp_path / "repeat.so"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", library, tmp_path / "repeat.c", "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    done = run_program(sys.executable, "-c", CODE, status=0, cwd=tmp_path, env=environment)
    assert done.stdout.splitlines() == ["True False", "newer mine pixels False"]


def test_what_is_missing_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").write_text("new")
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "a", tmp_path / "no" / "b")
    assert not place_new(tmp_path / "a", tmp_path / "b")
    assert [path.read_text() for path in (tmp_path / "a", tmp_path / "b")] == ["new", "old"]
