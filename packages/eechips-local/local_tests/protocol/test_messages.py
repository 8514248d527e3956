"""Requests are checked field by field, in the words of Google's JSON transcoding."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eechips_local.protocol import messages
from eechips_local.protocol.field_checks import check_workload_tag
from eechips_local.protocol.request_errors import InvalidError

EXPRESSION = {"result": "0", "values": {"0": {"constantValue": 1}}}
GRID = {
    "crsCode": "EPSG:4326",
    "dimensions": {"width": "16", "height": 16.0},
    "affineTransform": {"scaleX": 1, "scaleY": -1.5},
}
PIXELS = {
    "expression": EXPRESSION,
    "fileFormat": "NPY",
    "grid": GRID,
    "bandIds": ["B1"],
    "visualizationOptions": {"ranges": [{"min": 0, "max": 1}], "gamma": {"value": 1.2}, "opacity": 0.5},
    "workloadTag": "chips-2",
}


def test_whole_messages_pass_without_their_nulls() -> None:
    assert messages.check("image:computePixels", {**PIXELS, "bandIds": None}) == {
        name: content for name, content in PIXELS.items() if name != "bandIds"
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 1}, 'Invalid JSON payload received. Unknown name "size": Cannot find field.'),
        ({"grid": {"crs": "x"}}, "Unknown name \"crs\" at 'grid': Cannot find field."),
        ({"grid": [5]}, 'Unknown name "grid": Proto field is not repeating, cannot start list.'),
        (
            {"grid": {"crsCode": []}},
            "Unknown name \"crsCode\" at 'grid': Proto field is not repeating, cannot start list.",
        ),
        ({"a.b": 5}, 'Unknown name "a.b": Cannot find field.'),
        ({"grid": 5}, "Invalid value at 'grid' (object), 5"),
        ({"grid": {"dimensions": {"width": "w"}}}, "Invalid value at 'grid.dimensions.width' (TYPE_INT32), \"w\""),
        ({"grid": {"dimensions": {"width": 1.5}}}, "Invalid value at 'grid.dimensions.width' (TYPE_INT32), 1.5"),
        ({"grid": {"dimensions": {"width": 2**31}}}, "'grid.dimensions.width' (TYPE_INT32)"),
        ({"grid": {"affineTransform": {"scaleX": "1"}}}, "'grid.affine_transform.scale_x' (TYPE_DOUBLE)"),
        ({"grid": {"affineTransform": {"scaleX": float("nan")}}}, "(TYPE_DOUBLE)"),
        ({"fileFormat": "BMP"}, "'file_format' (type.googleapis.com/google.earthengine.v1.ImageFileFormat), \"BMP\""),
        ({"bandIds": "B1"}, "Invalid value at 'band_ids' (array)"),
        ({"bandIds": [1]}, "Invalid value at 'band_ids[0]' (TYPE_STRING), 1"),
        ({"visualizationOptions": {"ranges": [None]}}, "'visualization_options.ranges[0]'"),
        ({"expression": []}, 'Unknown name "expression": Proto field is not repeating'),
        ({"workloadTag": "Chips"}, "Invalid workload tag 'Chips'"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(message)):
        messages.check("image:computePixels", {**PIXELS, **change})


@pytest.mark.parametrize("body", [[], 1, "x", None])
def test_a_message_is_an_object(body: Any) -> None:
    """As in https://github.com/google-wallet/rest-samples/issues/22, which another of Google's services answered."""
    with pytest.raises(InvalidError) as caught:
        messages.check("value:compute", body)
    wrong = 'Invalid JSON payload received. Unknown name "": Root element must be a message.'
    assert str(caught.value) == wrong
    assert caught.value.body()["error"]["details"][0]["fieldViolations"] == [{"description": wrong}]


def test_all_wrong_fields_are_listed_as_in_a_recorded_response() -> None:
    """The response to GDAL's request: https://github.com/OSGeo/gdal/issues/805."""
    with pytest.raises(InvalidError) as caught:
        messages.check("image:computePixels", {**PIXELS, "grid": {"origin": {}, "dimensions": {}, "pixel_size": None}})
    wrong = [
        f"Invalid JSON payload received. Unknown name \"{name}\" at 'grid': Cannot find field."
        for name in ("origin", "pixel_size")
    ]
    violations = [{"field": "grid", "description": description} for description in wrong]
    assert caught.value.body() == {
        "error": {
            "code": 400,
            "message": "\n".join(wrong),
            "status": "INVALID_ARGUMENT",
            "details": [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}],
        }
    }
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_response_lists_a_bounded_number_of_fields() -> None:
    with pytest.raises(InvalidError) as caught:
        messages.check("value:compute", dict.fromkeys(map(str, range(100_000))))
    assert len(str(caught.value).splitlines()) == 100


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"[" * 100_000, b'{"a": ' * 100_000, b'{"a": 1' + b"0" * 5000 + b"}", b"NaNa", b"\x00"]
)
def test_invalid_json_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidError, match="Invalid JSON payload received"):
        messages.decode(content)


def test_numbers_that_json_lacks_are_shown_as_in_a_recorded_response() -> None:
    """The response to a client's request: https://github.com/vergauwenthomas/MetObs_toolkit/issues/511."""
    content = b'{"a": "NaN, \\"NaN", "1": {"arrayValue": {"constantValue": [NaN, NaN]}}}}, "2": {"constantValue": 1}}'
    shown = ' {"constantValue": [NaN, NaN]}}}}, "2": \n                    ^'
    with pytest.raises(InvalidError) as caught:
        messages.decode(content)
    assert str(caught.value) == f"Invalid JSON payload received. Unexpected token.\n{shown}"


def test_no_body_is_an_empty_message() -> None:
    assert messages.decode(b"") == {}


@given(st.from_regex(r"[a-z0-9][-_a-z0-9]{0,62}", fullmatch=True))
def test_good_workload_tags(tag: str) -> None:
    check_workload_tag(tag)


@pytest.mark.parametrize("tag", ["", "-a", "_a", "A", "a b", "a" * 64, "ä", "a\n", "a.b"])
def test_bad_workload_tags(tag: str) -> None:
    with pytest.raises(InvalidError, match="Invalid workload tag"):
        check_workload_tag(tag)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PIXELS, "x", "min"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(messages._REQUESTS)), st.dictionaries(st.sampled_from([*PIXELS, "pageSize"]), ANYTHING))
def test_anything_passes_or_is_refused(kind: str, body: dict[str, Any]) -> None:
    try:
        found = messages.check(kind, body)
    except InvalidError:
        return
    assert None not in found.values()
