"""Keep the answers of a service recording beside its requests, and read those of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eechips_local.assets.store_files import write_json
from eechips_local.probes.probe import ProbeOutcome, ProbeResult
from eechips_local.recording.recording_folder import RecordingError

RESULTS = "results.json"
"""Name of the file in the folder of a recording."""

_FORMAT = 1


@dataclass
class ServiceResults:
    """Answers by the names of their probes, and who has asked.

    Attributes:
        service: host of the service.
        date: date of the first probe, ISO.
        recorder: version of eechips-local.
        client: version of earthengine-api.
        results: by the names of probes, in the order in which they were asked.
    """

    service: str
    date: str
    recorder: str = field(default_factory=lambda: version("eechips-local"))
    client: str = field(default_factory=lambda: version("earthengine-api"))
    results: dict[str, ProbeResult] = field(default_factory=dict)

    @property
    def is_of_google(self) -> bool:
        """Return whether the service was Google's: a local Earth Engine can be recorded as well, and proves nothing."""
        return self.service.endswith(".googleapis.com")

    @property
    def eecu_seconds(self) -> float:
        """Compute so far: what the service reports, and elapsed seconds where it reports nothing of a result."""
        return sum(
            answer.eecu_seconds if answer.eecu_seconds is not None else answer.seconds
            for answer in self.results.values()
        )

    @property
    def seconds(self) -> float:
        """Time that all answers have taken."""
        return sum(answer.seconds for answer in self.results.values())

    def save(self, folder: Path, hide: Callable[[str], str]) -> None:
        """Write the answers; the file appears whole.

        Args:
            folder: folder of the recording.
            hide: returns a text without what belongs to the user.
        """
        write_json(folder / RESULTS, {"service_results": _FORMAT, **_map_texts(asdict(self), hide)})


def read_results(text: str) -> ServiceResults:
    """Return the answers of a file.

    Raises:
        RecordingError: if it is no such file.
    """
    try:
        content = json.loads(text)
        if content["service_results"] != _FORMAT:
            raise ValueError("another version of the format")
        return ServiceResults(
            str(content["service"]),
            str(content["date"]),
            str(content["recorder"]),
            str(content["client"]),
            {str(name): _read_result(answer) for name, answer in content["results"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordingError(f"{RESULTS} has no answers of a service: {error}") from error


def _read_result(content: Mapping[str, Any]) -> ProbeResult:
    eecu = content["eecu_seconds"]
    return ProbeResult(
        ProbeOutcome(content["outcome"]),
        int(content["status"]),
        content["value"],
        str(content["message"]),
        int(content["requests"]),
        int(content["received"]),
        float(content["seconds"]),
        None if eecu is None else float(eecu),
    )


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON with all texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [_map_texts(item, change) for item in value]
    if isinstance(value, Mapping):
        return {change(name): _map_texts(item, change) for name, item in value.items()}
    return value
