"""Makes the README's picture of a run: a row for each ecoregion.

python docs/contact_sheet.py outputs/sample-naip docs/images/chips.jpg
"""

import sys
from pathlib import Path

import numpy as np
import rasterio

import eechips

EDGE, GAP, COLUMNS = 192, 4, 7


def chip(path: Path) -> np.ndarray:
    """A chip's red, green and blue at the sheet's size: shape (3, EDGE, EDGE)."""
    with rasterio.open(path) as file:
        return file.read((1, 2, 3), out_shape=(3, EDGE, EDGE), resampling=rasterio.enums.Resampling.average)


def main(folder: str, target: str) -> None:
    """Writes the sheet."""
    run = eechips.open_run(folder)
    units = run.units.assign(stratum=run.units["file"].map(lambda name: Path(name).parent.name))
    rows = []
    for _, group in units.groupby("stratum"):
        chips = [chip(run.path / name) for name in group["file"].head(COLUMNS)]
        rows.append(
            np.concatenate([np.pad(c, ((0, 0), (GAP, 0), (GAP, 0)), constant_values=255) for c in chips], axis=2)
        )
    sheet = np.concatenate(rows, axis=1)
    _, height, width = sheet.shape
    profile = {"driver": "JPEG", "width": width, "height": height, "count": 3, "dtype": "uint8", "QUALITY": 82}
    with rasterio.open(target, "w", **profile) as file:
        file.write(sheet)


if __name__ == "__main__":
    main(*sys.argv[1:])
