"""Write the scripts of a job for a cluster, SLURM or Kubernetes, as ``eechips submit`` does: plan, an array of work,
join.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from eechips.cli.terminal import echo, echo_lines
from eechips.commands.command import VerbCommand
from eechips.commands.parameters import HELP, LocalPath
from eechips.engine.run_options import QUOTA_VARIABLE
from eechips.errors import StorageError, UsageError
from eechips.storage import write_file
from eechips.web.redaction import redact


@click.command("submit", cls=VerbCommand, context_settings=HELP)
@click.argument("file", type=LocalPath(dir_okay=False, exists=True), metavar="JOB.toml")
@click.option("--slurm", "scheduler", flag_value="slurm", help="Write scripts for SLURM: sbatch, a job array.")
@click.option(
    "--kubernetes", "scheduler", flag_value="kubernetes", help="Write manifests for Kubernetes: indexed jobs."
)
@click.option(
    "--tasks", type=int, default=8, show_default=True, metavar="N", help="Tasks among which the plan is divided."
)
@click.option(
    "--to",
    "folder",
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Folder of the scripts, the plan and the outcomes, shared by all nodes."
    " [default: outputs/<name of the file>-job]",
)
@click.option("--partition", metavar="NAME", help="With --slurm: partition whose nodes have a network.")
@click.option("--image", metavar="IMAGE", help="With --kubernetes: container image with eechips.")
@click.option(
    "--claim",
    metavar="NAME",
    help="With --kubernetes: persistent volume claim (ReadWriteMany) for the plan, the outcomes, and results in a"
    " folder.",
)
@click.option("--service-account", metavar="NAME", help="With --kubernetes: service account of the pods.")
@click.pass_context
def submit_command(
    context: click.Context,
    file: Path,
    scheduler: str | None,
    tasks: int,
    folder: Path | None,
    partition: str | None,
    image: str | None,
    claim: str | None,
    service_account: str | None,
) -> None:
    """Write the scripts that run a job on a cluster, and show them: plan, an array of work, join.

    JOB.toml is a run file with one table that fetches. Its other tables, such as [check], run after the join. Nothing
    is submitted: run the written submit.sh. The tasks share the quota in the folder EECHIPS_QUOTA_FOLDER, or else in
    one beside the plan.

    \b
    Examples:
      eechips submit chips.toml --slurm --tasks 40 --partition transfer
      eechips submit chips.toml --kubernetes --image registry/eechips --claim shared --tasks 40
    """
    place = (folder or Path("outputs") / f"{file.stem}-job").absolute()
    if scheduler is None:
        raise UsageError("name the cluster: --slurm or --kubernetes")
    files = VOLUME if scheduler == "kubernetes" else str(place)
    job = read_job(context, file, tasks, os.environ.get(QUOTA_VARIABLE) or f"{files}/quota", files)
    if scheduler == "slurm":
        if image or claim or service_account:
            raise UsageError("--image, --claim and --service-account need --kubernetes")
        scripts = write_slurm(job, place, Path.cwd(), partition)
    else:
        if partition:
            raise UsageError("--partition needs --slurm")
        if not image or not claim:
            raise UsageError("--kubernetes needs --image and --claim")
        scripts = write_kubernetes(job, place, image, claim, service_account)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot use {place}: {error.strerror or error}") from error
    for name, text in scripts.items():
        write_file(place / name, text.encode())
        echo_lines([f"# {place / name}", *redact(text).split("\n")])
        if redact(text) != text:
            echo(f"{name} contains a secret of the job: anyone who can read {place} can read it", err=True)
    echo(f"To submit: bash {shlex.quote(str(place / 'submit.sh'))}", err=True)


def read_job(context: click.Context, file: Path, tasks: int, quota_folder: str, files: str) -> ClusterJob:
    """Return the job of a run file.

    Raises:
        UsageError: if the file has not exactly one table that fetches, or one whose units are unknown before.
        RunFileError: if the file has mistakes.
    """
    from eechips.cli.run_file import FETCHING, read_run_file
    from eechips.commands.fetching import recipe_of
    from eechips.recipe import SupportsInteractiveRun

    steps = read_run_file(file, context.find_root())
    fetching = [step for step in steps if step.verb in FETCHING]
    if len(fetching) != 1:
        raise UsageError(f"{file} has {len(fetching)} tables that fetch: a job has one")
    (first,) = fetching
    if steps[0] is not first:
        raise UsageError(f"[{steps[0].verb}] of {file} comes before [{first.verb}]: it can only follow")
    recipe, config = recipe_of((first.verb, *first.words))
    if isinstance(recipe, SupportsInteractiveRun):
        raise UsageError(
            f"{recipe.name} is a script, whose units are unknown before it runs: run it on one machine by `eechips run`"
        )
    after = tuple((step.verb, *step.words) for step in steps[1:])
    out = config.results or str(config.out)
    return ClusterJob(file.stem, first.verb, first.words, after, out, tasks, quota_folder, files)


_UNITS, _MISSING = "units.jsonl", "missing.jsonl"
VOLUME = "/work"
"""Where pods see the persistent volume."""
_WAIT_FOR_JOB = (
    "wait_for() {",
    "  while :; do",
    """    case " $(kubectl get "job/$1" -o 'jsonpath={.status.conditions[?(@.status=="True")].type}') " in""",
    '      *" Complete "*) return 0 ;;',
    '      *" Failed "*) echo "Job $1 has failed: kubectl logs job/$1" >&2; return 1 ;;',
    "    esac",
    '    sleep "${POLL_SECONDS:-10}"',
    "  done",
    "}",
)
"""Function of the shell. `kubectl wait` waits for one condition only, and a failed job never becomes complete."""
_NAME = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME = 40  # letters; names of pods are longer, and have 63 at most


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A job for a cluster.

    Attributes:
        name: name of the job, for people and the scheduler.
        verb: command that fetches.
        words: its options.
        after: commands to run once the results are joined, each with its words.
        tasks: parts of the plan.
        quota_folder: in which the tasks share the quota.
        files: folder of the plan and the outcomes, as the tasks see it.

    Raises:
        UsageError: if there is no task.
    """

    name: str
    verb: str
    words: tuple[str, ...]
    after: tuple[tuple[str, ...], ...]
    out: str
    tasks: int
    quota_folder: str
    files: str

    def __post_init__(self) -> None:
        if self.tasks < 1:
            raise UsageError("tasks must be at least 1")

    @property
    def label(self) -> str:
        """The name in lower-case letters, digits and hyphens."""
        return _NAME.sub("-", self.name.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "eechips"

    def plan(self) -> str:
        """Return the command of the plan."""
        return shlex.join(("eechips", "plan", self.verb, *self.words, "--to", self._file(_UNITS)))

    def work(self, part: str, number: str) -> str:
        """Return the command of a task.

        Args:
            part: as ``eechips work --part`` takes it; a variable of the shell is allowed.
            number: variable of the shell that numbers the task.
        """
        words = ("eechips", "work", "--units", self._file(_UNITS), "--out", self.out, "--ledger", self._file("ledgers"))
        own = f'--outcomes {shlex.quote(self.files)}/"outcomes-${{{number}}}.jsonl"'
        variable = f"{QUOTA_VARIABLE}={shlex.quote(self.quota_folder)}"
        return f'{variable} {shlex.join((*words, "--executor", "threads", "--quiet"))} --part "{part}" {own}'

    def join(self) -> list[str]:
        """Return the commands of the join, and of what follows."""
        options = ("--units", self._file(_UNITS), "--out", self.out)
        return [
            shlex.join(("eechips", "join", *options, "--missing", self._file(_MISSING))),
            *(shlex.join(("eechips", *words)) for words in self.after),
        ]

    def _file(self, name: str) -> str:
        return f"{self.files}/{name}"


def write_slurm(job: ClusterJob, folder: Path, working: Path, partition: str | None) -> dict[str, str]:
    """Return the scripts of a job for SLURM, by name.

    Args:
        folder: folder of the scripts, the plan and the outcomes; shared by all nodes.
        working: folder in which relative paths of the job start.
    """

    def script(step: str, commands: Sequence[str], *further: str) -> str:
        directives = [f"--job-name={job.label}-{step}", f"--chdir={quote_directive(str(working))}", *further]
        if partition is not None:
            directives.append(f"--partition={quote_directive(partition)}")
        lines = [f"#SBATCH {directive}" for directive in directives]
        return "\n".join(["#!/bin/bash", *lines, "set -euo pipefail", *commands]) + "\n"

    if "\\" in str(folder):
        raise UsageError(
            f"scripts of SLURM cannot be in {folder}: the path has a backslash, which sbatch allows in no log"
        )

    def output(name: str) -> str:
        place = str(folder).replace("%", "%%")  # a percent sign begins a pattern
        return f"--output={quote_directive(f'{place}/{name}')}"

    size = ("--cpus-per-task=1", "--mem=2G")
    array = (f"--array=1-{job.tasks}", "--requeue", *size, output("work-%a.log"))
    q = shlex.quote
    return {
        "plan.sh": script("plan", [job.plan()], output("plan.log")),
        "work.sh": script("work", [job.work("auto", "SLURM_ARRAY_TASK_ID")], *array),
        "part.sh": script("part", [job.work(f"${{1}}/{job.tasks}", "1")], *size, output("part-%j.log")),
        "join.sh": script("join", job.join(), output("join.log")),
        "submit.sh": "\n".join(
            [
                "#!/bin/bash",
                "set -euo pipefail",
                f"plan=$(sbatch --parsable {q(str(folder / 'plan.sh'))})",
                f'work=$(sbatch --parsable --dependency="afterok:${{plan%%;*}}" {q(str(folder / "work.sh"))})',
                f'sbatch --dependency="afterany:${{work%%;*}}" {q(str(folder / "join.sh"))}',
            ]
        )
        + "\n",
    }


def quote_directive(text: str) -> str:
    """Return a value of a directive for sbatch, which splits at spaces, and knows backslashes in double quotes.

    Raises:
        UsageError: if it has a line break.
    """
    if "\n" in text or "\r" in text:
        raise UsageError(f"scripts of SLURM cannot name {text!r}: it has a line break")
    if re.fullmatch(r"[\w./:@%+,=-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _container(image: str, commands: Sequence[str]) -> Mapping[str, Any]:
    return {
        "name": "eechips",
        "image": image,
        # Kubernetes replaces $(NAME), and $$ by $ (kubectl explain pod.spec.containers.command); bash does here.
        "command": ["bash", "-euo", "pipefail", "-c", "\n".join(commands).replace("$", "$$")],
        "workingDir": VOLUME,
        # Lines of the plan are signed with a key in this folder.
        "env": [{"name": "EECHIPS_CACHE", "value": f"{VOLUME}/.eechips"}],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
        "volumeMounts": [{"name": "work", "mountPath": VOLUME}],
    }


def write_kubernetes(
    job: ClusterJob, folder: Path, image: str, claim: str, service_account: str | None
) -> dict[str, str]:
    """Return the manifests of a job for Kubernetes, and the script that applies them, by name.

    Relative paths of the job start in the persistent volume.
    """
    shared: dict[str, Any] = {"volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": claim}}]}
    if service_account is not None:
        shared["serviceAccountName"] = service_account

    def manifest(step: str, commands: Sequence[str], **further: Any) -> str:
        pod = {"restartPolicy": "OnFailure", "containers": [_container(image, commands)], **shared}
        content: Mapping[str, Any] = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"{job.label}-{step}", "labels": {"app": "eechips"}},
            "spec": {"backoffLimit": 6, **further, "template": {"spec": pod}},
        }
        return json.dumps(content, indent=2) + "\n"

    array = {"completions": job.tasks, "parallelism": job.tasks, "completionMode": "Indexed"}
    # A pod that is started again would fail at failed units (status 1) again, and spend a budget again that fetching
    # has spent (130); the join lists both. Signals end no pod so: Kubernetes sends them to bash, which as process 1
    # receives SIGKILL only.
    work = f"{job.work(f'auto/{job.tasks}', 'JOB_COMPLETION_INDEX')} || [[ $? =~ ^(1|130)$ ]]"
    q = shlex.quote
    lines = ["#!/bin/bash", "set -euo pipefail", *_WAIT_FOR_JOB]
    for step in ("plan", "work", "join"):
        lines.append(f"kubectl apply -f {q(str(folder / f'{step}.json'))}")
        # What some tasks have not fetched, the join lists.
        lines.append(f"wait_for {job.label}-{step}{' || true' if step == 'work' else ''}")
    return {
        "plan.json": manifest("plan", [job.plan()]),
        "work.json": manifest("work", [work], **array),
        "join.json": manifest("join", job.join()),
        "submit.sh": "\n".join(lines) + "\n",
    }
