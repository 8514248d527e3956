"""``ee.ImageCollection`` and ``ee.FeatureCollection``: loading, ``filter``, ``map``, ``merge``, ``limit``, ``toList``,
``size``, ``distinct``, ``remap``, ``flatten``; how ``system:index`` is numbered; assets that are not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from sys import maxsize
from typing import Any, Literal

from eechips_local.evaluation.asset_model import (
    Asset,
    ClassifierAsset,
    Counted,
    Dated,
    Exemplified,
    FolderAsset,
    ImageAsset,
    Query,
    Versioned,
)
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.kept_properties import TracedFunction
from eechips_local.evaluation.lazy_values import updated
from eechips_local.evaluation.type_conversion import shown
from eechips_local.functions.conditions.filter_expression import expression
from eechips_local.functions.conditions.filter_queries import INDEX
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.stored_image import stored_image
from eechips_local.pixels.vector_image import outlined
from eechips_local.protocol.request_errors import InvalidError, LimitError, error_of_element
from eechips_local.values.alike_elements import bare
from eechips_local.values.collection_order import sorted_by
from eechips_local.values.element_properties import property_of, with_properties
from eechips_local.values.merged_parts import Part, Prefix
from eechips_local.values.number_index import select_numbers
from eechips_local.values.ordering import distinct_key
from eechips_local.values.value_json import column_types
from eechips_local.values.values import Collection, Feature, Filter, Geometry, Value


def _missing(context: Context, what: str, id: str) -> InvalidError:
    message = f"{what} asset '{id}' not found (does not exist or caller does not have access)."
    return InvalidError(context.missing(id, message))


@function("ImageCollection.load")
def load_images(context: Context, id: str, version: int | None) -> Collection:
    """Return a stored image collection."""
    asset = context.note(("asset", id), lambda: context.store.get(id.strip("/")))
    if asset is None:
        raise _missing(context, "ImageCollection", id)
    if isinstance(asset, (ImageAsset, FolderAsset)) or not hasattr(asset, "images"):
        raise InvalidError(f"Asset '{id}' is not an ImageCollection.")
    images = asset.images

    def elements(query: Query) -> Iterator[Image]:
        for image_asset in images(query):
            context.check_time()
            yield context.note(("image", image_asset.id), lambda image_asset=image_asset: stored_image(image_asset))  # type: ignore[misc]

    def examples(query: Query, _: frozenset[str]) -> list[Image] | None:
        return list(map(stored_image, asset.examples(query))) if isinstance(asset, Exemplified) else None

    count = asset.count if isinstance(asset, Counted) else None
    times = asset.times if isinstance(asset, Dated) else None
    return Collection(
        "Image", elements, id=asset.id, properties=asset.properties, version=_version(asset), count=count, times=times,
        examples=examples,
    )  # fmt: skip


@function("Collection.loadTable")
def load_table(context: Context, tableId: str, geometryColumn: str | None, version: int) -> Collection:
    """Return a stored table."""
    asset = context.note(("asset", tableId), lambda: context.store.get(tableId.strip("/")))
    if asset is None:
        raise _missing(context, "Collection", tableId)
    if isinstance(asset, (ImageAsset, FolderAsset, ClassifierAsset)) or hasattr(asset, "images"):
        # Two public scripts quote this message.
        raise InvalidError(f"Expected asset to be a Collection, found '{_kind_of(asset)}'.")
    rows = asset.rows

    def elements(query: Query) -> Iterator[Feature]:
        return map(Feature.of, rows(query))

    return Collection(
        "Feature", elements, id=asset.id, properties=asset.properties, version=_version(asset), columns=asset.columns
    )


def _kind_of(asset: Asset) -> str:
    kinds = ((ImageAsset, "Image"), (FolderAsset, "Folder"), (ClassifierAsset, "Classifier"))
    return next((name for kind, name in kinds if isinstance(asset, kind)), "ImageCollection")


def _version(asset: Asset) -> int | None:
    """Return the version of an asset; None if it is not known."""
    return asset.version or None if isinstance(asset, Versioned) else None


@function("Collection")
def from_features(features: list[Value]) -> Collection:
    """Return a collection of given features; those without ``system:index`` are numbered, and all where some share one.

    The tests of geetools, which run against the service, find features by the index that they came with
    (tests/test_Dictionary/test_to_table_any.yml), but by numbers where each came several times
    (tests/test_ImageCollection/test_reduce_regions_by_dates.yml).
    """
    indices = [index for feature in features if (index := feature.properties.get("system:index")) is not None]
    indexed = _indexed(features, anew=len(set(indices)) < len(indices))
    return Collection.of("Feature", indexed, columns=column_types(indexed))


@function("ImageCollection.fromImages")
def from_images(images: list[Image]) -> Collection:
    """Return a collection of given images; those without ``system:index`` are numbered.

    geedim's tests, which run against the service, find an image of a made collection by the index that it came with
    (tests/test_mask.py, ``test_s2_image_get_mask_bands``).
    """
    return Collection.of("Image", _indexed(images))


def _indexed(elements: list[Any], *, anew: bool = False) -> list[Any]:
    """Return elements with their own index, or that of their position; all with the latter if they are indexed anew."""
    return [
        element
        if not anew and element.properties.get("system:index") is not None
        else with_properties(element, updated(element.properties, {"system:index": str(position)}))
        for position, element in enumerate(elements)
    ]


@function("Collection.filter")
def filtered(context: Context, collection: Collection, filter: Value) -> Collection:
    """Return the elements that pass. A filter may be written as text: "CLOUD_COVER < 20"."""
    condition = expression(filter) if isinstance(filter, str) else filter
    if not isinstance(condition, Filter):
        raise InvalidError("Collection.filter, argument 'filter': Invalid type.\nExpected type: Filter.")
    chosen = select_numbers(context, collection, condition)
    return collection.filtered(condition) if chosen is None else chosen


@function("Collection.map")
def mapped(
    context: Context, collection: Collection, baseAlgorithm: Callable[..., Value], dropNulls: bool
) -> Collection:
    """Return a function of each element."""

    known: dict[int, tuple[Any, Any]] = {}  # with the element, so that its id stays its own

    def apply(element: Any) -> Any:
        result = _of_element(context, baseAlgorithm, element)
        if isinstance(result, Geometry):
            result = Feature(result, {})
        if result is None and dropNulls:
            return None
        # Collections may be elements too, for flatten().
        if not isinstance(result, (Image, Feature, Collection)):
            raise InvalidError("Collection.map: A mapped algorithm must return a Feature or Image.")
        index = element.properties.get(INDEX)
        if index is not None and result.properties.get(INDEX) != index:
            result = with_properties(result, updated(result.properties, {INDEX: index}))
        return result

    def transform(elements: Iterable[Any]) -> Iterator[Any]:
        for element in elements:
            context.check_time()
            if id(element) not in known:
                known[id(element)] = element, apply(element)
            result = known[id(element)][1]
            if result is not None:
                yield result

    def keeps(name: str) -> bool:
        return name == INDEX or (isinstance(baseAlgorithm, TracedFunction) and baseAlgorithm.keeps(name))

    def reads() -> frozenset[str] | None:
        return baseAlgorithm.reads() if isinstance(baseAlgorithm, TracedFunction) else None

    return _retyped(collection, transform, keeps, is_aligned=not dropNulls, reads=reads)


def _of_element(context: Context, function: Callable[..., Value], element: Any) -> Value:
    """Return a function's value; an error tells the element."""
    index = element.properties.get("system:index", "null")
    context.mapped.append(index)
    try:
        return function(element)
    except LimitError:
        raise
    except InvalidError as error:
        raise error_of_element(index, error) from error
    finally:
        context.mapped.pop()


