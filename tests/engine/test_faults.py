"""Faults of the service, of recipes, workers, disks and networks, and their effect on a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from eechips.errors import ConfigurationError, RecipeError, StorageError
from eechips.manifest.run import Run, open_run
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.process_tree import descendants, is_running
from tests.support.engine_recipes import CHIPS, ODD, run_chips, run_script, script
from tests.support.engine_service import Service, serving
from tests.support.proxy import tcp_proxy


def hashes_of(finished: Run) -> dict[str, str]:
    return dict(zip(finished.units["id"], finished.units["sha256"], strict=True))


def everything_written(folder: Path) -> str:
    """All text that a run left behind, the ledger included."""
    texts = [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    return "\n".join(texts)


FAULTS = ("truncate", "reset", "short", "html", "gzip-short", "small", "503", "429")


@pytest.mark.slow
def test_a_bad_body_is_never_saved(service: Service, tmp_path: Path) -> None:
    clean = hashes_of(run_chips(tmp_path / "clean", service.url))
    service.forget()
    for number, fault in enumerate(FAULTS, start=1):
        service.plan(number, fault)
    finished = run_chips(tmp_path, service.url, executor="processes:2")
    assert finished.counts == {"done": 12}
    assert hashes_of(finished) == clean
    assert finished.units["attempts"].tolist() == [2] * len(FAULTS) + [1] * 4
    assert finished.units["requests"].sum() == service.count("create") + service.count("pixels") == 24 + len(FAULTS)
    assert finished.verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["url", "pixels"])
def test_units_that_keep_failing_are_recorded_and_retried_by_the_next_run(
    service: Service, tmp_path: Path, method: str
) -> None:
    service.plan(4, *["truncate"] * 3)
    first = run_chips(tmp_path, service.url, retries=2, method=method)
    assert first.counts == {"done": 11, "failed_transient": 1}
    assert not first.is_complete
    failure = first.failures.iloc[0]
    assert failure["error_class"] == "ValidationError"
    assert failure["attempts"] == 3
    assert "truncated" in (first.path / "failures.csv").read_text()
    assert len(list((first.path / "chips").iterdir())) == 11
    service.forget()
    again = run_chips(tmp_path, service.url, retries=2, method=method)
    assert again.counts == {"done": 12}
    assert service.count("pixels") + service.count("compute") == 1
    assert not (again.path / "failures.csv").exists()


@pytest.mark.slow
def test_an_unrequested_size_is_a_validation_error(service: Service, tmp_path: Path) -> None:
    service.plan(4, *["small"] * 9)
    finished = run_chips(tmp_path, service.url, retries=1)
    failure = finished.failures.iloc[0]
    assert failure["error_class"] == "ValidationError"
    assert "the response has 32x32 pixels instead of 24x24" in failure["error"]


def test_permanent_failures_are_requested_once_and_stay_recorded(service: Service, tmp_path: Path) -> None:
    service.plan(4, "400")
    finished = run_chips(tmp_path, service.url)
    assert finished.counts == {"done": 11, "failed_permanent": 1}
    assert finished.failures["error_class"].tolist() == ["PermanentError"]
    assert service.count("pixels") == 12
    service.forget()
    run_chips(tmp_path, service.url)
    assert service.requests == []


@pytest.mark.slow
def test_an_expired_name_is_requested_again(service: Service, tmp_path: Path) -> None:
    service.plan(4, *["404"] * 3)
    service.plan(6, *["404"] * 9)
    finished = run_chips(tmp_path, service.url)
    assert finished.counts == {"done": 11, "failed_permanent": 1}
    assert "expired" in finished.failures["error"].iloc[0]
    assert service.count("create") == service.count("pixels") == 10 + 4 + 5


def test_an_expression_that_is_refused_is_permanent(service: Service, tmp_path: Path) -> None:
    service.plan(None, "400", "503")
    finished = run_chips(tmp_path, service.url)
    assert finished.counts == {"done": 11, "failed_permanent": 1}
    assert "Image asset 'x' not found" in finished.failures["error"].iloc[0]
    assert finished.units["requests"].sum() == 1 + 11 * 2 + 1


@pytest.mark.slow
def test_a_configuration_error_stops_the_run_and_loses_nothing(service: Service, tmp_path: Path) -> None:
    service.plan(6, "403")
    with pytest.raises(ConfigurationError, match=r"not registered to use Earth Engine.*`local`"):
        run_chips(tmp_path, service.url, parameters={"count": 60}, executor="processes:2", in_flight=4)
    stopped = open_run(tmp_path / "out")
    assert stopped.counts["planned"] > 40
    assert "failed_permanent" not in stopped.counts
    assert run_chips(tmp_path, service.url, parameters={"count": 60}).counts == {"done": 60}


@pytest.mark.slow
def test_a_unit_that_raises_never_drops_others(service: Service, tmp_path: Path) -> None:
    finished = run_script(
        tmp_path, ODD, service.url, parameters={"what": "some raise", "count": 40}, executor="processes:3"
    )
    assert finished.counts == {"done": 20, "failed_permanent": 20}
    failure = finished.failures.iloc[3]
    assert (failure["error_class"], failure["error"]) == ("RecipeError", "ValueError: unit 7")
    assert "raise ValueError" in failure["traceback"]


@pytest.mark.slow
def test_a_recipe_that_always_raises_is_stopped_early(service: Service, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"the first \d+ units all failed alike") as caught:
        run_script(tmp_path, ODD, service.url, parameters={"what": "raises", "count": 1000}, executor="processes:3")
    assert "raise KeyError" in caught.value.traceback
    stopped = open_run(tmp_path / "out")
    assert 20 <= stopped.counts["failed_permanent"] < 1000  # the first 20 decide; others run meanwhile
    assert "5ecre7" not in everything_written(stopped.path)
    mended = ODD.replace('raise KeyError("projects', 'return b"fine" or KeyError("projects')
    finished = run_script(
        tmp_path, mended, service.url, parameters={"what": "raises", "count": 1000}, executor="threads"
    )
    assert finished.counts == {"done": 1000}


@pytest.mark.slow
def test_a_unit_that_kills_its_workers_fails_alone(service: Service, tmp_path: Path) -> None:
    finished = run_script(tmp_path, ODD, service.url, parameters={"what": "dies", "count": 12}, executor="processes:3")
    assert finished.counts == {"done": 11, "failed_permanent": 1}
    failure = finished.failures.iloc[0]
    assert failure["unit"] == {"kind": "call", "value": {"n": 1, "what": "dies"}}
    assert failure["error_class"] == "WorkerLostError"
    assert "killed by signal 9" in failure["error"]
    assert failure["attempts"] == 3


@pytest.mark.slow
def test_the_death_of_a_worker_loses_nothing(service: Service, tmp_path: Path) -> None:
    parameters = {"what": "dies once", "count": 12, "marks": tmp_path}
    finished = run_script(tmp_path, ODD, service.url, parameters=parameters, executor="processes:3")
    assert finished.counts == {"done": 12}


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(service: Service, tmp_path: Path) -> None:
    parameters = {"what": "hangs", "count": 12}
    finished = run_script(tmp_path, ODD, service.url, parameters=parameters, executor="processes:3", unit_timeout=3.0)
    assert finished.counts == {"done": 11, "failed_permanent": 1}
    assert "not done after 3 s" in finished.failures["error"].iloc[0]


def test_two_units_of_one_name_do_not_overwrite_each_other(service: Service, tmp_path: Path) -> None:
    finished = run_script(tmp_path, ODD, service.url, parameters={"what": "same name", "count": 4}, executor="threads")
    assert finished.counts == {"done": 1, "failed_permanent": 3}
    assert "two units have the same name, same.csv" in finished.failures["error"].iloc[0]
    assert finished.verify() == []
    assert [p.name for p in finished.path.rglob("*.part")] == []


def test_a_name_that_leaves_the_folder_is_refused(service: Service, tmp_path: Path) -> None:
    finished = run_script(tmp_path, ODD, service.url, parameters={"what": "leaves", "count": 2}, executor="threads")
    assert finished.counts == {"failed_permanent": 2}
    assert "inside the output folder" in finished.failures["error"].iloc[0]


def test_a_folder_that_cannot_be_written_stops_the_run(service: Service, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "chips").symlink_to("chips")
    with pytest.raises(StorageError, match="could not write"):
        run_chips(tmp_path, service.url)
    assert open_run(out).counts == {"planned": 12}


def test_a_file_in_the_place_of_a_folder_fails_the_units(service: Service, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "chips").write_text("in the way")
    finished = run_chips(tmp_path, service.url)
    assert finished.counts == {"failed_permanent": 12}
    assert set(finished.failures["error_class"]) == {"UsageError"}
    assert "/out/chips is a file. Choose another name, or move the file away" in finished.failures["error"].iloc[0]
    assert (out / "chips").read_text() == "in the way"


@pytest.mark.slow
def test_no_thumbnail_name_is_left_anywhere(
    service: Service, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number, fault in enumerate(["truncate", "reset", "503", "html", "400", "404", "429", "gzip-short"], start=1):
        service.plan(number, *[fault] * 3)
    finished = run_chips(tmp_path, service.url, retries=1, quiet=False, verbose=True)
    assert finished.counts["done"] == 6  # neither a full quota nor a name that expired uses up the retries
    shown = capfd.readouterr()
    written = everything_written(finished.path) + shown.out + shown.err
    assert len(service.secrets) >= 12
    assert not [secret for secret in service.secrets if secret in written]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_waits_for_a_lost_network(service: Service, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    service.latency = 0.05
    with tcp_proxy(service.url) as wire:

        def interrupt() -> None:
            wait_until(lambda: service.count("pixels") >= 10)
            wire.cut()
            wait_until(lambda: '"offline"' in (tmp_path / "out" / "run.log").read_text())
            wire.restore()

        cutter = threading.Thread(target=interrupt)
        cutter.start()
        finished = run_chips(tmp_path, wire.url, parameters={"count": 60}, retries=1, quiet=False, in_flight=6)
        cutter.join()
    assert finished.counts == {"done": 60}
    shown = capfd.readouterr().err
    assert "No connection to the service: waiting for it." in shown
    assert "The service is reachable again." in shown


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_as_an_interrupt_does(service: Service, tmp_path: Path) -> None:
    service.latency = 1.0  # so that it is not through before it hears of it
    process = start(tmp_path, service)
    wait_until(lambda: service.count("pixels") >= 5, process)
    assert process.stderr is not None
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.read().strip() == "interrupted"
    assert service.in_flight == 0
    assert run_chips(tmp_path, service.url, parameters={"count": 60}).counts == {"done": 60}


MAIN = """
import sys
from pathlib import Path
from tests.support.engine_recipes import CHIPS, run_chips

