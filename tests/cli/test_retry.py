"""`eechips failures` and `eechips retry`, as they are typed, over a real service."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

from eechips import open_run
from eechips.errors import RunMismatchError, UsageError
from eechips.manifest.failures import reopen_failures
from tests.cli.test_commands import eechips, one_sentence
from tests.cli.test_status import on_a_terminal
from tests.support.commands import run_command
from tests.support.engine_recipes import run_chips
from tests.support.engine_service import Service

RECIPE = """
import os
from pathlib import Path

import ee
from eechips import Chip


def get_requests(count=6):
    return list(range(1, count + 1))


def get_result(index, n, bad="bad"):
    if n in (2, 4) and (Path(__file__).parent / bad).exists():
        raise ValueError(f"unit {n} is not to be had")
    return Chip(ee.Image(n), region=ee.Geometry.Point(0, 0).buffer(50), dimensions=(8, 8))
"""
RUN = ["run", "recipes/half.py", "--executor", "threads", "--retries", "0", "--method", "url"]


@pytest.fixture(scope="module")
def original(shared_service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of six units of which 2 and 4 raised, and 6 was refused by the service."""
    home = tmp_path_factory.mktemp("original") / "project"
    (home / "recipes").mkdir(parents=True)
    (home / "recipes" / "half.py").write_text(RECIPE)
    (home / "recipes" / "bad").touch()
    shared_service.plan(6, "400")
    result = eechips("--debug", *RUN, cwd=home, EECHIPS_ENDPOINT=shared_service.url, EECHIPS_PROJECT="mine")
    assert result.returncode == 1, result.stderr
    return home


@pytest.fixture
def project(original: Path, shared_service: Service, tmp_path: Path) -> Path:
    """A copy of it for one test: the paths of its command are relative."""
    shared_service.forget()
    return Path(shutil.copytree(original, tmp_path / "project"))


def typed(*arguments: str, cwd: Path) -> Result:
    """A command as it is typed in a folder, in this process: which is left as it was.

    Runs of these tests were made in another folder, so that trying them again takes leave.
    """
    if arguments[0] == "retry":
        arguments = (*arguments, "--trust")
    before, words = Path.cwd(), list(sys.argv)
    os.chdir(cwd)
    try:
        result = run_command(*arguments)
        assert Path.cwd() == cwd.resolve()
    finally:
        os.chdir(before)
    assert sys.argv == words
    return result


def refused(*arguments: str, cwd: Path) -> str:
    """The one sentence with which a command is refused."""
    result = typed(*arguments, cwd=cwd)
    assert result.exit_code == 2, result.output
    *_, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    return last.removeprefix("Error: ")


def states(folder: Path) -> list[str]:
    found: list[str] = open_run(folder).units["state"].tolist()
    return found


@pytest.mark.slow
def test_failures_are_listed_by_kind_and_one_by_one(project: Path) -> None:
    result = typed("failures", "outputs/half", cwd=project)
    assert result.exit_code == 0
    kinds, _, table = result.stdout.partition("\n\n")
    assert [line.split(maxsplit=1) for line in kinds.splitlines()] == [
        ["2", "RecipeError: ValueError: unit … is not to be had"],
        ["1", "PermanentError: Image.load: Image asset 'x' not found. What helps: correct its id, or have it shared."],
    ]
    header, *rows = table.splitlines()
    assert header.split() == ["ID", "NAME", "ATTEMPTS", "CLASS", "ERROR"]
    ids = open_run(project / "outputs" / "half").failures["id"]
    assert [row.split()[0] for row in rows] == [identifier[:16] for identifier in ids]
    assert "unit 2 is not to be had" in rows[0]
    assert "eechips retry outputs/half" in result.stderr
    few = typed("failures", "outputs/half", "--class", "RECIPE", "--limit", "1", "--traceback", cwd=project).stdout
    assert "PermanentError" not in few
    assert '    raise ValueError(f"unit {n} is not to be had")' in few
    assert few.splitlines()[-1] == "… and 1 more (--limit 0 shows all)"


