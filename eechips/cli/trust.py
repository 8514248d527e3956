"""``eechips trust``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from eechips.cli.command import VerbCommand
from eechips.cli.options import HELP, debug_option
from eechips.engine.info import encode_info
from eechips.errors import UsageError
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.reserved_names import CALLS_FOLDER
from eechips.manifest.run import INFO_NAME, open_run
from eechips.manifest.run_signature import SIGNATURE, is_own, sealing_key
from eechips.scripts.call_folder import seal_results
from eechips.storage import write_file

_SHOWN = {"command": "Command", "directory": "typed in", "endpoint": "Endpoint", "results": "Results"}


@click.command("trust", cls=VerbCommand, context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@debug_option
def command(folder: Path, yes: bool) -> None:
    """Take over a run that somebody else made: show its run.json, ask for confirmation, and sign it.

    Commands that read a run execute no code from it and never leave its folder. Results in an object store, such as
    s3://bucket/folder, are read and changed with your credentials, so only in runs that you made or trust. The same
    holds for resuming a script: the return values of its calls are stored as Python objects, which may execute code.

    \b
    Examples:
      eechips trust downloads/sample-naip
    """
    run = open_run(folder)
    info = run.info
    if is_own(info):
        click.echo(f"{folder} is yours already")
        return
    if not info:
        raise UsageError(f"{folder} has no {INFO_NAME}: there is nothing to trust")
    for name, title in _SHOWN.items():
        click.echo(f"{title}: {info.get(name) or 'none'}", err=True)
    if not yes and not (sys.stdin.isatty() and click.confirm("Trust it?", default=False, err=True)):
        raise UsageError(f"{folder} is not trusted: read the above, then give --yes")
    if (run.path / CALLS_FOLDER).exists():
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            seal_results(run.path / CALLS_FOLDER, sealing_key(str(ledger.meta().get("identity"))))
    signed = encode_info({name: value for name, value in info.items() if name != SIGNATURE})
    write_file(run.path / INFO_NAME, signed)
    if not is_own(run.info):
        raise UsageError("your key cannot be stored: set EECHIPS_CACHE to a folder that only you can write to")
    click.echo(f"{folder} is trusted")
