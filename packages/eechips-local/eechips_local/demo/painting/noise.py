"""Compute hashes and gradient noise that are identical on every machine.

Only integer arithmetic and + - * / sqrt floor on float64 are used: IEEE 754 fixes their every bit, whatever the machine
and however the work is cut into windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eechips_local.demo.painting.mercator import BITS, Floats

Words = npt.NDArray[np.uint32]

_MANY = 6000
_BLOCK = 1 << 15

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
    integers = np.atleast_1d(np.asarray(values))
    return (integers if integers.dtype.kind in "iu" else integers.astype(np.int64)).astype(np.uint32)


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
    shape = np.broadcast_shapes(x.shape, y.shape)
    if shape[0] * shape[1] > _MANY:
        # A few rows of one wavelength fit into the processor's cache; few places are faster all at once.
        result: Floats = np.empty((len(octaves), *shape))
        step = max(1, _BLOCK // shape[1])
        for row in range(0, shape[0], step):
            lines = slice(row, row + step)
            some_x, some_y = (p if p.shape[0] == 1 else p[lines] for p in (x, y))
            fill = _fill_lines if some_x.shape[0] == 1 and some_y.shape[1] == 1 else _fill_wave
            for wave, (k, seed) in zip(result, octaves, strict=True):
                fill(wave[lines], some_x * 2.0**-k, some_y * 2.0**-k, (1 << (BITS - k)) - 1, seed)
        return result
    scale = np.array([2.0**-k for k, _ in octaves]).reshape(-1, 1, 1)
    period = np.array([(1 << (BITS - k)) - 1 for k, _ in octaves], dtype=np.int64).reshape(-1, 1, 1)
    seeds = np.array([seed for _, seed in octaves]).reshape(-1, 1, 1)
    px, py = x * scale, y * scale
    ix, iy = np.floor(px), np.floor(py)
    fx, fy = px - ix, py - iy
    west, north = ix.astype(np.int64), iy.astype(np.int64)
    gx, gy = _slopes(np.stack([west, west + 1])[None, :] & period, np.stack([north, north + 1])[:, None], seeds)
    gx *= np.stack([fx, fx - 1.0])[None, :]
    gy *= np.stack([fy, fy - 1.0])[:, None]
    gx += gy
    u, v = fade(fx), fade(fy)
    upper = gx[0, 0] + (gx[0, 1] - gx[0, 0]) * u
    lower = gx[1, 0] + (gx[1, 1] - gx[1, 0]) * u
    noise_values: Floats = (upper + (lower - upper) * v) * 1.5
    return noise_values


def _slopes(
    columns: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], seed: int | npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the slopes of noise towards the east and the south at the nodes of its lattice; arguments broadcast."""
    word = hashed(columns, rows, seed)
    gx = (word & np.uint32(0xFFFF)).astype(np.float64) * (2.0 / 65536.0)
    gy = (word >> np.uint32(16)).astype(np.float64) * (2.0 / 65536.0)
    gx -= 1.0
    gy -= 1.0
    return gx, gy


def _fill_wave(wave: Floats, px: Floats, py: Floats, period: int, seed: int) -> None:
    """Write noise of one wavelength into an array.

    Args:
        wave: shape (height, width).
        px: x in wavelengths.
        py: y in wavelengths.
        period: one less than the number of wavelengths around the Earth.
    """
    ix, iy = np.floor(px), np.floor(py)
    fx, fy = px - ix, py - iy
    west, north = int(ix.min()), int(iy.min())
    columns, rows = np.arange(west, int(ix.max()) + 2), np.arange(north, int(iy.max()) + 2)
    # Places share the nodes of the lattice around them: each is hashed once.
    if len(columns) * len(rows) > 2 * wave.size:
        i, j = ix.astype(np.int64), iy.astype(np.int64)
        nodes = [_slopes(i + right & period, j + down, seed) for down in (0, 1) for right in (0, 1)]
    else:
        lattice = [slope.ravel() for slope in _slopes(columns[None, :] & period, rows[:, None], seed)]
        first: npt.NDArray[np.int64] | int = 0
        if len(lattice[0]) > 4:  # else all places lie in one cell
            first = (iy - north).astype(np.int64) * len(columns) + (ix - west).astype(np.int64)
        starts = (0, 1, len(columns), len(columns) + 1)
        nodes = [(lattice[0][start:].take(first), lattice[1][start:].take(first)) for start in starts]
    u, v = fade(fx), fade(fy)
    after_x, after_y = fx - 1.0, fy - 1.0
    _mix_slopes(wave, nodes[0], nodes[1], (fx, after_x, fy), u)
    lower = np.empty_like(wave)
    _mix_slopes(lower, nodes[2], nodes[3], (fx, after_x, after_y), u)
    lower -= wave
    lower *= v
    wave += lower
    wave *= 1.5


def _fill_lines(wave: Floats, px: Floats, py: Floats, period: int, seed: int) -> None:
    """Do what :func:`_fill_wave` does, for ``px`` of one row and ``py`` of one column: in a third of the time.

    All that depends on the column alone is computed once for each row of the lattice.
    """
    ix, iy = np.floor(px), np.floor(py)
    fx, fy = px - ix, py - iy
    columns, i = _nodes(ix[0])
    rows, j = _nodes(iy[:, 0])
    if len(rows) == 2:  # all lines lie in one row of the lattice
        j = np.zeros(1, dtype=np.int64)
    gx, gy = _slopes(columns[None, :] & period, rows[:, None], seed)
    u, v = fade(fx), fade(fy)
    left, right = (gx[:, i] * fx, gy[:, i]), (gx[:, i + 1] * (fx - 1.0), gy[:, i + 1])
    lower, step = np.empty_like(wave), np.empty_like(wave)
    for into, line, down in ((wave, j, fy), (lower, j + 1, fy - 1.0)):
        for target, (across, along) in ((into, left), (step, right)):
            np.multiply(along[line], down, out=target)
            target += across[line]
        step -= into
        step *= u
        into += step
    lower -= wave
    lower *= v
    wave += lower
    wave *= 1.5


def _nodes(floors: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the nodes of an axis of the lattice that places need, and the index of the node before each place.

    The node after it is the next one. Nodes between places far apart are left out: of short waves on a map of the world
    there are billions.
    """
    before = floors.astype(np.int64)
    west, east = int(before.min()), int(before.max()) + 1
    if east - west < 2 * len(before):
        return np.arange(west, east + 1), before - west
    nodes = np.unique(np.concatenate([before, before + 1]))
    return nodes, np.searchsorted(nodes, before)


def _mix_slopes(
    into: Floats,
    left: tuple[Floats, Floats],
    right: tuple[Floats, Floats],
    away: tuple[Floats, Floats, Floats],
    share: Floats,
) -> None:
    """Write heights between two nodes of a row into an array.

    Args:
        into: shape (height, width).
        away: distance to the east of the left nodes, of the right ones, and to the south of both.
        share: share of the right nodes.
    """
    step = right[0] * away[1] + right[1] * away[2]
    np.add(left[0] * away[0], left[1] * away[2], out=into)
    step = step - into
    step *= share
    into += step


def fading(k: int, pitch: float) -> float:
    """Return the share of an octave of 2**k units that shows at a pitch: 1 from four cells on, 0 below one."""
    return min(1.0, max(0.0, (2.0**k / pitch - 1.0) / 3.0))
