"""FetchUnits in pipelines of users, of a list and of a stream."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eechips.engine.config import RunConfig
from eechips.engine.plans.changed_options import describe, plan_identity
from eechips.engine.queues.queue_items import plan_items
from eechips.errors import ConfigurationError, UsageError
from eechips.recipe import load_recipe
from tests.support.engine_recipes import run_chips
from tests.support.engine_service import Service

if TYPE_CHECKING:
    from eechips.beam import FetchedUnit, FetchUnits

# Apache Beam takes seconds to import, so only the tests that use it do, not every process that collects this file.
if importlib.util.find_spec("apache_beam") is None:
    pytest.skip("Apache Beam is not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
SQUARES = """
import ee
from eechips import Chip, Grid

GRID = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4400000.0), 24, 24)

def get_requests(count=3):
    return list(range(1, count + 1))

def get_result(index, number, format="png"):
    return Chip(ee.Image(number), grid=GRID, format=format)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "squares.py"
    path.write_text(SQUARES)
    return path


def fetch(recipe: Path, service: Service, **options: Any) -> FetchUnits:
    from eechips.beam import FetchUnits

    given = {"out": recipe.parent / "out", "endpoint": service.url, "rate": None, "retries": 2, **options}
    return FetchUnits(recipe, **given)


def kept(path: Path) -> Any:
    """Writes every element of a collection into a file of its own, whichever process has it."""
    import apache_beam as beam

    def keep(found: Any) -> None:
        path.mkdir(exist_ok=True)
        (path / f"{time.monotonic_ns()}-{os.getpid()}").write_text(json.dumps(found._asdict()))

    return beam.Map(keep)


def read(path: Path) -> list[FetchedUnit]:
    from eechips.beam import FetchedUnit

    return [FetchedUnit(**json.loads(file.read_text())) for file in sorted(path.iterdir())]


@pytest.mark.slow
def test_a_collection_of_units_becomes_one_of_outcomes(service: Service, recipe: Path, tmp_path: Path) -> None:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    service.plan(3, "503")
    service.plan(4, "400")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([1, 2, 3, 4, 2]) | fetch(recipe, service) | kept(tmp_path / "told")
    result = pipeline.run()
    result.wait_until_finish()
    told = read(tmp_path / "told")
    assert sorted(found.unit for found in told) == ["1", "2", "2", "3", "4"]
    assert {found.unit: found.state for found in told} == {
        "1": "done", "2": "done", "3": "done", "4": "failed_permanent",
    }  # fmt: skip
    assert service.count("compute") == 5  # what is there twice is fetched once; one came again
    for found in told:
        if found.state == "done":
            content = Path(str(found.path)).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (found.bytes, found.sha256)
            assert json.loads(found.metadata)["width"] == 24
        else:
            assert (found.path, found.error_class) == (None, "PermanentError")
    counters = {c.key.metric.name: c.result for c in result.metrics().query()["counters"]}
    assert {name: counters[name] for name in ("done", "failed_permanent", "requests")} == {
        "done": 3, "failed_permanent": 1, "requests": 5,
    }  # fmt: skip
    # The same files as a run of the recipe.
    run = run_chips(tmp_path / "run", service.url, parameters={"count": 1}, executor="processes:1")
    assert run.is_complete
    plan = load_recipe(recipe)
    config = RunConfig(out=tmp_path / "plan", endpoint=service.url)
    planned = {item.unit.id: item.unit.name for item in plan_items(plan, config, (), {})}
    assert {found.plan for found in told} == {plan_identity(describe(plan, config))}
    for found in told:
        if found.unit in ("1", "2", "3"):
            assert str(found.path).endswith(f"{planned[found.id]}.png")


@pytest.mark.slow
def test_display_data_and_types_are_declared(service: Service, recipe: Path) -> None:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from eechips.beam import FetchedUnit

    transform = fetch(recipe, service, in_flight=7, project="some-project")
    shown = transform.display_data()
    assert (shown["recipe"], shown["in_flight"], shown["project"]) == ("squares", 7, "some-project")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    told = pipeline | beam.Create([1]) | transform
    assert told.element_type is FetchedUnit


