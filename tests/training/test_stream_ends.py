"""The ends of a run that is read while another process fetches it: errors, budgets, Ctrl-C, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eechips
from eechips.errors import RecipeError, RunStoppedError, UsageError
from eechips.manifest.exclusions import exclude_units
from eechips.manifest.folder_lock import is_held
from eechips.manifest.sqlite.ledger import LEDGER_NAME
from local_tests.support.local_earth_engine import wait_until
from tests.support.engine_recipes import CHIPS
from tests.support.engine_service import Service
from tests.support.stream_programs import COUNT, fetch_of, numbers, order_of, seen, start, wait_for


@pytest.mark.slow
def test_a_run_that_stops_raises_its_reason(service: Service, tmp_path: Path) -> None:
    service.latency = 0.02
    for number in order_of(5)[10:]:
        service.plan(number, "403")
    with eechips.stream(fetch_of(tmp_path, service), seed=5) as stream:
        found: list[int] = []
        with pytest.raises(RunStoppedError, match=r"has stopped before .* ConfigurationError: .*not registered"):
            found.extend(item.sample.unit["number"] for item in stream)
    assert found == order_of(5)[: len(found)]
    assert len(found) <= 10


@pytest.mark.slow
def test_errors_before_the_plan_are_raised_at_once(service: Service, tmp_path: Path) -> None:
    fetch = fetch_of(tmp_path, service)
    (tmp_path / "recipe.py").write_text(CHIPS.replace("    return [", "    raise LookupError('no list')\n    return ["))
    with pytest.raises(RecipeError, match="no list"):
        eechips.stream(fetch)
    assert not (tmp_path / "out").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_training_resumes_run_and_epoch(service: Service, tmp_path: Path) -> None:
    service.latency = 0.1
    kills = 2
    for number in range(kills):
        with start(tmp_path, service) as training:
            wait_for(training, tmp_path, 10 * (number + 1))
            training.kill()
        wait_until(lambda: not is_held(tmp_path / "out"))  # the process that fetched has ended with it
    with start(tmp_path, service) as training:
        output, _ = training.communicate()
        assert training.returncode == 0, output
    found = seen(tmp_path)
    # A sample whose training was done, but not stored yet, is seen again.
    again = [number for number in found if found.count(number) > 1]
    assert list(dict.fromkeys(found)) == order_of(5)
    assert len(found) - COUNT <= kills, again
    run = eechips.open_run(tmp_path / "out")
    assert run.counts == {"done": COUNT}
    assert run.verify() == []
    assert service.count("compute") <= COUNT + 2 * kills  # those in flight


@pytest.mark.slow
def test_ctrl_c_ends_the_run_with_the_training(service: Service, tmp_path: Path) -> None:
    service.latency = 0.1
    with start(tmp_path, service) as training:
        wait_for(training, tmp_path, 5)
        training.send_signal(signal.SIGINT)
        output, _ = training.communicate(timeout=60)
    assert "KeyboardInterrupt" in output
    assert not is_held(tmp_path / "out")
    run = eechips.open_run(tmp_path / "out")
    assert run.counts["done"] == service.count("compute") < COUNT  # requests in flight were finished
    assert run.verify() == []


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_run_at_once(service: Service, tmp_path: Path) -> None:
    service.latency = 0.1
    with start(tmp_path, service) as training:
        wait_for(training, tmp_path, 5)
        service.latency = 15.0  # for which the first one waits
        sent = service.count("compute")
        wait_until(lambda: service.count("compute") > sent)
        deadline = time.monotonic() + 60
        while training.poll() is None:
            assert time.monotonic() < deadline
            training.send_signal(signal.SIGINT)
            time.sleep(0.3)
        output, _ = training.communicate(timeout=60)
    assert "ignored" not in output
    assert not is_held(tmp_path / "out")
    assert eechips.open_run(tmp_path / "out").verify() == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_program_that_ends_ends_the_run(service: Service, tmp_path: Path) -> None:
    service.latency = 0.1
    with start(tmp_path, service, LAST_ORDINAL="4") as training:
        output, _ = training.communicate(timeout=60)
    assert (training.returncode, output) == (0, "")
    assert not is_held(tmp_path / "out")
    assert eechips.open_run(tmp_path / "out").counts["done"] == service.count("compute") < COUNT


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_processes_share_an_epoch_and_one_fetches(service: Service, tmp_path: Path) -> None:
    service.latency = 0.05
    ranks = [start(tmp_path, service, RANK=str(rank), WORLD_SIZE="2") for rank in (1, 0)]
    for each in ranks:
        output, _ = each.communicate(timeout=120)
        assert each.returncode == 0, output
    assert seen(tmp_path, 0) == order_of(5)[::2]
    assert seen(tmp_path, 1) == order_of(5)[1::2]
    assert service.count("compute") == COUNT


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_of_others_is_followed_in_its_own_order(service: Service, tmp_path: Path) -> None:
    service.latency = 0.1
    (tmp_path / "recipe.py").write_text(CHIPS)
    words = ["run", "recipe.py", "--out", "out", "-p", f"count={COUNT}", "--endpoint", service.url, "--rate", "none"]
    words += ["--executor", "threads", "--in-flight", "2", "--method", "pixels", "--quiet"]
    with subprocess.Popen([sys.executable, "-m", "eechips", *words], cwd=tmp_path) as command:
        wait_until(lambda: (tmp_path / "out" / LEDGER_NAME).exists() or command.poll() is not None)
        reader = iter(eechips.stream(tmp_path / "out", seed=None))
        found = numbers([next(reader)])
        with pytest.raises(UsageError, match=r"in another order than that of seed=5, .*: give seed=None"):
            next(iter(eechips.stream(tmp_path / "out", seed=5)))
        # A stream of the same run waits for the command, and goes on if that has stopped.
        with eechips.stream(fetch_of(tmp_path, service, in_flight=2), seed=5) as stream:
            found += numbers([next(reader), next(reader)])
            command.send_signal(signal.SIGTERM)
            command.wait()
            assert numbers(stream) == order_of(5)
            found += numbers(reader)
    assert found == list(range(1, COUNT + 1))
    assert service.count("compute") == COUNT
    assert numbers(eechips.stream(tmp_path / "out", seed=9)) == order_of(9)


@pytest.mark.slow
def test_a_spent_budget_is_told(service: Service, tmp_path: Path) -> None:
    stream = eechips.stream(fetch_of(tmp_path, service, budget="requests=12"), seed=5)
    with stream, pytest.raises(RunStoppedError, match=r"of its units were settled: budget exhausted\. Start the"):
        numbers(stream)
    with eechips.stream(fetch_of(tmp_path, service), seed=5) as stream:
        assert numbers(stream) == order_of(5)


@pytest.mark.slow
def test_a_killed_run_ends_the_reader(service: Service, tmp_path: Path) -> None:
    service.latency = 0.1
    with eechips.stream(fetch_of(tmp_path, service), seed=5) as stream:
        reader = iter(stream)
        next(reader)
        os.kill(int((tmp_path / "out" / ".eechips.lock").read_text().split()[0]), signal.SIGKILL)
        with pytest.raises(
            RunStoppedError, match=r"units were settled: its process was killed, or the disk was full\."
        ):
            numbers(reader)


@pytest.mark.slow
def test_units_that_are_to_be_fetched_again_are_told(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eechips.training.streams import stream_reader

    monkeypatch.setattr(stream_reader, "_GRACE_OF_START", 0.2)
    with eechips.stream(fetch_of(tmp_path, service), seed=5) as stream:
        assert numbers(stream) == order_of(5)
    damaged = str(eechips.open_run(tmp_path / "out").units["id"].iloc[3])
    assert exclude_units(tmp_path / "out", {}, again=[damaged]) == (0, 1)
    reason = (
        r"settled: it finished, but some are to be fetched again \(eechips retry .*out\)\. Start the training again"
    )
    with pytest.raises(RunStoppedError, match=reason):
        numbers(eechips.stream(tmp_path / "out", seed=5))
    with eechips.stream(fetch_of(tmp_path, service), seed=5) as stream:
        assert numbers(stream) == order_of(5)


@pytest.mark.slow
def test_a_reader_without_a_run_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eechips.training.streams import stream_reader

    monkeypatch.setattr(stream_reader, "_GRACE_OF_START", 0.2)
    with pytest.raises(RunStoppedError, match="has no whole plan, and no process makes one"):
        next(iter(eechips.stream(tmp_path / "out")))
