"""Prepare a run: ``eechips doctor``, and ``init`` with its starters, ``--from`` and ``--examples``; hand ``serve``
and ``assets`` over to the local Earth Engine.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import shlex
import shutil
import textwrap
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eechips.cli.group import FAILURES, OneSentence
from eechips.cli.terminal import echo, echo_json, echo_lines
from eechips.commands.command import VerbCommand, typed_options
from eechips.commands.option_names import option_names
from eechips.commands.parameters import HELP, LocalPath, config_options
from eechips.engine.config import RunConfig
from eechips.engine.run_options import DEMO
from eechips.errors import StorageError, UsageError
from eechips.storage import write_file
from eechips.text.formatting import format_count

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from eechips.engine.service.doctor import Finding


_INDENT = 22  # columns before the detail
_SHOWN: Mapping[str, Any] = {"heading": "", "is_advanced": False}
_CONNECTION = dict.fromkeys(("project", "credentials", "endpoint", "send_credentials"), _SHOWN)
"""Options of a run that decide to which service it connects, and how."""


@click.command("doctor", cls=VerbCommand, context_settings=HELP)
@config_options(RunConfig, only=_CONNECTION, changes=_CONNECTION)
@click.option("--local", is_flag=False, flag_value=DEMO, metavar="[DIR]", help="Check what a run with --local needs.")
@click.option("--archive", multiple=True, metavar="NAME|URL|FILE", help="Check what a run with --archive needs.")
@click.option(
    "--out",
    default="outputs",
    show_default=True,
    metavar="DIR|URL",
    help="Folder, or object store (s3://bucket/folder), of the results: free space and write access are checked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor_command(as_json: bool, out: str, **options: Any) -> None:
    """Find what would keep a run from working: versions, credentials, project, endpoint, quota, disk, clock.

    A few small requests are sent; no pixels are computed. The exit status is 1 if a run would fail.

    \b
    Examples:
      eechips doctor
      eechips doctor --project my-project --credentials key.json
      eechips doctor --local
      eechips doctor --out s3://bucket/naip
      eechips doctor --json | jq '.findings[] | select(.state != "ok")'
    """
    from eechips.engine.service.doctor import doctor

    findings = doctor(out=out, **typed_options(options))
    would_fail = any(finding.state == "failed" for finding in findings)
    if as_json:
        texts = [
            dataclasses.replace(original, detail=option_names(original.detail), advice=option_names(original.advice))
            for original in findings
        ]
        document = {"ok": not would_fail, "findings": [dataclasses.asdict(finding) for finding in texts]}
        echo_json(document, indent=2)
    else:
        for finding in findings:
            echo_lines(_finding_lines(finding))
        failed = [finding.detail for finding in findings if finding.state == "failed"]
        echo(f"A run would not work now: {failed[0].rstrip('.')}." if failed else "A run would work.")
    if would_fail:
        click.get_current_context().exit(FAILURES)


def _finding_lines(finding: Finding) -> list[str]:
    """Return state, name and detail, wrapped to the terminal, with the advice below."""
    width = max(shutil.get_terminal_size((100, 24)).columns, 2 * _INDENT)
    texts = [finding.detail, *([f"To do: {finding.advice}"] if finding.advice else [])]
    lines = [
        line
        for text in map(option_names, texts)
        for line in textwrap.wrap(text, width - _INDENT, break_on_hyphens=False)
    ]
    heads = [f"{finding.state:<9}{finding.name:<{_INDENT - 9}}", *[" " * _INDENT] * (len(lines) - 1)]
    return [head + line for head, line in zip(heads, lines, strict=True)]


KINDS = {
    "chips": "image chips at random points",
    "series": "a time series for each region",
    "images": "every image of a collection over a place",
    "points": "values at many points, in one table",
}
"""The kinds of recipes; each has a template in ``starters``, such as ``chips_recipe.py``."""

_PLACEHOLDER = "recipe.py"  # in the starters


@click.command("init", cls=VerbCommand, context_settings=HELP)
@click.argument("file", type=LocalPath(), required=False)
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="chips",
    show_default=True,
    help="; ".join(f"{kind}: {text}" for kind, text in KINDS.items()) + ".",
)
@click.option(
    "--from",
    "script",
    type=LocalPath(exists=True),
    metavar="SCRIPT|DIR",
    help="Write a run file that runs this script, or notebook, as it is, or has the options of the run in this folder.",
)
@click.option("--examples", is_flag=True, help="Write the recipes of the documentation to the folder recipes instead.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def init_command(file: Path | None, kind: str, script: Path | None, examples: bool, force: bool) -> None:
    """Write a recipe to start from: a short, commented Python file that runs as it is.

    The default name of FILE is the kind. With --examples it is a folder, and its default is recipes. With --from it is
    a run file, by default named as the script or the folder.

    \b
    Examples:
      eechips init
      eechips init my_recipe.py --kind points
      eechips init --from my_script.py
      eechips init --from outputs/sample-naip
      eechips init --examples
    """
    if script is not None:
        target = Path(script.resolve().name) if file is None and script.is_dir() else file or script
        write = _write_for_run if script.is_dir() else _write_for_script
        write(target if target.suffix == ".toml" else target.with_suffix(".toml"), script, force=force)
        return
    if examples:
        _write_examples(Path("recipes") if file is None else file, force=force)
        return
    path = Path(f"{kind}.py") if file is None else file
    if not path.suffix:
        path = path.with_suffix(".py")
    _check_free(path, force=force)
    typed = shlex.quote(str(path))
    text = files("eechips.cli.starters").joinpath(f"{kind}_recipe.py").read_text(encoding="utf-8")
    _write(path, text.replace(_PLACEHOLDER, typed))
    echo(f"Written: {path} ({KINDS[kind]})")
    echo(f"Try it:  eechips run {typed} --local --check")
    echo(f"Run it:  eechips run {typed} --local")


def _check_free(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists: choose another name, or overwrite it with --force")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text.encode())
    except OSError as error:
        raise StorageError.of_write(path, error) from error


def _write_for_run(path: Path, folder: Path, *, force: bool) -> None:
    """Write the command of a run as a run file."""
    from eechips.cli.run_file_writer import recorded_context, write_run_file

    _check_free(path, force=force)
    context = recorded_context(folder, click.get_current_context().find_root())
    write_run_file(path, context)
    echo(f"Written: {path}")
    echo(f"Run it:  eechips run {shlex.quote(str(path))}")


def _write_for_script(path: Path, script: Path, *, force: bool) -> None:
    """Write a run file that runs a script of a user as it is."""
    from eechips.cli.run_file_writer import format_value
    from eechips.scripts.script_source import read_source

    source = read_source(script)
    if source.is_recipe:
        raise UsageError(f"{script} is a recipe already: eechips run {shlex.quote(str(script))}")
    if not source.opens_pool:
        raise UsageError(
            f"{script} opens no pool, whose calls would become units: write a recipe instead (eechips init)"
        )
    _check_free(path, force=force)
    lines = [
        "# Runs the script as it is: each call that it passes to its pool becomes a unit, which is recorded, and not",
        "# repeated by a later run. Relative paths that it writes to are below the output folder.",
        "[run]",
        f"recipe = {format_value(str(script))}",
        f"out = {format_value(f'outputs/{script.stem}')}",
    ]
    if "argparse" in source.text or "sys.argv" in source.text:
        lines.append('# arguments = ["500", "--fast"]  # what follows the name of the script where it is typed')
    if source.project is not None:
        lines.append(f"project = {format_value(source.project)}  # as in the script")
    if source.ignored:
        lines += ["# Not Python, and left out:", *(f"#   {ignored_line}" for ignored_line in source.ignored)]
    _write(path, "\n".join(lines) + "\n")
    typed = shlex.quote(str(path))
    echo(f"Written: {path}")
    echo(f"Try it:  eechips run {typed} --local")
    echo(f"Run it:  eechips run {typed}")


def _write_examples(folder: Path, *, force: bool) -> None:
    """Write the recipes of the documentation, with the tables that they read."""
    examples = [
        example for example in _examples().iterdir() if example.is_file() and example.name.endswith((".py", ".csv"))
    ]
    there = [example.name for example in examples if (folder / example.name).exists()]
    if there and not force:
        raise UsageError(f"{folder / there[0]} exists: choose another folder, or overwrite it with --force")
    for example in examples:
        _write(folder / example.name, example.read_text(encoding="utf-8"))
    echo(f"Written: {format_count(len(examples), 'file')} to {folder}")


def _examples() -> Traversable:
    """Return the folder of the recipes: in the package where it is installed, beside it in a checkout."""
    installed = files("eechips.cli").joinpath("examples")
    return installed if installed.is_dir() else files("eechips").joinpath("..", "recipes")


def _find(name: str) -> click.Command:
    """Return a command of ``eechips-local``; raise OneSentence if that is not installed."""
    try:
        from eechips_local.cli import main
    except ModuleNotFoundError as error:
        raise OneSentence(f"{error.name} is not installed: pip install 'eechips[local]'") from error
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return _renamed(command)


def _renamed(command: click.Command) -> click.Command:
    """Return a command of ``eechips-local`` whose help and errors name ``eechips serve`` and ``eechips assets``."""

    def renamed(text: str | None) -> str | None:
        return text and re.sub(r"\beechips-local (?=serve\b|assets\b)", "eechips ", text)

    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return command.callback(*arguments, **options) if command.callback is not None else None
        except click.ClickException as error:
            raise OneSentence(renamed(error.format_message()) or "") from error

    shown = copy.copy(command)
    shown.callback = call
    shown.help, shown.params = renamed(command.help), [copy.copy(option) for option in command.params]
    for option in shown.params:
        if isinstance(option, click.Option):
            option.help = renamed(option.help)
    if isinstance(shown, click.Group):
        shown.commands = {name: _renamed(inner) for name, inner in shown.commands.items()}
    return shown


serve_command = partial(_find, "serve")
assets_command = partial(_find, "assets")
