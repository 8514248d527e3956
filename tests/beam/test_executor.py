"""Runs on Beam, whose workers die, hang or repeat work, and end with their parent."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eechips.client.access.connection import ServiceTarget
from eechips.client.http.http_messages import Timeouts
from eechips.client.retry import RetryPolicy
from eechips.engine.outcome import Finished, Lost, Outcome
from eechips.engine.plans.plan import plan_units
from eechips.engine.queues.beam_queue import BEAM_QUEUES, BeamQueue, OutcomeBatch
from eechips.engine.queues.beam_worker import BeamWorker, process_partitions
from eechips.engine.results.result_stores import ImmediateStore
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import ConfigurationError, UsageError
from eechips.files.temporary_names import new_writer
from eechips.manifest.manifest_columns import Record, State
from eechips.manifest.run import Run, open_run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.storage import NameTemplate
from local_tests.support.local_earth_engine import wait_until
from local_tests.support.object_server import missing_packages, serving_objects
from tests.support.engine_recipes import CHIPS, ODD, run_chips, run_script, script
from tests.support.engine_service import Service
from tests.support.programs import run_program

if importlib.util.find_spec("apache_beam") is None:  # importing it would take seconds in every process
    pytest.skip("Apache Beam is not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
ONE = {"executor": "beam", "pipeline_options": ("--direct_running_mode=in_memory",)}
TWO = {"executor": "beam", "pipeline_options": ("--direct_running_mode=multi_processing", "--direct_num_workers=2")}
BUCKET = "beams"


def is_tidy(run: Run) -> bool:
    """Return whether a pipeline left no temporary files."""
    with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
        file_queues = ledger.meta().get(BEAM_QUEUES)
    return not file_queues and not (run.path / "beam").exists() and list(run.path.rglob("*.part")) == []


@pytest.mark.exhaustive
def test_beam_runs_in_one_process(service: Service, tmp_path: Path) -> None:
    service.plan(3, "503")
    service.plan(4, "400")
    run = run_chips(tmp_path, service.url, retry_delay=0.05, in_flight=6, **ONE)
    assert run.counts == {"done": 11, "failed_permanent": 1}
    assert run.verify() == []
    assert run.units["requests"].sum() == service.count("create") + service.count("pixels")
    assert run.units["attempts"].max() == 2
    assert is_tidy(run)


def workers_of(pid: int) -> list[int]:
    """The worker processes of a process, however far below."""
    import psutil

    below = psutil.Process(pid).children(recursive=True)
    ours = ((child.pid, child.cmdline()) for child in below)
    # Not the shells that Beam starts them with.
    return [pid for pid, words in ours if words[1:2] == ["-m"] and "sdk_worker_main" in words[2]]


def when(happened: Callable[[], bool], then: Callable[[], Any], limit: float = 60.0) -> threading.Thread:
    """Does something, in a thread, as soon as something has happened."""

    def wait() -> None:
        end = time.monotonic() + limit
        while not happened() and time.monotonic() < end:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_worker_death_repeats_only_its_units_in_flight(service: Service, tmp_path: Path) -> None:
    """The runner does not notice: it would wait for ever."""
    service.latency = 0.1
    killer = when(lambda: service.count("pixels") >= 60, lambda: os.kill(min(workers_of(os.getpid())), signal.SIGKILL))
    run = run_chips(tmp_path, service.url, parameters={"count": 300}, in_flight=8, **TWO)
    killer.join()
    assert run.counts == {"done": 300}
    assert run.verify() == []
    events = [json.loads(line) for line in (run.path / "run.log").read_text().splitlines()]
    assert any(event["event"] == "worker lost" and event["reason"] == "its worker died" for event in events)
    assert service.most_in_flight <= 8
    # What was not told of yet is done again: two workers tell every two seconds, 40 units a second at most.
    assert 0 <= service.count("pixels") - 300 <= 120
    assert is_tidy(run)


@pytest.mark.slow
def test_the_servers_of_a_runner_listen_on_loopback(service: Service, tmp_path: Path) -> None:
    """By default they listen on all addresses, and send files of this machine without credentials."""
    import psutil

    service.latency = 0.2
    addresses: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    listening = (each for each in child.net_connections("inet") if each.status == psutil.CONN_LISTEN)
                    addresses.update(each.laddr.ip.removeprefix("::ffff:") for each in listening)

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(look)
        try:
            run = run_chips(tmp_path, service.url, parameters={"count": 40}, in_flight=4, **TWO)
        finally:
            ended.set()
        watcher.result()
    assert run.counts == {"done": 40}
    assert addresses == {"127.0.0.1"}


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_unit_that_kills_its_worker_is_given_up(service: Service, tmp_path: Path) -> None:
    run = run_script(tmp_path, ODD, service.url, parameters={"what": "dies", "count": 4}, **TWO)
    assert run.counts == {"done": 3, "failed_permanent": 1}
    failed = run.failures.iloc[0]
    assert failed["error_class"] == "WorkerLostError"
    assert "3 workers: its worker died" in failed["error"]
    assert is_tidy(run)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_unit_that_hangs_is_given_up_and_the_others_are_not(service: Service, tmp_path: Path) -> None:
    run = run_script(tmp_path, ODD, service.url, parameters={"what": "hangs", "count": 4}, unit_timeout=2.0, **ONE)
    assert run.counts == {"done": 3, "failed_permanent": 1}
    assert "it was not done after 2 s" in run.failures.iloc[0]["error"]


@pytest.mark.slow
def test_a_unit_that_hangs_does_not_take_the_others_with_it(service: Service, tmp_path: Path) -> None:
    """They wait for it, as recipes are called one at a time; they are given to a new worker."""
    recipe = script(tmp_path, ODD, what="hangs", count=30)
    worker = BeamWorker(replace(worker_spec(tmp_path, service.url, recipe), unit_timeout=1.0))
    units = plan_units(recipe.get_requests(), recipe.identity, NameTemplate("{id}"))
    events: list[Finished | Lost] = []
    worker.enter()
    worker.process(10, units, events.append)
    worker.leave()
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert (lost.assignment.position, lost.blame) == (1, True)
    done = sorted(event.assignment.position for event in events if isinstance(event, Finished))
    assert done == [position for position in range(30) if position != 1]


NO_SERVICE = """
NEEDS_SERVICE = False


