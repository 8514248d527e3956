"""The same run by every executor: the same files, records and failures."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from eechips.client.access.connection import ServiceTarget, connect
from eechips.client.http.http_messages import Timeouts
from eechips.client.quota.permits import QuotaLimits
from eechips.client.quota.throttle import Throttle
from eechips.client.retry import RetryPolicy
from eechips.engine.config import RunConfig
from eechips.engine.executors.processes import worker_context
from eechips.engine.outcome import Lost
from eechips.engine.plans.plan import name_template, plan_units
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import ConfigurationError
from eechips.manifest.run import Run
from eechips.storage import LocalStore
from tests.support.engine_recipes import CHIPS, run_chips, script
from tests.support.engine_service import Service, serving

EXECUTORS: dict[str, dict[str, Any]] = {
    "serial": {"executor": "threads", "in_flight": 1},
    "threads": {"executor": "threads"},
    "processes": {"executor": "processes:3"},
    "dask": {"executor": "dask:2"},
    "beam": {
        "executor": "beam",
        "in_flight": 8,
        "pipeline_options": (
            "--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2",
        ),
    },
}  # fmt: skip
EVERY = [pytest.param(name, marks=pytest.mark.slow if name in ("dask", "beam") else ()) for name in EXECUTORS]
SAME = ("id", "unit", "name", "state", "error_class", "error", "file", "bytes", "sha256", "width", "height", "crs")


def needs(executor: str) -> None:
    for name, package in (("dask", "distributed"), ("beam", "apache_beam")):
        if executor == name and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


def alike(run: Run) -> pd.DataFrame:
    return run.units[list(SAME)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return the run by processes, with failures of every class."""
    with serving() as service:
        plan_faults(service)
        return alike(run_chips(tmp_path_factory.mktemp("expected"), service.url, **OPTIONS))


OPTIONS: dict[str, Any] = {"parameters": {"count": 30}, "retries": 2, "retry_delay": 0.05}


def plan_faults(service: Service) -> None:
    service.plan(3, "503")  # comes right
    service.plan(4, "400")  # permanent
    service.plan(5, *["truncate"] * 9)  # never comes right
    service.plan(6, "429")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("executor", EVERY)
def test_the_results_are_the_same(service: Service, tmp_path: Path, expected: pd.DataFrame, executor: str) -> None:
    needs(executor)
    plan_faults(service)
    run = run_chips(tmp_path, service.url, **OPTIONS, **EXECUTORS[executor])
    pd.testing.assert_frame_equal(alike(run), expected)
    assert run.counts == {"done": 28, "failed_transient": 1, "failed_permanent": 1}
    assert run.verify() == []
    assert run.units["requests"].sum() == service.count("create") + service.count("pixels")
    assert list(run.path.rglob("*.part")) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("executor", EVERY)
