// The selection: the units that match the query in the search box (words, values, ranges such as slope:>5). Histograms,
// the map and the table show it. Bars of histograms and boxes on the map write terms into the query, so that there is one
// place to read, edit and clear it.

const selection = { mask: new Uint8Array(units.count).fill(1), members: [], terms: [], notes: [], isAll: true };
const selectionListeners = [];

/** A count of what the page shows: "1 unit", "2,000 regions". */
function counted(count) {
  const { what } = byId("selection").dataset;
  return `${inEnglish(count)} ${count === 1 ? what.replace(/s$/, "") : what}`;
}

/** The name of a field in a query: lower case, without spaces and marks. */
const keyOf = (name) => name.trim().toLowerCase().replace(/[\s:",]+/g, "_");

/** What can be searched, by its name in queries: texts as values and codes, or numbers. */
const fields = new Map();

/** Add a field, and return its name in queries: with a prefix if the units have a column of that name. */
function addField(name, field) {
  let key = keyOf(name);
  while (fields.has(key)) key = `unit_${key}`;
  fields.set(key, { key, name, ...field });
  return key;
}

function fillFields() {
  if (units.count && units.id(0)) addField("id", { at: units.id });
  for (const column of units.columns) {
    if (column.kind === "number") addField(column.name, { numbers: column.numbers });
    else addField(column.name, { values: column.values, codes: column.codes });
  }
  const stateKey = addField("state", { values: units.states.values.map((state) => state.replaceAll("_", " ")), codes: units.states.codes });
  byId("select-failed")?.addEventListener("click", () => setTerm(stateKey, "failed"));
  addField("error", units.errors);
  if (units.valid.some((value) => !Number.isNaN(value))) addField("valid fraction", { numbers: units.valid });
  for (const [name, numbers] of brightness()) addField(name, { numbers });
  if (units.bytes.some((value) => value > 0)) addField("bytes", { numbers: units.bytes });
  if (world) {
    const known = (read) => Float64Array.from({ length: units.count }, (_, i) => (world.known[i] ? read(i) : NaN));
    addField("longitude", { numbers: known((i) => wrapped(world.longitude(i))) });
    addField("latitude", { numbers: known(world.latitude) });
  }
  if (units.patterns.values.length) addField("file", { at: (i) => units.file(i) });
}

/** The mean of the displayed bands of each picture in this page, by layer. */
function brightness() {
  const found = new Map();
  for (const [i, pictures] of units.pictures) {
    for (const picture of pictures) {
      const means = picture.means.filter((mean) => mean !== null);
      if (!means.length) continue;
      const layer = picture.frame ? picture.frame.series : picture.layer; // frames of a series together
      const name = layer ? `brightness of ${layer}` : "brightness";
      if (!found.has(name)) found.set(name, new Map());
      const several = found.get(name);
      if (!several.has(i)) several.set(i, []);
      several.get(i).push(means.reduce((sum, mean) => sum + mean, 0) / means.length);
    }
  }
  return new Map([...found].map(([name, several]) => {
    const numbers = new Float32Array(units.count).fill(NaN);
    for (const [i, means] of several) numbers[i] = means.reduce((sum, mean) => sum + mean, 0) / means.length;
    return [name, numbers];
  }));
}

// Queries: terms between spaces, all of which must match. A term is a word, or name:value; see the help of the box.

/** Cut a text at a mark, except in quotes; a backslash keeps the character after it. */
function cut(text, isMark, most = Infinity) {
  const parts = [""];
  let isQuoted = false;
  for (let k = 0; k < text.length; k++) {
    const last = parts.length - 1;
    if (isQuoted && text[k] === "\\" && k + 1 < text.length) parts[last] += text[k] + text[++k];
    else if (!isQuoted && parts.length < most && isMark(text[k])) parts.push("");
    else {
      if (text[k] === '"') isQuoted = !isQuoted;
      parts[last] += text[k];
    }
  }
  return parts;
}

const unquoted = (text) => text.replace(/"((?:[^"\\]|\\.)*)"?/g, (_, inner) => inner.replace(/\\(.)/g, "$1"));

function parse(query) {
  return cut(query, (mark) => /\s/.test(mark)).filter(Boolean).map((text) => {
    const isNot = text.startsWith("-") && text.length > 1;
    const [first, second] = cut(isNot ? text.slice(1) : text, (mark) => mark === ":", 2);
    const key = second === undefined ? null : keyOf(unquoted(first));
    return { text, isNot, key, value: second ?? first };
  });
}