run = run_chips(Path(sys.argv[1]), sys.argv[2], parameters={"count": 60}, quiet=False,
                executor="processes:4", in_flight=8)
print("interrupted" if run.interrupted else "complete")
"""


def start(tmp_path: Path, service: Service) -> subprocess.Popen[str]:
    main = tmp_path / "main.py"
    main.write_text(MAIN)  # no guard: workers must not run it again
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, str(main), str(tmp_path), service.url],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Sha256 by unit of a run that nothing disturbed."""
    with serving() as service:
        folder = tmp_path_factory.mktemp("undisturbed")
        return hashes_of(run_chips(folder, service.url, parameters={"count": 60}))


def resume(tmp_path: Path, service: Service, expected: dict[str, str]) -> Run:
    """Runs the same again: only what is missing is fetched, and all is as it would have been."""
    left = open_run(tmp_path / "out")
    assert left.verify() == []  # nothing is recorded as done that is not
    missing = left.counts.get("planned", 0)
    service.forget()
    finished = run_chips(tmp_path, service.url, parameters={"count": 60})
    assert finished.counts == {"done": 60}
    assert hashes_of(finished) == expected
    assert service.count("pixels") == service.count("create") == missing
    assert finished.verify() == []
    assert list(finished.path.rglob("*.part")) == []
    return finished