@pytest.mark.slow
def test_credentials_are_not_in_the_graph(recipe: Path, tmp_path: Path) -> None:
    import cloudpickle

    from eechips.beam import FetchUnits

    key = tmp_path / "key.json"
    key.write_text('{"private_key": "5ecre7"}')
    graph = cloudpickle.dumps(FetchUnits(recipe, out=tmp_path, project="p", credentials=key))
    assert b"5ecre7" not in graph
    assert b"key.json" in graph  # where workers have it


@pytest.mark.slow
def test_wrong_options_are_refused_where_the_pipeline_is_made(
    service: Service, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eechips.beam import FetchUnits

    monkeypatch.delenv("EECHIPS_PROJECT", raising=False)
    with pytest.raises(UsageError, match="units of a collection have no number"):
        fetch(recipe, service, name="chips/{index:05d}")
    with pytest.raises(UsageError, match="in_flight must be at least 1"):
        fetch(recipe, service, in_flight=0)
    with pytest.raises(UsageError, match="has no parameter 'nothing'"):
        fetch(recipe, service, parameters={"nothing": 1})
    with pytest.raises(ConfigurationError, match="no Google Cloud project"):
        FetchUnits(recipe, out=tmp_path)


@pytest.mark.slow
def test_outcomes_of_a_stream_stay_in_the_windows_of_their_units(service: Service, recipe: Path) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.testing.test_stream import TestStream as Stream
    from apache_beam.testing.util import assert_that

    service.plan(4, "400")
    stream = (
        Stream(coder=beam.coders.BytesCoder())
        .advance_watermark_to(0)
        .add_elements([b"2", b"4", b"2"])
        .advance_watermark_to(60)
        .add_elements([beam.window.TimestampedValue(b"3", 65)])
        .advance_watermark_to_infinity()
    )

    def place(outcome: FetchedUnit, window: Any = beam.DoFn.WindowParam) -> tuple[int, str, str]:
        return int(window.start), outcome.unit, outcome.state

    def check(placed: list[tuple[int, str, str]]) -> None:
        assert sorted(placed) == [(0, "2", "done"), (0, "2", "done"), (0, "4", "failed_permanent"), (60, "3", "done")]

    options = PipelineOptions([], streaming=True)
    with beam.Pipeline(runner="BundleBasedDirectRunner", options=options) as pipeline:
        units = pipeline | stream | beam.WindowInto(beam.window.FixedWindows(60)) | beam.Map(json.loads)
        assert_that(units | fetch(recipe, service) | beam.Map(place), check)


@pytest.mark.slow
def test_an_element_that_no_name_can_be_made_of_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe needs no service, so that the pipeline asks for no credentials either."""
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from eechips.beam import FetchUnits

    for name in ("EECHIPS_PROJECT", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "recipe.py").write_text(
        "from eechips import Table\nNEEDS_SERVICE = False\ndef get_requests():\n    return []\n"
        "def get_result(index, value):\n    return Table([value])\n"
    )
    pipeline = beam.Pipeline(runner=FnApiRunner())
    units: list[Any] = [{"name": "a"}, {"other": 1}, {"name": {"a": 1}}, {"name": "b", "kind": ["x"]}]
    fetched = beam.Create(units) | FetchUnits(tmp_path / "recipe.py", out=tmp_path / "out", name="{name}")
    _ = pipeline | fetched | kept(tmp_path / "told")
    pipeline.run().wait_until_finish()
    told = {found.unit: found for found in read(tmp_path / "told")}
    assert {unit: found.state for unit, found in told.items()} == {
        '{"name": "a"}': "done",
        '{"other": 1}': "failed_permanent",
        '{"name": {"a": 1}}': "failed_permanent",
        '{"kind": ["x"], "name": "b"}': "done",
    }
    failed = told['{"other": 1}']
    assert failed.error_class == "UsageError"
    assert "asks for 'name'" in str(failed.error)
    assert failed.path is None


@pytest.mark.slow
def test_a_server_of_a_runner_on_another_address_is_refused() -> None:
    import grpc

    from eechips.engine.executors.beam_pipeline import serving_on_loopback

    with serving_on_loopback(), ThreadPoolExecutor(1) as pool:
        for address in ("0.0.0.0:0", "192.0.2.1:0", "unix:/socket"):
            with pytest.raises(ConfigurationError, match="Beam opens a server on"):
                grpc.server(pool).add_insecure_port(address)
