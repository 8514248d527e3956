"""Find datasets by short name, asset id or record file, search them, and suggest similar names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from eechips.datasets.dataset import Dataset
from eechips.datasets.record_reader import MOST_BYTES, SUFFIX, RecordNames, parse_names, parse_record
from eechips.errors import UsageError
from eechips.registry import Registry

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_RECORDS = "eechips.datasets.records"
_NOT_FOUND = 3  # rank, after those of the three texts that are searched


class DatasetRegistry(Registry[Dataset]):
    """The datasets of eechips, and those of other packages: each a TOML file of a package.

    A package declares its file as an entry point, ``SNOW = "my_package:snow.toml"``.
    """

    def __init__(self) -> None:
        names = sorted(file.name for file in files(_RECORDS).iterdir() if file.name.endswith(SUFFIX))
        super().__init__(
            "dataset", "eechips.datasets", {name.removesuffix(SUFFIX).upper(): f"{_RECORDS}:{name}" for name in names}
        )

    def load(self, point: metadata.EntryPoint) -> Dataset:
        """Return the dataset that an entry point declares.

        Raises:
            UsageError: if the file has an error, or there is none.
            ImportError: if there is no such package.
        """
        return parse_record(*_read_resource(point))

    def find_names(self, name: str) -> RecordNames:
        """Return the names of the dataset that is declared under one.

        Raises:
            ConfigurationError: if the record of another package cannot be used.
        """
        own = self._own.get(name)
        if own is not None:
            return parse_names(*_read_resource(own))
        dataset = self.get(name)
        return RecordNames(dataset.alias, dataset.synonyms, dataset.id)


DATASETS = DatasetRegistry()
"""Every dataset with a short name, in the order in which ``eechips datasets`` lists them."""


ECOREGIONS = "RESOLVE/ECOREGIONS/2017"
"""RESOLVE Ecoregions 2017, CC-BY-4.0, Dinerstein et al., https://doi.org/10.1093/biosci/bix014."""


@cache
def list_datasets() -> tuple[Dataset, ...]:
    """Return the records of all datasets: those of eechips, then those of other packages.

    Raises:
        ConfigurationError: if the record of another package cannot be used.
    """
    return tuple(DATASETS.get(name) for name in DATASETS.names)


def find_dataset(name: str) -> Dataset | None:
    """Find a dataset.

    Args:
        name: a short name or synonym in any case, also with blanks or hyphens ("NAIP", "Sentinel 2"), an asset id
            ("USDA/NAIP/DOQQ"), or the path of a record ("fields.toml").

    Returns:
        The record; None for an asset id without one. Datasets of eechips come before those of other packages.

    Raises:
        UsageError: if the file cannot be read, or is no record.
        ConfigurationError: if the record of another package cannot be used.
    """
    if is_record_file(name):
        return read_dataset(Path(name).expanduser())
    declared = _names_of_datasets()
    key = declared.get(name) or declared.get(_fold(name))
    return DATASETS.get(key) if key else None


def search_datasets(words: str) -> tuple[Dataset, ...]:
    """Return the datasets that have all of some words, as parts of words and in any case.

    Args:
        words: to look for in short names, id, title, provider, and names and descriptions of bands.

    Returns:
        Those that have them in their names first, then those that have them in title or provider.
    """
    wanted = words.lower().split()
    ranked = [(_rank(dataset, wanted), dataset) for dataset in list_datasets()]
    return tuple(dataset for rank, dataset in sorted(ranked, key=lambda pair: pair[0]) if rank < _NOT_FOUND)


def _rank(dataset: Dataset, words: Sequence[str]) -> int:
    """Return which of the texts of a dataset, each longer than the one before, is the first to have all words."""
    names = " ".join((*dataset.names, dataset.id))
    titles = f"{names} {dataset.title} {dataset.provider}"
    bands = [text for band in dataset.bands for text in (band.name, band.description, *band.common_names)]
    texts = [text.lower() for text in (names, titles, " ".join((titles, *bands)))]
    return next((rank for rank, text in enumerate(texts) if all(word in text for word in words)), _NOT_FOUND)


def is_record_file(name: str) -> bool:
    """Return whether a name is the path of a record, not a short name or an asset id."""
    return name.lower().endswith(SUFFIX)


def read_dataset(path: Path) -> Dataset:
    """Read the record of a dataset, a TOML file.

    Raises:
        UsageError: if the file cannot be read, or is no record; it names the key, and what is expected there.
    """
    return parse_record(_read_text(path, str(path)), str(path))


def suggest_datasets(name: str, is_served: Callable[[str], bool] = lambda _: True) -> str:
    """Suggest the datasets most like an unknown name.

    Args:
        name: which no dataset has; or a known id that the service does not have.
        is_served: whether the service has the dataset of an id.

    Returns:
        The end of a message: ``"; did you mean NAIP?"``, or an empty string if none is like it.
    """
    known = {text.lower(): names.alias for names in _list_names().values() for text in (names.alias, *names.synonyms)}
    known |= {names.id.lower(): names.id for names in _list_names().values()}
    successors = [text for text in known if "/" in name and text.startswith(name.lower())]  # S2_SR_HARMONIZED of S2_SR
    matches = [*successors, *difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)]
    named = list(dict.fromkeys(known[match] for match in matches if known[match] != name))[:3]
    ids = {names.alias: names.id for names in _list_names().values()}
    alike = [text for text in named if is_served(ids.get(text, text))]
    return f"; did you mean {' or '.join(alike)}?" if alike else ""


@cache
def _list_names() -> dict[str, RecordNames]:
    """Return the names of all datasets by the name that declares them."""
    return {name: DATASETS.find_names(name) for name in DATASETS.names}


@cache
def _names_of_datasets() -> dict[str, str]:
    """Return the name that declares a dataset by each of its names: its id, and short names as they are compared."""
    declared_by_name: dict[str, str] = {}
    for declared, names in _list_names().items():
        for name in (*map(_fold, (names.alias, *names.synonyms)), names.id):
            declared_by_name.setdefault(name, declared)
    return declared_by_name


def _fold(name: str) -> str:
    """Return a short name as names are compared: in upper case, without blanks, hyphens and underscores."""
    return "".join(letter for letter in name.upper() if letter not in " -_")


def _read_resource(point: metadata.EntryPoint) -> tuple[str, str]:
    """Return the text and the name of the file of an entry point."""
    if not point.attr.endswith(SUFFIX):
        raise UsageError(f"{point.value} must name a TOML file of a package, such as my_package:snow{SUFFIX}")
    return _read_text(files(point.module) / point.attr, point.attr), point.attr


def _read_text(file: Traversable | Path, name: str) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UsageError(f"{name} has more than {MOST_BYTES >> 20} MiB: this is not a record of a dataset")
        return content.decode()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"there is no file {name}") from None
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text") from None
