// What the map draws: an asset or an expression, its bands and colours, and its values.

const HOME = [-105.27, 40.02]; // on the demo planet: mountains, a city and fields
const COARSEST = 64; // pixels of a collection that a pixel of the map covers at most: else a tile has thousands of images
const PIXELS = 4; // pixels of an asset that a pixel of the map covers at first
const COLOUR = "c2410c"; // of tables
const DAY = 86400000;
const NO_IMAGE = "There is no image between these dates.";
// The usual names of red, green and blue, lower case.
const COLOURS = [["r", "g", "b"], ["red", "green", "blue"], ["b4", "b3", "b2"], ["sr_b4", "sr_b3", "sr_b2"], ["vis-red", "vis-green", "vis-blue"]];

let worldMap = null;
let pictures = {}; // of datasets with a record, by id
let source = null; // {kind, title, note, load(from, until), picture, classes, bounds}
let shown = null; // {expression, table}: what the map shows, without colours
let request = null; // the latest one that the map waits for

const fieldOf = (name) => byId(`look-${name}`);
const listOf = (text) => text.split(/[\s,;]+/).filter(Boolean);

function numbersOf(name, text) {
  return listOf(text).map((each) => {
    if (!Number.isFinite(Number(each))) throw new Error(`${name} must be a number, or one for each band: not '${each}'.`);
    return Number(each);
  });
}

function fillForm(picture) {
  fieldOf("bands").value = (picture.bands ?? []).join(", ");
  for (const name of ["min", "max", "gamma"]) fieldOf(name).value = picture[name] === undefined ? "" : [picture[name]].flat().join(", ");
  fieldOf("palette").value = (picture.palette ?? []).join(", ");
}

/** Bands that are red, green and blue by their names, or else the first. */
function chooseBands(names) {
  const lower = names.map((name) => name.toLowerCase());
  const known = COLOURS.find((colours) => colours.every((colour) => lower.includes(colour)));
  return known ? known.map((colour) => names[lower.indexOf(colour)]) : names.slice(0, 1);
}

/** The classes of the record, while the form says nothing else. */
function classesInForce() {
  const { picture } = source;
  const isUnchanged = picture?.classes?.length && listOf(fieldOf("bands").value).join() === picture.bands.join()
    && ["min", "max", "gamma", "palette"].every((name) => !fieldOf(name).value.trim());
  return isUnchanged ? picture.classes : [];
}

/** The body of the request for a map, by the form. */
function mapRequest(expression, isTable) {
  if (isTable) return { expression: drawn(expression, COLOUR), fileFormat: "PNG" };
  const bands = listOf(fieldOf("bands").value);
  const classes = classesInForce();
  if (classes.length) {
    const codes = classes.map(([code]) => code);
    const ranges = [{ min: 0, max: Math.max(classes.length - 1, 1) }];
    return { expression: numbered(expression, bands[0], codes), fileFormat: "PNG", visualizationOptions: { ranges, paletteColors: classes.map(([, , colour]) => colour) } };
  }
  const [low, high, gamma] = [["Min", "min"], ["Max", "max"], ["Gamma", "gamma"]].map(([label, name]) => numbersOf(label, fieldOf(name).value));
  if (low.length !== high.length) throw new Error("Min and Max must have as many numbers.");
  const options = {};
  if (low.length) options.ranges = low.map((min, k) => ({ min, max: high[k] }));
  if (gamma.length) options.gamma = gamma[0];
  const palette = listOf(fieldOf("palette").value);
  if (palette.length) options.paletteColors = palette;
  return { expression, fileFormat: "PNG", ...(bands.length ? { bandIds: bands } : {}), visualizationOptions: options };
}

/** Run a function that may fail; a newer one cancels it. */
async function attempt(act) {
  request?.abort();
  request = new AbortController();
  const own = request;
  showProblem(null);
  document.body.classList.add("is-busy");
  try {
    await act(own.signal);
  } catch (error) {
    if (!own.signal.aborted) showProblem(error);
  } finally {
    if (own === request) document.body.classList.remove("is-busy");
  }
}