def get_requests():
    return [1, 2, 3]


def get_result(index, unit):
    return str(unit).encode()
"""


def test_a_recipe_that_needs_no_service_runs_without_one(tmp_path: Path) -> None:
    recipe = script(tmp_path, NO_SERVICE)
    worker = BeamWorker(worker_spec(tmp_path / "out", "", recipe))
    units = plan_units(recipe.get_requests(), recipe.identity, NameTemplate("{index}"))
    events: list[Finished | Lost] = []
    worker.enter()
    worker.process(2, units, events.append)
    worker.leave()
    assert len(events) == 3
    assert sorted(path.read_text() for path in (tmp_path / "out").iterdir()) == ["1", "2", "3"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_bundles_that_are_done_twice_count_once(service: Service, tmp_path: Path) -> None:
    """Beam's own runner repeats every bundle, after it has done all its work."""
    options = (*TWO["pipeline_options"], "--direct_runner_bundle_repeat=2")
    few = {"parameters": {"count": 40}, "in_flight": 8}  # the service resets connections when many come at once
    run = run_chips(tmp_path, service.url, **few, executor="beam", pipeline_options=options)
    assert run.counts == {"done": 40}
    assert run.units["attempts"].tolist() == [1] * 40
    assert service.count("pixels") == 40  # the second time it is seen that all is told
    assert "Traceback" not in (run.path / "beam.log").read_text()


def worker_spec(folder: Path, url: str, recipe: Any) -> WorkerSpec:
    return WorkerSpec(
        recipe=recipe, store=ImmediateStore(folder), token="t", policy=RetryPolicy(retries=2, delay=0.05),
        timeouts=Timeouts(), method="pixels", target=ServiceTarget(url, "local", None), key_file=None,
        send_credentials=False, unit_timeout=60.0, rate=None,
    )  # fmt: skip


