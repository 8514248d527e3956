"""Define shards, packed samples and their metadata; read and write the index of a pack, shards.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from eechips.errors import UsageError
from eechips.recipe import canonical_json
from eechips.storage import check_name, safe_component, write_file
from eechips.storage.untrusted_files import parse_json
from eechips.training.quality.chip_pixels import ChipPixels, FramePixels, decode
from eechips.training.sample import Sample
from eechips.web.redaction import redact_unit

INDEX_NAME = "shards.json"
"""The index of a pack: there when the pack is whole."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """The bytes of a file.

    Attributes:
        suffix: suffix of its name, without the dot.
    """

    suffix: str
    data: bytes

    def pixels(self) -> ChipPixels:
        """Decode the pixels; see :func:`eechips.training.quality.chip_pixels.decode`."""
        return decode(self.data, self.suffix)


@dataclass(frozen=True)
class PackEntry:
    """A sample in a shard.

    Attributes:
        id: id of the unit.
        metadata: JSON text: what is known of the sample, see :func:`metadata_of`.
        layers: its files, or their pixels, by name of the layer.
    """

    id: str
    metadata: str
    layers: Mapping[str, FileContent | ChipPixels | FramePixels]

    @cached_property
    def parsed_metadata(self) -> Mapping[str, Any]:
        """The value of the metadata."""
        parsed: Mapping[str, Any] = json.loads(self.metadata)
        return parsed


@dataclass(frozen=True, slots=True)
class PackLayer:
    """The common properties of a layer in all samples.

    Attributes:
        suffixes: suffixes of its files.
        bands: names of its bands; None if unknown, or samples differ.
        dtype: numpy name of the type of its values; None if samples differ.
        shape: bands, rows and columns, with the frames first if a file has several; None if samples differ or it was
            not decoded.
        units: units of the values of its bands by their name, as far as they are known; see
            :func:`eechips.datasets.result_bands.cf_units`.
    """

    suffixes: tuple[str, ...]
    bands: tuple[str, ...] | None = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    units: Mapping[str, str] = field(default_factory=dict)


PackLayout = Mapping[str, PackLayer]
"""The layers of a pack by name."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Samples that are packed together.

    Attributes:
        number: among the shards of the split, from 0.
        count: how many samples.
        first: number of the first of them among those of the split.
        total: samples of the split.
        stride: samples of every shard of the split but the last; 0 if shards differ.
    """

    split: str
    number: int
    count: int
    first: int
    total: int
    stride: int = 0

    @property
    def group(self) -> str:
        """Its split as a part of file names."""
        return safe_component(self.split)

    @property
    def stem(self) -> str:
        """Its name without suffix: ``train-000012``."""
        return f"{self.group}-{self.number:06d}"


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file of a pack.

    Attributes:
        name: path below the pack's folder, with forward slashes.
        bytes: size.
        sha256: SHA-256 digest of the content, hexadecimal.
    """

    name: str
    bytes: int
    sha256: str

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ShardFile:
        """Read the fields of a file.

        Raises:
            ValueError, TypeError: if they are of other types.
            UsageError: if the name leads out of the folder.
        """
        file = ShardFile(**value)
        if not isinstance(file.name, str) or not _is_count(file.bytes) or not isinstance(file.sha256, str):
            raise ValueError(f"{json.dumps(value):.200} is no file")
        check_name(file.name)
        return file


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True, slots=True)
class StoredShard:
    """A shard that is complete.

    Attributes:
        shard: what it is.
        files: what it consists of: one file, or in Zarr one for every array.
    """

    shard: Shard
    files: tuple[ShardFile, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        return {**asdict(self.shard), "files": [asdict(file) for file in self.files]}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> StoredShard:
        """Read the value that :meth:`to_json` made."""
        own = dict(value)
        files = tuple(map(ShardFile.from_json, own.pop("files")))
        shard = Shard(**own)
        if not isinstance(shard.split, str) or not all(_is_count(own[name]) for name in own if name != "split"):
            raise ValueError(f"{json.dumps(own):.200} is no shard")
        return StoredShard(shard, files)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackIndex:
    """The index of a pack.

    Attributes:
        format: a name in :data:`eechips.training.formats.PACK_FORMATS`.
        seed: seed of the order of the samples.
        shard_count: samples of a shard at most.
        shard_bytes: bytes of a shard at most.
        selected: splits that were asked for; none for all.
        identity: sha256 of what is in which shard.
        samples: how many.
        left_out: samples of the run that are in no shard, by their split.
        layers: what each has.
        fields: values of the units' fields, sorted; of those that have :data:`MOST_VALUES` at most.
        run: recipe, command, datasets with licence and citation, and notes of the run.
        shards: all of them, by split and number.
        files: beside the shards.
    """

    format: str
    seed: int
    shard_count: int
    shard_bytes: int
    selected: tuple[str, ...]
    identity: str
    samples: int
    left_out: Mapping[str, int]
    layers: PackLayout
    fields: Mapping[str, tuple[Any, ...]]
    run: Mapping[str, Any]
    shards: tuple[StoredShard, ...] = ()
    files: tuple[ShardFile, ...] = ()

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        return f"<eechips pack, {self.format}: {counts} in {len(self.shards)} shards>"

    @property
    def splits(self) -> dict[str, int]:
        """Samples of each split."""
        counts: dict[str, int] = {}
        for stored in self.shards:
            counts[stored.shard.split] = counts.get(stored.shard.split, 0) + stored.shard.count
        return counts

    @property
    def bytes(self) -> int:
        """The size of all files in bytes."""
        return sum(file.bytes for file in self.files) + sum(f.bytes for stored in self.shards for f in stored.files)

    def write(self, folder: Path) -> None:
        """Write shards.json, whole or not at all.

        Raises:
            StorageError: if it cannot be written.
        """
        value = {
            **{name: getattr(self, name) for name in self.__slots__},
            "layers": {name: asdict(layer) for name, layer in self.layers.items()},
            "shards": [stored.to_json() for stored in self.shards],
            "files": [asdict(file) for file in self.files],
        }
        write_file(folder / INDEX_NAME, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


_KINDS = {"format": str, "seed": int, "identity": str, "left_out": dict, "run": dict}


def read_index(folder: str | Path) -> PackIndex:
    """Return the index of a pack.

    Raises:
        UsageError: if the folder holds none that is whole.
    """
    path = Path(folder) / INDEX_NAME
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        value = parse_json(path.read_bytes())
        value["layers"] = {
            name: PackLayer(
                tuple(layer["suffixes"]),
                tuple(layer["bands"]) if layer["bands"] is not None else None,
                layer["dtype"],
                tuple(layer["shape"]) if layer["shape"] is not None else None,
                {str(band): str(units) for band, units in layer.get("units", {}).items()},
            )
            for name, layer in value["layers"].items()
        }
        value["selected"] = tuple(value["selected"])
        value["fields"] = {name: tuple(values) for name, values in value["fields"].items()}
        value["shards"] = tuple(StoredShard.from_json(shard) for shard in value["shards"])
        value["files"] = tuple(map(ShardFile.from_json, value["files"]))
        wrong = [name for name, kind in _KINDS.items() if not isinstance(value[name], kind)]
        if wrong or not all(_is_count(value[name]) for name in ("shard_count", "shard_bytes", "samples")):
            raise ValueError(f"{', '.join(wrong) or 'a number'} is of another type")
        if any(isinstance(field_value, (list, dict)) for values in value["fields"].values() for field_value in values):
            raise ValueError("a field has values of other types")
        count = sum(stored.shard.count for stored in value["shards"])
        if count != value["samples"]:
            raise ValueError(f"its shards have {count:,} samples instead of {value['samples']:,}")
        return PackIndex(**value)
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no complete pack: {INDEX_NAME} is missing (eechips pack writes it)") from None
    except (ValueError, LookupError, TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"{path} is not an index of a pack: {error}") from None


MOST_VALUES = 1000
"""Values of a field that are listed in the index."""


def metadata_of(sample: Sample) -> str:
    """Return the metadata of a sample as JSON, independent of the run's location.

    Keys: id, split, stratum, state, valid_fraction, sources, dates, flags, unit (as the recipe planned it), and
    ``layers`` with file, bytes, sha256, bands, dtype, width, height, crs, transform, valid_fraction, rows, sources and
    dates of each. Unknown values are left out. Lists of different types in the unit are JSON texts, for readers that
    use Arrow, such as that of Hugging Face.
    """
    layers = {}
    for file in sample.files:
        facts = {name: getattr(file, name) for name in file.__slots__ if name not in ("layer", "name")}
        layers[file.label] = _known({"file": file.name, **facts})
    values = {
        "id": sample.id,
        "split": sample.split,
        "stratum": sample.stratum,
        "state": sample.state,
        "valid_fraction": sample.valid_fraction,
        "sources": sample.sources,
        "dates": sample.dates,
        "flags": sample.flags,
        "unit": _uniform(redact_unit(sample.unit)),
        "layers": layers,
    }
    return canonical_json(_known(values))


def _uniform(value: Any) -> Any:
    """Return a value in which lists for which Arrow has no type, as of numbers and texts, are JSON texts."""
    if isinstance(value, Mapping):
        return {name: _uniform(item) for name, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    items = [_uniform(item) for item in value]
    try:
        pa.array(items)
    except (pa.ArrowException, OverflowError):
        return canonical_json(value)
    return items


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != ()}
