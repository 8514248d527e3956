"""Draw random numbers that are identical on every machine: hashes of a seed and a purpose.

Earth Engine does not publish its generators, so the numbers differ from its own and only share their distribution. They
are SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
https://doi.org/10.1145/2660193.2660195) at an arbitrary position of its stream, so that number ``i`` does not depend
on how many were drawn before it, nor on which part of an image is read.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mixed(words: Words) -> Words:
    """Return the output function of SplitMix64; arithmetic is modulo 2^64."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def random_words(seed: int, *positions: npt.ArrayLike) -> Words:
    """Return 64 random bits for each position.

    Args:
        seed: any integer.
        positions: integers, or arrays of them that broadcast together: one position, or a row and a column.
    """
    state: Words = np.full(1, seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    for position in positions:
        words = np.atleast_1d(np.asarray(position)).astype(np.int64).astype(np.uint64)
        state = _mixed(state + (words + np.uint64(1)) * _GAMMA)
    return state


def uniform(words: Words) -> npt.NDArray[np.float64]:
    """Return numbers from 0 (inclusive) to 1 (exclusive) made of the 53 upper bits of each word."""
    numbers: npt.NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers


def normal(first: Words, second: Words) -> npt.NDArray[np.float64]:
    """Return normally distributed numbers, mean 0 and standard deviation 1 (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(first)))
    numbers: npt.NDArray[np.float64] = radius * np.cos(2.0 * np.pi * uniform(second))
    return numbers


def text_position(text: str) -> int:
    """Return a position for a text, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


class JavaRandom:
    """``java.util.Random``: a linear congruential generator of 48 bits, published in its documentation."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ 0x5DEECE66D) & ((1 << 48) - 1)

    def _bits(self, count: int) -> int:
        self._state = (self._state * 0x5DEECE66D + 0xB) & ((1 << 48) - 1)
        return self._state >> (48 - count)

    def below(self, bound: int) -> int:
        """``nextInt(bound)``."""
        if bound & -bound == bound:
            return (bound * self._bits(31)) >> 31
        while True:
            bits = self._bits(31)
            if bits - bits % bound + bound - 1 < 1 << 31:
                return bits % bound
