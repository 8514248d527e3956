"""Write the scripts that run a job on a cluster: plan, an array of work, join."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips.engine.config import QUOTA_VARIABLE
from eechips.errors import UsageError

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
        out: where the results go.
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
        job: what to run.
        folder: folder of the scripts, the plan and the outcomes; shared by all nodes.
        working: folder in which relative paths of the job start.
        partition: partition of the cluster, with a network; None for the default one.
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


def write_kubernetes(
    job: ClusterJob, folder: Path, image: str, claim: str, service_account: str | None
) -> dict[str, str]:
    """Return the manifests of a job for Kubernetes, and the script that applies them, by name.

    Args:
        job: what to run. Relative paths start in the persistent volume.
        folder: folder of the manifests.
        image: container with eechips.
        claim: persistent volume claim, ``ReadWriteMany``, for the plan, the outcomes, and results in a folder.
        service_account: service account of the pods; None for the default one.
    """

    def manifest(step: str, commands: Sequence[str], **further: Any) -> str:
        container = {
            "name": "eechips",
            "image": image,
            "command": ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
            "workingDir": VOLUME,
            # Lines of the plan are signed with a key in this folder.
            "env": [{"name": "EECHIPS_CACHE", "value": f"{VOLUME}/.eechips"}],
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
            "volumeMounts": [{"name": "work", "mountPath": VOLUME}],
        }
        pod: dict[str, Any] = {
            "restartPolicy": "OnFailure",
            "containers": [container],
            "volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": claim}}],
        }
        if service_account is not None:
            pod["serviceAccountName"] = service_account
        content: Mapping[str, Any] = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"{job.label}-{step}", "labels": {"app": "eechips"}},
            "spec": {"backoffLimit": 6, **further, "template": {"spec": pod}},
        }
        return json.dumps(content, indent=2) + "\n"

    array = {"completions": job.tasks, "parallelism": job.tasks, "completionMode": "Indexed"}
    # Failed units, status 1, fail again in a pod that is started again; the join lists them.
    work = f"{job.work(f'auto/{job.tasks}', 'JOB_COMPLETION_INDEX')} || [ $? -eq 1 ]"
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
