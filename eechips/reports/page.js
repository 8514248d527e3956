// What moves on the page. No library, no request: everything is in the element "data".

const data = JSON.parse(byId("data").textContent);

/** Numbers out of base64 of their bytes, least significant first. */
function unpack({ type, data: text }) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new globalThis[`${type}Array`](bytes.buffer);
}

/** Values that are numbers of a list; null where there is none. */
function decode({ values, codes }) {
  const numbers = unpack(codes);
  return { values, codes: numbers, at: (i) => (numbers[i] ? values[numbers[i] - 1] : null) };
}

const units = {
  count: data.count,
  id: (i) => data.ids.slice(16 * i, 16 * i + 16).trim(),
  states: decode(data.states),
  errors: decode(data.errors),
  places: decode(data.places),
  bytes: unpack(data.bytes),
  valid: unpack(data.valid),
  patterns: decode(data.files),
  file(i) {
    const pattern = this.patterns.at(i);
    return pattern === null ? null : pattern.replaceAll("\0", this.id(i));
  },
  columns: data.columns.map((column) =>
    column.kind === "number" ? { ...column, numbers: unpack(column.numbers) } : { ...column, ...decode(column) }),
  pictures: new Map(Object.entries(data.pictures).map(([key, value]) => [Number(key), value])),
};

/** A value of a column as it is shown: the code of a class has its name beside it. */
const textOf = (column, value) => (column.name === "class" && data.classes[value] ? `${value} ${data.classes[value]}` : String(value));

const NAMES = ["name", "title", "label", "place", "plot", "site", "station", "field"]; // of columns with names of units

/** The columns with names of units; first those in which no two units have the same: others are labels of classes. */
const nameColumns = NAMES.flatMap((name) => units.columns.filter((column) => column.kind !== "number" && column.name.toLowerCase() === name))
  .map((column) => [column, areDifferent(column)])
  .sort(([, a], [, b]) => b - a)
  .map(([column]) => column);

function areDifferent({ codes, values }) {
  const known = codes.filter((code) => code > 0);
  return known.length > 1 && new Set(Array.from(known, (code) => values[code - 1])).size === known.length;
}

/** The name that a unit has by itself, or null. */
function ownNameOf(i) {
  if (regionColumn) return `region ${regionColumn.at(i)}`;
  for (const column of nameColumns) {
    const own = column.at(i);
    if (own !== null) return String(own);
  }
  return null;
}

/** The name of a unit: its own, or its stratum and state or country, or where it is; empty if nothing is known. */
function nameOf(i) {
  const own = ownNameOf(i);
  if (own !== null) return own;
  const column = units.columns.find(({ name, kind }) => name === data.stratum && kind !== "number");
  const stratum = column?.at(i) ?? null;
  const parts = [stratum === null ? null : textOf(column, stratum), units.places.at(i)].filter((part) => part !== null).map(String);
  if (stratum === null && world && world.known[i]) parts.push(place(world.longitude(i), world.latitude(i), 3));
  return parts.join(", ");
}

/** The id of a unit, or the number of a row; regions that share a unit have none. */
const idOf = (i) => units.id(i) || (regionColumn ? "" : `row ${i + 1}`);

/** What a unit is called in one line: its name, and its id, since names may be equal. */
const label = (i) => [nameOf(i), idOf(i)].filter(Boolean).join(" · ");

/** The same as a heading. */
const headingOf = (i) => [nameOf(i), " ", make("code", { class: "note" }, idOf(i))];

/** Names and values that are known of a unit. */
function facts(i) {
  const found = [];
  if (units.id(i)) found.push(["id", units.id(i)]);
  found.push(["state", units.states.at(i).replaceAll("_", " ")]);
  for (const column of units.columns) {
    if (column.kind === "number") {
      if (!Number.isNaN(column.numbers[i])) found.push([column.name, number(column.numbers[i])]);
    } else if (column.at(i) !== null) found.push([column.name, String(column.at(i))]);
  }
  if (!Number.isNaN(units.valid[i])) found.push(["valid fraction", units.valid[i].toFixed(3)]);
  if (world && world.known[i]) found.push(["place", place(world.longitude(i), world.latitude(i))]);
  for (const picture of units.pictures.get(i) ?? []) {
    if (picture.frame) {
      const { series, number: at } = picture.frame;
      found.push([`${series ? `${series} ` : ""}frame ${at}`, [timeOf(picture.frame), clearOf(picture.frame)].filter(Boolean).join(", ")]);
      continue;
    }
    const means = picture.means.filter((mean) => mean !== null).map((mean) => number(mean, 4));
    if (means.length) found.push([picture.layer ? `mean of ${picture.layer}` : "mean of bands", means.join(", ")]);
  }
  if (units.bytes[i]) found.push(["size", size(units.bytes[i])]);
  if (units.errors.at(i)) found.push(["error", units.errors.at(i)]);
  return found;
}

// One unit at a time is chosen; the map, the sheets and the panel show it.
const listeners = [];
const overlays = []; // functions that draw above the units of the map
let chosen = null;

function choose(i, source) {
  chosen = i;
  for (const listener of listeners) listener(i, source);
}

/** Path below the folder of the report as the address of a link; no scheme can be in it. */
const address = (file) => `./${file.split("/").map(encodeURIComponent).join("/")}`;

/** The path of a picture's file, or null. */
const fileOf = (i, picture) => (picture.file ? picture.file.replaceAll("\0", units.id(i)) : units.file(i));

/** What is known of a unit, as a list. */
function factList(i) {
  const list = make("dl");
  for (const [name, value] of facts(i)) list.append(make("dt", {}, name), make("dd", {}, value));
  const files = new Set([units.file(i), ...(units.pictures.get(i) ?? []).map((picture) => fileOf(i, picture))]);
  for (const file of files) {
    if (file !== null) list.append(make("dt", {}, "file"), make("dd", {}, data.beside ? make("a", { href: address(file) }, file) : file));
  }
  return list;
}

function showChosen(i) {
  const panel = byId("chip");
  if (i === null || !panel) return;
  const pictures = picturesOf(i).map((picture) => {
    const image = make("img", { src: picture.source, alt: [picture.layer, label(i)].filter(Boolean).join(", "), class: "chip" });
    if (!picture.source.startsWith("data:")) {
      image.addEventListener("error", () =>
        image.replaceWith(make("p", { class: "note" }, "The picture is neither in this page nor in its folder.")));
    }
    return make("figure", {}, image, picture.layer ? make("figcaption", {}, captionOf(picture)) : null);
  });
  const stepBy = (by) => make("button", { type: "button", onclick: () => choose(stepFrom(i, by), "panel") }, by < 0 ? "‹ previous" : "next ›");
  const open = pictures.length ? make("button", { type: "button", onclick: () => openViewer(i) }, "Full size") : null;
  panel.replaceChildren(...[
    make("h3", {}, ...headingOf(i)),
    make("p", { class: "steps" }, open, stepBy(-1), stepBy(1)),
    make("div", { class: "pictures" }, ...pictures),
    copyOfChart(i) ?? (pictures.length ? null : make("p", { class: "note" }, "This page has no picture of this unit.")),
    factList(i),
  ].filter(Boolean));
}

/** What a picture among several of a unit is called. */
const captionOf = ({ layer, frame }) => (frame ? `${frame.series ? `${frame.series} ` : ""}${frame.time.slice(0, 10) || "no image"}` : layer);

listeners.push(showChosen);