def test_nothing_is_fetched_twice(service: Service, tmp_path: Path, executor: str) -> None:
    needs(executor)
    run_chips(tmp_path, service.url, **EXECUTORS[executor])
    service.forget()
    run_chips(tmp_path, service.url, **EXECUTORS[executor])
    assert service.requests == []


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("executor", EVERY)
def test_no_more_requests_are_in_flight_than_there_are_slots(service: Service, tmp_path: Path, executor: str) -> None:
    needs(executor)
    options = {**EXECUTORS[executor], "in_flight": EXECUTORS[executor].get("in_flight", 6)}
    service.crowd = options["in_flight"]
    run = run_chips(tmp_path, service.url, parameters={"count": 60}, **options)
    assert run.counts == {"done": 60}
    assert service.most_in_flight == options["in_flight"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_workers_of_a_cluster_share_the_rate(service: Service, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    options = {**EXECUTORS["dask"], "method": "pixels", "rate": 20.0, "in_flight": 40}
    run = run_chips(tmp_path, service.url, parameters={"count": 80}, **options)
    assert run.counts == {"done": 80}
    first, *_, last = service.moments[-80:]
    # 4 s, less what each may send at once at the beginning and what the first request took to arrive; with a rate of
    # each worker's own, 2 s.
    assert last - first > 80 / 20.0 - 1.0


def kill_after(service: Service, pixels: int, pid: int) -> None:
    while service.count("pixels") + service.count("compute") < pixels:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.exhaustive
def test_the_death_of_a_cluster_worker_loses_nothing(service: Service, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    service.latency = 0.1
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = client.run(os.getpid)
        killer = threading.Thread(target=kill_after, args=(service, 60, min(pids.values())))
        killer.start()
        options = {"executor": f"dask:{cluster.scheduler_address}", "in_flight": 8}
        run = run_chips(tmp_path, service.url, parameters={"count": 300}, **options)
        killer.join(60)
    assert run.counts == {"done": 300}
    assert run.verify() == []
    assert list(run.path.rglob("*.part")) == []
    events = [json.loads(line) for line in (run.path / "run.log").read_text().splitlines()]
    assert any(event["event"] == "worker lost" for event in events)
    repeats = service.count("pixels") - 300
    assert 0 <= repeats <= 2 * 8  # what was under way with the worker, and no more


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_result_lost_with_its_worker_is_reported(service: Service, tmp_path: Path) -> None:
    """It was done, and nobody had fetched it: Dask by itself waits for it for ever."""
    distributed = pytest.importorskip("distributed")
    from eechips.engine.executors.dask import DaskExecutor
    from eechips.engine.executors.executor import ExecutorContext

    recipe = script(tmp_path, CHIPS, count=2)
    target, policy = ServiceTarget(service.url, "local", None), RetryPolicy(retries=2, delay=0.05)
    throttle = Throttle(worker_context(), QuotaLimits(in_flight=2, start=2), clients=3)
    out = tmp_path / "out"
    out.mkdir()
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
        connect(target, throttle.client(0), policy, Timeouts()) as connection,
    ):
        pids = client.run(os.getpid)
        spec = WorkerSpec(
            recipe=recipe, store=LocalStore(out), token="t", policy=policy, timeouts=Timeouts(), method="pixels",
            target=target, key_file=None, send_credentials=False, unit_timeout=600.0, rate=None,
        )  # fmt: skip
        context = ExecutorContext(
            spec=spec, connection=connection, discovery=connection.discovery.save(tmp_path / "discovery.json"),
            throttle=throttle, assignment_timeout=600.0, processes=2, scheduler=cluster.scheduler_address,
            pipeline_options=(), folder=out, scratch=tmp_path, note_queue=lambda token, has_outcomes: None,
        )  # fmt: skip
        assignments = list(
            plan_units(recipe.get_requests(), recipe.identity, name_template(recipe, RunConfig(out=out)))
        )
        with DaskExecutor(context) as executor:
            executor.scale(2, 2, exclusive=False)
            for assignment in assignments:
                executor.submit(assignment)
            done = {handle.address: future for handle in executor._handles for future in handle.futures.values()}
            assert len(done) == 2
            while not all(future.done() for future in done.values()):
                time.sleep(0.01)
            os.kill(pids[min(done)], signal.SIGKILL)
            events = []
            while len(events) < 2:
                events += executor.wait(1.0)
    assert sorted(type(event).__name__ for event in events) == ["Finished", "Lost"]
    assert [event.reason for event in events if isinstance(event, Lost)] == ["its worker has left the cluster"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_unreachable_scheduler_is_reported(service: Service, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ConfigurationError, match=r"no Dask cluster at tcp://127\.0\.0\.1:1"):
        run_chips(tmp_path, service.url, executor="dask:tcp://127.0.0.1:1")


@pytest.mark.exhaustive
def test_a_local_cluster_listens_on_loopback_alone(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    import psutil

    from eechips.engine.executors.dask_cluster import connect_cluster

    with connect_cluster(None, 2, tmp_path / "dask.log"):
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [c for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
