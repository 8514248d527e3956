"""Results without data: kept, skipped or replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from eechips.engine.config import RunConfig
from eechips.engine.run import run
from eechips.errors import ConfigurationError, RecipeError, UsageError
from eechips.manifest.run import Run, open_run
from local_tests.support.local_earth_engine import wait_until
from tests.cli.test_commands import eechips, one_sentence
from tests.support.engine_recipes import CHIPS, run_script, script
from tests.support.engine_service import Service

# The service's picture of 999 is masked altogether. A unit's replacements are its number plus 100 a draw, and the
# first so many draws of the units that are empty are empty as well.
DRAWN = """
import ee
from eechips import Chip
from eechips.client.http.transport import current_transport


def get_requests(count=8):
    return [{"kind": "point", "number": n, "draw": 0} for n in range(1, count + 1)]


def get_result(index, unit, empty="2,3,5", draws=1):
    bad = str(unit["number"] % 100) in empty.split(",") and unit["draw"] < draws
    image = ee.Image(999 if bad else unit["number"])
    return Chip(image, region=ee.Geometry.Point(0, 0).buffer(50), dimensions=(8, 8))


def redraw(unit, number, least=0, raises=False):
    assert current_transport() is not None, "its requests would count for another run of the process"
    if raises:
        raise ValueError("no more")
    if unit["number"] <= least:
        return None
    return {"kind": "point", "number": unit["number"] + 100 * number, "draw": number}
"""


def fetch(folder: Path, service: Service, on_empty: str = "redraw", **options: Any) -> Run:
    return run_script(
        folder, DRAWN, service.url, on_empty=on_empty, **{"method": "pixels", "executor": "threads", **options}
    )


def files(found: Run) -> set[str]:
    return {path.relative_to(found.path).as_posix() for path in found.path.glob("chips/**/*") if path.is_file()}


def content(found: Run) -> dict[str, Any]:
    return dict(zip(found.units["id"], found.units["sha256"], strict=True))


def test_empty_results_are_kept_by_default(service: Service, tmp_path: Path) -> None:
    found = fetch(tmp_path, service, "keep")
    assert found.counts == {"done": 5, "empty": 3}
    assert len(files(found)) == 8
    assert found.units["replaces"].isna().all()
    assert found.status().dropped == 0


def test_skipped_units_have_no_file_and_are_not_requested_again(service: Service, tmp_path: Path) -> None:
    found = fetch(tmp_path, service, "skip")
    assert found.counts == {"done": 5, "empty": 3}
    assert found.is_complete
    units = found.units
    assert units.loc[units["state"] == "empty", ["file", "bytes", "sha256"]].isna().all(axis=None)
    assert units.loc[units["state"] == "empty", "valid_fraction"].tolist() == [0.0] * 3
    assert files(found) == set(units["file"].dropna())
    assert found.verify() == []
    assert found.status().dropped == 3
    service.forget()
    assert fetch(tmp_path, service, "skip").counts == found.counts
    assert fetch(tmp_path, service, "keep").counts == found.counts
    assert service.requests == []


def test_empty_units_are_replaced(service: Service, tmp_path: Path) -> None:
    found = fetch(tmp_path, service)
    assert found.counts == {"done": 8, "empty": 3}
    units = found.units
    assert sorted(unit["number"] for unit in units["unit"][8:]) == [102, 103, 105]
    for _, unit in units[8:].iterrows():
        assert units.loc[unit["replaces"], "unit"]["number"] == unit["unit"]["number"] - 100
    assert units["replaces"][:8].isna().all()
    exported = pd.read_parquet(found.path / "manifest.parquet")
    assert exported["replaces"].dropna().astype(int).tolist() == units["replaces"].dropna().astype(int).tolist()
    assert len(files(found)) == 8
    assert service.count("compute") == 11
    service.forget()
    assert fetch(tmp_path, service).counts == found.counts
    assert service.requests == []


@pytest.mark.slow
def test_replacements_are_drawn_until_data_or_the_limit(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two more draws for 2; none for 1, where the recipe has no other unit; ten in vain for 5."""
    parameters = {"empty": "1,2", "draws": 3, "least": 1}
    found = fetch(tmp_path / "a", service, parameters=parameters, quiet=False)
    assert found.counts == {"done": 7, "empty": 4}
    chain = found.units.iloc[-1]
    assert chain["unit"] == {"kind": "point", "number": 302, "draw": 3}
    assert found.units.loc[chain["replaces"], "unit"]["number"] == 202
    assert "none with data was found in their place: 1\n" in capsys.readouterr().err
    found = fetch(tmp_path / "b", service, parameters={"empty": "5", "draws": 99}, quiet=False)
    assert found.counts == {"done": 7, "empty": 11}
    assert "none with data was found in their place: 1\n" in capsys.readouterr().err
    service.forget()
    assert fetch(tmp_path / "b", service, parameters={"empty": "5", "draws": 99}).counts == found.counts
    assert service.requests == []


