"""Write the scripts of a job for a cluster: ``eechips submit``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from eechips.cli.cluster_scripts import VOLUME, ClusterJob, write_kubernetes, write_slurm
from eechips.cli.terminal import echo, echo_lines
from eechips.commands.command import VerbCommand
from eechips.commands.parameters import HELP, LocalPath
from eechips.engine.config import QUOTA_VARIABLE
from eechips.errors import StorageError, UsageError
from eechips.storage import write_file


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
        echo_lines([f"# {place / name}", *text.split("\n")])
    echo(f"To submit: bash {place / 'submit.sh'}", err=True)


def read_job(context: click.Context, file: Path, tasks: int, quota_folder: str, files: str) -> ClusterJob:
    """Return the job of a run file.

    Args:
        context: context of the command.
        file: the run file.
        tasks: parts of the plan.
        quota_folder: in which the tasks share the quota.
        files: folder of the plan and the outcomes, as the tasks see it.

    Raises:
        UsageError: if the file has not exactly one table that fetches, or one whose units are unknown before.
        RunFileError: if the file has mistakes.
    """
    from eechips.cli.run_file import FETCHING, read_run_file
    from eechips.commands.fetching import recipe_of
    from eechips.recipe import SupportsInteractiveRun

    root = context.find_root()
    steps = read_run_file(file, root)
    fetching = [step for step in steps if step.verb in FETCHING]
    if len(fetching) != 1:
        raise UsageError(f"{file} has {len(fetching)} tables that fetch: a job has one")
    (first,) = fetching
    if steps[0] is not first:
        raise UsageError(f"[{steps[0].verb}] of {file} comes before [{first.verb}]: it can only follow")
    recipe, config = recipe_of((first.verb, *first.words))
    if isinstance(recipe, SupportsInteractiveRun):
        raise UsageError(f"{recipe.name} plans while it runs: it cannot be divided into tasks")
    after = tuple((step.verb, *step.words) for step in steps[1:])
    out = config.results or str(config.out)
    return ClusterJob(file.stem, first.verb, first.words, after, out, tasks, quota_folder, files)
