"""Runs from beginning to end, with real processes over real HTTP."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eechips.engine.config import RunConfig
from eechips.engine.costs.estimate import estimate
from eechips.engine.plans.changed_options import describe
from eechips.engine.plans.plan import name_template, plan_units
from eechips.engine.plans.resumed_files import ResumedFiles
from eechips.engine.results.result_stores import store_of
from eechips.engine.run import run
from eechips.engine.service.served_archives import ServedArchives
from eechips.engine.service.session import connect
from eechips.errors import ConfigurationError, RecipeError, RunMismatchError, UsageError
from eechips.files.temporary_names import temporary_name
from eechips.formats.raster import decoding
from eechips.manifest.export import export_parquet
from eechips.manifest.failures import reopen_failures
from eechips.manifest.manifest_columns import Record, State
from eechips.manifest.run import Run, open_run
from eechips.manifest.sqlite.ledger import Ledger
from local_tests.support.call_counts import count_calls
from local_tests.support.local_earth_engine import Server
from local_tests.support.parameters import slow_except
from tests.support.engine_recipes import CHIPS, ODD, run_chips, run_script, script
from tests.support.engine_service import Service, picture, serving
from tests.support.programs import name_ended_writer, run_program


def files_of(finished: Run) -> dict[str, bytes]:
    frame = finished.units
    return {file: (finished.path / file).read_bytes() for file in frame["file"].dropna()}


def hashes_of(finished: Run) -> dict[str, str]:
    return dict(zip(finished.units["id"], finished.units["sha256"], strict=True))


@pytest.mark.parametrize("method", slow_except(["url", "pixels"], "url"))
@pytest.mark.parametrize("file_format", ["png", "jpg", "tif", "npy"])
def test_chips_of_every_format_by_every_method(service: Service, tmp_path: Path, method: str, file_format: str) -> None:
    finished = run_chips(
        tmp_path, service.url, parameters={"format": file_format, "exact": "yes", "count": 4}, method=method
    )
    assert finished.counts == {"done": 4}
    assert finished.is_complete
    assert finished.verify() == []
    expected = {"create": 4, "pixels": 4} if method == "url" else {"compute": 4}
    assert {k: n for k, n in service.kinds.items() if k in ("create", "pixels", "compute")} == expected, (
        service.requests
    )
    assert finished.units["requests"].tolist() == [2 if method == "url" else 1] * 4
    assert finished.units["attempts"].tolist() == [1] * 4
    for unit, file in zip(finished.units["unit"], finished.units["file"], strict=True):
        pixels = picture(unit["number"], 24, 24)
        data = (finished.path / file).read_bytes()
        if file_format == "npy":
            array = np.load(io.BytesIO(data))
            assert all(array[n].tobytes() == b.tobytes() for n, b in zip("RGB", pixels, strict=True))
            assert array["mask"].all()
        elif file_format != "jpg":
            with decoding(data, {"png": "PNG", "tif": "GTiff"}[file_format]) as source:
                assert source.read().tobytes() == pixels.tobytes()


def test_a_run_leaves_results_manifest_and_log(service: Service, tmp_path: Path) -> None:
    finished = run_chips(tmp_path, service.url, parameters={"count": 5, "first": 5})
    row = finished.units.iloc[2]
    assert row["unit"]["number"] == 7
    assert row["valid_fraction"] == pytest.approx(23 / 24)
    assert (row["width"], row["height"], row["dtype"], row["bands"]) == (24, 24, "uint8", ["red", "green", "blue"])
    assert row["file"] == f"chips/{row['id'][:16]}.png"
    info = finished.info
    assert info["command"] == "eechips run …"
    assert info["parameters"] == {"count": 5, "first": 5}
    assert info["units"] == {"done": 5}
    assert info["started"] < info["finished"]
    assert info["versions"].keys() >= {"eechips", "earthengine-api", "python"}
    assert pd.read_parquet(finished.path / "manifest.parquet")["state"].tolist() == ["done"] * 5
    assert not (finished.path / "failures.csv").exists()
    events = [json.loads(line)["event"] for line in (finished.path / "run.log").read_text().splitlines()]
    assert events == ["started", "planned", "finished"]
    leftovers = [p.name for p in finished.path.rglob("*") if p.name.endswith(".part")]
    assert leftovers == []
    assert open_run(finished.path).counts == finished.counts


def test_a_repeated_command_sends_no_request(service: Service, tmp_path: Path) -> None:
    first = hashes_of(run_chips(tmp_path, service.url))
    service.forget()
    again = run_chips(tmp_path, service.url)
    assert service.requests == []
    assert hashes_of(again) == first


def test_a_manifest_that_is_empty_is_written_again(service: Service, tmp_path: Path) -> None:
    manifest = run_chips(tmp_path, service.url).path / "manifest.parquet"
    before = pd.read_parquet(manifest)
    manifest.write_bytes(b"")
    service.forget()
    run_chips(tmp_path, service.url)
    pd.testing.assert_frame_equal(pd.read_parquet(manifest), before)
    assert service.requests == []


@pytest.mark.slow
def test_an_export_that_was_killed_is_repeated_and_leaves_nothing(service: Service, tmp_path: Path) -> None:
    finished = run_chips(tmp_path, service.url)
    (finished.path / "manifest.parquet").unlink()
    ended = name_ended_writer()
    left = finished.path / temporary_name("manifest.parquet", ended)
    left.write_text("killed")
    asked = len(service.requests)
    again = run_chips(tmp_path, service.url)
    assert (again.path / "manifest.parquet").exists()
    assert not left.exists()
    left = finished.path / temporary_name("report.html", ended)  # of a complete run
    left.write_text("killed")
    run_chips(tmp_path, service.url)
    assert not left.exists()
    assert len(service.requests) == asked


def test_a_manifest_of_before_is_written_anew_if_the_last_run_did_not(service: Service, tmp_path: Path) -> None:
    service.plan(3, "400")
    first = run_chips(tmp_path, service.url, parameters={"count": 4})
    assert len(first.failures) == 1
    with reopen_failures(first.path):
        (first.path / "failures.csv").unlink()
        (first.path / "failures.csv" / "folder").mkdir(parents=True)  # the run ends after its last unit
        with pytest.raises(OSError, match=r"failures\.csv"):
            run_chips(tmp_path, service.url, parameters={"count": 4})
        shutil.rmtree(first.path / "failures.csv")
    again = run_chips(tmp_path, service.url, parameters={"count": 4})
    assert again.counts == again.info["units"] == {"done": 4}
    assert pd.read_parquet(again.path / "manifest.parquet")["state"].tolist() == ["done"] * 4


@pytest.mark.exhaustive
def test_few_calls_look_through_ten_thousand_finished_units(service: Service, tmp_path: Path) -> None:
    recipe = script(tmp_path, CHIPS, count=10_000)
    config = RunConfig(out=tmp_path / "out", endpoint=service.url, executor="processes:1", quiet=True)
    (tmp_path / "out" / "chips").mkdir(parents=True)
    with Ledger(config.out / "manifest.sqlite") as ledger:
        units = list(plan_units(recipe.get_requests(), recipe.identity, name_template(recipe, config)))
        ledger.store_plan(describe(recipe, config), units)
        records = []
        for unit in units:
            (config.out / f"{unit.name}.png").write_bytes(b"x")
            file = f"{unit.name}.png"
            records.append(Record(position=unit.position, state=State.DONE, file=file, bytes=1, sha256=""))
        ledger.record(records)
        ResumedFiles(ledger, store_of(config), config.policy, quiet=True).note()
        export_parquet(ledger, config.out)
    with count_calls() as calls:
        assert run(recipe, config).counts == {"done": 10_000}
    assert sum(calls.values()) < 500 * 10_000
    assert service.requests == []


def test_only_missing_or_truncated_files_are_fetched_again(service: Service, tmp_path: Path) -> None:
    first = run_chips(tmp_path, service.url)
    before = hashes_of(first)
    files = first.units["file"].tolist()
    (first.path / files[3]).unlink()
    (first.path / files[5]).write_bytes(b"short")
    service.forget()
    again = run_chips(tmp_path, service.url)
    assert (service.count("create"), service.count("pixels")) == (2, 2)
    assert hashes_of(again) == before
    assert again.verify() == []
    assert again.units["attempts"].tolist() == [2 if n in (3, 5) else 1 for n in range(12)]


def test_a_folder_with_another_run_is_refused(service: Service, tmp_path: Path) -> None:
    finished = run_chips(tmp_path, service.url)
    before = files_of(finished)
    service.forget()
    with pytest.raises(RunMismatchError, match=r"count: null there, 13 here"):
        run_chips(tmp_path, service.url, parameters={"count": 13})
    assert service.requests == []
    assert files_of(finished) == before


@pytest.mark.slow
def test_a_template_names_the_files(service: Service, tmp_path: Path) -> None:
    finished = run_chips(tmp_path, service.url, name="{kind}s/{number:03d}")
    assert finished.units["file"].tolist() == [f"points/{n:03d}.png" for n in range(1, 13)]
    with pytest.raises(UsageError, match="asks for 'eco_name'; a unit has: kind, number, id, index"):
        run_chips(tmp_path / "other", service.url, name="{eco_name}/{id}")


@pytest.mark.slow
def test_files_of_every_kind_are_stored(service: Service, tmp_path: Path) -> None:
    finished = run_script(tmp_path, ODD, service.url, executor="processes:3")
    frame = finished.units
    assert frame["state"].tolist() == ["done"] * 5 + ["failed_permanent"]
    suffixes = [None if f is None or f != f else f.rpartition(".")[2] for f in frame["file"]]
    assert suffixes == ["png", "bin", "npy", None, "parquet", None]
    assert frame["file"].iloc[0] == "own/name.png"
    assert "must return a Chip" in frame["error"].iloc[5]
    assert finished.verify() == []
    rows = pd.read_parquet(finished.path / frame["file"].iloc[4])
    assert rows["a"].tolist() == [1.0, 2.5]


def test_tables_follow_every_page(service: Service, tmp_path: Path) -> None:
    finished = run_script(tmp_path, ODD, service.url, parameters={"what": "table", "count": 2}, executor="threads")
    assert finished.counts == {"done": 2}
    assert service.count("features") == 6
    frame = pd.read_csv(finished.path / finished.units["file"].iloc[1])
    assert list(frame.columns) == ["row", "value", "constant"]
    assert frame["row"].tolist() == list(range(2500))
    assert frame["value"].isna().tolist() == [n % 3 == 0 for n in range(2500)]
    assert finished.units["rows"].tolist() == [2500, 2500]


@pytest.mark.slow
def test_requests_of_the_recipe_itself_are_counted_and_repeated(service: Service, tmp_path: Path) -> None:
    service.plan(None, "503")
    finished = run_script(tmp_path, ODD, service.url, parameters={"what": "asks", "count": 3}, executor="threads")
    assert finished.counts == {"done": 3}
    assert service.count("value") == 4
    assert sorted(finished.units["requests"]) == [1, 1, 2]


def test_an_empty_plan_is_reported(service: Service, tmp_path: Path) -> None:
    for _ in range(2):  # the first leaves no plan, which would be complete
        with pytest.raises(UsageError, match="the plan is empty"):
            run_chips(tmp_path, service.url, parameters={"count": 0})


@pytest.mark.slow
def test_the_throttle_bounds_what_is_in_flight(service: Service, tmp_path: Path) -> None:
    service.latency = 0.05
    run_chips(tmp_path, service.url, executor="processes:6", in_flight=2, parameters={"count": 24})
    assert service.most_in_flight == 2


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_recipe_that_fetches_by_itself_gets_all_processes(service: Service, tmp_path: Path) -> None:
    """One unit after the other in each: threads do not help it, as they help chips."""
    service.latency = 0.4
    most = 4 * (os.cpu_count() or 1) + 4  # more than chips would get
    finished = run_script(
        tmp_path,
        ODD,
        service.url,
        parameters={"what": "asks", "count": 6 * most},
        executor=f"processes:{most}",
        in_flight=most,
    )
    assert finished.counts == {"done": 6 * most}
    assert service.most_in_flight > most - 4


@pytest.mark.slow
def test_workers_ask_for_no_documents(service: Service, tmp_path: Path) -> None:
    run_chips(tmp_path, service.url, executor="processes:6", parameters={"count": 24})
    assert (service.count("discovery"), service.count("algorithms")) == (2, 1)


def test_the_users_own_session_is_unchanged(service: Service, tmp_path: Path) -> None:
    import ee
    from google.auth.credentials import AnonymousCredentials

    with serving() as mine:
        ee.Reset()
        ee.Initialize(AnonymousCredentials(), url=mine.url, project="my-project")
        try:
            run_chips(tmp_path, service.url)
            mine.forget()
            assert ee.Number(1).getInfo() == 42
            assert mine.count("value") == 1
        finally:
            ee.Reset()


def test_a_run_has_the_functions_of_its_own_service(service: Service, demo_server: Server, tmp_path: Path) -> None:
    import ee
    from google.auth.credentials import AnonymousCredentials

    ee.Reset()
    ee.Initialize(AnonymousCredentials(), url=service.url, project="my-project")
    try:
        assert ee.ApiFunction.lookup("Kernel.square") is None  # this service has none
        with connect(RunConfig(out=tmp_path, endpoint=demo_server.url)):
            assert ee.Kernel.square(1).getInfo()["type"] == "Kernel.square"
        assert ee.ApiFunction.lookup("Kernel.square") is None
    finally:
        ee.Reset()


@pytest.mark.slow
def test_an_uninitialised_client_stays_uninitialised(service: Service, tmp_path: Path) -> None:
    import ee

    ee.Reset()
    run_chips(tmp_path, service.url)
    assert not ee.data.is_initialized()


@pytest.mark.slow
def test_a_run_starts_from_another_thread(service: Service, tmp_path: Path) -> None:
    found: list[Run] = []
    thread = threading.Thread(target=lambda: found.append(run_chips(tmp_path, service.url, executor="processes:2")))
    thread.start()
    thread.join(60)
    assert found[0].counts == {"done": 12}


def test_an_unreachable_endpoint_is_a_configuration_error(tmp_path: Path) -> None:
    message = r"cannot reach http://127.0.0.1:9: connection failed: .*refused\. To resume: start the server"
    with pytest.raises(ConfigurationError, match=message):
        run_chips(tmp_path, "http://127.0.0.1:9")


def test_a_local_server_that_ends_connections_is_a_configuration_error() -> None:
    """As one that takes longer than a minute to respond, for which the same exception of Python is raised: OSError."""

    def end_connections() -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=end_connections)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"cannot reach {url}: "):
            ServedArchives.ask(url)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_another_kind_of_server_is_a_configuration_error(service: Service, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        run_chips(tmp_path, f"{service.url}/elsewhere")


@pytest.mark.slow
def test_a_planner_that_raises_leaves_no_plan(service: Service, tmp_path: Path) -> None:
    broken = CHIPS.replace("return [{", "return 1 / 0 or [{")
    with pytest.raises(RecipeError, match="ZeroDivisionError"):
        run_script(tmp_path, broken, service.url)
    assert run_chips(tmp_path, service.url).counts == {"done": 12}


ASKING = """
import ee

