"""Options that say what a local Earth Engine serves, for the commands that start one: ``--assets``, ``--catalog``,
``--archive``, ``--demo``, ``--allow-remote``, ``--port``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from eechips_local.cli.console import CommandError, FunctionT, LocalPath, echo
from eechips_local.server_options import ARCHIVE, OPTIONS, OptionError, configured, find_archives

if TYPE_CHECKING:
    from eechips_local.server import ServerConfig


def port_option(command: FunctionT) -> FunctionT:
    """Add the option of the port."""
    return click.option(
        "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0 for any free one."
    )(command)


def served_options(command: FunctionT) -> FunctionT:
    """Add the options of what is served, and those that the server defines, as texts."""
    folder = LocalPath(file_okay=False, exists=True)
    options = [
        click.option(
            "--assets", type=folder, multiple=True, metavar="DIR",
            help="Folder of assets to serve (eechips-local assets ingest). May be repeated.",
        ),
        click.option(
            "--catalog", type=folder, multiple=True, metavar="DIR",
            help="Catalogue whose STAC collections to serve (eechips catalog, eechips catalog ingest). May be"
            " repeated.",
        ),
        click.option(
            "--catalog-files", type=folder, multiple=True, metavar="DIR",
            help="Folder whose files catalogues may refer to, besides their own. May be repeated.",
        ),
        click.option("--archive", multiple=True, metavar=ARCHIVE.metavar, help=ARCHIVE.help),
        click.option("--demo", is_flag=True, help="Serve the demo planet; the default without other assets."),
        click.option(
            "--allow-remote", is_flag=True,
            help="Also read files on web servers and, of catalogues, in object stores.",
        ),
        *(click.option(f"--{option.name}", metavar=option.metavar, help=option.help) for option in OPTIONS),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def list_given(options: Mapping[str, Any]) -> list[str]:
    """Return the options of :func:`served_options` that have a value, as they are typed."""
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if value]


def server_config(port: int, options: Mapping[str, Any]) -> ServerConfig:
    """Return the configuration of a server.

    Args:
        port: 0 for any that is free.
        options: values of :func:`served_options` by name.

    Raises:
        click.UsageError: if one cannot be used.
    """
    from eechips_local.server import ServerConfig
    from eechips_local.stores import StoreConfig, StoreError

    is_demo = options["demo"] or not (options["assets"] or options["catalog"] or options["archive"])
    names = (option.name.replace("-", "_") for option in OPTIONS)
    try:
        store = StoreConfig(
            options["assets"], is_demo, options["allow_remote"], options["catalog"], options["catalog_files"],
            archives=find_archives(options["archive"]),
        )  # fmt: skip
        return configured(ServerConfig(port=port, store=store), {name: options[name] for name in names})
    except (OptionError, StoreError) as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def server_errors(port: int) -> Iterator[None]:
    """Raise an error of a server in this block as one sentence.

    Raises:
        click.UsageError: if what it should serve cannot be used.
        CommandError: if functions of other packages cannot be used, or the port is taken.
    """
    from eechips_local.functions.registration import RegistrationError
    from eechips_local.stores import StoreError

    try:
        yield
    except StoreError as error:
        raise click.UsageError(str(error)) from error
    except RegistrationError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot listen on port {port}: {error.strerror or error}") from error


def announce(url: str) -> None:
    """Print the address of a server."""
    echo(f"The local Earth Engine is at {url} (stop it with Ctrl-C)")
