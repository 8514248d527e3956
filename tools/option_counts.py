"""Count the options of each command, and list the commands that have each option.

Usage: python tools/option_counts.py [COMMAND]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from eechips.cli.group import main


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the commands below a group with the words that call them, such as ``catalog build``."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        elif command is not None:
            yield f"{path}{name}", command


def option_names(command: click.Command) -> list[str]:
    """Return the long names of a command's options, without those that every command has."""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return [max(option.opts, key=len) for option in options if not option.hidden]


def count_options(only: str | None) -> None:
    """Print the options of a command, or the number of each command and the commands of each option.

    Args:
        only: the command; None for all.
    """
    names = {path: option_names(command) for path, command in commands(main)}
    if only is not None:
        click.echo("\n".join(names[only]))
        return
    carriers: dict[str, list[str]] = {}
    for path, options in names.items():
        click.echo(f"{len(options):4} {path}")
        for option in options:
            carriers.setdefault(option, []).append(path)
    click.echo(f"\n{sum(map(len, names.values()))} options of {len(carriers)} names\n")
    for option, paths in sorted(carriers.items(), key=lambda item: (-len(item[1]), item[0])):
        click.echo(f"{len(paths):4} {option}: {', '.join(paths)}")


if __name__ == "__main__":
    count_options(" ".join(sys.argv[1:]) or None)
