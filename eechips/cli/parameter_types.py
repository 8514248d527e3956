"""Read the values of options: names, sizes, rates, bytes, transforms."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import click


# ParamType is generic in the newest click only, and cannot be subscripted in older ones.
class Names(click.ParamType):  # type: ignore[type-arg]
    """Names separated by commas: ``R,G,B``."""

    name = "A,B,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, without the spaces around them."""
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(","))


class Size(click.ParamType):  # type: ignore[type-arg]
    """An edge, or width and height: ``256`` or ``512x256``."""

    name = "N|WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, int]:
        """Return the edge, or both."""
        if isinstance(value, (int, tuple)):
            return value
        try:
            numbers = [int(part) for part in str(value).lower().split("x")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            return numbers[0]
        if len(numbers) == 2:
            return numbers[0], numbers[1]
        return self.fail(f"{value!r} is not a number of pixels, nor WIDTHxHEIGHT", param, ctx)


class Assignment(click.ParamType):  # type: ignore[type-arg]
    """A name and a value: ``name=value``."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return the two."""
        if isinstance(value, tuple):
            return value[0], value[1]
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            return self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, text


class AffineTransform(click.ParamType):  # type: ignore[type-arg]
    """Six numbers: ``a,b,c,d,e,f``."""

    name = "A,B,C,D,E,F"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 6:
            return self.fail(
                f"{value!r} is not six numbers: x = A*column + B*row + C, y = D*column + E*row + F", param, ctx
            )
        return numbers


class _NumberOr(click.ParamType):  # type: ignore[type-arg]
    """A number, or a word."""

    words: ClassVar[Mapping[str, str | float]]
    number: Callable[[str], float]
    meaning: str

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or the value of the word."""
        if not isinstance(value, str):
            return value
        if value.lower() in self.words:
            return self.words[value.lower()]
        try:
            return self.number(value)
        except ValueError:
            return self.fail(f"{value!r} is not {self.meaning}", param, ctx)


class Slots(_NumberOr):
    """Requests in flight: ``auto`` or a number."""

    name = "auto|N"
    words: ClassVar[Mapping[str, str | float]] = {"auto": "auto"}
    number = staticmethod(int)
    meaning = "a number of requests, nor auto"


class Rate(_NumberOr):
    """Requests a second: ``auto``, ``none`` or a number."""

    name = "auto|none|N"
    words: ClassVar[Mapping[str, str | float]] = {"auto": "auto", "none": math.inf}
    number = staticmethod(float)
    meaning = "a number of requests a second, nor auto, nor none"


class Bytes(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: ``500MB``, ``2.5GB``, ``1000000``."""

    name = "N|NMB|NGB"
    _factors: ClassVar[Mapping[str, float]] = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?)B?\s*", str(value).upper())
        if found is None:
            return self.fail(f"{value!r} is not a number of bytes, such as 500MB or 2GB", param, ctx)
        return round(float(found[1]) * self._factors[found[2]])
