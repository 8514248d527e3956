"""Makes the README's picture of a run: a row for each ecoregion.

python docs/contact_sheet.py outputs/sample-naip docs/images/chips.jpg
"""

import sys
from pathlib import Path

import eechips
from eechips.manifest.sheet import sheet
from eechips.writers.raster import encode_picture

EDGE, COLUMNS = 192, 7


def main(folder: str, target: str) -> None:
    """Writes the sheet."""
    run = eechips.open_run(folder)
    files = run.units["file"].dropna()
    rows = [group.head(COLUMNS) for _, group in files.groupby(files.map(lambda name: Path(name).parent.name))]
    picture = sheet([[run.path / name for name in row] for row in rows], EDGE)
    Path(target).write_bytes(encode_picture(picture, "JPEG", QUALITY=82))


if __name__ == "__main__":
    main(*sys.argv[1:])
