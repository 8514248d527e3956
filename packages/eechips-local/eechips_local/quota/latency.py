"""Draw the extra seconds of responses (``--latency``), by the kind of request and the size of its pixels."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Lognormal:
    """A distribution of seconds.

    Attributes:
        median: seconds.
        sigma: standard deviation of the logarithm; 0 for always the median.
    """

    median: float
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.median < math.inf and 0 <= self.sigma < math.inf):
            raise ValueError("the median must be positive, and sigma not negative")

    @classmethod
    def parse(cls, text: str) -> Lognormal:
        """Create it from "lognormal:MEDIAN,SIGMA" in seconds, or a plain number of seconds.

        Raises:
            ValueError: for any other text.
        """
        name, _, numbers = text.strip().partition(":")
        if not numbers:
            return cls(float(name))
        if name != "lognormal":
            raise ValueError(f"Unknown distribution: {name!r}; use lognormal:MEDIAN,SIGMA.")
        median, sigma = (float(n) for n in numbers.split(","))
        return cls(median, sigma)

    def __str__(self) -> str:
        return f"lognormal:{self.median:g},{self.sigma:g}" if self.sigma else f"{self.median:g}"


@dataclass(frozen=True, slots=True)
class SizeTerm:
    """Seconds that grow with the size of the pixels that a response has.

    Attributes:
        seconds: for a megapixel (2^20 pixels), a band, or a megabyte (2^20 bytes of the body).
        unit: ``mp``, ``band`` or ``mb``.
        exponent: exponent of the number of megapixels.
    """

    seconds: float
    unit: str
    exponent: float = 1.0

    @classmethod
    def parse(cls, text: str) -> SizeTerm:
        """Create it from "4mp" (4 s for each megapixel), "60mp^2", "0.2band" or "0.1mb".

        Raises:
            ValueError: for any other text.
        """
        match = _SIZE_TERM.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"unknown term {text!r}: use seconds for each megapixel, band or megabyte: 4mp, 60mp^2, 0.2band, 0.1mb"
            )
        seconds, unit, exponent = match.groups()
        return cls(float(seconds), unit or "mp", float(exponent or 1))

    def of(self, pixels: int, bands: int, length: int) -> float:
        """Return the seconds of a response, whose body has a length in bytes."""
        sizes = {"mp": math.pow(pixels / (1 << 20), self.exponent), "band": bands, "mb": length / (1 << 20)}
        return self.seconds * sizes[self.unit]

    def __str__(self) -> str:
        return f"{self.seconds:g}{self.unit}" + ("" if self.exponent == 1 else f"^{self.exponent:g}")


_SIZE_TERM = re.compile(r"(\d+(?:\.\d+)?)(?:(band|mb)|mp(?:\^(\d+(?:\.\d+)?))?)")


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds before a response.

    Attributes:
        base: seconds of every request.
        terms: seconds by the size of a response with pixels.
    """

    base: Lognormal
    terms: tuple[SizeTerm, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Delay:
        """Create it from a distribution and terms: "lognormal:0.9,0.5+4mp+0.1band".

        Raises:
            ValueError: for any other text.
        """
        base, *terms = text.split("+")
        return cls(Lognormal.parse(base), tuple(map(SizeTerm.parse, terms)))

    def __str__(self) -> str:
        return "+".join(map(str, (self.base, *self.terms)))


class Latency:
    """Extra seconds before each response, drawn with a seed.

    Args:
        rules: pattern of the kinds of request (``thumbnails:*``) and their delay. The first that fits is the
            one; a kind that none fits gets no latency.
        seed: seed of the draws.
    """

    def __init__(self, rules: Sequence[tuple[str, Delay]], seed: int = 0) -> None:
        self._rules = tuple(rules)
        self._by_kind: dict[str, Delay | None] = {}
        self._random = random.Random(seed)

    @classmethod
    def parse(cls, text: str) -> Latency:
        """Create it from "KIND=SECONDS;KIND=lognormal:MEDIAN,SIGMA+SECONDSmp;SECONDS": a part without a kind is for all
        that are left.

        Kinds are those that the statistics count requests by, ``value:compute`` or ``thumbnails:getPixels``, or
        patterns of them. See :class:`SizeTerm` for seconds that grow with the size.

        Raises:
            ValueError: for any other text.
        """
        rules = []
        for part in text.split(";"):
            pattern, equals, delay = part.rpartition("=")
            if equals and not pattern.strip():
                raise ValueError(f"no kind of request before the equals sign: {part!r}")
            rules.append((pattern.strip() if equals else "*", Delay.parse(delay)))
        return cls(rules)

    def draw(self, kind: str) -> float:
        """Return the next number of seconds, for a kind of request of any size."""
        delay = self._delay(kind)
        return 0.0 if delay is None else self._random.lognormvariate(math.log(delay.base.median), delay.base.sigma)

    def of_size(self, kind: str, pixels: int, bands: int, length: int) -> float:
        """Return the further seconds of a response with pixels, whose body has a length in bytes."""
        delay = self._delay(kind)
        return 0.0 if delay is None or not pixels else sum(term.of(pixels, bands, length) for term in delay.terms)

    def _delay(self, kind: str) -> Delay | None:
        if kind not in self._by_kind:
            self._by_kind[kind] = next((delay for pattern, delay in self._rules if fnmatchcase(kind, pattern)), None)
        return self._by_kind[kind]

    def __str__(self) -> str:
        return ";".join(f"{pattern}={delay}" for pattern, delay in self._rules)
