"""Describe a pipeline to the process that submits it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]

from eechips.engine.queues.beam_queue import BeamQueue
from eechips.engine.worker_spec import WorkerSpec
from eechips.storage import write_file

LOCAL_RUNNERS = ("DirectRunner", "FnApiRunner")
FAILED = 1
"""Exit status after a failed pipeline; the reason is in the job's failure file."""
WRONG = 2
"""Exit status if the options are wrong; likewise."""


LOST = 3
"""Exit status after the loss of a worker on this machine."""


@dataclass(frozen=True, slots=True)
class PipelineJob:
    """A pipeline to submit.

    Attributes:
        rate: requests per second for each slot; None for no limit.
        options: options of Beam, as on a command line.
        failure: file for the error if the pipeline fails.
    """

    spec: WorkerSpec
    rate: float | None
    queue: BeamQueue
    partitions: tuple[int, ...]
    options: tuple[str, ...]
    failure: Path

    @property
    def is_local(self) -> bool:
        """Return whether Beam's own runner executes it, with workers on this machine."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--runner", default=LOCAL_RUNNERS[0])
        return parser.parse_known_args(self.options)[0].runner in LOCAL_RUNNERS

    def save(self, path: Path) -> None:
        """Write the job to a file, atomically."""
        write_file(path, cloudpickle.dumps(self))