/** The expression of the source with the dates of the form. A collection of images is a mosaic, with the latest above. */
function currentExpression() {
  const { kind } = source;
  const expression = source.load(fieldOf("from").value, fieldOf("until").value);
  return kind === "collection" ? mosaicOf(expression) : expression;
}

async function draw(signal) {
  const expression = currentExpression();
  const isTable = source.kind === "table";
  if (!isTable && !listOf(fieldOf("bands").value).length) await fillBands(expression, signal);
  const body = mapRequest(expression, isTable);
  const { name } = await post(`${PROJECT}/maps?fields=name&workloadTag=${TAG}`, body, signal).catch((error) => {
    throw source.kind === "collection" && error.message.startsWith("Image has no bands") ? new Error(NO_IMAGE) : error;
  });
  shown = { expression, isTable };
  byId("value").replaceChildren();
  worldMap.setLayer({ name, bounds: source.bounds ?? null, leastZoom: source.leastZoom ?? 0 });
  showLegend(body);
}

/** Fill the form by the names of the bands, with a stretch to their values on the map. */
async function fillBands(expression, signal) {
  const names = await computed(bandNamesOf(expression), signal);
  if (!names.length) throw new Error(source.kind === "collection" ? NO_IMAGE : "The image has no bands.");
  const bands = chooseBands(names);
  if (bands[0].startsWith("vis-")) fillForm({ bands, min: 0, max: 255 });
  else {
    fillForm({ bands });
    await stretch(expression, signal);
  }
}

/** Set Min and Max to percentiles of the values on the map. */
async function stretch(expression, signal) {
  const bands = listOf(fieldOf("bands").value);
  const pixel = pixelOf(worldMap.zoom) * Math.max(1, Math.max(...worldMap.size) / TILE);
  const found = await computed(percentilesIn(selected(expression, bands), worldMap.bounds, pixel), signal);
  const of = (percentile) => bands.map((band) => found[`${band}_p${percentile}`]);
  const [low, high] = [of(2), of(98)];
  if ([...low, ...high].some((value) => typeof value !== "number")) return; // nothing valid in sight
  const text = (value) => String(Number(value.toPrecision(4)));
  fieldOf("min").value = low.map(text).join(", ");
  fieldOf("max").value = high.map((value, k) => text(value > low[k] ? value : low[k] + 1)).join(", ");
}

function showLegend({ visualizationOptions: options }) {
  const legend = byId("layer-legend");
  const classes = shown.isTable ? [] : classesInForce();
  if (classes.length) {
    legend.replaceChildren(make("ul", { class: "legend classes" }, ...classes.map(([code, name, colour]) => {
      const swatch = make("span", { class: "class-colour" });
      swatch.style.background = `#${colour}`;
      return make("li", { title: String(code) }, swatch, name || String(code));
    })));
    return;
  }
  const range = options?.ranges?.length === 1 ? options.ranges[0] : null;
  const colours = options?.paletteColors ?? ["000000", "ffffff"];
  if (!range || listOf(fieldOf("bands").value).length > 1) {
    legend.replaceChildren();
    return;
  }
  const bar = make("span", { class: "ramp" });
  bar.style.background = `linear-gradient(to right, ${colours.map((colour) => (/^[0-9a-f]{6}$/i.test(colour) ? `#${colour}` : colour)).join(", ")})`;
  const units = source.picture?.units;
  legend.replaceChildren(make("p", { class: "amounts" }, make("span", {}, String(range.min)), bar, make("span", {}, `${range.max}${units ? ` ${units}` : ""}`)));
}

const dayOf = (moment) => new Date(moment).toISOString().slice(0, 10);

function fillDates(dates) {
  [fieldOf("from").value, fieldOf("until").value] = dates ?? ["", ""];
}

function showSource(next) {
  source = next;
  byId("layer-title").textContent = next.title;
  byId("layer-note").replaceChildren(...next.note);
  byId("look").hidden = next.kind === "table" || next.kind === "value";
  for (const name of ["from", "until"]) fieldOf(name).closest("label").hidden = next.kind !== "collection" || !next.dates;
  fillDates(next.dates);
  const { picture } = next;
  fillForm(picture ? (picture.classes?.length ? { bands: picture.bands } : picture) : {});
}