/** A range of values: lo..hi, lo..<hi, >lo, >=lo, <hi, <=hi; null for other texts. */
function rangeOf(text) {
  const dots = /^(.*?)\.\.(<?)(.*)$/.exec(text);
  if (dots) return { low: dots[1], high: dots[3], isOpen: dots[2] === "<" };
  const sign = /^([<>]=?)(.+)$/.exec(text);
  if (!sign) return null;
  return sign[1][0] === ">" ? { low: sign[2], high: "", isAbove: sign[1] === ">" } : { low: "", high: sign[2], isOpen: sign[1] === "<" };
}

function inNumbers(range, round) {
  const low = range.low === "" ? -Infinity : round(Number(range.low));
  const high = range.high === "" ? Infinity : round(Number(range.high));
  if (Number.isNaN(low) || Number.isNaN(high)) return null;
  return (value) => (range.isAbove ? value > low : value >= low) && (range.isOpen ? value < high : value <= high);
}

/** Texts such as dates: 2020-06 as an upper end includes 2020-06-15. */
function inTexts({ low, high, isAbove, isOpen }) {
  return (text) => (!low || (isAbove ? text.slice(0, low.length) > low : text >= low))
    && (!high || (isOpen ? text < high : text.slice(0, high.length) <= high));
}

/** Whether a text matches one of the alternatives of a value: a range, the whole text, or a part of it. */
function textTest(value, known) {
  const tests = cut(value, (mark) => mark === ",").map((part) => {
    const range = part.startsWith('"') ? null : rangeOf(part);
    if (range) {
      const asNumbers = inNumbers(range, Number);
      const asTexts = inTexts(range);
      return (text) => text !== null && (asNumbers && text !== "" && !Number.isNaN(Number(text)) ? asNumbers(Number(text)) : asTexts(text));
    }
    const wanted = unquoted(part).toLowerCase();
    const isWhole = part.startsWith('"') || known?.some((each) => each.toLowerCase() === wanted);
    if (isWhole) return (text) => text !== null && text.toLowerCase() === wanted;
    if (wanted === "none") return (text) => text === null;
    return (text) => text !== null && text.toLowerCase().includes(wanted);
  });
  return (text) => tests.some((test) => test(text));
}

/** The test of a field for a value: a function of the unit's number. */
function fieldTest(field, value) {
  if (field.numbers) {
    const round = field.numbers instanceof Float32Array ? Math.fround : Number;
    const tests = cut(value, (mark) => mark === ",").map((part) => {
      const text = unquoted(part);
      if (text.toLowerCase() === "none") return Number.isNaN;
      return inNumbers(rangeOf(text) ?? { low: text, high: text }, round);
    });
    if (tests.includes(null)) return null;
    return (i) => tests.some((test) => test(field.numbers[i]));
  }
  if (field.codes) {
    const texts = [null, ...field.values.map(String)];
    const test = textTest(value, texts.slice(1));
    const matches = Uint8Array.from(texts, (text) => Number(test(text)));
    return (i) => matches[field.codes[i]] === 1;
  }
  const test = textTest(value);
  return (i) => test(field.at(i));
}

/** Words are searched in the texts of all fields. */
function wordTest(value) {
  const wanted = unquoted(value).toLowerCase();
  const tests = [];
  for (const field of fields.values()) {
    if (field.codes) {
      const matches = Uint8Array.from([null, ...field.values], (text) => Number(text !== null && String(text).toLowerCase().includes(wanted)));
      tests.push((i) => matches[field.codes[i]] === 1);
    } else if (field.at) tests.push((i) => field.at(i)?.toLowerCase().includes(wanted) ?? false);
  }
  return (i) => tests.some((test) => test(i));
}

/** West, south, east and north; east of west across the antimeridian, too. */
function boxTest(value) {
  const [west, south, east, north] = value.split(",").map(Number);
  if (!world || [west, south, east, north].some((edge) => edge === undefined || Number.isNaN(edge))) return null;
  const wide = east - west >= 360 ? 360 : (((east - west) % 360) + 360) % 360;
  return (i) => world.known[i] === 1 && (((world.longitude(i) - west) % 360) + 360) % 360 <= wide
    && world.latitude(i) >= south && world.latitude(i) <= north;
}

