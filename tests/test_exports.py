"""The public names: few, documented, imported when used."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import eechips


def test_the_public_names_are_these() -> None:
    assert sorted(eechips.__all__) == [
        "Chip",
        "ConfigurationError",
        "EechipsError",
        "Grid",
        "Pool",
        "Run",
        "RunConfig",
        "Series",
        "Table",
        "Template",
        "UsageError",
        "__version__",
        "card",
        "catalog",
        "check",
        "composites",
        "doctor",
        "failures",
        "images",
        "ingest",
        "join",
        "load",
        "local_earth_engine",
        "lock",
        "mosaic",
        "open_catalog",
        "open_run",
        "pack",
        "plan",
        "plot",
        "points",
        "preview",
        "rebuild",
        "report",
        "retry",
        "run",
        "sample",
        "scenes",
        "split",
        "stack",
        "stats",
        "status",
        "timeseries",
        "verify",
        "work",
    ]


@pytest.mark.parametrize("name", eechips.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(eechips, name)
    assert name in dir(eechips)
    if name != "__version__":
        assert inspect.getdoc(value)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'sampel'"):
        eechips.sampel  # noqa: B018


def test_importing_the_package_and_the_command_line_is_cheap() -> None:
    """Neither may import what takes long; `eechips --help` promises 0.3 s."""
    code = (
        "import sys, eechips, eechips.cli;"
        "print(sorted({'ee', 'numpy', 'pandas', 'rasterio', 'shapely', 'pyarrow'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("sample", {"dataset", "per_ecoregion", "roi", "size", "seed", "local", "out", "processes"}),
        ("timeseries", {"dataset", "regions", "id_field", "reducer", "multiply", "local", "out"}),
        ("run", {"recipe", "get_result", "parameters", "check", "local", "out"}),
    ],
)
def test_signatures_show_every_option(verb: str, options: set[str]) -> None:
    parameters = inspect.signature(getattr(eechips, verb)).parameters
    assert options <= set(parameters)
    takes_more = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    assert takes_more is (verb == "run")  # the parameters of the recipe
    if verb == "sample":
        assert parameters["size"].default == 256
        assert parameters["dataset"].default is inspect.Parameter.empty
