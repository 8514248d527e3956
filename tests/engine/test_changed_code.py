"""A run is continued with changed code only if the user accepts it, and says so afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

import eechips
from eechips.recipe import load_recipe
from tests.support.commands import run_command
from tests.support.programs import EECHIPS, run_program

RECIPE = '''"""Write a table for each number."""
from pathlib import Path
from eechips import Table

NEEDS_SERVICE = False

def get_requests(count=4):
    """Return the numbers."""
    return list(range(count))

def get_result(index, number):
    if number > 1 and not Path("may").exists():
        raise ValueError("not yet")
    return Table([{"number": number, "version": 1}])
'''


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text: str, *words: str) -> Result:
    Path("recipe.py").write_text(text)
    return run_command("run", "recipe.py", "--out", "out", "-q", "--name", "{index}", "--executor", "threads", *words)


def versions() -> list[str]:
    found = (Path("out") / f"{number}.csv" for number in range(4))
    return [path.read_text().split(",")[-1].strip() if path.exists() else "" for path in found]


def test_comments_docstrings_and_layout_may_change() -> None:
    assert run(RECIPE).exit_code == 1
    Path("may").touch()
    text = RECIPE.replace('"""Return the numbers."""', "# The numbers.").replace("(count=4)", "(\n    count = 4,\n)")
    with eechips.manifest.failures.reopen_failures("out"):
        assert run(text).exit_code == 0
    assert versions() == ["1", "1", "1", "1"]
    assert "code_changes" not in eechips.open_run("out").info


def test_a_change_is_refused_unless_it_is_accepted_and_recorded_then() -> None:
    assert run(RECIPE).exit_code == 1
    before = load_recipe("recipe.py").identity
    Path("may").touch()
    changed = RECIPE.replace('"version": 1', '"version": 2')
    with eechips.manifest.failures.reopen_failures("out"):
        refused = run(changed)
        assert refused.exit_code == 2
        assert "holds another run (the recipe's code has changed)" in refused.stderr
        assert "or give --accept-changed-code to fetch what is left with the changed code" in refused.stderr
        assert run(changed, "--accept-changed-code").exit_code == 0
    assert versions() == ["1", "1", "2", "2"]
    found = eechips.open_run("out")
    third = found.units["id"].iloc[2]
    (change,) = found.info["code_changes"]
    assert (change["before"], change["after"]) == (before, load_recipe("recipe.py").identity)
    assert (change["position"], change["unit"], change["units"]) == (2, third, 2)
    said = (
        f"{before[:16]} to {change['after'][:16]}): 2 units were left for the changed code, from no. 2 ({third[:16]})"
    )
    assert said in run_command("status", "out").stdout
    assert json.loads(run_command("status", "out", "--json").stdout)["code_changes"] == [change]
    run_command("report", "out", status=0)
    assert said in Path("out/report.html").read_text()


@pytest.mark.slow
def test_the_advice_after_errors_of_the_code_retries_with_fixed_code() -> None:
    recipe = Path("recipe.py")
    recipe.write_text(RECIPE)
    command = (*EECHIPS, "run", "recipe.py", "--out", "out", "--name", "{index}", "--executor", "threads")
    failed = run_program(*command, status=1)
    assert "repeat the command with --accept-changed-code, and retry: eechips retry out" in failed.stderr
    recipe.write_text(RECIPE.replace('"version": 1', '"version": 2').replace("number > 1", "number > 4"))
    run_program(*command, "--accept-changed-code", status=1)
    run_program(*EECHIPS, "retry", "out", status=0)
    assert versions() == ["1", "1", "2", "2"]


def test_accepted_code_needs_no_further_consent_and_other_code_does() -> None:
    assert run(RECIPE).exit_code == 1
    second = RECIPE.replace('"version": 1', '"version": 2')
    assert run(second, "--accept-changed-code").exit_code == 1
    assert run(second).exit_code == 1  # two units have failed
    assert run(RECIPE).exit_code == 2
    Path("may").touch()
    with eechips.manifest.failures.reopen_failures("out"):
        assert run(second.replace('"version": 2', '"version": 3'), "--accept-changed-code").exit_code == 0
    assert versions() == ["1", "1", "3", "3"]
    changes = eechips.open_run("out").info["code_changes"]
    assert [change["units"] for change in changes] == [0, 2]
    assert changes[0]["after"] == changes[1]["before"]


def test_other_parameters_are_another_run_even_if_code_is_accepted() -> None:
    assert run(RECIPE).exit_code == 1
    refused = run(RECIPE.replace('"version": 1', '"version": 2'), "-p", "count=3", "--accept-changed-code")
    assert refused.exit_code == 2
    assert "holds another run (count: null there, 3 here" in refused.stderr


def test_functions_of_a_program_may_change() -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(RECIPE, "recipe.py", "exec"), names)
    options = {"out": "out", "quiet": True, "executor": "threads", "name": "{index}"}
    eechips.run(names["get_requests"], names["get_result"], **options)
    Path("may").touch()
    exec(compile(RECIPE.replace('"version": 1', '"version": 2'), "recipe.py", "exec"), names)
    with eechips.manifest.failures.reopen_failures("out"):
        with pytest.raises(eechips.errors.RunMismatchError, match="or give `accept_changed_code`"):
            eechips.run(names["get_requests"], names["get_result"], **options)
        eechips.run(names["get_requests"], names["get_result"], accept_changed_code=True, **options)
    assert versions() == ["1", "1", "2", "2"]


SCRIPT = """
from multiprocessing.pool import ThreadPool
from pathlib import Path

def work(number):
    if number > 1 and not Path(MAY).exists():
        raise ValueError("not yet")
    Path(f"{number}.csv").write_text(f"version,1")

if __name__ == "__main__":
    with ThreadPool(2) as pool:
        pool.map(work, range(4))
"""


@pytest.mark.slow
def test_scripts_may_change(here: Path) -> None:
    script = SCRIPT.replace("MAY", repr(str(here / "may")))

    def execute(text: str, *words: str) -> Result:
        Path("script.py").write_text(text)
        return run_command("run", "script.py", "--out", "out", "-q", "--local", "--executor", "threads", *words)

    assert execute(script).exit_code != 0
    Path("may").touch()
    changed = script.replace("version,1", "version,2")
    with eechips.manifest.failures.reopen_failures("out"):
        assert execute(changed).exit_code == 2
        done = execute(changed, "--accept-changed-code")
        assert done.exit_code == 0, done.output
    assert sorted(versions()) == ["1", "1", "2", "2"]
    assert len(eechips.open_run("out").info["code_changes"]) == 1
