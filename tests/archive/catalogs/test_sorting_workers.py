"""Workers that sort items: this process, or a pool of processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eechips.archive.catalogs.ingestion.ingest import ingest
from eechips.archive.catalogs.ingestion.sorting import SMALL, choose_processes, workers
from eechips.errors import ConfigurationError
from local_tests.support.local_earth_engine import wait_until
from tests.support.catalog_lists import cli, scene, write
from tests.support.programs import run_program

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_processes_make_the_same_catalogue(tmp_path: Path) -> None:
    for part in range(3):
        write(tmp_path / f"{part}.ndjson", [scene(n, text="x" * 20_000) for n in range(900 * part, 900 * part + 1000)])
    pattern = str(tmp_path / "*.ndjson")
    alone = ingest(pattern, tmp_path / "alone", resolution=0, quiet=True)
    assert alone.processes == 1
    result = cli(pattern, "--out", tmp_path / "other", "--resolution", 0, "--processes", 2, status=0)
    assert "sorted by 2 processes" in result.output
    assert (tmp_path / "other/_schema.json").read_bytes() == (tmp_path / "alone/_schema.json").read_bytes()
    assert (alone.counts.items, alone.outcome.new) == (3000, 2800)


def die(_: bytes) -> None:
    """Kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_that_dies_is_reported() -> None:
    with pytest.raises(ConfigurationError, match="died, perhaps for lack of memory"), workers(2) as found:
        found.submit(die, b"").result()


def test_the_number_of_processes_is_chosen_by_size_and_option() -> None:
    assert choose_processes(SMALL, None) == 1
    assert choose_processes(SMALL + 1, None) == min(4, os.cpu_count() or 1)
    assert choose_processes(SMALL + 1, 1) == 1
    assert choose_processes(0, 3) == 3


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_program_needs_no_main_guard_and_its_processes_end_with_it(tmp_path: Path) -> None:
    """Leave no process that writes when the run is killed."""
    write(tmp_path / "list.ndjson", [scene(n, text="x" * 20_000) for n in range(4000)])
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from eechips.archive.catalogs.ingestion.ingest import ingest\n"
        "print('started', flush=True)\n"
        "ingest(sys.argv[1], sys.argv[2], processes=2, quiet=True)\n"
    )
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "list.ndjson"), str(tmp_path / "catalog")]
    whole = run_program(*command[:3], tmp_path / "whole", cwd=ROOT, timeout=90)
    assert (whole.returncode, whole.stdout) == (0, "started\n"), whole.stderr
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_until(lambda: list((tmp_path / "catalog/.scratch-ingest").glob("*.shard")), process)
        process.kill()
        process.wait()
        wait_until(lambda: members(process.pid) == [])
    assert len(ingest(tmp_path / "list.ndjson", tmp_path / "catalog", quiet=True).catalog) == 4000


def members(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                found += [int(entry.name)] if int(own) == session and state != "Z" else []
    return found


def test_invalid_worker_options_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "list.ndjson", [scene(1)])
    assert (
        "must be at least 1, not 0"
        in cli(tmp_path / "list.ndjson", "--out", tmp_path / "catalog", "--processes", 0).output
    )
