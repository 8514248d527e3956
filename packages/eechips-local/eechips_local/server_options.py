"""Define the options of a server, for both its command lines: names, help, checks of values, and the configuration that
they make.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eechips_local.protocol.fault_plan import FaultPlan
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.quota.latency import Latency
from eechips_local.stores import WritableFolder

if TYPE_CHECKING:  # the server's libraries are an extra, and a help text does without them
    from eechips_local.archives.archive_model import ArchiveDescription
    from eechips_local.demo.weather.cloud_regime import CloudRegime
    from eechips_local.server import ServerConfig


class OptionError(ValueError):
    """The value of an option cannot be used."""


@dataclass(frozen=True, slots=True)
class ServerOption:
    """One option that takes a value.

    Attributes:
        name: without the dashes.
        metavar: what stands for its value in a help text.
        help: what it sets, with Earth Engine's own value in brackets.
    """

    name: str
    metavar: str
    help: str


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("it must be at least 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 86_400:
        raise ValueError("it must lie between 0 and 86400")
    return number


def _rate(text: str) -> float | None:
    if text == "none":
        return None
    number = float(text)
    if not 0 < number < 1e9:
        raise ValueError("it must be positive, or none")
    return number


def _limit(text: str) -> int | None:
    return None if text == "none" else _count(text)


def _folder(text: str) -> Path:
    folder = Path(text).absolute()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{text} is not a folder")
    return folder


def _datasets(text: str) -> Path | Literal["all"]:
    folder = Path(text).absolute()
    if text == "all":
        return "all"
    if not folder.is_dir():
        raise ValueError(f"it must be all, or a folder of STAC collections; there is no folder {text}")
    return folder


def clouds(text: str) -> CloudRegime:
    """Return the sky that a text names.

    Raises:
        ValueError: if it names none.
    """
    from eechips_local.demo.weather.cloud_regime import CLOUD_REGIMES

    for regime in CLOUD_REGIMES:
        if text == regime:
            return regime
    raise ValueError(f"it must be one of {', '.join(CLOUD_REGIMES)}")


def _plan(text: str) -> FaultPlan:
    try:
        return FaultPlan.parse(json.loads(Path(text).read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"cannot read {text}: {error.strerror}") from error
    except InvalidError as error:
        raise ValueError(f"{text}: {error}") from error


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "concurrency": _limit,
    "rate": _rate,
    "minute": _limit,
    "eecu_hours": _rate,
    "latency": Latency.parse,
    "faults": _plan,
    "workers": _count,
    "drive": _folder,
    "buckets": _folder,
    "export_assets": _folder,
    "exports": _count,
    "demo_datasets": _datasets,
    "demo_clouds": clouds,
    **dict.fromkeys(("asset_bytes", "asset_count"), _limit),
    **dict.fromkeys(("payload", "pixels", "thumbnail", "response", "elements", "memory"), _count),
    "seconds": _seconds,
}

OPTIONS = (
    ServerOption("concurrency", "N", "Requests in flight, or none [40]."),
    ServerOption("rate", "N", "Requests a second, or none [100]."),
    ServerOption("minute", "N", "Requests a minute, or none [60 times the rate]."),
    ServerOption("eecu-hours", "N", "EECU-hours of compute a month, or none [none; a noncommercial project has 150]."),
    ServerOption(
        "latency",
        "SECONDS",
        "Extra time before answers: a number, lognormal:MEDIAN,SIGMA, or by kind (KIND=…;…); by size with +4mp,"
        " +60mp^2, +0.1band, +0.1mb.",
    ),
    ServerOption("faults", "FILE", "JSON plan of what goes wrong on purpose (docs/explanation/local-earth-engine.md)."),
    ServerOption("payload", "BYTES", "Of a request's body [10485760]."),
    ServerOption("pixels", "BYTES", "Uncompressed, of computePixels and getPixels [50331648]."),
    ServerOption("thumbnail", "BYTES", "Uncompressed, of thumbnails and image downloads [33554432]."),
    ServerOption("response", "BYTES", "Of a value or a table [67108864]."),
    ServerOption("elements", "N", "Of a collection that is returned or listed [5000]."),
    ServerOption("seconds", "S", "Of one computation [300]."),
    ServerOption("memory", "BYTES", "Of pixels that one computation holds at once [2147483648]."),
    ServerOption("workers", "N", "Processes that compute [one for each core, at least two; four with archives]."),
    ServerOption("drive", "DIR", "Folder that stands for Google Drive: exports write there."),
    ServerOption(
        "buckets",
        "DIR",
        "Folder of folders that stand for buckets of Cloud Storage: exports write there; gs:// is read there.",
    ),
    ServerOption(
        "export-assets", "DIR", "Folder of the assets that exports, ingestions and clients make; it is served first."
    ),
    ServerOption("exports", "N", "Exports and ingestions that run at a time [2]."),
    ServerOption("asset-bytes", "BYTES", "Of all assets of a project or user in that folder, or none [none]."),
    ServerOption("asset-count", "N", "Assets of a project or user in that folder, or none [none]."),
    ServerOption(
        "demo-datasets",
        "all|DIR",
        "Serve synthetic stubs of datasets that the demo planet lacks: of all whose bands are known, or also of those"
        " that STAC collections of Earth Engine's catalogue in a folder describe.",
    ),
    ServerOption(
        "demo-clouds",
        "SKY",
        "Sky over scenes of Sentinel-2, Landsat and HLS on the demo planet: climate, clear, scattered (small clouds in"
        " all of them), overcast [climate].",
    ),
)
"""All of them."""

# Names of limits that differ from their option's.
_LIMITS = {"pixels": "pixels_bytes", "thumbnail": "thumbnail_bytes"}
_QUOTA = ("concurrency", "rate", "minute", "eecu_hours")
_SERVER = ("latency", "faults", "workers")
# Names of the export configuration's fields, by their option's.
_EXPORTS = {"drive": "drive", "buckets": "buckets", "export_assets": "assets", "exports": "running"}

# Names of the writable folder's fields, likewise.
_STORAGE = {"asset_bytes": "most_bytes", "asset_count": "most_assets"}


ARCHIVE = ServerOption(
    "archive",
    "NAME|URL|FILE",
    "Open archive whose Cloud Optimized GeoTIFFs to serve as Earth Engine's datasets: earth-search,"
    " planetary-computer, cdse, landsatlook, lpcloud, aef; the address of a STAC API; a static catalogue, STAC"
    " GeoParquet or a TOML description. May be repeated.",
)


def find_archives(texts: Sequence[str]) -> tuple[ArchiveDescription, ...]:
    """Return the archives that the values of ``--archive`` name.

    Raises:
        OptionError: if one names no archive.
    """
    if not texts:
        return ()
    if find_spec("pystac_client") is None:
        raise OptionError("--archive: pystac-client is not installed: pip install 'eechips-local[archive]'")
    from eechips_local.archives.named_archive import ArchiveChoiceError, find_archive

    try:
        return tuple(find_archive(text) for text in dict.fromkeys(texts))
    except ArchiveChoiceError as error:
        raise OptionError(f"--archive: {error}") from error


def configured(config: ServerConfig, option_texts: Mapping[str, str | None]) -> ServerConfig:
    """Return a server's configuration with the values of options.

    Args:
        config: what holds where an option is not given.
        option_texts: texts by the options' names, with underscores; None where one is not given.

    Raises:
        OptionError: if a value cannot be used; names the option.
    """
    values: dict[str, Any] = {}
    for name, text in option_texts.items():
        if text is None:
            continue
        try:
            values[name] = _PARSERS[name](text)
        except ValueError as error:
            raise OptionError(f"--{name.replace('_', '-')}: {error}") from error
    quota = {name: values[name] for name in _QUOTA if name in values}
    server = {name: values[name] for name in _SERVER if name in values}
    exports = {field: values[name] for name, field in _EXPORTS.items() if name in values}
    folder = exports.get("assets")
    storage = {field: values[name] for name, field in _STORAGE.items() if name in values}
    if storage and folder is None:
        raise OptionError("--asset-bytes and --asset-count are limits of the folder of --export-assets: give it, too.")
    writable = None if folder is None else WritableFolder(folder, **storage)
    others = {*quota, *server, *_EXPORTS, *_STORAGE, "demo_datasets", "demo_clouds"}
    limits = {_LIMITS.get(k, k): v for k, v in values.items() if k not in others}
    store = replace(
        config.store,
        folders=(*([] if folder is None else [folder]), *config.store.folders),
        writable=writable,
        buckets=values.get("buckets", config.store.buckets),
    )
    if "demo_datasets" in values:
        store = replace(store, demo=True, demo_datasets=values["demo_datasets"])
    if "demo_clouds" in values:
        store = replace(store, demo=True, demo_clouds=values["demo_clouds"])
    return replace(
        config,
        quota=replace(config.quota, **quota),
        limits=replace(config.limits, **limits),
        exports=replace(config.exports, **exports),
        store=store,
        **server,
    )
