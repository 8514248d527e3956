"""Define what a lockfile says of a run, its inputs, assets, units and files; refuse another version of its format, and
values of other types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from eechips.errors import UsageError
from eechips.lockfile.content_hashes import ContentHashes, content_hashes_from_json
from eechips.manifest.extensions import EXTENSIONS, PlanPart
from eechips.manifest.manifest_columns import LISTS, State
from eechips.manifest.reserved_names import result_name
from eechips.recipe import canonical_json
from eechips.recipe.asset_version import AssetVersion
from eechips.storage.untrusted_files import parse_json

FORMAT = 5
_NEWER = "install a newer eechips"
_MOST_INPUTS = 256
_MOST_VERSION = 1 << 63
_DIGITS = frozenset("0123456789abcdef")
_HELD = (State.DONE, State.EMPTY)


@dataclass(frozen=True, slots=True)
class LockedInput:
    """A file that the command reads.

    Attributes:
        option: option that names it.
        path: its value.
        sha256: SHA-256 digest of its content, hexadecimal.
    """

    option: str
    path: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A result.

    Attributes:
        file: path below the folder of the run.
        bytes: size.
        sha256: SHA-256 digest of the content, hexadecimal.
        layer: its name among the files of the unit; empty if there is one.
        metadata: bands, dtype, crs, transform, sources and dates, as far as they are known.
        hashes: hashes of its content, in small parts; None for kinds of files without.
    """

    file: str
    bytes: int
    sha256: str
    layer: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    hashes: ContentHashes | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        content: dict[str, Any] = {"file": self.file, "bytes": self.bytes, "sha256": self.sha256}
        if self.layer:
            content["layer"] = self.layer
        content |= {name: value for name, value in self.metadata.items() if value is not None}
        return content if self.hashes is None else {**content, "hashes": self.hashes.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> LockedFile:
        """Read a file of :meth:`to_json`.

        Raises:
            ValueError, KeyError, TypeError: if it is none.
            UsageError: if its path leads out of the folder.
        """
        rest = dict(value)
        file, size, digest = (rest.pop(name) for name in ("file", "bytes", "sha256"))
        layer, hashes = rest.pop("layer", ""), rest.pop("hashes", None)
        if not isinstance(file, str) or type(size) is not int or not 0 <= size < 1 << 53 or not isinstance(layer, str):
            raise ValueError("a file has values of other types")
        for name in LISTS & rest.keys():
            if not isinstance(rest[name], (list, type(None))):
                raise ValueError(f"{name} of a file is no list")
        return cls(result_name(file), size, _digest(digest), layer, rest, content_hashes_from_json(hashes))


@dataclass(frozen=True, slots=True)
class LockedAsset:
    """An asset that results show.

    Attributes:
        version: when the lockfile was written; of an asset that has changed since its results were fetched, or is gone,
            it is unknown.
    """

    id: str
    version: AssetVersion

    def to_line(self) -> str:
        """Return the asset as a line of JSON."""
        known = {name: value for name, value in asdict(self.version).items() if value is not None}
        return json.dumps({"id": self.id, **known}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: bytes) -> LockedAsset:
        """Read a line of :meth:`to_line`; raise ValueError, KeyError or TypeError if it is none."""
        content = parse_json(line)
        name, version, updated = content["id"], content.get("version"), content.get("updated")
        etags = None if content.get("etags") is None else _digest(content["etags"])
        is_number = version is None or (type(version) is int and 0 <= version < _MOST_VERSION)
        if not isinstance(name, str) or not isinstance(updated, (str, type(None))) or not is_number:
            raise ValueError("it has values of other types")
        return cls(name, AssetVersion(version, updated, etags))


@dataclass(frozen=True, slots=True)
class LockedUnit:
    """A unit and its results.

    Attributes:
        position: in the plan.
        id: hexadecimal.
        unit: canonical JSON.
        name: name of its results, without suffix.
        state: ``done`` or ``empty``.
        finished: time at which it was fetched, ISO 8601; None if it is unknown.
        files: its results, the first one first; none for an empty unit whose file was not kept.
        expression: SHA-256 of what its results request, hexadecimal; None if it is unknown.
    """

    position: int
    id: str
    unit: str
    name: str
    state: State
    finished: str | None
    files: tuple[LockedFile, ...]
    expression: str | None = None

    def to_line(self) -> str:
        """Return the unit as a line of JSON."""
        content = {
            "position": self.position,
            "id": self.id,
            "unit": json.loads(self.unit),
            "name": self.name,
            "state": self.state.value,
            "finished": self.finished,
            "expression": self.expression,
            "files": [file.to_json() for file in self.files],
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: bytes) -> LockedUnit:
        """Read a line of :meth:`to_line`.

        Raises:
            ValueError, KeyError, TypeError: if it is none.
            UsageError: if a name leads out of the folder.
        """
        content = parse_json(line)
        position, name, finished = content["position"], content["name"], content["finished"]
        state, expression = State(content["state"]), content["expression"]
        if type(position) is not int or not 0 <= position < 1 << 53 or state not in _HELD:
            raise ValueError("it has no place in a plan")
        is_typed = isinstance(content["unit"], dict) and isinstance(name, str)
        if not is_typed or not isinstance(finished, (str, type(None))):
            raise ValueError("it has values of other types")
        files = tuple(map(LockedFile.from_json, content["files"]))
        return cls(
            position,
            _digest(content["id"]),
            canonical_json(content["unit"]),
            result_name(name),
            state,
            finished,
            files,
            None if expression is None else _digest(expression),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHeader:
    """What a lockfile says of the run as a whole.

    Attributes:
        command: command that fetches, such as ``sample``.
        options: options of the command, as JSON values by name.
        inputs: files that the command reads.
        identity: identity of the recipe: what determines a result besides its unit.
        source: where requests went: the endpoint, or a name of the local Earth Engine's data.
        datasets: id, licence and citation of each dataset.
        versions: versions of the software, by name.
        started: start time of the run, ISO 8601.
        finished: end time of the run, ISO 8601.
        assets: number of those that results show.
        bytes: number of bytes of all files.
        left_out: units of the run that failed or were dropped, and are not in the lockfile.
        assembled: files made of all results.
        extensions: the plans of a run that was extended, without their commands; none for other runs.
        signature: signature of :meth:`signed`, by the user who wrote the lockfile; None without one.
    """

    command: str
    options: Mapping[str, Any]
    inputs: tuple[LockedInput, ...]
    recipe: str
    identity: str
    source: str
    datasets: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, Any]
    started: str | None
    finished: str | None
    assets: int
    units: int
    files: int
    bytes: int
    left_out: int
    assembled: tuple[LockedFile, ...] = ()
    extensions: tuple[PlanPart, ...] = ()
    signature: str | None = None

    def signed(self, lists: Mapping[str, str]) -> dict[str, Any]:
        """Return what the signature covers: the header, with the SHA-256 of the lists of assets and units by name."""
        return {**self.to_json(), "signature": None, "lists": dict(lists)}

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        content = {declared.name: getattr(self, declared.name) for declared in fields(self)}
        content["inputs"] = [asdict(locked_input) for locked_input in self.inputs]
        content["datasets"] = list(self.datasets)
        content["assembled"] = [file.to_json() for file in self.assembled]
        content[EXTENSIONS] = list(map(asdict, self.extensions))
        return {"lockfile": FORMAT, **content}

    @classmethod
    def from_json(cls, value: Any) -> LockHeader:
        """Read the content of ``lock.json``.

        Raises:
            ValueError, KeyError, TypeError: if it is something else.
            UsageError: if another version wrote it.
        """
        version = value["lockfile"]
        if version != FORMAT:
            is_older = isinstance(version, int) and version < FORMAT
            cure = "use the eechips that wrote it, or write it anew by `eechips lock`" if is_older else _NEWER
            raise UsageError(f"it has format {version!r}, and this eechips reads {FORMAT}: {cure}")
        content = {declared.name: value[declared.name] for declared in fields(cls)}
        for declared in fields(cls):
            one = content[declared.name]
            if not isinstance(one, _json_type(str(declared.type))) or isinstance(one, bool):
                raise ValueError(f"{declared.name} is {json.dumps(one)[:60]}")
        content["inputs"] = tuple(map(_input, value["inputs"]))
        content["datasets"] = tuple(map(_dataset, value["datasets"]))
        content["assembled"] = tuple(map(LockedFile.from_json, value["assembled"]))
        content["identity"] = _digest(value["identity"])
        content[EXTENSIONS] = tuple(map(_plan_part, value[EXTENSIONS]))
        if len(content["inputs"]) > _MOST_INPUTS:
            raise ValueError(f"it has {len(content['inputs']):,} files to read")
        return cls(**content)


def _json_type(annotation: str) -> type | tuple[type, ...]:
    """Return what JSON has for an attribute of the header."""
    plain: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "str | None": (str, type(None))}
    return plain.get(annotation) or (dict if annotation.startswith("Mapping[") else list)


def _input(value: Any) -> LockedInput:
    locked = LockedInput(**value)
    if not all(isinstance(text, str) for text in asdict(locked).values()):
        raise ValueError("a file to read has values of other types")
    if not locked.name or "/" in locked.name or "\0" in locked.name or locked.name in (".", ".."):
        raise ValueError(f"{locked.name!r} is not a name of a file")
    _digest(locked.sha256)
    return locked


def _plan_part(value: Any) -> PlanPart:
    if not isinstance(value, dict) or not isinstance(value.get("parameters"), dict):
        raise ValueError("an extension has values of other types")
    return PlanPart.from_json(value)


def _dataset(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(text, (str, type(None))) for text in value.values()):
        raise ValueError("a dataset has values of other types")
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not _DIGITS.issuperset(value):
        raise ValueError(f"{value!r:.80} is no SHA-256")
    return value