def test_skipped_units_can_be_replaced_later(service: Service, tmp_path: Path) -> None:
    skipped = fetch(tmp_path, service, "skip")
    before = content(skipped)
    service.forget()
    found = fetch(tmp_path, service)
    assert found.counts == {"done": 8, "empty": 3}
    assert service.count("compute") == 3
    assert before.items() <= content(found).items()


@pytest.mark.slow
def test_lost_files_of_units_and_replacements_are_fetched_again(service: Service, tmp_path: Path) -> None:
    found = fetch(tmp_path, service)
    before = content(found)
    for position in (0, 9):
        (found.path / found.units["file"][position]).unlink()
    service.forget()
    assert content(fetch(tmp_path, service)) == before
    assert service.count("compute") == 2


def test_a_recipe_that_cannot_redraw_is_refused_at_once(service: Service, tmp_path: Path) -> None:
    config = RunConfig(out=tmp_path / "out", endpoint=service.url, on_empty="redraw")
    with pytest.raises(UsageError, match=r"choose on_empty='keep' or 'skip', or define redraw\(unit, number\)"):
        run(script(tmp_path, CHIPS), config)
    assert service.requests == []
    assert not config.out.exists()
    with pytest.raises(UsageError, match="on_empty must be keep, skip or redraw, not 'drop'"):
        RunConfig(out=tmp_path, on_empty="drop")  # type: ignore[arg-type]


def test_a_failing_redraw_is_reported_and_fails_no_other_unit(service: Service, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="ValueError: no more"):
        fetch(tmp_path, service, parameters={"raises": "yes"})
    assert open_run(tmp_path / "out").counts == {"done": 5, "empty": 3}


@pytest.mark.slow
def test_a_redraw_that_repeats_a_planned_unit_is_ignored(service: Service, tmp_path: Path) -> None:
    source = DRAWN.replace("""number"] + 100 * number, "draw": number}""", """number"] - 1, "draw": 0}""")
    found = run_script(tmp_path, source, service.url, on_empty="redraw", executor="threads")
    assert found.counts == {"done": 5, "empty": 3}


@pytest.mark.slow
def test_workers_continue_while_replacements_are_drawn(service: Service, tmp_path: Path) -> None:
    """The draw waits for all that can be fetched without it."""
    source = DRAWN.replace(
        """    if raises:
""",
        """    from pathlib import Path
    import time
    end = time.monotonic() + 60
    while len(list(Path(CHIPS).glob("*.png"))) < 5:
        assert time.monotonic() < end
        time.sleep(0.01)
    if raises:
""",
    ).replace("CHIPS", repr(str(tmp_path / "out" / "chips")))
    found = run_script(tmp_path, source, service.url, on_empty="redraw", executor="processes:1")
    assert found.counts == {"done": 8, "empty": 3}


ASKING = DRAWN.replace(
    """    if raises:
""",
    """    assert ee.Number(1).add(number).getInfo() == 42  # whatever it is asked, the service says that
    if raises:
""",
)