@pytest.fixture
def left(service: Service, tmp_path: Path) -> tuple[Run, BeamQueue]:
    """A run that was stopped before its first unit, with a queue that holds its units."""
    run = run_chips(tmp_path, service.url, budget={"minutes": 1e-9}, executor="processes:1", method="pixels")
    assert run.interrupted
    service.forget()
    with Ledger(run.path / LEDGER_NAME) as ledger:
        queue = BeamQueue(ImmediateStore(run.path), f"{new_writer()}-1")
        assert queue.write_partitions(list(ledger.open_units()), 3) == [0, 1, 2]
        ledger.note(BEAM_QUEUES, [queue.token])
    return run, queue


def resume(tmp_path: Path, service: Service, **options: Any) -> Run:
    return run_chips(tmp_path, service.url, method="pixels", **options)


@pytest.mark.slow
def test_unread_outcomes_are_recorded_by_the_next_run(
    left: tuple[Run, BeamQueue], service: Service, tmp_path: Path
) -> None:
    """The parent was killed: its workers reported partition 0 once, partition 1 twice and partition 2 never."""
    run, queue = left
    service.plan(2, "400")
    worker = BeamWorker(worker_spec(run.path, service.url, script(tmp_path, CHIPS)))
    worker.enter()
    for partitions in ([0, 1], [1]):
        process_partitions(worker, queue, partitions)
    worker.leave()
    assert service.count("compute") == 8
    (name, *_) = [name for name in queue.batch_names() if queue.read_batch(name).events]
    queue.write_batch([1], queue.read_batch(name))  # a bundle that was done by two at a time
    done = resume(tmp_path, service)
    assert done.counts == {"done": 12}
    assert done.units["attempts"].tolist() == [1] * 12
    assert service.count("compute") == 13  # what was refused is asked for again: it may have concerned all units
    assert done.verify() == []
    assert is_tidy(done)


