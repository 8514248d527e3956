"""Tables of the functions that numbers and arrays share: arithmetic, comparison, bits and casts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.functions.registration import Implementation
from eechips_local.values.elementwise import BINARY, CASTS, SPELLINGS, UNARY

Operation = Callable[[str, Callable[..., npt.NDArray[Any]]], Implementation]
"""Make the implementation of an operation from its name and its numpy function."""

Cast = Callable[[type[np.number[Any]]], Implementation]
"""Make the implementation of a cast to a type."""


def elementwise_functions(
    type_name: str, binary: Operation, unary: Operation, cast: Cast
) -> Mapping[str, Implementation]:
    """Return the elementwise functions of a type by their full names, all spellings included."""
    implementations = {name: binary(name, compute) for name, compute in BINARY.items()}
    implementations |= {name: unary(name, compute) for name, compute in UNARY.items()}
    implementations |= {name: cast(dtype) for name, dtype in CASTS.items()}
    implementations |= {other: implementations[name] for name, others in SPELLINGS.items() for other in others}
    return {f"{type_name}.{name}": implementation for name, implementation in implementations.items()}
