"""Kernel.*, against the weights that the reference pages print (they cut off, not round, the decimals)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.evaluation.signatures import load_signatures
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.values.kernel_weights import Kernel, Weights
from local_tests.support.graphs import call, invoke


def weights(name: str, edge: float = 30.0, **arguments: Any) -> npt.NDArray[np.float64]:
    return at(call(f"Kernel.{name}", **arguments), edge).values


def at(kernel: Kernel, edge: float = 30.0) -> Weights:
    return kernel.weights(edge)


def cut(values: npt.NDArray[np.float64], digits: int) -> npt.NDArray[np.float64]:
    return np.floor(values * 10**digits + 1e-9) / 10**digits


PAGES: dict[str, tuple[int, str]] = {
    "circle": (3, """
        .000 .000 .000 .034 .000 .000 .000
        .000 .034 .034 .034 .034 .034 .000
        .000 .034 .034 .034 .034 .034 .000
        .034 .034 .034 .034 .034 .034 .034
        .000 .034 .034 .034 .034 .034 .000
        .000 .034 .034 .034 .034 .034 .000
        .000 .000 .000 .034 .000 .000 .000"""),
    "octagon": (3, """
        .000 .000 .027 .027 .027 .000 .000
        .000 .027 .027 .027 .027 .027 .000
        .027 .027 .027 .027 .027 .027 .027
        .027 .027 .027 .027 .027 .027 .027
        .027 .027 .027 .027 .027 .027 .027
        .000 .027 .027 .027 .027 .027 .000
        .000 .000 .027 .027 .027 .000 .000"""),
    "diamond": (2, """
        .00 .00 .00 .04 .00 .00 .00
        .00 .00 .04 .04 .04 .00 .00
        .00 .04 .04 .04 .04 .04 .00
        .04 .04 .04 .04 .04 .04 .04
        .00 .04 .04 .04 .04 .04 .00
        .00 .00 .04 .04 .04 .00 .00
        .00 .00 .00 .04 .00 .00 .00"""),
    "cross": (3, """
        .076 .000 .000 .000 .000 .000 .076
        .000 .076 .000 .000 .000 .076 .000
        .000 .000 .076 .000 .076 .000 .000
        .000 .000 .000 .076 .000 .000 .000
        .000 .000 .076 .000 .076 .000 .000
        .000 .076 .000 .000 .000 .076 .000
        .076 .000 .000 .000 .000 .000 .076"""),
    "plus": (3, """
        .000 .000 .000 .076 .000 .000 .000
        .000 .000 .000 .076 .000 .000 .000
        .000 .000 .000 .076 .000 .000 .000
        .076 .076 .076 .076 .076 .076 .076
        .000 .000 .000 .076 .000 .000 .000
        .000 .000 .000 .076 .000 .000 .000
        .000 .000 .000 .076 .000 .000 .000"""),
    "euclidean": (3, """
        4.242 3.605 3.162 3.000 3.162 3.605 4.242
        3.605 2.828 2.236 2.000 2.236 2.828 3.605
        3.162 2.236 1.414 1.000 1.414 2.236 3.162
        3.000 2.000 1.000 0.000 1.000 2.000 3.000
        3.162 2.236 1.414 1.000 1.414 2.236 3.162
        3.605 2.828 2.236 2.000 2.236 2.828 3.605
        4.242 3.605 3.162 3.000 3.162 3.605 4.242"""),
    "manhattan": (0, """
        6 5 4 3 4 5 6
        5 4 3 2 3 4 5
        4 3 2 1 2 3 4
        3 2 1 0 1 2 3
        4 3 2 1 2 3 4
        5 4 3 2 3 4 5
        6 5 4 3 4 5 6"""),
    "chebyshev": (0, """
        3 3 3 3 3 3 3
        3 2 2 2 2 2 3
        3 2 1 1 1 2 3
        3 2 1 0 1 2 3
        3 2 1 1 1 2 3
        3 2 2 2 2 2 3
        3 3 3 3 3 3 3"""),
}  # fmt: skip


def table(text: str) -> npt.NDArray[np.float64]:
    return np.array([[float(v) for v in line.split()] for line in text.strip().splitlines()])


@pytest.mark.parametrize("name", PAGES)
def test_weights_of_radius_3_are_those_of_the_reference(name: str) -> None:
    digits, text = PAGES[name]
    assert cut(weights(name, radius=3), digits).tolist() == table(text).tolist()


def test_weights_of_a_gaussian_as_recorded() -> None:
    """One eighth of the kernel that https://github.com/aazuspan/eerepr recorded in December 2024; the page has 5x5."""
    found = at(call("Kernel.gaussian", radius=3))
    assert (found.values.shape, found.x, found.y) == ((7, 7), 3, 3)
    recorded = [
        [0.15924112569070253, 0.09658462501856419, 0.02155094284826827, 0.0017690091140438226],
        [0.05858153633060706, 0.013071307583189414, 0.001072958264978661],
        [0.0029166029543864387, 2.3940934949727e-4],
        [1.9651916124031917e-5],
    ]
    for step, weights_of_row in enumerate(recorded):  # to the last digits, which depend on the mathematical library
        assert found.values[3 - step, 3 + step :].tolist() == pytest.approx(weights_of_row, rel=1e-14)
    assert np.array_equal(found.values, found.values.T)


