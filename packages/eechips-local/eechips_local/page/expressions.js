// Expressions as Earth Engine's clients serialize them: {result, values}.

const call = (functionName, args) => ({ functionInvocationValue: { functionName, arguments: args } });
const constant = (value) => ({ constantValue: value });

/** An expression of one value. */
const expressionOf = (value) => ({ result: "0", values: { 0: value } });

/** An expression whose result is made of the result of another. */
function wrap(expression, makeValue) {
  let name = "page";
  while (Object.hasOwn(expression.values, name)) name += "_";
  return { result: name, values: { ...expression.values, [name]: makeValue({ valueReference: expression.result }) } };
}

/** The JSON that serialize() returns; the text may be in quotes of its own. */
function parseExpression(text) {
  let found;
  try {
    found = JSON.parse(text);
    if (typeof found === "string") found = JSON.parse(found);
  } catch (error) {
    throw new Error(`This is no JSON: ${error.message}. Paste what image.serialize() returns.`);
  }
  if (found?.type === "CompoundValue" || found?.scope) throw new Error("This expression has an older form: serialize it with for_cloud_api=True.");
  if (typeof found?.result !== "string" || typeof found.values !== "object" || found.values === null) {
    throw new Error("An expression is an object with the fields 'result' and 'values': paste what image.serialize() returns.");
  }
  return { result: found.result, values: found.values };
}

const loadImage = (id) => expressionOf(call("Image.load", { id: constant(id) }));
const loadTable = (id) => expressionOf(call("Collection.loadTable", { tableId: constant(id) }));

/** The images of a collection that have some bands, between two dates, the second exclusive; without dates all of them. */
function loadCollection(id, from, until, needed = []) {
  let collection = call("ImageCollection.load", { id: constant(id) });
  for (const band of needed) {
    const filter = call("Filter.listContains", { leftField: constant("system:band_names"), rightValue: constant(band) });
    collection = call("Collection.filter", { collection, filter });
  }
  if (!from || !until) return expressionOf(collection);
  const dates = call("DateRange", { start: constant(from), end: constant(until) });
  const filter = call("Filter.dateRangeContains", { leftValue: dates, rightField: constant("system:time_start") });
  return expressionOf(call("Collection.filter", { collection, filter }));
}

const mosaicOf = (expression) => wrap(expression, (collection) => call("ImageCollection.mosaic", { collection }));
const drawn = (expression, color) =>
  wrap(expression, (collection) => call("Collection.draw", { collection, color: constant(color), pointRadius: constant(3), strokeWidth: constant(2) }));

const pointAt = ([longitude, latitude]) => call("GeometryConstructors.Point", { coordinates: constant([longitude, latitude]) });

/** The grid of a zoom of the map: Web Mercator, as its tiles. */
const gridOf = (pixel) => ({ crs: call("Projection", { crs: constant("EPSG:3857") }), crsTransform: constant([pixel, 0, -HALF_WORLD, 0, -pixel, HALF_WORLD]) });

/** The values of an image in the pixel of the map at a place. */
const valuesAt = (expression, at, pixel) =>
  wrap(expression, (image) => call("Image.reduceRegion", { image, reducer: call("Reducer.first", {}), geometry: pointAt(at), ...gridOf(pixel) }));

/** The percentiles 2 and 98 of an image within bounds. */
function percentilesIn(expression, [west, south, east, north], pixel) {
  const ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
  const geometry = call("GeometryConstructors.Polygon", { coordinates: constant([ring]), geodesic: constant(false) });
  const reducer = call("Reducer.percentile", { percentiles: constant([2, 98]) });
  return wrap(expression, (image) => call("Image.reduceRegion", { image, reducer, geometry, ...gridOf(pixel), maxPixels: constant(10000000) }));
}

/** The first feature at a place. */
const featureAt = (expression, at) =>
  wrap(expression, (collection) => {
    const filter = call("Filter.intersects", { leftField: constant(".all"), rightValue: pointAt(at) });
    return call("Collection.limit", { collection: call("Collection.filter", { collection, filter }), limit: constant(1) });
  });

const typeOf = (expression) => wrap(expression, (value) => call("ObjectType", { value }));
const bandNamesOf = (expression) => wrap(expression, (image) => call("Image.bandNames", { image }));
const selected = (expression, bands) => wrap(expression, (input) => call("Image.select", { input, bandSelectors: constant(bands) }));

/** The codes of a map of classes as numbers from 0. */
const numbered = (expression, band, codes) =>
  wrap(expression, (image) => call("Image.remap", { image, from: constant(codes), to: constant(codes.map((_, k) => k)), bandName: constant(band) }));
