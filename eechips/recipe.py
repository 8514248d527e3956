"""Recipes: what to fetch, as two functions, and the small JSON units that pass between them.

A recipe is anything with the attributes of :class:`Recipe`. The built-in jobs are recipes; a Python file
with ``get_requests`` and ``get_result`` (or ``getRequests`` and ``getResult``) becomes one by
:func:`load_recipe`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast

from eechips.errors import RecipeError, UsageError

if TYPE_CHECKING:
    import ee
    import numpy as np
    import pandas as pd

    from eechips.grid import Grid
    from eechips.series import Divisible, Series
    from eechips.template import Template

ChipFormat = Literal["png", "jpg", "tif", "npy"]
TableFormat = Literal["csv", "parquet"]
Unit = dict[str, Any]
"""A work unit: ``{"kind": "point", ...}``, JSON, small enough to store a million of them."""

CHIP_FORMATS: tuple[ChipFormat, ...] = ("png", "jpg", "tif", "npy")
PICTURE_FORMATS: tuple[ChipFormat, ...] = ("png", "jpg")
"""Those that are for looking at: 8 bits, 1 or 3 bands."""
TABLE_FORMATS: tuple[TableFormat, ...] = ("csv", "parquet")
MASK_BAND = "eechips_mask"
"""The band that travels with data to say which pixels are valid (1) and which are masked (0)."""

UNIT_KINDS = frozenset({"point", "image", "region", "dates", "cell", "tile", "call"})


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN.

    Raises:
        UsageError: if the value is not JSON.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a work unit must be JSON, and this one is not ({error}): {value!r:.200}") from None


def unit_id(unit: Unit, identity: str, repeat: int = 0) -> str:
    """The id of a unit: sha256, in hexadecimal, of its canonical JSON and the recipe's identity.

    Args:
        unit: the unit.
        identity: the identity of the recipe.
        repeat: how many equal units come before this one in the plan; 0 unless the plan repeats itself.
    """
    content: dict[str, Any] = {"recipe": identity, "unit": unit}
    if repeat:
        content["repeat"] = repeat
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def as_unit(value: Any) -> Unit:
    """A value of ``get_requests`` as a unit; whatever has no known ``kind`` becomes a call.

    The inverse is :func:`unit_value`: a recipe gets back what it gave.
    """
    if isinstance(value, dict) and value.get("kind") in UNIT_KINDS and value["kind"] != "call":
        return value
    return {"kind": "call", "value": value}


def unit_value(unit: Unit) -> Any:
    """What ``get_result`` receives for a unit: the value that ``get_requests`` gave."""
    return unit["value"] if unit["kind"] == "call" else unit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Named:
    """What every kind of result may say about itself.

    Attributes:
        name: path below the output folder, without suffix; None for the name template of the run.
        sources: ids of the assets that the result was made from, if the recipe knows them.
        dates: their dates, ISO 8601.
    """

    name: str | None = None
    sources: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Chip(_Named):
    """An image to fetch.

    Either ``grid`` places every pixel, or ``region`` does together with ``dimensions`` or ``scale``.

    Attributes:
        image: what to compute; a template if chips with a grid differ only in some values.
        region: where; with ``dimensions``, or ``scale`` and perhaps ``crs``.
        dimensions: width and height in pixels.
        grid: the exact pixels; excludes region, dimensions, scale and crs.
        scale: edge of a pixel in metres.
        crs: code or WKT of the result's coordinate reference system; Earth Engine's choice if None.
        format: ``png`` or ``jpg`` for pictures (8 bits, 1 or 3 bands), ``tif`` or ``npy`` for data.
        bands: names of the bands to take, in this order; all of them if None.
        visualization: min, max, gain, bias, gamma, palette, opacity: as ``ee.Image.visualize`` takes them.
            Only for pictures.
        dtype: numpy name of the data's type, if known: what comes back is checked against it. Only for data.

    Raises:
        UsageError: if the arguments contradict each other.
    """

    image: ee.Image | Template
    region: ee.Geometry | None = None
    dimensions: tuple[int, int] | None = None
    grid: Grid | None = None
    scale: float | None = None
    crs: str | None = None
    format: ChipFormat = "png"
    bands: tuple[str, ...] | None = None
    visualization: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.format not in CHIP_FORMATS:
            raise UsageError(f"unknown chip format '{self.format}': one of {', '.join(CHIP_FORMATS)}")
        placed = (self.region, self.dimensions, self.scale, self.crs)
        if self.grid is not None and any(value is not None for value in placed):
            raise UsageError("a chip with a grid takes no region, dimensions, scale or crs: the grid says it all")
        if self.grid is None and self.region is None:
            raise UsageError("a chip needs a grid, or a region with dimensions or a scale")
        if self.grid is None and (self.dimensions is None) == (self.scale is None):
            raise UsageError("a chip with a region needs either dimensions or a scale")
        if self.dimensions is not None and (len(self.dimensions) != 2 or min(self.dimensions) < 1):
            raise UsageError(f"dimensions are (width, height), both at least 1, not {self.dimensions}")
        if self.scale is not None and not self.scale > 0:
            raise UsageError(f"the scale must be more than 0 metres, not {self.scale}")
        if self.visualization and not self.is_picture:
            raise UsageError(f"visualization makes a picture: it needs format png or jpg, not {self.format}")
        if self.bands is not None and len(set(self.bands)) != len(self.bands):
            raise UsageError(f"a band is asked for twice: {', '.join(self.bands)}")

    @property
    def is_picture(self) -> bool:
        """Whether the result is for looking at (PNG, JPEG) and not data (GeoTIFF, NPY)."""
        return self.format in PICTURE_FORMATS

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, if the request settles them."""
        return (self.grid.width, self.grid.height) if self.grid is not None else self.dimensions


