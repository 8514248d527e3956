"""Hand ``eechips serve`` and ``eechips assets`` over to the command line of the local Earth Engine."""

from __future__ import annotations

import click

from eechips.cli.group import OneSentence


def serve_command() -> click.Command:
    """Return the command that serves a local Earth Engine."""
    return _find("serve")


def assets_command() -> click.Command:
    """Return the command that adds assets to what it serves."""
    return _find("assets")


def _find(name: str) -> click.Command:
    """Return a command of ``eechips-local``.

    Raises:
        OneSentence: if it is not installed.
    """
    try:
        from eechips_local.cli import main
    except ModuleNotFoundError as error:
        raise OneSentence(f"{error.name} is not installed: pip install 'eechips[local]'") from error
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command
