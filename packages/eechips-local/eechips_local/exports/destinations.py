"""Find the folder that an export writes to (``--drive``, ``--buckets``, ``--export-assets``); check names of files and
buckets, and request ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eechips_local.assets.asset_names import asset_id
from eechips_local.assets.bucket_objects import BUCKET
from eechips_local.protocol.request_errors import InvalidError

_LONGEST_NAME = 200  # of a prefix: file systems allow 255 bytes with coordinates and suffix
_LONGEST_OBJECT = 900  # of a prefix: Cloud Storage allows 1024 bytes
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f/]")
_REQUEST_ID = re.compile(r"[-a-zA-Z0-9]{1,60}")
_DESCRIPTION = re.compile(r"[A-Za-z0-9.,:;_-]{0,100}")
_OPTIONS = ("fileExportOptions", "tileExportOptions", "assetExportOptions")
_ELSEWHERE = {
    "featureViewExportOptions": "as FeatureViews, since it serves no tiles of features: export an asset instead",
    "bigqueryExportOptions": "to BigQuery, for which no folder can stand: export a CSV to Cloud Storage instead",
}


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Where exports go, and how many run.

    Attributes:
        drive: folder that stands for Google Drive; None rejects such exports.
        buckets: folder of folders that stand for buckets of Cloud Storage, likewise.
        assets: asset folder that takes exported assets, likewise.
        running: tasks that run at a time. Earth Engine runs two of a noncommercial project
            (https://developers.google.com/earth-engine/guides/usage, read 2026-11).
    """

    drive: Path | None = None
    buckets: Path | None = None
    assets: Path | None = None
    running: int = 2


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the files of a task go.

    Attributes:
        root: the folder of Drive or of all buckets.
        folder: below the root; the final files are in it or below it.
        prefix: prefix of the names of files.
        separator: between prefix and coordinates. Names on Drive have "-", objects in Cloud Storage none, as the
            names of published exports show.
        uri: URI that the task reports.
        replaces: whether a file of the same name is replaced, as an object of Cloud Storage is. Drive keeps both.
    """

    root: Path
    folder: str
    prefix: str
    separator: str
    uri: str
    replaces: bool

    def name(self, part: str | None, ending: str) -> str:
        """Return the name of a file below ``folder``.

        Args:
            part: coordinates or number of the file; None for an export of one file.
            ending: suffix with its dot.
        """
        return f"{self.prefix}{ending}" if part is None else f"{self.prefix}{self.separator}{part}{ending}"


@dataclass(frozen=True, slots=True)
class AssetDestination:
    """The asset that a task makes.

    Attributes:
        root: the asset folder.
        overwrite: whether an asset of that id is replaced.
        uri: URI that the task reports.
    """

    root: Path
    id: str
    overwrite: bool
    uri: str


def check_request_id(text: str) -> None:
    """Check the ``requestId`` of an export: https://developers.google.com/earth-engine/reference/rest/v1/projects.image/export.

    Raises:
        InvalidError: if it is none.
    """
    if not _REQUEST_ID.fullmatch(text):
        raise InvalidError("Invalid request ID: at most 60 of the characters a..z, A..Z, 0-9 and '-' are allowed.")


def check_description(text: str) -> None:
    """Check the description of an export (https://developers.google.com/earth-engine/apidocs/export-image-todrive, and
    https://github.com/gee-community/geetools/issues/251 for the message).

    Raises:
        InvalidError: if it has other characters, or too many.
    """
    if not _DESCRIPTION.fullmatch(text):
        raise InvalidError(
            'The description must contain only the following characters: a..z, A..Z, 0..9, ".", ",", ":", ";", "_" or'
            ' "-". The description must be at most 100 characters long.'
        )


def find_destination(body: Mapping[str, Any], config: ExportConfig, task: str) -> Destination | AssetDestination:
    """Return where an export goes.

    Args:
        body: checked request.
        config: the folders of the server.
        task: id of the task, the name of files without a prefix.

    Raises:
        InvalidError: if the request names no destination, the server has no folder for it, or a name is not allowed.
    """
    manifest = body.get("imageManifest") or body.get("tableManifest")
    if manifest is not None:
        return _asset({"name": manifest.get("name"), "overwrite": body.get("overwrite")}, config.assets)
    for name, where in _ELSEWHERE.items():
        if body.get(name) is not None:
            raise InvalidError(f"The local Earth Engine does not export {where}.")
    destinations = [body[name] for name in _OPTIONS if body.get(name)]
    if len(destinations) != 1:
        raise InvalidError("Exactly one of file and asset export options must be specified.")
    options = destinations[0]
    if options.get("driveDestination") is not None:
        return _drive(options["driveDestination"], config.drive, task)
    if options.get("cloudStorageDestination") is not None:
        is_map = "tileExportOptions" in body
        return _cloud_storage(options["cloudStorageDestination"], config.buckets, task, is_map=is_map)
    if options.get("earthEngineDestination") is not None:
        return _asset(options["earthEngineDestination"], config.assets)
    raise InvalidError("The export has no destination.")


def _missing(what: str, option: str) -> InvalidError:
    return InvalidError(f"This local Earth Engine has no folder for {what}: start it with {option} DIR.")


def _drive(options: Mapping[str, Any], root: Path | None, task: str) -> Destination:
    """Folder names with separators are literal names on Drive (Export.image.toDrive); here they lose them."""
    if root is None:
        raise _missing("Google Drive", "--drive")
    folder = _plain(str(options.get("folder") or ""))
    prefix = _plain(str(options.get("filenamePrefix") or task))
    return Destination(root, folder, prefix, "-", (root / folder).absolute().as_uri(), replaces=False)


def _plain(name: str) -> str:
    """Return a name of one part, which is not hidden."""
    plain_name = _NOT_IN_NAMES.sub("_", name)
    if len(plain_name.encode("utf-8", "replace")) > _LONGEST_NAME:
        raise InvalidError(f"Invalid name: it has more than {_LONGEST_NAME} bytes: {name[:50]}….")
    return f"_{plain_name[1:]}" if plain_name.startswith(".") else plain_name


def _cloud_storage(options: Mapping[str, Any], root: Path | None, task: str, *, is_map: bool) -> Destination:
    if root is None:
        raise _missing("Cloud Storage", "--buckets")
    bucket, prefix = str(options.get("bucket") or ""), str(options.get("filenamePrefix") or task)
    if not BUCKET.fullmatch(bucket):
        raise InvalidError(f"Invalid bucket name: '{bucket[:100]}'.")
    if is_map and not prefix.endswith("/"):
        prefix += "/"
    folders, _, name = prefix.rpartition("/")
    parts = [*(folders.split("/") if folders else []), *([name] if name else [])]
    if len(prefix.encode("utf-8", "replace")) > _LONGEST_OBJECT or not all(map(_is_segment, parts)):
        raise InvalidError(
            f"Invalid object name prefix '{prefix[:100]}': parts between slashes must have 1 to {_LONGEST_NAME} bytes,"
            " without control characters, and must not begin with a dot."
        )
    folder = f"{bucket}/{folders}" if folders else bucket
    return Destination(root, folder, name, "", (root / folder).absolute().as_uri(), replaces=True)


def _is_segment(part: str) -> bool:
    is_short = 0 < len(part.encode("utf-8", "replace")) <= _LONGEST_NAME
    return is_short and not part.startswith(".") and not _NOT_IN_NAMES.search(part)


def _asset(options: Mapping[str, Any], root: Path | None) -> AssetDestination:
    if root is None:
        raise _missing("assets of clients", "--export-assets")
    name = str(options.get("name") or "")
    return AssetDestination(root, asset_id(name), bool(options.get("overwrite")), name)