def _retyped(
    collection: Collection,
    transform: Callable[[Iterable[Any]], Iterator[Any]],
    keeps: Callable[[str], bool],
    **more: Any,
) -> Collection:
    """Return the results for a collection's elements; their kind is that of the first one, or of an example.

    If the first one fails, so do all filters and orders of the results: they are not passed to the elements.
    """
    derived = collection.transformed(transform, keeps, **more)
    try:
        first = next(iter(derived.examples() or derived), None)
    except InvalidError:
        return collection.derived(lambda: transform(collection))  # raised when the elements are read
    if first is None:
        return derived
    kind: Literal["Image", "Feature"] = "Image" if isinstance(first, Image) else "Feature"
    if kind == collection.element:
        return derived
    return derived.transformed(iter, keeps, kind, is_aligned=True, has_same_bands=True, reads=frozenset)


@function("Collection.iterate")
def iterate(context: Context, collection: Collection, function: Callable[..., Value], first: Value) -> Value:
    """Return a function of each element and the result so far."""
    result = first
    for element in collection:  # whose values may wait
        context.check_time()
        with context.iterating():
            result = function(element, result)
    return result


@function("Collection.limit")
def limit(collection: Collection, limit: int | None, key: str | None, ascending: bool) -> Collection:
    """Return the first elements, perhaps in the order of a property.

    The result keeps the columns of the collection, even without elements: tests of alxmrs/dask-ee, which run against
    the service, read columns from ``limit(0)`` (dask_ee/read_integrationtest.py).
    """
    ordered = collection if key is None else sorted_by(collection, key, ascending)
    if limit is None:
        return ordered
    if limit < 0:
        raise InvalidError(f"Limit must be non-negative; found {limit}.")
    limited = ordered.limited(limit)
    limited.columns = ordered.columns
    return limited