@pytest.mark.slow
def test_a_bundle_that_two_workers_do_at_once_counts_once(
    left: tuple[Run, BeamQueue], service: Service, tmp_path: Path
) -> None:
    """The runner took one for dead, which was not."""
    run, queue = left
    service.latency = 0.05
    worker = BeamWorker(worker_spec(run.path, service.url, script(tmp_path, CHIPS)))
    worker.enter()
    both = [threading.Thread(target=process_partitions, args=(worker, queue, [0, 1, 2])) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    worker.leave()
    assert 12 < service.count("compute") <= 24
    done = resume(tmp_path, service, executor="threads")
    assert done.counts == {"done": 12}
    assert done.units["attempts"].tolist() == [1] * 12
    assert done.verify() == []
    assert is_tidy(done)


@pytest.mark.slow
def test_a_queue_of_another_plan_is_ignored(left: tuple[Run, BeamQueue], service: Service, tmp_path: Path) -> None:
    run, queue = left
    worker = BeamWorker(worker_spec(run.path, service.url, script(tmp_path, CHIPS)))
    worker.enter()
    process_partitions(worker, queue, [0, 1, 2])
    worker.leave()
    with Ledger(run.path / LEDGER_NAME) as ledger:
        units = list(ledger.open_units())
        turned = [replace(unit, position=len(units) - 1 - unit.position) for unit in reversed(units)]
        ledger.store_plan(ledger.meta(), turned)
    service.forget()
    done = resume(tmp_path, service)
    assert done.counts == {"done": 12}
    assert service.count("compute") == 12


@pytest.mark.exhaustive
def test_outcomes_of_other_units_count_for_none(service: Service, tmp_path: Path) -> None:
    """Anyone who can write to the results can write batches: units without a file were recorded as done."""
    place = tmp_path / "out" / "beam"

    def forge() -> None:
        (folder,) = place.iterdir()
        queue = BeamQueue(ImmediateStore(tmp_path / "out"), folder.name)
        units = queue.read_units(0)
        made = [Outcome(unit.position, Record(position=unit.position, state=State.DONE)) for unit in units]
        others = [replace(unit, id="f" * 64) for unit in units]
        queue.write_batch([0], OutcomeBatch("forger", tuple(map(Finished, others, made))))

    forger = when(lambda: any(place.glob("*/units-00000.jsonl")), forge)
    run = run_chips(tmp_path, service.url, in_flight=6, **ONE)
    forger.join()
    assert run.counts == {"done": 12}
    assert run.units["file"].notna().all()
    assert run.verify() == []


def command(tmp_path: Path, service: Service, *options: str) -> list[str]:
    path = tmp_path / "recipe.py"
    path.write_text(CHIPS)
    start = [sys.executable, "-m", "eechips", "run", str(path), "-p", "count=200", "--endpoint", service.url]
    return [*start, "--out", str(tmp_path / "out"), "--in-flight", "8", "--method", "pixels", *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_run_is_finished_by_any_other_executor(service: Service, tmp_path: Path) -> None:
    service.latency = 0.2
    beam = ("--executor", "beam", "--", *TWO["pipeline_options"])
    with subprocess.Popen(command(tmp_path, service, *beam), env=environment(), stderr=subprocess.DEVNULL) as process:
        workers: list[int] = []
        when(lambda: service.count("compute") >= 120, lambda: workers.extend(workers_of(process.pid))).join()
        process.kill()
        process.wait()
    assert len(workers) == 2
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))  # they have ended with their parent
    asked = service.count("compute")
    service.latency = 0.0
    run_program(*command(tmp_path, service), status=0, env=environment(), timeout=90)
    run = open_run(tmp_path / "out")
    assert run.counts == {"done": 200}
    assert run.verify() == []
    again = service.count("compute") - 200
    assert again < asked  # what was told of is not fetched again
    assert again <= 8 * 5 * 5  # at most what two workers do between two tellings
    assert is_tidy(run)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_ctrl_c_finishes_what_is_in_flight(service: Service, tmp_path: Path) -> None:
    service.latency = 0.2
    beam = ("--executor", "beam", "--", *TWO["pipeline_options"])
    with subprocess.Popen(
        command(tmp_path, service, *beam), env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        when(lambda: service.count("compute") >= 60, lambda: os.killpg(process.pid, signal.SIGINT)).join()
        _, told = process.communicate(timeout=90)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    run = open_run(tmp_path / "out")
    assert run.counts["done"] == service.count("compute") < 200
    assert is_tidy(run)
    ended = subprocess.run(command(tmp_path, service, *beam), env=environment(), capture_output=True, timeout=90)
    assert ended.returncode == 0
    assert open_run(tmp_path / "out").counts == {"done": 200}
    assert service.count("compute") == 200


@pytest.mark.exhaustive
@pytest.mark.slow
def test_results_and_queue_may_be_in_an_object_store(service: Service, tmp_path: Path) -> None:
    if reason := missing_packages("s3"):
        pytest.skip(reason)
    place = ("--out", f"s3://{BUCKET}/run", "--ledger", str(tmp_path / "ledger"))
    words = [*command(tmp_path, service), *place, "--executor", "beam", "--", *TWO["pipeline_options"]]
    with serving_objects(BUCKET) as objects:
        variables = {**environment(), **objects.environment}
        run_program(*words, status=0, env=variables, timeout=90)
        keys = set(objects.puts)
    assert open_run(tmp_path / "ledger").counts == {"done": 200}
    assert sum("chips/" in key for key in keys) == 200
    assert {objects.puts[key] for key in keys if "chips/" in key} == {1}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("option", "told"), [("--runner=NoSuchRunner", "NoSuchRunner"), ("--direct_num_workers=x", "invalid int value")]
)
def test_options_that_beam_rejects_are_reported(service: Service, tmp_path: Path, option: str, told: str) -> None:
    with pytest.raises(UsageError, match=f"(?s)Beam does not take these options: .*{told}"):
        run_chips(tmp_path, service.url, executor="beam", pipeline_options=(option,))
    assert service.count("pixels") == 0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_pipeline_that_fails_is_reported(service: Service, tmp_path: Path) -> None:
    options = ("--runner=PortableRunner", "--job_endpoint=127.0.0.1:1", "--job_server_timeout=1")
    with pytest.raises(ConfigurationError, match=r"(?s)the pipeline does not work: .*beam\.log"):
        run_chips(tmp_path, service.url, executor="beam", pipeline_options=options)


