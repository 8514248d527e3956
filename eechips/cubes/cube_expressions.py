"""Write the expressions of the requests for a cube, as the Earth Engine client does.

They are JSON, so that reading needs no initialised client: the user's own session stays as it is, and workers of a
cluster need none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eechips.client.http.marked_requests import MASK_BAND_TO_MARK, call_node, reference_node

Expression = Mapping[str, Any]
"""``{"result": key, "values": {key: node}}``."""

_IMAGE, _STACK = "eechips_image", "eechips_stack"
_FUNCTION = "eechips_add"
_NOTHING = "eechips_nothing"
_UNCHANGING = frozenset({"ImageCollection.load", "Collection.filter", "Collection.limit"})
"""Functions that give a collection of stored images as they are."""
_DESCRIBED = ("size", "properties", "first", "ids", "versions", "primary")


def load_collection(asset: str) -> Expression:
    """Return the expression of a stored collection."""
    return {"result": "0", "values": {"0": call_node("ImageCollection.load", id=_constant(asset))}}


def encode_collection(collection: Any) -> Expression:
    """Return the expression of an ``ee.ImageCollection``."""
    from ee import serializer

    expression: Expression = serializer.encode(collection, for_cloud_api=True)
    return expression


def limit_collection(collection: Expression, count: int) -> Expression:
    """Return the expression of the first images of a collection."""
    return _result(collection, call_node("Collection.limit", collection=_whole(collection), limit=_constant(count)))


def describe_collection(collection: Expression, primary: str) -> Expression:
    """Return the expression of what is known before a pixel is read; see :func:`read_description`.

    The values of the property ``primary`` of the images are the first coordinate.
    """
    whole = _whole(collection)

    def column(name: str) -> Any:
        return call_node("AggregateFeatureCollection.array", collection=whole, property=_constant(name))

    facts = [
        call_node("Collection.size", collection=whole),
        call_node("Element.toDictionary", element=whole),
        call_node("Collection.first", collection=whole),
        column("system:id"),
        column("system:version"),
        column(primary),
    ]
    return _result(collection, {"arrayValue": {"values": facts}})


def read_description(values: Sequence[Any]) -> dict[str, Any]:
    """Return the values of :func:`describe_collection` by name: size, properties, first, ids, versions, primary."""
    return dict(zip(_DESCRIBED, values, strict=True))


def shows_stored_images(collection: Expression) -> bool:
    """Return whether the images of a collection are stored ones, unchanged: they can be read by their ids."""
    values = collection["values"]
    node = values[collection["result"]]
    while True:
        while isinstance(node, Mapping) and "valueReference" in node:
            node = values[node["valueReference"]]
        call = node.get("functionInvocationValue") if isinstance(node, Mapping) else None
        if call is None or call.get("functionName") not in _UNCHANGING:
            return False
        if call["functionName"] == "ImageCollection.load":
            return True
        node = call["arguments"]["collection"]


def stack_stored(ids: Sequence[str], bands: Sequence[str], mask_value: float) -> Expression:
    """Return the image of the bands of stored images; see :func:`layer_names`."""
    images = [call_node("Image.load", id=_constant(image_id)) for image_id in ids]
    return _stacked({}, {"arrayValue": {"values": images}}, len(ids), bands, mask_value)


def stack_listed(collection: Expression, first: int, count: int, bands: Sequence[str], mask_value: float) -> Expression:
    """Return the image of the bands of images that a collection lists; see :func:`layer_names`."""
    images = call_node(
        "Collection.toList", collection=_whole(collection), count=_constant(count), offset=_constant(first)
    )
    return _stacked(collection["values"], images, count, bands, mask_value)


def layer_names(images: int, bands: int) -> tuple[str, ...]:
    """Return the names of the bands of a response: all bands of the first image, then those of the next."""
    return tuple(f"t{image}b{band}" for image in range(images) for band in range(bands))


def _stacked(values: Mapping[str, Any], images: Any, count: int, bands: Sequence[str], mask_value: float) -> Expression:
    """Return floats of all images, whose masked pixels have a value: ``unmask``, without the footprint's limits."""
    nothing = call_node("Image.constant", value=_constant(0))
    added = call_node(
        "Image.addBands",
        dstImg={"argumentReference": _STACK},
        srcImg={"argumentReference": _IMAGE},
        names=_constant(list(bands)),
    )
    stack = call_node(
        "Collection.iterate",
        collection=call_node("ImageCollection.fromImages", images=images),
        function={"functionDefinitionValue": {"argumentNames": [_IMAGE, _STACK], "body": _FUNCTION}},
        first=call_node("Image.mask", image=reference_node(_NOTHING), mask=reference_node(_NOTHING)),
    )
    key = "eechips_layers"
    reference = reference_node(key)
    names = call_node(
        "List.slice", list=call_node("Image.bandNames", image=reference), start=_constant(1)
    )  # the first band is that of the image to which the others are added
    layers = call_node("Image.toFloat", value=call_node("Image.select", input=reference, bandSelectors=names))
    filled = call_node(
        "Image.unmask",
        input=layers,
        value=call_node("Image.constant", value=_constant(mask_value)),
        sameFootprint=_constant(False),
    )
    # Requests are marked in that name (see eechips.client.http.marked_requests). Layers are known by their order.
    new_names = [*layer_names(count, len(bands))[:-1], MASK_BAND_TO_MARK]
    named = call_node("Image.rename", input=filled, names=_constant(new_names))
    own = {_NOTHING: nothing, _FUNCTION: added, key: stack, "eechips_result": named}
    return {"result": "eechips_result", "values": {**values, **own}}


def _result(collection: Expression, node: Any) -> Expression:
    key = f"eechips_{len(collection['values'])}"
    return {"result": key, "values": {**collection["values"], key: node}}


def _whole(collection: Expression) -> Any:
    return reference_node(collection["result"])


def _constant(value: Any) -> Any:
    return {"constantValue": value}
