"""Ctrl-C while calls of a script sleep, or send many requests."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from eechips.manifest.run import Run
from local_tests.support.local_earth_engine import Server
from tests.support.programs import await_file
from tests.support.user_scripts import command, run

pytestmark = pytest.mark.slow


@pytest.mark.exhaustive
@pytest.mark.parametrize("wait", ["sleep(3600)", "[ee.Number(n).getInfo() for n in range(10**6)]"])
def test_a_call_ends_with_its_request(wait: str, demo_server: Server, tmp_path: Path) -> None:
    """The call would last an hour; a run that waits for it exceeds the time-out of the process."""
    script, marker = tmp_path / "script.py", tmp_path / "begun"
    text = (
        "import ee\nfrom time import sleep\nfrom multiprocessing import Pool\nee.Initialize()\n"
        f"def work(n):\n    open({str(marker)!r}, 'w').write('x')\n    {{}}\n"
        "    open(f'{{n}}.txt', 'w').write('x')\n"
        "if __name__ == '__main__':\n    Pool(2).map(work, range(1))\n"
    )
    script.write_text(text.format(wait))
    process = subprocess.Popen(command(script, demo_server), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    await_file(marker, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "completed results are kept" in said
    assert Run(tmp_path / "run").counts == {"planned": 1}
    script.write_text(text.format("pass"))
    assert run(script, demo_server, tmp_path, "--out", "other").returncode == 0