BREAKS = """
from pathlib import Path

class Broken(BaseException):
    pass

def get_requests(count=60):
    return list(range(count))

def get_result(index, number, marks=""):
    with (Path(marks) / "calls").open("a") as file:
        file.write(f"{number}\\n")
    mark = Path(marks) / "broken"
    if number == 50 and not mark.exists():
        mark.touch()
        raise Broken
    return str(number).encode()
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_exception_of_any_class_fails_its_unit_alone(service: Service, tmp_path: Path) -> None:
    run = run_script(tmp_path, BREAKS, service.url, parameters={"marks": str(tmp_path)}, **TWO)
    assert run.counts == {"done": 59, "failed_permanent": 1}
    assert run.failures["error"].str.contains("Broken").all()
    assert run.units["attempts"].tolist() == [1] * 60
    calls = [int(line) for line in (tmp_path / "calls").read_text().split()]
    assert sorted(calls) == list(range(60))
    assert is_tidy(run)


def test_beam_requires_its_extra(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ConfigurationError, match=r"executor 'beam' needs Apache Beam: pip install 'eechips\[beam\]'"):
        run_chips(tmp_path, service.url, executor="beam")
    code = (
        "import sys, eechips.beam as b; assert 'apache_beam' not in sys.modules; sys.modules['apache_beam'] = None\n"
        "try: b.FetchUnits\n"
        "except b.ConfigurationError as error: print(error)"
    )
    ended = run_program(sys.executable, "-c", code, env=environment(), timeout=60)
    assert ended.stdout.strip() == "eechips.beam.FetchUnits needs Apache Beam: pip install 'eechips[beam]'", (
        ended.stderr
    )


def test_workers_of_another_version_do_nothing(service: Service, tmp_path: Path) -> None:
    told = replace(worker_spec(tmp_path, service.url, script(tmp_path, CHIPS)), version="0.0.1")
    with pytest.raises(ConfigurationError, match=r"workers have eechips .*, this is 0\.0\.1: install the same"):
        BeamWorker(told).enter()


def test_options_of_beam_are_for_beam(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unexpected argument '--runner=X'; options of Beam need executor='beam'"):
        run_chips(tmp_path, "http://127.0.0.1:1", pipeline_options=("--runner=X",))
    with pytest.raises(UsageError, match="options of Beam look like --runner=DirectRunner, not 'NAIP'"):
        run_chips(tmp_path, "http://127.0.0.1:1", executor="beam", pipeline_options=("NAIP",))


def test_no_credentials_are_sent_to_workers(tmp_path: Path) -> None:
    """Nor in what is submitted: the file's address is, for workers to read it where they are."""
    import cloudpickle

    key = tmp_path / "key.json"
    key.write_text('{"private_key": "5ecre7"}')
    told = worker_spec(tmp_path, "https://earthengine-highvolume.googleapis.com", script(tmp_path, CHIPS))
    assert b"5ecre7" not in cloudpickle.dumps(replace(told, key_file=key))


def test_a_queue_has_the_stop_mode_and_can_be_cleared(left: tuple[Run, BeamQueue]) -> None:
    run, queue = left
    assert queue.stop_mode is None
    queue.stop("finish")
    assert queue.stop_mode == "finish"
    queue.stop("now")
    assert queue.stop_mode == "now"
    queue.clear()
    assert queue.batch_names() == []
    assert not (run.path / "beam").exists()
