"""Functions that a script registers by atexit are called while its working folder is still that of the run."""

from __future__ import annotations

import atexit
import sys

import pytest

from eechips.scripts.replacements.library_patches import run_exit_handlers


def test_handlers_are_called_at_the_end_of_the_script_the_last_one_first(capsys: pytest.CaptureFixture[str]) -> None:
    called: list[str] = []
    with run_exit_handlers():
        atexit.register(called.append, "first")
        atexit.register(called.remove, "absent")
        atexit.register(sys.exit, 3)
        atexit.register(called.extend, ["never"])
        atexit.unregister(called.extend)

        @atexit.register
        def last() -> None:
            called.append("last")

        assert called == []
    assert called == ["last", "first"]
    shown = capsys.readouterr().err  # as by Python, which calls the next one, too
    assert "ValueError" in shown
    assert "SystemExit: 3" in shown
