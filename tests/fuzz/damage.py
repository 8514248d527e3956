"""Damage files at random."""

import random
from pathlib import Path


def change_some_bytes(draw: random.Random, path: Path) -> None:
    """Change a few bytes of a file, and now and then cut it short."""
    data = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 4, 64))):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data[: draw.randrange(len(data) + 1)] if draw.random() < 0.3 else data)
