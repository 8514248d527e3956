"""The public names: few, documented, imported when used."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest

import eechips
from tests.docs.pages import read_page
from tests.support.programs import run_program

STUB = Path(eechips.__file__).with_suffix(".pyi")


def test_stub_and_reference_have_the_public_names() -> None:
    stub = ast.parse(STUB.read_text(encoding="utf-8"))
    imports = [each for each in stub.body if isinstance(each, ast.ImportFrom)]
    assert len(imports) == len(stub.body)
    assert not any((each.module or "").startswith("cli") for each in imports), "functions stand below the command line"
    names = [alias.name for each in imports for alias in each.names]
    # Type checkers take only a name that is imported under an alias of itself for public.
    assert names == [alias.asname for each in imports for alias in each.names]
    assert sorted(names) == eechips.__all__
    documented = re.findall(r"^::: eechips\.(\w+)$", read_page("reference/python.md"), re.MULTILINE)
    assert sorted(["__version__", *documented]) == eechips.__all__


def test_every_name_is_there_and_documented() -> None:
    assert set(eechips.__all__) <= set(dir(eechips))
    documented = [name for name in eechips.__all__ if inspect.getdoc(getattr(eechips, name))]
    assert sorted({*documented, "__version__"}) == sorted(eechips.__all__)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="sampel"):
        eechips.sampel  # noqa: B018


def test_importing_the_package_and_the_command_line_is_cheap() -> None:
    """Neither may import what takes long; `eechips --help` promises 0.3 s."""
    code = (
        "import sys, eechips, eechips.cli;"
        "print(sorted({'ee', 'numpy', 'pandas', 'rasterio', 'shapely', 'pyarrow'} & set(sys.modules)))"
    )
    found = run_program(sys.executable, "-c", code, status=0)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("sample", {"dataset", "per_ecoregion", "roi", "size", "seed", "local", "out", "executor"}),
        ("timeseries", {"dataset", "regions", "columns", "reducer", "multiply", "local", "out"}),
        ("run", {"recipe", "get_result", "parameters", "check", "local", "out"}),
    ],
)
def test_signatures_show_every_option(verb: str, options: set[str]) -> None:
    parameters = inspect.signature(getattr(eechips, verb)).parameters
    assert options <= set(parameters)
    takes_more = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    assert takes_more is (verb == "run")  # the parameters of the recipe
    if verb == "sample":
        assert parameters["seed"].default == 0
        assert parameters["dataset"].default is inspect.Parameter.empty


@pytest.mark.slow
def test_type_checkers_see_what_functions_of_a_dataset_return(tmp_path: Path) -> None:
    script, lines, types = tmp_path / "script.py", ["import eechips"], []
    for verb in ("composites", "features", "images", "mosaic", "points", "sample", "timeseries"):
        places = ', points="points.csv"' if verb == "points" else ""
        lines += [f'reveal_type(eechips.{verb}("A"{places}{option}))' for option in (', mask="auto"', ", dry_run=True")]
        lines.append(f"reveal_type(eechips.{verb}.__name__)")
        types += ["Run", "Estimate", "str"]
    script.write_text("\n".join(lines))
    command = (sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", script)
    checked = run_program(*command, status=0, cwd=tmp_path)
    assert re.findall(r'"(?:\w+\.)*(\w+)"$', checked.stdout, re.MULTILINE) == types