@pytest.mark.slow
def test_requests_of_a_redraw_are_retried_counted_and_classified(service: Service, tmp_path: Path) -> None:
    options = {"on_empty": "redraw", "method": "pixels"}
    service.plan(None, "503", "429")
    found = run_script(tmp_path / "a", ASKING, service.url, **options, executor="processes:3", retry_delay=0.1)
    assert found.counts == {"done": 8, "empty": 3}
    assert service.count("value") == 5
    service.plan(None, "403")
    with pytest.raises(ConfigurationError, match="not registered to use Earth Engine"):
        run_script(tmp_path / "b", ASKING, service.url, **options, executor="threads")
    assert open_run(tmp_path / "b" / "out").counts == {"done": 5, "empty": 3}
    again = run_script(tmp_path / "b", ASKING, service.url, **options, executor="threads")
    assert content(again) == content(found)


@pytest.mark.slow
def test_no_redraw_is_requested_after_the_budget(service: Service, tmp_path: Path) -> None:
    options = {"on_empty": "redraw", "method": "pixels", "executor": "threads"}
    cut = run_script(tmp_path, ASKING, service.url, **options, budget={"requests": 3 + 8})
    assert cut.interrupted
    assert len(service.requests) == 11
    while cut.interrupted:
        service.forget()
        cut = run_script(tmp_path, ASKING, service.url, **options, budget={"requests": 8})
        assert len(service.requests) <= 8
    assert cut.counts == {"done": 8, "empty": 3}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_replaces_or_skips_empty_units(service: Service, tmp_path: Path) -> None:
    (tmp_path / "recipe.py").write_text(DRAWN)
    command = ["run", "recipe.py", "--endpoint", service.url, "--executor", "processes:2"]
    result = eechips(*command, "--on-empty", "skip", cwd=tmp_path)
    assert "5 of 5 results, 3 without data left out, " in result.stdout, result.stderr
    result = eechips(*command, "--on-empty", "redraw", cwd=tmp_path)
    assert "8 of 8 results, 3 without data left out, " in result.stdout, result.stderr
    assert json.loads(eechips("status", "outputs/recipe", "--json", cwd=tmp_path).stdout)["dropped"] == 3
    assert eechips("verify", "outputs/recipe", cwd=tmp_path).returncode == 0
    (tmp_path / "plain.py").write_text(CHIPS)
    result = eechips("run", "plain.py", "--endpoint", service.url, "--on-empty", "redraw", cwd=tmp_path)
    assert "plain cannot draw other units in the place of empty ones" in one_sentence(result)


MAIN = """
import sys
from pathlib import Path
from tests.support.engine_service import Service
from tests.engine.test_empty_results import fetch

service = Service()
service.url = sys.argv[2]
found = fetch(Path(sys.argv[1]), service, parameters={"count": 40, "empty": "2,3,5,7,11,13,17", "draws": 3})
print("interrupted" if found.interrupted else "complete")
"""


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("after", [6, 25, 44])
def test_a_run_stopped_during_replacement_resumes_to_the_same_result(
    service: Service, tmp_path: Path, number: signal.Signals, after: int
) -> None:
    parameters = {"count": 40, "empty": "2,3,5,7,11,13,17", "draws": 3}
    expected = fetch(tmp_path / "whole", service, parameters=parameters)
    assert expected.counts == {"done": 40, "empty": 21}
    service.forget()
    service.latency = 0.03
    main = tmp_path / "main.py"
    main.write_text(MAIN)
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, str(main), str(tmp_path / "cut"), service.url], env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        wait_until(lambda: service.count("compute") >= after, process)
        process.send_signal(number)
    service.latency = 0.0
    left = open_run(tmp_path / "cut" / "out")
    assert left.verify() == []
    found = fetch(tmp_path / "cut", service, parameters=parameters)
    assert found.counts == expected.counts
    assert content(found) == content(expected)
    ids = found.units["id"]
    replaced = {(i, ids[int(r)]) for i, r in zip(ids, found.units["replaces"], strict=True) if r == r}
    ids = expected.units["id"]
    assert replaced == {(i, ids[int(r)]) for i, r in zip(ids, expected.units["replaces"], strict=True) if r == r}
    events = [json.loads(line) for line in (found.path / "run.log").read_text().splitlines()]
    assert sum(event.get("units", 0) for event in events if event["event"] == "replaced") <= 21
