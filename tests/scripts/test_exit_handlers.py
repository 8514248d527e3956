"""Functions that a script registers by atexit are called while its working folder is still that of the run."""

from __future__ import annotations

import atexit
import sys
from pathlib import Path

import pytest

from eechips.scripts.replacements.library_patches import run_exit_handlers
from local_tests.support.local_earth_engine import Server
from tests.support.user_scripts import run


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


EXITS = """
import sys
from multiprocessing import Pool

def save(n):
    if n == BAD:
        raise ValueError("no data")
    with open(f"{n}.txt", "w") as file:
        file.write(str(n))

if __name__ == "__main__":
    with Pool(2) as pool:
        calls = [pool.apply_async(save, (n,)) for n in range(3)]
        pool.close()
        pool.join()
    sys.exit(STATUS if all(call.successful() for call in calls) else "some lack data.")
"""


@pytest.mark.slow
def test_a_script_that_exits_for_its_failed_calls_has_a_report(demo_server: Server, tmp_path: Path) -> None:
    """It had the status of a wrong option, and nothing said which calls had failed."""
    script = tmp_path / "script.py"
    script.write_text(EXITS.replace("BAD", "1").replace("STATUS", "0"))
    result = run(script, demo_server, tmp_path)
    assert result.returncode == 1, result.stderr
    assert "2 of 3 results" in result.stdout
    assert "ValueError: no data" in result.stderr
    assert "The script ended with status 1: some lack data.\n" in result.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    for given, status in (("2", "2"), ("'too few'", "1: too few")):
        script.write_text(EXITS.replace("BAD", "9").replace("STATUS", given))
        result = run(script, demo_server, tmp_path, "--out", f"other{status[0]}")
        assert result.returncode == 2, result.stderr
        assert f"the script ended with status {status}" in result.stderr