@pytest.mark.slow
def test_a_killed_run_resumes(service: Service, tmp_path: Path, undisturbed: dict[str, str]) -> None:
    service.latency = 0.2
    process = start(tmp_path, service)
    wait_until(lambda: service.count("pixels") >= 20, process)
    service.latency = 60.0  # so that it is not through before it is killed
    while not open_run(tmp_path / "out").counts.get("done"):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate(timeout=60)  # until its workers, who hold the pipes, have gone too and ask no more
    service.latency = 0.0
    assert 0 < open_run(tmp_path / "out").counts.get("planned", 0) < 60
    resume(tmp_path, service, undisturbed)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_workers_of_a_killed_run_end(service: Service, tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    service.latency = 0.05
    process = start(tmp_path, service)
    with process:
        wait_until(lambda: service.count("pixels") >= 4, process)
        group = set(descendants(process.pid))
        assert len(group) >= 3
        process.kill()
    wait_until(lambda: not any(map(is_running, group)))


@pytest.mark.exhaustive
def test_the_first_interrupt_finishes_what_is_in_flight(
    service: Service, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    service.latency = 0.5  # so that it is not through before it hears of it
    process = start(tmp_path, service)
    wait_until(lambda: service.count("pixels") >= 10, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.strip() == "interrupted"
    assert "finishing the requests in flight" in err
    assert "To resume: eechips run …" in err
    assert "Traceback" not in err
    left = open_run(tmp_path / "out")
    # Every thumbnail that was created was fetched as well.
    assert service.count("create") == service.count("pixels") == left.counts["done"]
    service.latency = 0.0
    resume(tmp_path, service, undisturbed)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_second_interrupt_stops_at_once(service: Service, tmp_path: Path, undisturbed: dict[str, str]) -> None:
    process = start(tmp_path, service)
    wait_until(lambda: service.count("pixels") >= 4, process)
    service.latency = 120.0
    asked = len(service.requests)
    while len(service.requests) == asked:  # none of which is answered
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("finishing the requests in flight" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)  # sooner than what is in flight
    assert out.strip() == "interrupted", err
    service.latency = 0.0
    resume(tmp_path, service, undisturbed)


@pytest.mark.slow
def test_a_folder_in_use_is_refused(service: Service, tmp_path: Path) -> None:
    service.latency = 0.1
    process = start(tmp_path, service)
    with process:
        wait_until(lambda: service.count("pixels") >= 1, process)
        with pytest.raises(Exception, match=f"process {process.pid} is running"):
            run_chips(tmp_path, service.url, parameters={"count": 60})
        process.kill()


def test_run_log_lines_are_json(service: Service, tmp_path: Path) -> None:
    service.plan(4, "400")
    finished = run_chips(tmp_path, service.url)
    lines = [json.loads(line) for line in (finished.path / "run.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["started", "planned", "unit failed", "finished"]
    assert lines[2]["error_class"] == "PermanentError"


def test_a_changed_script_is_another_run(service: Service, tmp_path: Path) -> None:
    run_chips(tmp_path, service.url)
    script(tmp_path, CHIPS)
    with pytest.raises(Exception, match="the recipe's code has changed"):
        run_script(tmp_path, CHIPS + "\nCHANGED = True\n", service.url)


ODD_NAMES = """
from eechips import Table

NEEDS_SERVICE = False

def get_requests():
    return ["a.csv/b", "a", "x" * 300, "surrogate", "fine", "layer", "error"]

def get_result(index, name):
    if name == "error":
        raise ValueError("\\ud800\\x1b[2J")
    if name == "layer":
        return {"\\ud800": Table([{"n": index}])}
    return Table([{"n": index}], name="\\ud800" if name == "surrogate" else name)
"""


def test_a_name_that_no_file_can_have_fails_its_unit_and_not_the_run(tmp_path: Path) -> None:
    finished = run_script(tmp_path, ODD_NAMES, "http://127.0.0.1:9", executor="threads", in_flight=1, retries=0)
    units = finished.units
    # Threads decide which of the first two is written first: one needs a folder a.csv, the other a file of that name.
    second = 1 if units["state"][0] == "done" else 0
    states = ["done", *["failed_permanent"] * 3, "done", *["failed_permanent"] * 2]
    states[0], states[1] = ("done", "failed_permanent") if second == 1 else ("failed_permanent", "done")
    assert units["state"].tolist() == states
    assert units["error_class"].dropna().tolist() == ["UsageError"] * 3 + ["RecipeError"] * 2
    reason = "/a.csv: Is a directory; choose another one" if second == 1 else "/a.csv is a file. Choose another name"
    assert reason in units["error"][second]
    assert "a part of it has 304 bytes" in units["error"][2]
    assert units["error"][6].endswith("\ufffd\ufffd[2J")
    assert finished.verify() == []
    assert not list(finished.path.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["url", "pixels"])
def test_memory_of_a_chip_that_cannot_be_divided_is_a_matter_of_the_moment(
    service: Service, tmp_path: Path, method: str
) -> None:
    """Under load the service refuses 16x16 pixels as well; they are asked for again, but not for ever."""
    service.plan(2, "memory", "memory", "memory")
    service.plan(3, *["memory"] * 20)
    options = {"retry_delay": 0.01, "retries": 10, "method": method}
    parameters = {"count": 4, "size": 16, "exact": "yes", "format": "tif"}
    finished = run_chips(tmp_path, service.url, parameters=parameters, share_requests=False, **options)
    assert finished.counts == {"done": 3, "failed_permanent": 1}
    (failure,) = finished.failures.itertuples()
    assert failure.error_class == "TooLargeError"
    assert "Even 16x16 pixels are too much." in failure.error
    kind = "pixels" if method == "url" else "compute"
    assert service.count(kind) == 1 + 4 + (1 + 5) + 1


def test_a_bomb_of_gzip_does_not_fail_a_chip(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eechips.client.http.http_messages.MAX_BYTES", 1 << 20)
    service.plan(2, "gzip-bomb", "gzip-bomb")
    finished = run_chips(tmp_path, service.url, parameters={"count": 3}, retry_delay=0.01)
    assert finished.counts == {"done": 3}


@pytest.mark.slow
@pytest.mark.parametrize("number", ["NaN", "1e999"])
def test_a_table_has_no_empty_cell_for_what_is_no_number(service: Service, tmp_path: Path, number: str) -> None:
    service.plan(1, f"number-{number}")
    finished = run_script(tmp_path, ODD, service.url, parameters={"what": "table", "count": 1}, retry_delay=0.01)
    assert finished.counts == {"done": 1}
    rows = (finished.path / finished.units["file"].iloc[0]).read_text().splitlines()
    assert rows[3:5] == ["2,1.0,1", "3,,1"]
    assert service.count("features") == 3 + 1
