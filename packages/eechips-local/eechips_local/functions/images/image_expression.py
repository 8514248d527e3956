"""``Image.parseExpression``: an algorithm made from an arithmetic expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eechips_local.evaluation.type_conversion import promote
from eechips_local.functions.images.image_bands import choose
from eechips_local.functions.images.image_math import (
    BINARY_NAMES,
    CAST_TYPES,
    UNARY_NAMES,
    binary,
    binary_named,
    cast_image,
    matched,
    spread,
    unary_named,
)
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels
from eechips_local.pixels.pixelwise_rasters import PerPixel, both, constant_image, expanded
from eechips_local.pixels.types import BOOLEAN, fixed, union_type
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.formula import Bands, Formula, FormulaCall, Number, Term, Variable, parse, variables
from eechips_local.values.values import Value

_OPERATORS: Mapping[str, str] = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "mod", "**": "pow", "==": "eq", "!=": "neq",
    "<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "&&": "and", "||": "or", "&": "bitwiseAnd", "|": "bitwiseOr",
    "<<": "leftShift", ">>": "rightShift", "!": "not", "~": "bitwiseNot",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageAlgorithm:
    """Result of ``Image.parseExpression``: a function of images.

    Attributes:
        formula: what it computes.
        default: the name of the default image's argument.
        arguments: names of all arguments, in order.
        free: whether names that are no argument mean bands of the default image.
    """

    formula: Formula
    default: str
    arguments: tuple[str, ...]
    free: bool

    def __call__(self, *values: Value) -> Image:
        """Compute the expression of images in the order of the arguments."""
        if len(values) != len(self.arguments):
            raise InvalidError(f"The expression takes {len(self.arguments)} images, not {len(values)}.")
        return self.by_name(dict(zip(self.arguments, values, strict=True)))

    def by_name(self, values: Mapping[str, Value]) -> Image:
        """Compute the expression of images by the names of the arguments."""
        unknown = sorted(values.keys() - set(self.arguments))
        if unknown:
            raise InvalidError(f"Unrecognized argument '{unknown[0]}'.")
        images = {
            name: promote(value, "Image", f"Image.parseExpression, argument '{name}'") for name, value in values.items()
        }
        result = _FormulaEvaluation(self, images).image(self.formula.term)
        if self.formula.target is None:
            return result
        if len(result.bands) != 1:
            raise InvalidError(
                f"Only a single band can be named '{self.formula.target}'; the result has {len(result.bands)}."
            )
        return result.with_bands([replace(result.bands[0], name=self.formula.target)])


@dataclass(frozen=True, slots=True)
class _FormulaEvaluation:
    """One call of an algorithm."""

    algorithm: ImageAlgorithm
    images: Mapping[str, Image]

    def image(self, term: Term) -> Image:
        if isinstance(term, Number):
            return constant_image([term.value])
        if isinstance(term, Variable):
            if term.name not in self.images and self.algorithm.free:
                return self._select(self.algorithm.default, (term.name,))
            return self._argument(term.name)
        if isinstance(term, Bands):
            return self._select(self.algorithm.default if term.image is None else term.image, term.selectors)
        return _computed(term, [self.image(operand) for operand in term.operands])

    def _argument(self, name: str) -> Image:
        if name not in self.images:
            raise InvalidError(f"The expression's variable '{name}' is not defined.")
        return self.images[name]

    def _select(self, name: str, selectors: Sequence[int | str]) -> Image:
        image = self._argument(name)
        return image.with_bands(choose(image, selectors)) if selectors else image


def _computed(operation: FormulaCall, operands: Sequence[Image]) -> Image:
    name = operation.name
    if name == "?:":
        return _choice(*operands)
    if name == "negate":
        return binary_named("multiply", operands[0], constant_image([-1]))
    if name == "^":
        first, second = operands
        return binary(first, second, lambda a, b: ((a != 0) ^ (b != 0)).astype(np.int64), fixed(BOOLEAN))
    known = name if operation.function else _OPERATORS[name]
    if known in BINARY_NAMES and len(operands) == 2:
        return binary_named(known, *operands)
    if known in UNARY_NAMES and len(operands) == 1:
        return unary_named(known, operands[0])
    if known in CAST_TYPES and len(operands) == 1:
        return cast_image(operands[0], CAST_TYPES[known])
    raise InvalidError(f"The function '{name}' of {len(operands)} arguments is not known in expressions.")


def _choice(condition: Image, first: Image, second: Image) -> Image:
    """Return one of two images at each pixel; the mask is that of the condition and of the one chosen."""
    pairs = matched(first, second)
    conditions = spread(condition, len(pairs), "condition")
    raster = PerPixel(tuple((c, a, b) for c, (a, b) in zip(conditions, pairs, strict=True)), (_chosen,) * len(pairs))
    longer = first if len(first.bands) >= len(second.bands) else second
    bands = []
    for index, (test, (a, b), named) in enumerate(zip(conditions, pairs, longer.bands, strict=True)):
        leader = next((band for band in (a, b, test) if band.fixed), a)
        kind = union_type(a.type, b.type)
        bands.append(ImageBand(named.name, kind, leader.projection, raster, index, leader.extent, leader.fixed))
    bounded = next((i for i in (first, second, condition) if any(b.fixed for b in i.bands)), first)
    return bounded.computed(bands)


def _chosen(pixels: Sequence[Pixels]) -> Pixels:
    test, first, second = pixels
    yes = test.values != 0
    dimensions = max(first.values.ndim, second.values.ndim)
    values = np.where(
        expanded(yes, dimensions), expanded(first.values, dimensions), expanded(second.values, dimensions)
    )
    return Pixels(values, both(test.mask, np.where(yes, first.mask, second.mask)))


@function("Image.parseExpression")
def parse_expression(
    expression: str, argName: str, vars: list[str], mapFreeVarsToDefaultImageBands: bool
) -> ImageAlgorithm:
    """Return the algorithm of an expression, whose variables must be among its arguments."""
    formula = parse(expression)
    if not mapFreeVarsToDefaultImageBands:
        for name in variables(formula.term):
            wanted = argName if name is None else name
            if wanted not in vars:
                raise InvalidError(f"The expression's variable '{wanted}' is not among the parameters {vars}.")
    return ImageAlgorithm(formula, argName, tuple(vars), mapFreeVarsToDefaultImageBands)
