"""`eechips submit`: the scripts and manifests that it writes are valid, and the scripts do the whole job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.support.commands import run_command
from tests.support.engine_service import Service
from tests.support.programs import run_program

RECIPE = """
import ee
from eechips import Chip, Grid

GRID = Grid("EPSG:32613", (1.0, 0.0, 500000.0, 0.0, -1.0, 4400000.0), 24, 24)

def get_requests(count=12):
    return list(range(1, count + 1))

def get_result(index, number):
    return Chip(ee.Image(number), grid=GRID, name=f"tile_{index}")
"""
LOGS = {"join.log", "plan.log", "work-1.log", "work-2.log"}  # and one with the number of a job
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
KUBERNETES = ("--kubernetes", "--image", "registry/eechips:1", "--claim", "shared")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "squares.py").write_text(RECIPE)
    write_job(tmp_path, "http://127.0.0.1:1")
    return tmp_path


def write_job(folder: Path, url: str) -> None:
    lines = [
        "[run]",
        'recipe = "squares.py"',
        f'endpoint = "{url}"',
        'project = "it\'s;mine"',
        'out = "res ults"',
        "[verify]",
    ]
    (folder / "My Squares.toml").write_text("\n".join(lines))


def submit(*words: str, status: int | None = None) -> Result:
    return run_command("submit", "My Squares.toml", *words, status=status)


def shell_words(folder: Path) -> list[str]:
    """Programs in the order of their calls, with `sbatch` that runs a script at once, task by task."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "eechips").write_text(f'#!/bin/bash\nexec {sys.executable} -m eechips "$@"\n')
    (programs / "sbatch").write_text(
        "#!/bin/bash\n"
        'script="${@: -1}"; count=$(sed -n "s/^#SBATCH --array=1-//p" "$script"); cd "$SUBMITTED_FROM"\n'
        "for task in $(seq ${count:-1}); do\n"
        "  SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=${count:-1} SLURM_ARRAY_TASK_MIN=1"
        " SLURM_ARRAY_TASK_MAX=${count:-1}"
        ' SLURM_ARRAY_TASK_STEP=1 bash "$script" >&2 || exit 1\n'
        "done\n"
        'echo "17;cluster"\n'
    )
    for path in programs.iterdir():
        path.chmod(0o755)
    return [str(programs)]


def test_scripts_for_slurm_are_shown_and_valid(folder: Path) -> None:
    done = submit("--slurm", "--tasks", "3", "--partition", "transfer", "--to", "jo b", status=0)
    names = ["join.sh", "part.sh", "plan.sh", "submit.sh", "work.sh"]
    assert sorted(path.name for path in (folder / "jo b").iterdir()) == names
    for name in names:
        text = (folder / "jo b" / name).read_text()
        assert text in done.output
        assert subprocess.run(["bash", "-n", folder / "jo b" / name], check=False).returncode == 0
    work = (folder / "jo b" / "work.sh").read_text()
    assert "#SBATCH --array=1-3\n" in work
    assert "#SBATCH --partition=transfer\n" in work
    assert f"\nEECHIPS_QUOTA_FOLDER='{folder}/jo b/quota' eechips work " in work
    assert "To submit: bash " in done.output


@pytest.mark.parametrize("words", [("--slurm",), KUBERNETES])
def test_a_secret_of_the_job_is_not_shown(folder: Path, words: tuple[str, ...]) -> None:
    (folder / "squares.py").write_text(RECIPE.replace("count=12", "count=12, token=''"))
    job = folder / "My Squares.toml"
    job.write_text(job.read_text().replace("[verify]", 'parameters = {token = "3f2a9c7d"}'))
    shown = submit(*words, "--to", "job", status=0)
    assert "token=***" in shown.output
    assert "3f2a9c7d" not in shown.output
    name = "plan.sh" if words == ("--slurm",) else "plan.json"
    assert f"{name} contains a secret of the job: anyone who can read {folder / 'job'} can read it" in shown.output
    assert "token=3f2a9c7d" in (folder / "job" / name).read_text()