@pytest.mark.slow
def test_failures_as_json_and_csv(project: Path) -> None:
    found = json.loads(typed("failures", "outputs/half", "--json", cwd=project).stdout)
    assert found["total"] == 3
    assert [(kind["error_class"], kind["count"]) for kind in found["kinds"]] == [
        ("RecipeError", 2), ("PermanentError", 1),
    ]  # fmt: skip
    expected = open_run(project / "outputs" / "half").failures
    assert [unit["id"] for unit in found["units"]] == expected["id"].tolist()
    assert [unit["position"] for unit in found["units"]] == expected.index.tolist() == [1, 3, 5]
    assert "traceback" not in found["units"][0]
    text = typed("failures", "outputs/half", "--csv", "--traceback", "--class", "recipeerror", cwd=project).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["error"] for row in rows] == expected["error"][:2].tolist()
    assert [row["traceback"] for row in rows] == expected["traceback"][:2].tolist()
    assert json.loads(rows[0]["unit"]) == expected["unit"].iloc[0]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_retry_needs_no_option_of_the_run(shared_service: Service, project: Path, tmp_path: Path) -> None:
    """From another folder, with another environment, after the cause was removed."""
    before = open_run(project / "outputs" / "half").units
    (project / "recipes" / "bad").unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = eechips(
        "retry",
        "../project/outputs/half",
        "--trust",
        cwd=elsewhere,
        EECHIPS_ENDPOINT="http://127.0.0.1:1",
        EECHIPS_PROJECT="no",
    )
    assert result.returncode == 0, result.stderr
    assert f"Retrying 3 failed units with: eechips {' '.join(RUN)}" in result.stderr
    run = open_run(project / "outputs" / "half")
    assert states(run.path) == ["done"] * 6
    assert run.verify() == []
    assert run.info["command"] == f"eechips {' '.join(RUN)}"
    assert (run.info["endpoint"], run.info["project"]) == (shared_service.url, "mine")
    assert not (run.path / "failures.csv").exists()
    assert pd.read_parquet(run.path / "manifest.parquet")["state"].tolist() == ["done"] * 6
    assert shared_service.count("pixels") == 3
    settled = before["state"] == "done"
    assert run.units.loc[settled, "sha256"].tolist() == before.loc[settled, "sha256"].tolist()
    assert run.units["attempts"].tolist() == [1, 2, 1, 2, 1, 2]
    assert not list(elsewhere.iterdir())
    again = eechips("retry", "../project/outputs/half", cwd=elsewhere)
    assert (again.returncode, again.stdout) == (0, "No failed units: nothing to retry.\n")
    assert eechips("failures", str(run.path), cwd=elsewhere).stdout == "No failed units.\n"


@pytest.mark.slow
def test_a_retry_that_ended_before_the_manifest_was_written_is_finished(project: Path) -> None:
    """No unit was left: so nothing was done, and the manifest had the failures of before."""
    (project / "recipes" / "bad").unlink()
    manifest = project / "outputs" / "half" / "manifest.parquet"
    manifest.unlink(missing_ok=True)
    (manifest / "in the way").mkdir(parents=True)
    assert "could not write" in refused("retry", "outputs/half", cwd=project)
    assert states(project / "outputs" / "half") == ["done"] * 6
    shutil.rmtree(manifest)
    again = typed("retry", "outputs/half", cwd=project)
    assert again.exit_code == 0
    assert "Finishing the run with" in again.stderr
    assert pd.read_parquet(manifest)["state"].tolist() == ["done"] * 6
    assert typed("retry", "outputs/half", cwd=project).stdout == "No failed units: nothing to retry.\n"


@pytest.mark.slow
def test_a_class_or_a_unit_is_tried_again_alone(shared_service: Service, project: Path) -> None:
    out = project / "outputs" / "half"
    (project / "recipes" / "bad").unlink()
    assert typed("retry", "outputs/half", "--class", "permanent", cwd=project).exit_code == 1
    assert states(out) == ["done", "failed_permanent", "done", "failed_permanent", "done", "done"]
    identifier = open_run(out).units["id"][3]
    assert typed("retry", "half", "--unit", identifier[:8].upper(), cwd=project / "outputs").exit_code == 1
    assert states(out) == ["done", "failed_permanent", "done", "done", "done", "done"]


@pytest.mark.slow
def test_units_that_fail_again_are_recorded_again(project: Path) -> None:
    result = typed("retry", "outputs/half", "--class", "recipe", cwd=project)
    assert result.exit_code == 1
    *_, first, second, third, last = result.stderr.splitlines()
    assert first == f"3 units failed; all are listed in {project / 'outputs' / 'half' / 'failures.csv'}:"
    assert second == "  2 x RecipeError: ValueError: unit … is not to be had"
    assert third.startswith("  1 x PermanentError: ")
    assert last == f"To retry: eechips retry {project / 'outputs' / 'half'}"
    run = open_run(project / "outputs" / "half")
    assert run.failures["error_class"].tolist() == ["RecipeError", "RecipeError", "PermanentError"]
    assert run.failures["attempts"].tolist() == [2, 2, 1]
    assert len(pd.read_csv(run.path / "failures.csv")) == 3