def get_requests():
    return [ee.Number(1).getInfo()]

def get_result(index, unit):
    return b"x"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [("403", ConfigurationError, "not registered"), ("400", RecipeError, "Image asset 'x' not found")],
)
def test_errors_of_planning_requests_are_raised(
    service: Service, tmp_path: Path, fault: str, kind: type[Exception], message: str
) -> None:
    service.plan(None, fault)
    with pytest.raises(kind, match=message):
        run_script(tmp_path, ASKING, service.url)
    service.plan(None, "503")
    assert run_script(tmp_path, ASKING, service.url).counts == {"done": 1}
    assert service.count("value") == 3


def test_an_estimate_sends_no_pixel_request_and_writes_nothing(service: Service, tmp_path: Path) -> None:
    config = RunConfig(out=tmp_path / "out", endpoint=service.url, method="url")
    found = estimate(script(tmp_path, CHIPS, count=1000), config)
    assert (found.units, found.requests) == (1000, 2000)
    assert found.planning is not None
    assert found.seconds == pytest.approx(26.25 + found.planning.seconds)
    assert found.bytes is not None
    assert set(service.kinds) == {"discovery", "algorithms"}
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_recipe_may_be_an_object(service: Service, tmp_path: Path) -> None:
    finished = run(Squares(), RunConfig(out=tmp_path / "out", endpoint=service.url, executor="processes:2", quiet=True))
    assert finished.counts == {"done": 3}
    assert finished.units["file"].tolist() == ["squares/1.npy", "squares/2.npy", "squares/3.npy"]


class Squares:
    """A recipe without a script."""

    name = "squares"
    identity = "0"
    parameters: dict[str, object] = {}  # noqa: RUF012 - never changed
    datasets = ("USDA/NAIP/DOQQ",)
    name_template = "squares/{n}"

    def get_requests(self) -> Iterator[dict[str, object]]:
        for n in range(1, 4):
            yield {"kind": "tile", "n": n}

    def get_result(self, index: int, unit: dict[str, int]) -> object:
        return np.full((2, 2), unit["n"] ** 2)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_temporary_folder_of_any_length_will_do(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    script = tmp_path / "recipe.py"
    script.write_text(
        "import ee\nfrom eechips import Chip\n"
        "def get_requests(): return [1, 2]\n"
        "def get_result(i, n): return Chip(ee.Image(n), region=ee.Geometry.Point(0, 0).buffer(9), dimensions=(9, 9))\n"
    )
    command = [sys.executable, "-m", "eechips", "run", str(script), "--endpoint", service.url, "--out", "out"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    run_program(*command, status=0, cwd=tmp_path, env=environment, timeout=60)
    assert list(folder.iterdir()) == []
