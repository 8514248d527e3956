"""Write run.json (command, versions, datasets, compute) and the manifest of a run, and copy them to results that are
elsewhere.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from eechips import datasets
from eechips.client import retry
from eechips.client.access.connection import ServiceTarget
from eechips.datasets.result_bands import describe_bands
from eechips.engine.config import RunConfig
from eechips.engine.costs.compute_sample import ComputeAccount
from eechips.engine.plans.changed_options import IDENTIFYING, check_same_place
from eechips.engine.plans.plan_extension import comparable
from eechips.engine.results.archive_provenance import ARCHIVES, with_archive_terms
from eechips.engine.results.result_assembly import assembly_of
from eechips.engine.run_components import RunComponents
from eechips.engine.service.session import STUBS, Session, notes_of
from eechips.errors import StorageError, TransientError
from eechips.manifest.data_source import TRAFFIC
from eechips.manifest.export import COPIED, FAILURES_NAME, LAYERS_NAME, PARQUET_NAME, export_layers, export_parquet
from eechips.manifest.extensions import CODE_CHANGES, EXTENSIONS
from eechips.manifest.failures import export_failures
from eechips.manifest.manifest_columns import State
from eechips.manifest.metadata_keys import ASSEMBLED, CHECKSUMS_ONLY, PLANS_GRADUALLY
from eechips.manifest.run import INFO_NAME
from eechips.manifest.run_signature import FOLDER, SIGNATURE, is_own, sign_run, signed_folder
from eechips.manifest.source_files import SOURCES_NAME
from eechips.manifest.sqlite.database import has_content
from eechips.manifest.sqlite.ledger import COMPUTE
from eechips.manifest.sqlite.ledger_queries import has_layers
from eechips.manifest.untrusted_run import read_info
from eechips.recipe import Recipe, SupportsCall, SupportsInteractiveRun, traits_of
from eechips.storage import ObjectStore, write_file
from eechips.storage.untrusted_files import parse_json
from eechips.text.timestamps import utc_now
from eechips.web.redaction import collect_secrets, redact, redact_json


def info_of(
    recipe: Recipe, config: RunConfig, described: Mapping[str, Any], target: ServiceTarget, notes: Sequence[str]
) -> dict[str, Any]:
    """Return the content of run.json for a run that starts.

    Args:
        described: identifies the run; see :func:`eechips.engine.plans.changed_options.describe`.
        target: service, project and workload tag; empty if there is none.
        notes: for users of the results, such as that they are synthetic.
    """
    return {
        "command": redact(config.command, collect_secrets(dict(recipe.parameters))),
        "directory": str(Path.cwd()),
        FOLDER: signed_folder(config.out),
        **{name: described[name] for name in (*IDENTIFYING, "name", CHECKSUMS_ONLY) if name in described},
        **({PLANS_GRADUALLY: True} if isinstance(recipe, SupportsInteractiveRun) else {}),
        "call": _call(recipe),
        "seed": described["parameters"].get("seed"),
        "results": config.results,
        "endpoint": target.endpoint,
        "project": target.project,
        "workload_tag": target.workload_tag or None,
        "datasets": [_dataset(identifier) for identifier in recipe.datasets],
        **({"bands": describe_bands(described["parameters"])} if traits_of(recipe).is_builtin else {}),
        "notes": list(notes),
        "versions": dict(_versions()),
        "started": utc_now(),
        "finished": None,
    }


def encode_info(info: Mapping[str, Any]) -> bytes:
    """Return the signed file, valid in the folder of the run that it names.

    Bytes of a path that are not UTF-8 become JSON escapes, and are read as they were.
    """
    signed = {**info, SIGNATURE: sign_run(info)}
    return (json.dumps(signed, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _call(recipe: Recipe) -> dict[str, Any] | None:
    """Return the command and the options that make a recipe again; None if no command does."""
    if not isinstance(recipe, SupportsCall):
        return None
    command, options = recipe.call
    return {"command": command, "options": redact_json(dict(options))}


def _dataset(identifier: str) -> dict[str, Any]:
    known = datasets.find_dataset(identifier)
    if known is None:
        return {"id": identifier}
    return {name: getattr(known, name) for name in ("id", "title", "licence", "citation", "source")}


@cache
def _versions() -> Mapping[str, str]:
    """Return versions of what this process has imported: a package that is installed later does not change them."""
    packages = ("eechips", "earthengine-api", "requests", "numpy", "rasterio", "pandas", "pyarrow")
    return MappingProxyType(
        {"python": platform.python_version(), **{package: version(package) for package in packages}}
    )


class RunRecords:
    """The files that describe a run and its results."""

    def __init__(self, components: RunComponents) -> None:
        self._components, self._config, self._ledger = components, components.config, components.ledger
        # The manifest of complete results is copied to them.
        self._remote = None if components.is_part else components.remote_store

    @property
    def is_complete(self) -> bool:
        """Return whether all manifests have been written, and copied to the results if necessary.

        A run that begins to fetch writes run.json without an end: then the manifest is that of an earlier one.
        """
        folder, names = self._config.out, (PARQUET_NAME, *([LAYERS_NAME] if has_layers(self._ledger.database) else []))
        has_manifests = all(has_content(folder / name) for name in names)
        is_written = has_manifests and bool(read_info(folder).get("finished"))
        return is_written and (self._remote is None or bool(self._ledger.meta().get(COPIED)))

    def describe(self, session: Session) -> None:
        """Write run.json of a run that starts."""
        components, target = self._components, session.connection.target
        info = info_of(components.recipe, components.config, components.described, target, session.notes)
        info["datasets"] = with_archive_terms(info["datasets"], session.archives)
        self._write_info(info)

    def note_code_changes(self) -> None:
        """Add changes of the recipe's code that run.json lacks, as they were accepted when no unit was left."""
        info = json.loads((self._config.out / INFO_NAME).read_text())
        if info.get(CODE_CHANGES) != self._ledger.meta().get(CODE_CHANGES):
            self._complete_info({})

    def export(self, *, finished: bool) -> None:
        """Write the failures, and the manifest of a finished run.

        Raises:
            RunMismatchError: if another run has its manifest in the place of this one's.
            StorageError: if something cannot be written or copied.
        """
        components, folder = self._components, self._config.out
        export_failures(self._ledger, folder)
        if not finished:
            if (folder / INFO_NAME).exists():
                self._complete_info({"compute": self._compute})
            return
        components.store.flush()
        if components.is_part:  # a part needs no manifest, and may have little memory
            return
        if self._remote is not None:
            self._ledger.note(COPIED, False)
        export_parquet(self._ledger, folder)
        export_layers(self._ledger, folder)
        self._finish_info()
        if self._remote is not None:
            self._copy_all(self._remote)

    def check_place(self) -> None:
        """Raise an error if another run has its manifest in the place of this one's.

        Raises:
            RunMismatchError: if one has.
            StorageError: if that cannot be found out.
        """
        remote = self._remote
        if remote is None:
            return
        try:
            stored = parse_json(retry.call(partial(remote.read, INFO_NAME), self._config.policy))
        except FileNotFoundError:
            return
        except TransientError as error:
            raise StorageError(f"{error}. The same command tries it again") from error
        except ValueError:
            stored = {}
        described = self._components.described
        stored = stored if isinstance(stored, dict) else {}
        if self._config.extend:  # it was written before the extension
            described, stored = comparable(self._components.recipe, described, stored)
        check_same_place(stored, described, remote.url)

    def _copy_all(self, remote: ObjectStore) -> None:
        self.check_place()  # another run may have written there meanwhile
        for name in (PARQUET_NAME, LAYERS_NAME, SOURCES_NAME, FAILURES_NAME, INFO_NAME):
            try:
                retry.call(partial(self._copy, remote, name), self._config.policy)
            except TransientError as error:
                message = f"the manifest is not beside the results yet: {error}"
                raise StorageError(f"{message.rstrip('.')}. The same command tries it again") from error
        self._ledger.note(COPIED, True)

    def _copy(self, remote: ObjectStore, name: str) -> None:
        path = self._config.out / name
        if path.exists():
            remote.upload(name, path)
        else:
            remote.remove(name)  # such as failures of units that have succeeded since

    def _finish_info(self) -> None:
        config = self._config
        if not (config.out / INFO_NAME).exists():  # lost since the run was connected
            target = ServiceTarget("" if config.is_local else config.service, config.project or "", None)
            self._write_info(
                info_of(self._components.recipe, config, self._components.described, target, notes_of(config))
            )
        counts = self._ledger.counts()
        assembly = assembly_of(self._components.recipe)
        assembly_info: dict[str, Any] = {}
        if assembly is not None:  # the assembly may be of another command than the results
            assembly_info = {"command": command_of(self._components), "assembly": assembly}
        assembled = self._ledger.meta().get(ASSEMBLED)
        assembly_info |= {ASSEMBLED: assembled} if assembled else {}
        units = {s.value: counts[s] for s in State if s in counts}
        self._complete_info({**assembly_info, "finished": utc_now(), "units": units, "compute": self._compute})

    @property
    def _compute(self) -> dict[str, Any] | None:
        """What the run has used so far; None if it is unknown."""
        stored = self._ledger.meta().get(COMPUTE) if self._ledger.has_plan else None
        return ComputeAccount.from_json(stored).summarize()

    def _complete_info(self, values: Mapping[str, Any]) -> None:
        """Write values into run.json. It stays unsigned if another user wrote it: its other values are not ours."""
        folder = self._config.out
        info = read_info(folder)
        if info and not is_own(info, folder):
            text = json.dumps({**self._with_noted(info), **values, SIGNATURE: None}, indent=2)
            write_file(folder / INFO_NAME, f"{text}\n".encode())
        else:
            self._write_info({**info, **values})

    def _write_info(self, info: Mapping[str, Any]) -> None:
        write_file(self._config.out / INFO_NAME, encode_info(self._with_noted(info)))

    def _with_noted(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Return run.json with what the ledger notes: accepted changes of the recipe's code, stubs, archives."""
        meta = self._ledger.meta() if self._ledger.has_plan else {}
        changes, stubs = meta.get(CODE_CHANGES), meta.get(STUBS)
        noted: dict[str, Any] = {CODE_CHANGES: changes} if changes else {}
        noted |= {"notes": list(notes_of(self._config, stubs))} if stubs else {}
        noted |= {EXTENSIONS: meta[EXTENSIONS]} if meta.get(EXTENSIONS) else {}
        if (archives := meta.get(ARCHIVES)) is not None:
            noted["datasets"] = with_archive_terms(info.get("datasets") or (), archives)
            noted[TRAFFIC] = meta.get(TRAFFIC)
        return {**info, **noted}


def command_of(components: RunComponents) -> str:
    """Return the command of a run, without secrets."""
    return redact(components.config.command, collect_secrets(dict(components.recipe.parameters)))