@function("Collection.first")
def first(collection: Collection) -> Value:
    """Return the first element, or null."""
    return next(iter(collection), None)


@function("Collection.size")
def size(context: Context, collection: Collection) -> int:
    """Return the number of elements."""
    known = collection.known_count
    if known is not None:
        return known
    count = 0
    for count, _ in enumerate(bare(collection), 1):
        if count % 1024 == 0:
            context.check_time()
    return count


@function("Collection.toList")
def to_list(context: Context, collection: Collection, count: int, offset: int) -> list[Value]:
    """Return elements from an offset on, as a list."""
    if count <= 0:
        raise InvalidError(f"The value of 'count' must be positive. Got: {count}.")
    if offset < 0:
        raise InvalidError(f"The value of 'offset' must not be negative. Got: {offset}.")

    def timed() -> Iterator[Value]:
        for element in collection:
            context.check_time()
            yield element

    return list(context.counted(islice(timed(), min(offset, maxsize), min(offset + count, maxsize))))


def _keeps_all_but_index(name: str) -> bool:
    return name != INDEX


def _reads_index() -> frozenset[str]:
    return frozenset({INDEX})


def merged(context: Context, first: Collection, second: Collection) -> Collection:
    """Return both collections' elements, their indices prefixed with 1_ and 2_; images among features are their
    outlines.
    """
    parts = [
        Part(source, Prefix(prefix, context.check_time), _keeps_all_but_index, True, _reads_index, has_same_bands=True)
        for prefix, source in (("1", first), ("2", second))
    ]
    if first.element == second.element:
        return Collection.of_parts(first.element, parts)
    mixed = Collection.of_parts("Feature", parts)
    return Collection("Feature", lambda _: map(outlined, mixed))


@function("Collection.merge")
def merge(context: Context, collection1: Collection, collection2: Collection) -> Collection:
    """Return both collections' elements."""
    return merged(context, collection1, collection2)


@function("ImageCollection.merge")
def merge_images(context: Context, collection1: Collection, collection2: Collection) -> Collection:
    """Return both collections' images."""
    return merged(context, collection1, collection2)


@function("Collection.flatten")
def flatten(context: Context, collection: Collection) -> Collection:
    """Return the elements of a collection of collections."""

    def elements() -> Iterator[Any]:
        for outer_position, outer in enumerate(collection):
            if not isinstance(outer, Collection):
                raise InvalidError("Collection.flatten: The collection must contain collections.")
            outer_index = outer.properties.get(INDEX, outer_position)
            yield from Prefix(str(outer_index), context.check_time)(outer)

    return Collection("Feature", lambda _: elements())


@function("Collection.distinct")
def distinct(collection: Collection, properties: Value) -> Collection:
    """Return the first element of each combination of values of properties."""
    names = [properties] if isinstance(properties, str) else properties
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidError("Collection.distinct: A property name or a list of them is expected.")

    def elements() -> Iterator[Any]:
        seen = set()
        for element in collection:
            key = tuple(distinct_key(property_of(element, name)) for name in names)
            if key not in seen:
                seen.add(key)
                yield element

    return collection.derived(elements)


@function("Collection.remap")
def remap(collection: Collection, lookupIn: list[Value], lookupOut: list[int], columnName: str) -> Collection:
    """Return a property's values replaced; elements with other values are dropped."""
    if len(lookupIn) != len(lookupOut):
        raise InvalidError("The lists must have the same length.")
    for value in lookupIn:  # "Restricted to strings and integers", as the signature says
        if not isinstance(value, (str, int)) and not (isinstance(value, float) and value.is_integer()):
            raise InvalidError(f"The values to remap must be strings or integers. Found {shown(value)}.")
    table = {distinct_key(k): v for k, v in zip(lookupIn, lookupOut, strict=True)}

    def elements() -> Iterator[Any]:
        for element in collection:
            key = distinct_key(element.properties.get(columnName))
            if key in table:
                yield element.with_properties(updated(element.properties, {columnName: table[key]}))

    return collection.derived(elements)


@function("Collection.cache")
def cache(collection: Collection) -> Collection:
    """Return the collection itself: elements are kept anyway."""
    return collection