@dataclass(frozen=True, slots=True, eq=False)
class Table(_Named):
    """Rows to fetch, or rows that the recipe made itself.

    Attributes:
        source: a feature collection (its properties become columns), a series, whose rows can be asked for date by
            date, a table of many places, which can be asked for some at a time, a data frame, or a list of mappings.
        columns: names and order of the columns; those of the rows, in order of appearance, if None.
            ``system:index`` and ``.geo`` name a feature's id and its geometry as GeoJSON.
        format: ``csv`` or ``parquet``.
        unpack: makes columns, by name, of the rows that were fetched, for features that hold many rows' values each:
            what they cost is counted by the feature. Excludes ``columns``.
    """

    source: ee.FeatureCollection | Series | Divisible | pd.DataFrame | Sequence[Mapping[str, Any]]
    columns: tuple[str, ...] | None = None
    format: TableFormat = "csv"
    unpack: Callable[[list[dict[str, Any]]], Mapping[str, Sequence[Any]]] | None = None

    @property
    def is_made(self) -> bool:
        """Whether the recipe has made the rows itself, so that none are to be fetched."""
        is_frame = hasattr(self.source, "to_dict") and hasattr(self.source, "columns")  # without importing pandas
        return is_frame or isinstance(self.source, (list, tuple))

    def __post_init__(self) -> None:
        if self.format not in TABLE_FORMATS:
            raise UsageError(f"unknown table format '{self.format}': one of {', '.join(TABLE_FORMATS)}")


@dataclass(frozen=True, slots=True)
class NoData:
    """A result that needs no request: the planner knew that there is no data. The unit is ``empty`` and has no file."""


Single: TypeAlias = "Chip | Table | bytes | np.ndarray[Any, Any]"
"""What becomes one file."""

Result: TypeAlias = "Single | Mapping[str, Single] | NoData | None"
"""What ``get_result`` returns: a file, several by name, none for want of data, or None if it wrote them itself."""

Redraw = Callable[[Sequence[tuple[Any, int]]], Sequence[Any]]
"""Draws other units in the place of some that turned out empty.

It is given pairs of a unit, as the plan has it, and a number from 1, and returns for each pair a unit, or None if there
is none to be had. What it returns depends on the pair alone, so that a run that was stopped goes on as if it had not
been, and no two pairs, and no unit of the plan, have the same. Called in the parent, one call at a time, in a thread of
its own.
"""


class Recipe(Protocol):
    """What the engine runs. Instances are pickled: they travel to the workers.

    A recipe may also have ``redraw``, a :data:`Redraw`, for runs that replace empty units, and ``assemble(results)``,
    which makes files of all results together: called in the parent with an ``eechips.engine.assembly.Results`` when
    every unit is settled, and again by the next run if it was stopped, a file is gone, or ``assembly``, JSON that says
    how the files are made, has changed.
    """

    @property
    def name(self) -> str:
        """Short name: ``sample``, ``timeseries``, or the stem of a script."""

    @property
    def identity(self) -> str:
        """Sha256, in hexadecimal, of everything that changes results."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON, shown in run.json and compared when a run is resumed."""

    @property
    def datasets(self) -> Sequence[str]:
        """Ids of the assets that are read, for licences and citations."""

    def get_requests(self) -> Iterable[Any]:
        """The plan: units, or small JSON values. Called once, in the parent, Earth Engine initialised."""

    def get_result(self, index: int, unit: Any) -> Result:
        """The result of one unit. Called in a worker, perhaps more than once.

        A unit may have several results, ``{"S2": Chip(...), "DEM": Chip(...)}``: a file for each, with the name of the
        unit and the key (``chips/0123abcd.S2.tif``), fetched and checked together and recorded all or none. The
        manifest has the first of them; ``layers.parquet`` has every one. If one has no valid pixel, the unit is empty.
        """