/** The last days of a collection that cover the map: some weeks, a year if the dataset has an image a year, or three of
    aerial photographs, as a state of the USA is flown every second or third year; null for all days. */
function datesOf(asset, picture, least = 0) {
  if (picture?.isStatic || asset.start === null || asset.end === null) return null;
  const span = asset.end - asset.start;
  const size = picture?.pixelSize ?? 0;
  const days = span > 400 * DAY && size < 200 ? (size > 0 && size < 5 ? 1100 : 45) : 400;
  return [dayOf(Math.max(asset.start, asset.end - Math.max(days, least) * DAY)), dayOf(asset.end + DAY)];
}

/** Draw an asset of the list, at a place of the map or where it can be seen. */
function showAsset(asset, at = null) {
  const picture = pictures[asset.id] ?? pictures[asset.id.slice(0, asset.id.lastIndexOf("/"))] ?? null;
  const kind = { IMAGE: "image", IMAGE_COLLECTION: "collection", TABLE: "table" }[asset.type] ?? "image";
  const load = { image: () => loadImage(asset.id), table: () => loadTable(asset.id), collection: (from, until) => loadCollection(asset.id, from, until, picture?.varyingBands) }[kind];
  const note = [make("code", {}, asset.id), asset.is_synthetic ? " · synthetic: the demo planet computes it" : ""];
  showSource({ kind, title: asset.title || picture?.title || asset.id, note, load, picture, dates: kind === "collection" ? datesOf(asset, picture) : null });
  attempt(async (signal) => {
    await look(asset, kind, picture, signal);
    if (at) worldMap.goTo(...at);
    if (kind !== "collection") return draw(signal);
    for (const least of [0, 400, 1100, Infinity]) { // a dataset may have few images, or start each of them a year ago
      fillDates(datesOf(asset, picture, least));
      try {
        return await draw(signal);
      } catch (error) {
        if (error.message !== NO_IMAGE || least === Infinity) throw error;
      }
    }
  });
}

/** Move the map to where an asset can be seen: an image of a place, or a scale that suits its pixels. */
async function look(asset, kind, picture, signal) {
  if (kind === "table") return;
  let pixel = picture?.pixelSize || null;
  if (kind === "image" || !asset.is_synthetic) {
    const found = await (await get(`${pathOf(asset)}${kind === "image" ? "" : ":listImages?pageSize=1"}`, signal)).json();
    const image = kind === "image" ? found : found.images?.[0];
    const bounds = boundsOf(image?.geometry);
    const grid = image?.bands?.[0]?.grid;
    if (grid) pixel ??= Math.abs(grid.affineTransform?.scaleX ?? 0) * (grid.crsCode === "EPSG:4326" ? METRES : 1) || null;
    if (bounds && bounds[2] - bounds[0] < 60) {
      source.bounds = bounds;
      worldMap.fit(bounds);
      return;
    }
  }
  if (kind === "collection" && pixel) source.leastZoom = Math.max(Math.ceil(Math.log2(pixelOf(0) / (COARSEST * pixel))), 0);
  if (pixel) worldMap.goTo(...HOME, Math.min(Math.max(Math.log2(pixelOf(0) / (PIXELS * pixel)), 2), 14));
}

/** West, south, east, north of a GeoJSON geometry; null for none, or one across the antimeridian. */
function boundsOf(geometry) {
  const flat = [geometry?.coordinates ?? []].flat(Infinity);
  if (flat.length < 2 || flat.some((value) => typeof value !== "number")) return null;
  const longitudes = flat.filter((_, k) => k % 2 === 0);
  const latitudes = flat.filter((_, k) => k % 2);
  return [Math.min(...longitudes), Math.min(...latitudes), Math.max(...longitudes), Math.max(...latitudes)];
}

const KINDS = { Image: "image", ImageCollection: "collection", FeatureCollection: "table", Feature: "table", Geometry: "table" };