def test_rectangles_and_squares() -> None:
    assert cut(weights("rectangle", xRadius=2, yRadius=1), 3).tolist() == [[0.066] * 5] * 3
    assert weights("square", radius=1) == pytest.approx(np.full((3, 3), 1 / 9))
    assert weights("square", radius=1, normalize=False, magnitude=100).tolist() == [[100] * 3] * 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("laplacian4", [[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
        ("laplacian8", [[1, 1, 1], [1, -8, 1], [1, 1, 1]]),
        ("sobel", [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
        ("prewitt", [[1, 0, -1], [1, 0, -1], [1, 0, -1]]),
        ("compass", [[1, 1, -1], [1, -2, -1], [1, 1, -1]]),
        ("kirsch", [[5, -3, -3], [5, 0, -3], [5, -3, -3]]),
        ("roberts", [[1, 0], [0, -1]]),
    ],
)
def test_edge_detectors(name: str, expected: list[list[float]]) -> None:
    found = at(call(f"Kernel.{name}"))
    assert found.values.tolist() == expected
    assert (found.x, found.y) == (1, 1)  # "center is position [1,1]", of Roberts' too
    assert weights(name, magnitude=2).tolist() == (2 * np.array(expected)).tolist()


def test_rotation_as_in_the_reference() -> None:
    sobel = invoke("Kernel.sobel")
    assert weights("rotate", kernel=sobel, rotations=1).tolist() == [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]
    assert weights("rotate", kernel=sobel, rotations=-2).tolist() == [[1, 0, -1], [2, 0, -2], [1, 0, -1]]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 4), st.integers(0, 4), st.integers(-9, 9))
def test_rotation_takes_the_focus_along(width: int, height: int, x: int, y: int, turns: int) -> None:
    x, y = min(x, width - 1), min(y, height - 1)
    rows = np.zeros((height, width))
    rows[y, x] = 1
    fixed = invoke("Kernel.fixed", weights=rows.tolist(), x=x, y=y)
    found = at(call("Kernel.rotate", kernel=fixed, rotations=turns))
    assert found.values[found.y, found.x] == 1
    assert found.values.shape == ((height, width) if turns % 2 == 0 else (width, height))


def test_inverse_and_sum_as_in_the_reference() -> None:
    assert weights("inverse", kernel=invoke("Kernel.sobel")).tolist() == [[-1, 0, 1], [-0.5, 0, 0.5], [-1, 0, 1]]
    total = weights(
        "add",
        kernel1=invoke("Kernel.chebyshev", radius=3),
        kernel2=invoke("Kernel.square", radius=1, normalize=False, magnitude=100),
    )
    assert (
        total.tolist()
        == table("""
        3 3 3 3 3 3 3
        3 2 2 2 2 2 3
        3 2 101 101 101 2 3
        3 2 101 100 101 2 3
        3 2 101 101 101 2 3
        3 2 2 2 2 2 3
        3 3 3 3 3 3 3""").tolist()
    )


def test_sums_align_at_the_focus() -> None:
    one = invoke("Kernel.fixed", weights=[[1, 2]], x=0, y=0)
    other = invoke("Kernel.fixed", weights=[[10], [20]], x=0, y=1)
    found = at(call("Kernel.add", kernel1=one, kernel2=other))
    assert found.values.tolist() == [[10, 0], [21, 2]]
    assert (found.x, found.y) == (0, 1)


def test_kernels_in_metres_follow_the_scale() -> None:
    kernel = call("Kernel.circle", radius=90, units="meters", normalize=False)
    assert at(kernel, 30).values.shape == (7, 7)
    assert at(kernel, 90).values.shape == (3, 3)
    assert at(kernel, 100).values.tolist() == [[1]]
    far = call("Kernel.euclidean", radius=60, units="meters")
    assert at(far, 30).values[2].tolist() == [60, 30, 0, 30, 60]
    assert at(far, 20).values[3].tolist() == [60, 40, 20, 0, 20, 40, 60]


@given(st.sampled_from(["square", "circle", "diamond", "octagon", "plus", "cross", "gaussian"]), st.floats(0.6, 12))
def test_normalized_kernels_sum_to_their_magnitude(name: str, radius: float) -> None:
    found = weights(name, radius=radius, magnitude=3)
    assert found.sum() == pytest.approx(3)
    assert np.array_equal(found, found[::-1, ::-1])


def test_default_radius_of_focal_operations_is_three_by_three() -> None:
    # focal_max and the like have radius 1.5 by default.
    for name in ("circle", "square"):
        assert weights(name, radius=1.5, normalize=False).tolist() == [[1] * 3] * 3


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("circle", {"radius": -1}),
        ("circle", {"radius": 1, "units": "feet"}),
        ("gaussian", {"radius": 1, "sigma": 0}),
        ("fixed", {"weights": [[1, 2], [3]]}),
        ("fixed", {"weights": []}),
        ("fixed", {"weights": [["a"]]}),
        ("fixed", {"weights": [[1, 2]], "width": 3}),
        ("fixed", {"weights": [[1, 2]], "x": 2}),
    ],
)
def test_bad_kernels_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match=f"Kernel.{name}"):
        call(f"Kernel.{name}", **arguments)


def test_a_kernel_reaches_512_pixels_at_most() -> None:
    """Release notes of 2019-04-03: "Increased the maximum size of an ee.Kernel from 255 pixels to 512"."""
    assert at(call("Kernel.rectangle", xRadius=512, yRadius=0), 1).values.shape == (1, 1025)
    for kernel in ({"xRadius": 513, "yRadius": 0}, {"xRadius": 0, "yRadius": 51_300, "units": "meters"}):
        with pytest.raises(EarthEngineError, match="its radius is 513 pixels"):
            at(call("Kernel.rectangle", **kernel), 100)
    with pytest.raises(EarthEngineError, match="its radius is 513 pixels"):
        call("Kernel.fixed", weights=[[1] * 1026])


def test_all_kernels_are_there() -> None:
    from eechips_local.functions import load_functions

    assert {n for n in load_signatures() if n.startswith("Kernel.")} <= set(load_functions())