@dataclass(frozen=True, slots=True)
class _Signature:
    """The parameters of a script's function, read without running the script.

    Attributes:
        names: every parameter that can be given by name.
        defaults: defaults that are literals.
    """

    names: tuple[str, ...]
    defaults: Mapping[str, Any]

    def taken(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some parameters that the function takes."""
        return {name: value for name, value in parameters.items() if name in self.names}


class ScriptRecipe:
    """A recipe in a Python file.

    The file is parsed when the recipe is loaded and executed only when one of its functions is needed, once
    per process: a finished run can be opened without running anything. Pickling carries the source, so that
    every worker runs the text that was loaded, whatever happens to the file meanwhile.

    Attributes:
        path: the file.
        name: its stem.
        parameters: values given on the command line, converted.
        identity: sha256 of source and parameters.
        datasets: the file's ``DATASETS``, a list of asset ids, if it has one.
        imports: packages that the file imports when it is executed.
        redraw: a :data:`Redraw` if the file defines ``redraw(unit, number)``, which returns one unit, or None.
        assemble: the file's ``assemble(results)``, if it defines one.
    """

    def __init__(self, path: Path, source: str, parameters: Mapping[str, str]) -> None:
        self.path = path
        self.name = path.stem
        self._source = source
        tree = parse_script(path, source)
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self._requests_name = _find(functions, ("get_requests", "getRequests"), path)
        self._result_name = _find(functions, ("get_result", "getResult"), path)
        self._requests_signature = _signature(functions[self._requests_name], skip=0)
        self._result_signature = _signature(functions[self._result_name], skip=2)
        assembles = functions.get("assemble")
        self._assemble_signature = _signature(assembles, skip=1) if assembles is not None else None
        redraws = functions.get("redraw")
        self._redraw_signature = _signature(redraws, skip=2) if redraws is not None else None
        self.parameters = self._convert(parameters)
        self.datasets = _datasets(tree)
        self.imports = _imports(tree)
        content = {"source": source, "parameters": self.parameters}
        self.identity = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        self._namespace: dict[str, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_namespace": None}

    def get_requests(self) -> list[Any]:
        """Runs the script's ``get_requests`` with the parameters that it takes.

        Raises:
            RecipeError: if it raises, or returns no list.
        """
        function = self._function(self._requests_name)
        with RecipeErrors(self.path):
            requests = function(**self._requests_signature.taken(self.parameters))
            if requests is None:
                raise TypeError(f"{self._requests_name} returned nothing: it must return a list of JSON values")
            return list(requests)

    def get_result(self, index: int, unit: Any) -> Result:
        """Runs the script's ``get_result``; exceptions pass through, for the worker to classify."""
        function = self._function(self._result_name)
        return cast("Result", function(index, unit, **self._result_signature.taken(self.parameters)))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The parameters that the script's functions take."""
        return tuple(dict.fromkeys(name for signature in self._signatures for name in signature.names))

    @property
    def _signatures(self) -> list[_Signature]:
        found = (
            self._requests_signature, self._result_signature, self._redraw_signature, self._assemble_signature,
        )  # fmt: skip
        return [signature for signature in found if signature is not None]

    @property
    def redraw(self) -> Redraw | None:
        """What draws other units in the place of empty ones, if the script does."""
        return self._redraw if self._redraw_signature is not None else None

    @property
    def assemble(self) -> Callable[[Any], None] | None:
        """What makes files of all results together, if the script does."""
        return self._assemble if self._assemble_signature is not None else None

    def _assemble(self, results: Any) -> None:
        """Runs the script's ``assemble`` with the parameters that it takes.

        Raises:
            RecipeError: if it raises.
        """
        assert self._assemble_signature is not None
        function = self._function("assemble")
        with RecipeErrors(self.path):
            function(results, **self._assemble_signature.taken(self.parameters))

    def _redraw(self, wanted: Sequence[tuple[Any, int]]) -> list[Any]:
        """Runs the script's ``redraw`` for each pair.

        Raises:
            RecipeError: if it raises.
        """
        assert self._redraw_signature is not None
        function = self._function("redraw")
        arguments = self._redraw_signature.taken(self.parameters)
        with RecipeErrors(self.path):
            return [function(unit, number, **arguments) for unit, number in wanted]

    def _function(self, name: str) -> Callable[..., Any]:
        if self._namespace is None:
            namespace: dict[str, Any] = {"__name__": f"recipe_{self.name}", "__file__": str(self.path)}
            with RecipeErrors(self.path):
                exec(compile(self._source, str(self.path), "exec"), namespace)
            self._namespace = namespace
        return cast("Callable[..., Any]", self._namespace[name])

    def _convert(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        signatures = self._signatures
        known = {name: value for signature in reversed(signatures) for name, value in signature.defaults.items()}
        names = self.parameter_names
        unknown = [name for name in parameters if name not in names]
        if unknown:
            there = ", ".join(names) or "none"
            raise UsageError(f"{self.path} has no parameter '{unknown[0]}'; it takes: {there}")
        return {name: convert_parameter(name, text, known.get(name)) for name, text in parameters.items()}


def load_recipe(path: str | Path, parameters: Mapping[str, str] | None = None) -> ScriptRecipe:
    """Loads a recipe script without running it.

    Args:
        path: the Python file.
        parameters: values as typed (``-p name=value``); each is converted to the type of the default that
            the script's function gives it.

    Raises:
        UsageError: if the file cannot be read or parsed, lacks one of the two functions, or takes no such
            parameter.
    """
    path = Path(path)
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the recipe {path}: {reason}") from None
    return ScriptRecipe(path, source, parameters or {})


def convert_parameter(name: str, text: str, default: Any) -> Any:
    """A value from the command line as the type of a default.

    Text stays text where the default is text or unknown; lists, tuples and dicts are JSON.

    Raises:
        UsageError: if the text is no such value.
    """
    try:
        if isinstance(default, bool):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
        if isinstance(default, (list, tuple, dict)):
            return json.loads(text)
    except (KeyError, ValueError):
        raise UsageError(f"-p {name}={text}: expected a value like {default!r}") from None
    return text


class RecipeErrors:
    """Turns what a recipe's own code raises into a RecipeError that carries the traceback.

    Args:
        place: file or function, for the message.
    """

    def __init__(self, place: object) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        from eechips.errors import EechipsError

        if isinstance(error, Exception) and not isinstance(error, EechipsError):
            text = "".join(traceback.format_exception(kind, error, trace))
            raise RecipeError(f"{self._place}: {type(error).__name__}: {error}", traceback=text) from error


def parse_script(path: Path, source: str) -> ast.Module:
    """The syntax tree of a script.

    Raises:
        UsageError: if it is not Python; says where.
    """
    try:
        return ast.parse(source, filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        raise UsageError(f"{where}: not Python: {getattr(error, 'msg', error)}") from None


def _find(functions: Mapping[str, ast.FunctionDef], names: tuple[str, str], path: Path) -> str:
    for name in names:
        if name in functions:
            return name
    raise UsageError(f"{path} is no recipe: it defines no function {names[0]} (nor {names[1]})")


def _signature(node: ast.FunctionDef, skip: int) -> _Signature:
    positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    defaults: dict[str, ast.expr] = {}
    if node.args.defaults:
        defaults.update(zip(positional[-len(node.args.defaults) :], node.args.defaults, strict=True))
    keywords = [argument.arg for argument in node.args.kwonlyargs]
    defaults.update(
        {name: value for name, value in zip(keywords, node.args.kw_defaults, strict=True) if value is not None}
    )
    return _Signature((*positional[skip:], *keywords), {k: _literal(v) for k, v in defaults.items()})


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _imports(tree: ast.Module) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            found.update(dict.fromkeys(alias.name.partition(".")[0] for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found[node.module.partition(".")[0]] = None
    return tuple(found)


def _datasets(tree: ast.Module) -> tuple[str, ...]:
    """The texts in the list ``DATASETS``, and in the variables that it names."""
    values = dict(_variables(tree))
    found = values.get("DATASETS")
    if not isinstance(found, (ast.List, ast.Tuple)):
        return ()
    items = (values.get(item.id) if isinstance(item, ast.Name) else item for item in found.elts)
    return tuple(str(item.value) for item in items if isinstance(item, ast.Constant))


def _variables(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