/** Draw the pasted expression, or show its value if it is no picture. */
function showExpression() {
  attempt(async (signal) => {
    const expression = parseExpression(byId("expression").value);
    const type = await computed(typeOf(expression), signal);
    const kind = KINDS[type] ?? "value";
    showSource({ kind, title: "Expression", note: [`of type ${type}`], load: () => expression, picture: null, dates: null });
    if (kind === "value") {
      worldMap.setLayer(null);
      byId("layer-legend").replaceChildren();
      byId("value").replaceChildren(make("pre", {}, JSON.stringify(await computed(expression, signal), null, 2)));
    } else {
      await draw(signal);
    }
  });
}

/** Show the values at a place of the map. */
function showValue(at, pixel) {
  if (!shown) return;
  const { expression, isTable } = shown;
  attempt(async (signal) => {
    const heading = make("h3", {}, place(...at));
    if (isTable) {
      const found = await computed(featureAt(expression, at), signal);
      const feature = found?.features?.[0];
      byId("value").replaceChildren(heading, feature ? valueList(feature.properties) : make("p", { class: "note" }, "No feature is here."));
      return;
    }
    const found = await computed(valuesAt(expression, at, pixel), signal);
    const scale = pixel * Math.cos((at[1] * Math.PI) / 180);
    const note = make("p", { class: "note" }, `The pixel of the map, ${number(scale, 3)} m`);
    byId("value").replaceChildren(heading, valueList(found, new Map((source.picture?.classes ?? []).map(([code, name]) => [code, name]))), note);
  });
}

/** Names and values; those of the bands in the picture first. */
function valueList(values, classes = new Map()) {
  const first = listOf(fieldOf("bands").value);
  const names = Object.keys(values).sort((a, b) => first.includes(b) - first.includes(a));
  const list = make("dl", { class: "pairs" });
  for (const name of names) {
    const value = values[name];
    const text = typeof value === "number" ? number(value) : value === null ? "masked" : typeof value === "object" ? JSON.stringify(value) : String(value);
    const known = first.includes(name) ? classes.get(value) : undefined;
    list.append(make("div", {}, make("dt", {}, name), make("dd", {}, known ? `${text} (${known})` : text)));
  }
  return list;
}

// The address of the page has the asset and the place of the map, so that they stay when it is loaded again.

let noting = null;
let noted = { asset: "", at: "" };

function noteView([longitude, latitude, zoom]) {
  note({ at: `${longitude.toFixed(4)},${latitude.toFixed(4)},${zoom}` });
}

function note(changed) {
  noted = { ...noted, ...changed };
  clearTimeout(noting);
  if (noted.asset) noting = setTimeout(() => window.history.replaceState(null, "", `#${new URLSearchParams(noted)}`), 500);
}

/** The asset and the place of the page's address: {asset, at}, each null if it is missing. */
function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  const at = (found.get("at") ?? "").split(",").map(Number);
  const isPlace = at.length === 3 && at.every(Number.isFinite) && Math.abs(at[0]) <= 180 && Math.abs(at[1]) <= 85;
  return { asset: found.get("asset"), at: isPlace ? at : null };
}

async function startLayer() {
  worldMap = makeMap(byId("map"), {
    onMove: noteView,
    onPick: showValue,
    onFailure: showProblem,
    onProgress(text) {
      byId("progress").hidden = !text;
      byId("progress").textContent = text;
    },
  });
  byId("look").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(draw);
  });
  byId("stretch").addEventListener("click", () => attempt(async (signal) => {
    await stretch(currentExpression(), signal);
    await draw(signal);
  }));
  byId("opacity").addEventListener("input", (event) => worldMap.setOpacity(Number(event.target.value) / 100));
  byId("draw-expression").addEventListener("click", showExpression);
  get("/_page/basemap.json").then(async (response) => worldMap.setOutlines(await response.json())).catch(showProblem);
  worldMap.goTo(...HOME, 4);
  try {
    pictures = await (await get("/_page/datasets.json")).json();
  } catch (error) {
    showProblem(error); // assets are drawn without the records of their datasets
  }
}
