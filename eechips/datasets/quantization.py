"""Convert values between floats and the small integers as which a dataset is published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """The quantization of a dataset's bands: value = sign(stored) * abs(stored / ``divisor``) ** ``power``.

    Attributes:
        dtype: numpy name of the stored type, a signed integer.
        divisor: see above; positive.
        power: see above; positive.
        nodata: stored value of masked pixels, in files without a mask: the least of the type.
    """

    dtype: str
    divisor: float
    power: float
    nodata: int

    @property
    def limit(self) -> int:
        """The greatest stored value; its negative is the least one."""
        return -self.nodata - 1

    def quantize(self, values: npt.ArrayLike) -> npt.NDArray[np.signedinteger]:
        """Return values as stored integers, rounded to the nearest; values beyond the limits become these.

        Args:
            values: values of any shape. Masked and NaN values become ``nodata``.
        """
        import numpy as np

        floats = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
        sizes = np.minimum(np.rint(np.abs(floats) ** (1.0 / self.power) * self.divisor), self.limit)
        quantized = np.where(np.isnan(floats), float(self.nodata), np.copysign(sizes, floats))
        return quantized.astype(self.dtype)

    def dequantize(self, stored: npt.ArrayLike, dtype: npt.DTypeLike = "float32") -> np.ma.MaskedArray:
        """Return the values of stored integers.

        Args:
            stored: integers of any shape, masked or not.
            dtype: float type of the result; the values are computed in double precision.

        Returns:
            Masked array of the same shape, masked where ``stored`` is masked or ``nodata``.
        """
        import numpy as np

        masked: np.ma.MaskedArray = np.ma.masked_equal(np.ma.asarray(stored), self.nodata)
        doubles = masked.data.astype(np.float64)
        values = np.abs(doubles / self.divisor) ** self.power * np.sign(doubles)
        return np.ma.MaskedArray(values.astype(dtype), np.ma.getmaskarray(masked))