@pytest.mark.slow
def test_a_changed_recipe_is_refused_and_failures_stay(project: Path) -> None:
    before = open_run(project / "outputs" / "half").units
    recipe = project / "recipes" / "half.py"
    recipe.write_text(recipe.read_text().replace("(8, 8)", "(9, 9)"))
    message = refused("retry", "outputs/half", cwd=project)
    assert "the recipe's code has changed" in message
    pd.testing.assert_frame_equal(open_run(project / "outputs" / "half").units, before)
    recipe.unlink()
    assert "cannot read the recipe recipes/half.py" in refused("retry", "outputs/half", cwd=project)
    pd.testing.assert_frame_equal(open_run(project / "outputs" / "half").units, before)


@pytest.mark.slow
def test_a_moved_project_is_found(project: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "here"
    moved.parent.mkdir()
    project.rename(moved)
    (moved / "recipes" / "bad").unlink()
    result = typed("retry", str(moved / "outputs" / "half"), cwd=tmp_path)
    assert result.exit_code == 0, result.stderr
    assert states(moved / "outputs" / "half") == ["done"] * 6
    assert not project.exists()


@pytest.mark.slow
def test_runs_that_cannot_be_retried_are_refused(shared_service: Service, project: Path, tmp_path: Path) -> None:
    retry = ["retry", "outputs/half"]
    there = "there are RecipeError, PermanentError"
    assert refused(*retry, "--class", "big", cwd=project) == f"no unit failed with 'big': {there}"
    message = refused(*retry, "--unit", "f" * 16, cwd=project)
    assert message == "no failed unit has an id that begins with ffffffffffffffff"
    assert "'xyz' is not an id of a unit" in refused(*retry, "--unit", "xyz", cwd=project)
    assert len(open_run(project / "outputs" / "half").failures) == 3
    made = run_chips(tmp_path / "secret", shared_service.url, command="eechips run r.py -p access_token=s3cret")
    assert "s3cret" not in (made.path / "run.json").read_text() + (made.path / "run.log").read_text()
    message = refused("retry", str(made.path), cwd=tmp_path)
    assert "contained a secret, which run.json does not record (eechips run r.py -p access_token=***)" in message
    made = run_chips(tmp_path / "python", shared_service.url, command="")
    assert "was made by a program" in refused("retry", str(made.path), cwd=tmp_path)


@pytest.mark.slow
def test_python_retries_a_run(shared_service: Service, tmp_path: Path) -> None:
    shared_service.plan(3, "400")
    first = run_chips(tmp_path, shared_service.url, command="")
    assert first.counts == {"done": 11, "failed_permanent": 1}
    shared_service.plan(3, "400")
    with reopen_failures(first.path) as count:
        assert count == 1
        assert run_chips(tmp_path, shared_service.url, command="").counts == first.counts
    before = first.units
    with pytest.raises(RunMismatchError), reopen_failures(str(first.path), classes=["PERMANENT"]):
        run_chips(tmp_path, shared_service.url, command="", parameters={"count": 13})
    pd.testing.assert_frame_equal(first.units, before)
    with reopen_failures(first.path):
        assert run_chips(tmp_path, shared_service.url, command="").counts == {"done": 12}
    with reopen_failures(first.path) as count:
        assert count == 0


@pytest.mark.slow
def test_retry_reads_the_recipe_below_the_recorded_folder(shared_service: Service, project: Path) -> None:
    (project / "recipes" / "bad").unlink()
    elsewhere = project.parent / "elsewhere"
    shutil.move(project / "outputs" / "half", elsewhere)
    info = open_run(elsewhere).info
    assert Path(info["directory"]).name == "project"
    gone = {**info, "directory": str(project.parent / "gone")}
    (elsewhere / "run.json").write_text(json.dumps(gone))
    message = refused("retry", "elsewhere", cwd=project.parent)
    assert "cannot read the recipe recipes/half.py" in message
    assert len(open_run(elsewhere).failures) == 3
    (elsewhere / "run.json").write_text(json.dumps({**info, "directory": str(project)}))
    assert typed("retry", "elsewhere", cwd=project.parent).exit_code == 0
    assert states(elsewhere) == ["done"] * 6
    assert not (project / "outputs" / "half").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_of_another_user_is_shown_and_not_executed(project: Path) -> None:
    (project / "recipes" / "half.py").write_text("from pathlib import Path\nPath('executed').touch()\n" + RECIPE)
    path = project / "outputs" / "half" / "run.json"
    info = {**json.loads(path.read_text()), "directory": str(project)}
    for signature in (info["signature"], "0" * 64, "é", None, 7):
        path.write_text(json.dumps({**info, "signature": signature}))
        result = eechips("retry", "outputs/half", cwd=project)
        assert result.returncode == 2
        assert "eechips run recipes/half.py" in result.stderr
        assert "give --trust" in result.stderr
    assert not (project / "executed").exists()
    assert len(open_run(project / "outputs" / "half").failures) == 3


@pytest.mark.slow
def test_permission_is_asked_for_the_service_of_the_run_from_any_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = project / "outputs"
    info = {**open_run(outputs / "half").info, "directory": str(project)}
    (outputs / "half" / "run.json").write_text(json.dumps({**info, "signature": "0" * 64}))
    monkeypatch.chdir(outputs)
    result = run_command("retry", "half")  # a path that leads nowhere in the folder of the command
    assert f"Command, for {info['endpoint']}, in {project}:" in result.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_users_own_run_is_retried_without_permission(shared_service: Service, project: Path) -> None:
    shared_service.plan(1, "400")
    environment = {"EECHIPS_ENDPOINT": shared_service.url, "EECHIPS_PROJECT": "mine"}
    assert eechips(*RUN, "--out", "own", cwd=project, **environment).returncode == 1
    (project / "recipes" / "bad").unlink()
    result = eechips("retry", "own", cwd=project)
    assert result.returncode == 0, result.stderr
    assert states(project / "own") == ["done"] * 6


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_interrupted_retry_resumes(shared_service: Service, project: Path) -> None:
    (project / "recipes" / "bad").unlink()
    shared_service.latency = 30.0
    with subprocess.Popen(
        [sys.executable, "-m", "eechips", "retry", "outputs/half", "--trust"], cwd=project, stderr=subprocess.DEVNULL
    ) as process:
        while shared_service.count("create") < 2:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        assert "is running in" in one_sentence(eechips("retry", "outputs/half", cwd=project))
        process.kill()
    shared_service.latency = 0.0
    assert states(project / "outputs" / "half").count("planned") == 3
    result = eechips("retry", "outputs/half", cwd=project)
    assert result.returncode == 0, result.stderr
    assert "Finishing the run with" in result.stderr
    assert states(project / "outputs" / "half") == ["done"] * 6


@pytest.mark.slow
def test_rows_are_truncated_on_a_terminal(project: Path) -> None:
    text = on_a_terminal("failures", "outputs/half", cwd=project, columns=60)
    table = text.partition("\n\n")[2].splitlines()
    assert max(map(len, table)) == 60
    assert any(line.endswith("…") for line in table)


@pytest.mark.slow
def test_a_recipe_that_needs_no_service_is_retried_without_an_endpoint(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(
        "from pathlib import Path\nfrom eechips import Table\nNEEDS_SERVICE = False\n"
        "def get_requests(): return [1, 2, 3]\n"
        "def get_result(index, n):\n"
        "    if n == 2 and (Path(__file__).parent / 'bad').exists():\n"
        "        raise ValueError('not to be had')\n"
        "    return Table([{'n': n}])\n"
    )
    (tmp_path / "bad").touch()
    made = eechips("run", "alone.py", "--out", "out", "--executor", "threads", cwd=tmp_path)
    assert (made.returncode, states(tmp_path / "out").count("failed_permanent")) == (1, 1), made.stderr
    (tmp_path / "bad").unlink()
    result = typed("retry", "out", "--quiet", cwd=tmp_path)  # as a schedule does: nothing is told of what works
    assert (result.exit_code, states(tmp_path / "out"), result.output) == (0, ["done"] * 3, "")
    assert open_run(tmp_path / "out").info["command"] == "eechips run alone.py --out out --executor threads"
    assert typed("retry", "out", "--quiet", cwd=tmp_path).output == ""


@pytest.mark.slow
def test_python_inspects_and_retries_a_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import eechips as package

    run = project / "outputs" / "half"
    assert sum(package.status(run).counts.values()) == 6
    assert len(package.failures(run)) == 3
    assert package.failures(run, classes=["recipe"])["error_class"].tolist() == ["RecipeError"] * 2
    with pytest.raises(UsageError, match="read it and its recipe, then give `trust`"):
        package.retry(run)
    with pytest.raises(UsageError, match="no unit failed with 'big'"):
        package.retry(run, classes=["big"], trust=True)
    (project / "recipes" / "bad").unlink()
    monkeypatch.chdir(project)
    again = package.retry(run, classes=["recipe"], trust=True)
    assert again.failures["error_class"].tolist() == ["PermanentError"]
    assert package.verify(again) == []