function testOf({ key, value, text }, notes) {
  if (key === "box") {
    const test = boxTest(value);
    if (!test) notes.push(`${text}: a box is box:west,south,east,north in degrees`);
    return test ?? (() => false);
  }
  if (key !== null && fields.has(key)) {
    const field = fields.get(key);
    const test = fieldTest(field, value);
    if (!test) notes.push(`${text}: ${field.name} is a number: ${key}:2, ${key}:1..3 or ${key}:>2`);
    return test ?? (() => false);
  }
  if (key !== null) notes.push(`${text}: there is no column ${key}; the whole text is searched`);
  return wordTest(text.replace(/^-/, ""));
}

/** Select the units that match a query. */
function select(query) {
  const notes = [];
  const terms = parse(query);
  const tests = terms.map((term) => {
    const test = testOf(term, notes);
    return term.isNot ? (i) => !test(i) : test;
  });
  const mask = selection.mask;
  const members = [];
  for (let i = 0; i < units.count; i++) {
    mask[i] = Number(tests.every((test) => test(i)));
    if (mask[i]) members.push(i);
  }
  Object.assign(selection, { members, terms, notes, isAll: !terms.length });
  for (const listener of selectionListeners) listener();
}

/** Replace the terms of a field in the query; null removes them. */
function setTerm(key, value) {
  const kept = selection.terms.filter((term) => term.key !== key || term.isNot).map((term) => term.text);
  const query = [...kept, ...(value === null ? [] : [`${key}:${value}`])].join(" ");
  byId("query").value = query;
  select(query);
}

/** The value of a field in the query; null without one. */
const termOf = (key) => selection.terms.find((term) => term.key === key && !term.isNot)?.value ?? null;

/** The next selected unit in a direction, around the end. */
function stepFrom(i, by, isWanted = () => true) {
  const members = selection.members.filter(isWanted);
  if (!members.length) return i;
  if (i === null) return members[by > 0 ? 0 : members.length - 1];
  const next = by > 0 ? members.find((each) => each > i) : members.findLast((each) => each < i);
  return next ?? members[by > 0 ? 0 : members.length - 1];
}

function drawSelection() {
  const input = byId("query");
  let isAsked = false;
  input.addEventListener("input", () => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      select(input.value);
    });
  });
  byId("clear").addEventListener("click", () => {
    input.value = "";
    select("");
    input.focus();
  });
  byId("save").addEventListener("click", saveSelection);
  byId("copy").addEventListener("click", copyIds);
  byId("copy").hidden = !units.count || !units.id(0);
  const list = byId("fields");
  for (const { key, name } of fields.values()) {
    const add = () => {
      input.value = `${input.value.trim()} ${key}:`.trimStart();
      input.focus();
    };
    list.append(make("button", { type: "button", onclick: add, title: name }, `${key}:`));
  }
  selectionListeners.push(showCount);
}

function showCount() {
  const { members, notes, isAll } = selection;
  const bar = byId("selection");
  bar.dataset.count = String(members.length);
  byId("matches").textContent = isAll ? counted(units.count) : `${inEnglish(members.length)} of ${counted(units.count)}`;
  byId("clear").hidden = isAll;
  byId("remarks").replaceChildren(...notes.map((note) => make("p", { class: "note" }, note)));
  byId("ids").hidden = true;
}

/** The columns of the table and of the exported file: names, and values of a unit. */
function exportColumns() {
  return [...fields.values()].filter((field) => !field.codes || field.values.length).map((field) => ({
    ...field,
    value(i) {
      if (field.numbers) return Number.isNaN(field.numbers[i]) ? "" : String(Number(field.numbers[i].toPrecision(8)));
      if (field.codes) return field.codes[i] ? String(field.values[field.codes[i] - 1]) : "";
      return field.at(i) ?? "";
    },
  }));
}

/** The selection as CSV (RFC 4180). */
function csvOf(members) {
  const columns = exportColumns();
  const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [columns.map(({ key }) => cell(key)), ...members.map((i) => columns.map(({ value }) => cell(value(i))))];
  return lines.map((line) => `${line.join(",")}\r\n`).join("");
}

function saveSelection() {
  const link = make("a", { download: "selection.csv", href: URL.createObjectURL(new Blob([csvOf(selection.members)], { type: "text/csv" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000); // browsers begin to read it later
}

async function copyIds() {
  const text = selection.members.map(units.id).join("\n");
  const box = byId("ids");
  box.value = text;
  try {
    await navigator.clipboard.writeText(text);
    byId("matches").textContent = `${inEnglish(selection.members.length)} ${selection.members.length === 1 ? "id" : "ids"} copied`;
  } catch { // not allowed: to be copied by hand
    box.hidden = false;
    box.select();
  }
}
