"""Compute hashes and gradient noise that are identical on every machine.

Only integer arithmetic and + - * / sqrt floor on float64 are used: IEEE 754 fixes their every bit, whatever the machine
and however the work is cut into windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eechips.emulator.demo.mercator import BITS, Floats

Words = npt.NDArray[np.uint32]

_MANY = 6000

_K1 = np.uint32(0x9E3779B1)
_K2 = np.uint32(0x85EBCA77)
_K3 = np.uint32(0xC2B2AE3D)


def mix(word: Words) -> Words:
    """Scramble 32-bit words in place (the "lowbias32" constants of C. Wellons, public domain)."""
    word ^= word >> np.uint32(16)
    word *= np.uint32(0x7FEB352D)
    word ^= word >> np.uint32(15)
    word *= np.uint32(0x846CA68B)
    word ^= word >> np.uint32(16)
    return word


def words(values: npt.ArrayLike) -> Words:
    """Return integers as 32-bit words (two's complement), at least one-dimensional so that products wrap silently."""
    given = np.atleast_1d(np.asarray(values))
    return (given if given.dtype.kind in "iu" else given.astype(np.int64)).astype(np.uint32)


def hashed(i: npt.ArrayLike, j: npt.ArrayLike, seed: int | npt.NDArray[np.int64]) -> Words:
    """Return a word for each pair of integers; the arguments broadcast."""
    third = np.uint32(seed * int(_K3) & 0xFFFFFFFF) if isinstance(seed, int) else words(seed) * _K3
    word = words(i) * _K1 + words(j) * _K2
    return mix(word + third)


def unit(word: Words) -> Floats:
    """Return words as numbers in [0, 1)."""
    result: Floats = word.astype(np.float64) * (1.0 / 4294967296.0)
    return result


def random(i: npt.ArrayLike, j: npt.ArrayLike, seed: int | npt.NDArray[np.int64]) -> Floats:
    """Return a number in [0, 1) for each pair of integers."""
    return unit(hashed(i, j, seed))


def fade(t: Floats) -> Floats:
    """Return Perlin's quintic: 0 to 1 with two vanishing derivatives at both ends."""
    return t * t * t * (t * (t * 6.0 - 15.0) + 10.0)


def smoothstep(low: float | Floats, high: float | Floats, t: Floats) -> Floats:
    """Return 0 below ``low``, 1 above ``high``, a cubic between."""
    s = np.clip((t - low) / (high - low), 0.0, 1.0)
    return s * s * (3.0 - 2.0 * s)


def gradient(x: Floats, y: Floats, octaves: Sequence[tuple[int, int]]) -> Floats:
    """Return gradient noise of several wavelengths at once.

    Args:
        x: units, of a shape that broadcasts with that of ``y`` to two dimensions.
        y: units.
        octaves: (k, seed) for each: its wavelength is 2**k units.

    Returns:
        Shape (octaves, height, width); about -1 to 1, mostly within 0.6 of 0.
    """
    if len(octaves) > 1 and max(x.shape[-1], y.shape[-1]) * max(x.shape[0], y.shape[0]) > _MANY:
        # One at a time they fit into the processor's cache; few places are faster all at once.
        return np.concatenate([gradient(x, y, [octave]) for octave in octaves])
    scale = np.array([2.0**-k for k, _ in octaves]).reshape(-1, 1, 1)
    period = np.array([(1 << (BITS - k)) - 1 for k, _ in octaves], dtype=np.int64).reshape(-1, 1, 1)
    seeds = words([seed for _, seed in octaves]).reshape(-1, 1, 1) * _K3
    px, py = x * scale, y * scale
    ix, iy = np.floor(px), np.floor(py)
    fx, fy = px - ix, py - iy
    west = ix.astype(np.int64) & period
    column = np.stack([west, (west + 1) & period]).astype(np.uint32) * _K1
    north = iy.astype(np.int64).astype(np.uint32) * _K2 + seeds
    row = np.stack([north, north + _K2])
    word = mix(column[None, :] + row[:, None])
    gx = (word & np.uint32(0xFFFF)) * (2.0 / 65536.0) - 1.0
    gy = (word >> np.uint32(16)) * (2.0 / 65536.0) - 1.0
    gx *= np.stack([fx, fx - 1.0])[None, :]
    gy *= np.stack([fy, fy - 1.0])[:, None]
    gx += gy
    u, v = fade(fx), fade(fy)
    upper = gx[0, 0] + (gx[0, 1] - gx[0, 0]) * u
    lower = gx[1, 0] + (gx[1, 1] - gx[1, 0]) * u
    result: Floats = (upper + (lower - upper) * v) * 1.5
    return result


def fading(k: int, pitch: float) -> float:
    """Return the share of an octave of 2**k units that shows at a pitch: 1 from four cells on, 0 below one."""
    return min(1.0, max(0.0, (2.0**k / pitch - 1.0) / 3.0))
