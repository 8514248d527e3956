"""The command ``eechips-local``: serve a local Earth Engine, add assets to what it serves, record and replay."""

from __future__ import annotations

import gc
import importlib
from typing import Any

import click

from eechips_local.cli.console import HELP
from eechips_local.deferred_imports import defer_imports

COMMANDS = {
    "serve": ("eechips_local.cli.serve_command", "Serve a local Earth Engine until Ctrl-C."),
    "record": ("eechips_local.cli.recording_commands", "Record what Earth Engine responds to your requests."),
    "replay": ("eechips_local.cli.recording_commands", "Respond from a recording, without network."),
    "compare": ("eechips_local.cli.recording_commands", "Compare a recording with what is evaluated locally."),
    "record-service": ("eechips_local.cli.service_commands", "Record how Earth Engine answers small questions."),
    "assets": ("eechips_local.cli.assets_commands", "Add assets to a folder that it serves, and list them."),
}
"""The module of each command, and its line in the help."""


class _Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            importlib.import_module(COMMANDS[cmd_name][0]), f"{cmd_name.replace('-', '_')}_command"
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command of this process."""
        gc.set_threshold(10_000)  # nearly all that is imported stays
        defer_imports()
        return super().__call__(*args, **kwargs)


@click.group(cls=_Commands, context_settings=HELP)
@click.version_option(None, "-V", "--version", package_name="eechips-local", prog_name="eechips-local")
def main() -> None:
    """Serve Google Earth Engine's protocol over your own files and a synthetic demo planet.

    \b
    Examples:
      eechips-local serve --demo
      eechips-local assets ingest scene.tif --into my_assets --id USDA/NAIP/DOQQ/m_1 --time-start 2020-08-31
      eechips-local serve --assets my_assets
    """
