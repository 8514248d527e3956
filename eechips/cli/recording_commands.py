"""Record Earth Engine's responses, and replay them: options of ``eechips serve``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eechips.cli.group import OneSentence
from eechips.cli.parameters import FunctionT

if TYPE_CHECKING:
    from eechips.emulator.server import ServerConfig


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """What to do with a recording.

    Attributes:
        record: folder to record into, or None.
        upstream: URL of the service that is recorded; None for Earth Engine's high-volume endpoint.
        replay: folder to respond from, or None.
        fill: whether a replay evaluates requests that are not recorded.
    """

    record: Path | None = None
    upstream: str | None = None
    replay: Path | None = None
    fill: bool = False

    @property
    def is_used(self) -> bool:
        """Return whether one of the options is given."""
        return self != RecordingOptions()

    def check(self, *, has_assets: bool) -> None:
        """Check that the options go together.

        Args:
            has_assets: whether assets to serve are given.

        Raises:
            click.UsageError: if they do not.
        """
        if self.record is not None and self.replay is not None:
            raise click.UsageError("--record and --replay exclude each other.")
        if self.upstream is not None and self.record is None:
            raise click.UsageError("--upstream needs --record.")
        if self.fill and self.replay is None:
            raise click.UsageError("--fill needs --replay.")
        if has_assets and not self.fill:
            raise click.UsageError("Assets are served with --replay DIR --fill, not by a recording alone.")


def recording_options(command: FunctionT) -> FunctionT:
    """Add the options of recordings."""
    folder = click.Path(path_type=Path, file_okay=False)
    existing = click.Path(path_type=Path, file_okay=False, exists=True)
    for option in reversed(
        (
            click.option(
                "--record", type=folder, metavar="DIR",
                help="Forward requests to Earth Engine with the client's credentials, and keep the responses.",
            ),
            click.option(
                "--upstream", metavar="URL",
                help="Service that --record forwards to: https, or http on this machine. [default: Earth Engine's "
                "high-volume endpoint]",
            ),
            click.option(
                "--replay", type=existing, metavar="DIR",
                help="Respond from a recording, without network. Other requests are refused.",
            ),
            click.option("--fill", is_flag=True, help="With --replay: evaluate the other requests locally."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def serve_recording(options: RecordingOptions, config: ServerConfig, announce: Callable[[str], None]) -> None:
    """Record or replay until Ctrl-C.

    Args:
        options: checked.
        config: port, and the local Earth Engine for ``--fill``.
        announce: called with the URL when the server is ready.

    Raises:
        click.UsageError: if the URL of the service cannot be used.
        OneSentence: if a folder is not a recording, or cannot be written.
        StoreError, RegistrationError, OSError: as of :func:`eechips.emulator.server.serve`.
    """
    from eechips.emulator.assets.asset_errors import AssetWriteError
    from eechips.emulator.recording.recording_folder import RecordingError
    from eechips.emulator.recording.serving import serve_recorder, serve_replay
    from eechips.emulator.recording.upstream import HIGH_VOLUME, Upstream

    try:
        if options.record is not None:
            upstream = Upstream(options.upstream or HIGH_VOLUME)
            serve_recorder(options.record, upstream, config.port, announce)
        elif options.replay is not None:
            serve_replay(options.replay, config.port, announce, config if options.fill else None)
    except ValueError as error:
        if options.record is None:
            raise
        raise click.UsageError(f"--upstream: {error}") from error
    except (RecordingError, AssetWriteError) as error:
        raise OneSentence(str(error)) from error
