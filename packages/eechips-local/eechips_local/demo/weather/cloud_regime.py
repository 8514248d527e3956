"""Name the skies over scenes of the demo planet: ``climate``, ``clear``, ``scattered`` or ``overcast`` everywhere and
always.
"""

from __future__ import annotations

from typing import Literal, get_args

CloudRegime = Literal["climate", "clear", "scattered", "overcast"]
"""``scattered`` has small clouds, some 300 m across, over three eighths of every scene: three to four oktas in the code
of aerodrome reports (WMO-No. 306, code form METAR).
"""

CLOUD_REGIMES: tuple[CloudRegime, ...] = get_args(CloudRegime)