@pytest.mark.slow
def test_the_scripts_for_slurm_do_the_whole_job(folder: Path, service: Service) -> None:
    write_job(folder, service.url)
    submit("--slurm", "--tasks", "3", "--to", "jo b", status=0)
    environment = {
        **os.environ, "PATH": f"{shell_words(folder)[0]}:{os.environ['PATH']}", "SUBMITTED_FROM": str(folder),
        "EECHIPS_CACHE": str(folder / "cache"),
    }  # fmt: skip
    run_program("bash", folder / "jo b" / "submit.sh", status=0, env=environment)
    assert sorted(path.name for path in (folder / "res ults").glob("*.png")) == sorted(
        f"tile_{n}.png" for n in range(12)
    )
    assert (folder / "res ults" / "manifest.parquet").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_slurm_runs_the_scripts_in_folders_of_any_name(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    slurm = pytest.importorskip("slurm")
    if reason := slurm.missing_programs():
        pytest.skip(reason)
    place = tmp_path / 'it\'s "50%a" $HOME #1'
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "squares.py").write_text(RECIPE)
    write_job(place, service.url)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "eechips").write_text(f'#!/bin/bash\nexec {sys.executable} -m eechips "$@"\n')
    (tmp_path / "bin" / "eechips").chmod(0o755)
    submit("--slurm", "--tasks", "2", "--to", "jo b", status=0)
    monkeypatch.setenv("EECHIPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    # The paths of SLURM's sockets must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm.cluster(Path(folder), nodes=2) as cluster:
        cluster.command("bash", place / "jo b" / "submit.sh")
        wait_for_jobs(cluster)
        (place / "res ults" / "tile_3.png").unlink()
        (place / "jo b" / "outcomes-2.jsonl").unlink()
        cluster.command("sbatch", place / "jo b" / "part.sh", "2")
        wait_for_jobs(cluster)
    assert len((place / "jo b" / "outcomes-2.jsonl").read_text().splitlines()) == 6
    logs = "".join(path.read_text() for path in sorted(place.glob("jo b/*.log")))
    assert {path.name for path in place.glob("jo b/*.log")} > LOGS, logs
    assert (place / "res ults" / "manifest.parquet").exists(), logs
    assert len(list((place / "res ults").glob("*.png"))) == 12


def wait_for_jobs(cluster: Any) -> None:
    while cluster.command("squeue", "--noheader"):
        time.sleep(0.2)


@pytest.mark.parametrize(("name", "reason"), [("a\nb", "has a line break"), ("a\\b", "has a backslash")])
def test_folders_that_scripts_of_slurm_cannot_name_are_refused(name: str, reason: str, folder: Path) -> None:
    done = submit("--slurm", "--to", name, status=2)
    assert reason in done.stderr
    assert not (folder / name).exists()


def test_manifests_for_kubernetes_match_the_schema_of_the_api(folder: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    submit(*KUBERNETES, "--tasks", "40", "--service-account", "fetcher", status=0)
    place = folder / "outputs" / "My Squares-job"
    for step in ("plan", "work", "join"):
        manifest = json.loads((place / f"{step}.json").read_text())
        validate.validate(manifest, validate.latest_version(), strict=True)
        assert manifest["metadata"]["name"] == f"my-squares-{step}"
    work = json.loads((place / "work.json").read_text())["spec"]
    assert (work["completions"], work["completionMode"]) == (40, "Indexed")
    assert '--part "auto/40"' in container_commands(place, "work")[-1]
    assert subprocess.run(["bash", "-n", place / "submit.sh"], check=False).returncode == 0


def container_commands(place: Path, step: str) -> list[str]:
    """The command of a container as it is started: Kubernetes replaces variables in it, and $$ by $.

    https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container, `command`.
    """
    (container,) = json.loads((place / f"{step}.json").read_text())["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}

    def replaced(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return [re.sub(r"\$\$|\$\(([^)]*)\)", replaced, word) for word in container["command"]]


def test_words_with_signs_of_the_shell_reach_the_commands_of_pods(folder: Path) -> None:
    out = "a$(EECHIPS_CACHE) $$ $HOME `id` it's"
    (folder / "My Squares.toml").write_text(f'[run]\nrecipe = "squares.py"\nout = "{out}"\n')
    submit(*KUBERNETES, "--to", "job", status=0)
    (folder / "bin").mkdir()
    (folder / "bin" / "eechips").write_text(f"#!/bin/bash\nprintf '%s\\0' \"$@\" >> {folder}/calls\n")
    (folder / "bin" / "eechips").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "7"}
    for step in ("plan", "work"):
        subprocess.run(container_commands(folder / "job", step), env=environment, check=True)
    assert out in (folder / "calls").read_text().split("\0")
    assert "/work/outcomes-7.jsonl" in (folder / "calls").read_text().split("\0")


@pytest.mark.parametrize(("ended", "status"), [(0, 0), (1, 0), (130, 0), (2, 1), (137, 1), (30, 1)])
def test_a_pod_is_not_started_again_for_failed_units_or_a_spent_budget(folder: Path, ended: int, status: int) -> None:
    """Its budget would begin anew: https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy."""
    submit(*KUBERNETES, "--to", "job", status=0)
    (folder / "bin").mkdir()
    (folder / "bin" / "eechips").write_text(f"#!/bin/bash\nexit {ended}\n")
    (folder / "bin" / "eechips").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "7"}
    done = subprocess.run(container_commands(folder / "job", "work"), env=environment, check=False)
    assert done.returncode == status


def test_results_are_joined_whatever_tasks_have_left(folder: Path) -> None:
    submit("--slurm", "--to", "jo b", status=0)
    (folder / "bin").mkdir()
    (folder / "bin" / "eechips").write_text('#!/bin/bash\necho "$1" >> calls\n')
    (folder / "bin" / "eechips").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    for _ in range(2):
        run_program("bash", folder / "jo b" / "join.sh", status=0, env=environment)
    assert (folder / "calls").read_text().split() == ["join", "verify"] * 2


@pytest.mark.parametrize(
    ("failed", "status", "applied"),
    [("", 0, ["plan", "work", "join"]), ("work", 0, ["plan", "work", "join"]), ("plan", 1, ["plan"])],
)
def test_the_script_for_kubernetes_waits_for_jobs_that_fail(
    folder: Path, failed: str, status: int, applied: list[str]
) -> None:
    submit(*KUBERNETES, "--to", "jo b", status=0)
    (folder / "bin").mkdir()
    (folder / "bin" / "kubectl").write_text(
        '#!/bin/bash\necho "$*" >> calls\n'
        'if [ "$1" = get ]; then\n'
        "  if [ -e asked ]; then rm asked; else touch asked; exit; fi\n"  # no condition at first
        f'  case "$2" in *-{failed or "none"}) echo "FailureTarget Failed" ;; *) echo "Suspended Complete" ;; esac\n'
        "fi\n"
    )
    (folder / "bin" / "kubectl").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "POLL_SECONDS": "0"}
    done = run_program("bash", folder / "jo b" / "submit.sh", status=status, env=environment)
    assert ("Job my-squares" in done.stderr) == bool(failed)
    calls = (folder / "calls").read_text().splitlines()
    assert [Path(call).stem for call in calls if call.startswith("apply")] == applied


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name the cluster"),
        (("--slurm", "--tasks", "0"), "tasks must be at least 1"),
        (("--slurm", "--image", "x"), "need --kubernetes"),
        (("--kubernetes",), "needs --image and --claim"),
        ((*KUBERNETES, "--partition", "x"), "needs --slurm"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder: Path, words: tuple[str, ...], message: str) -> None:
    done = submit(*words, status=2)
    assert message in done.output
    assert not (folder / "outputs").exists()


def test_a_job_has_one_table_that_fetches(folder: Path) -> None:
    table = '[[run]]\nrecipe = "squares.py"\nout = "{}"\n'
    (folder / "My Squares.toml").write_text(table.format("x") + table.format("y"))
    done = submit("--slurm", status=2)
    assert "has 2 tables that fetch: a job has one" in done.output
