// The table of the selected units. Only the rows in sight are elements, so that 100,000 rows scroll.

const ROW_HEIGHT = 28;
const SPARE_ROWS = 8; // above and below those in sight

function drawTable() {
  const frame = byId("rows-frame");
  const columns = exportColumns();
  const body = make("div", { class: "table-body", role: "rowgroup" });
  const header = make("div", { class: "table-row table-head", role: "row", "aria-rowindex": "1" });
  const wide = columns.map((column) => widthOf(column));
  const template = wide.map((letters) => `minmax(${letters}ch, ${letters}fr)`).join(" ");
  const sort = { column: null, isDown: false };
  let order = [];

  columns.forEach((column, k) => {
    const button = make("button", { type: "button" }, column.name);
    button.addEventListener("click", () => {
      if (sort.column !== column) Object.assign(sort, { column, isDown: false });
      else if (!sort.isDown) sort.isDown = true;
      else Object.assign(sort, { column: null, isDown: false });
      show();
    });
    const cell = make("div", { role: "columnheader", "aria-colindex": String(k + 1), class: column.numbers ? "number" : null }, button);
    column.head = cell;
    header.append(cell);
  });
  frame.setAttribute("aria-colcount", String(columns.length));
  for (const part of [header, body]) part.style.setProperty("--columns", template);
  const width = `${wide.reduce((sum, letters) => sum + letters + 2, 0)}ch`;
  for (const part of [header, body]) part.style.minWidth = width;
  frame.replaceChildren(make("div", { role: "rowgroup" }, header), body);

  function show() {
    order = selection.members.slice();
    if (sort.column) order.sort(comparator(sort.column, sort.isDown));
    for (const column of columns) {
      const direction = column !== sort.column ? "none" : sort.isDown ? "descending" : "ascending";
      column.head.setAttribute("aria-sort", direction);
    }
    frame.setAttribute("aria-rowcount", String(order.length + 1));
    body.style.height = `${order.length * ROW_HEIGHT}px`;
    drawRows();
  }

  function drawRows() {
    const first = Math.max(Math.floor(frame.scrollTop / ROW_HEIGHT) - SPARE_ROWS, 0);
    const count = Math.ceil(frame.clientHeight / ROW_HEIGHT) + 2 * SPARE_ROWS;
    body.replaceChildren(...order.slice(first, first + count).map((i, k) => row(i, first + k)));
    frame.dataset.rows = `${first} ${order.length}`;
  }

  function row(i, position) {
    const cells = columns.map((column, k) => {
      const text = shownValue(column, i);
      return make("div", { role: "gridcell", "aria-colindex": String(k + 1), class: column.numbers ? "number" : null, title: text.length > 24 ? text : null }, text);
    });
    const element = make("div", { class: "table-row", role: "row", "aria-rowindex": String(position + 2), "data-unit": String(i), "aria-selected": String(i === chosen) }, ...cells);
    element.style.top = `${position * ROW_HEIGHT}px`;
    return element;
  }

  const unitOf = (event) => event.target.closest(".table-row[data-unit]")?.dataset.unit;
  body.addEventListener("click", (event) => {
    const found = unitOf(event);
    if (found !== undefined) choose(Number(found), "table");
  });
  body.addEventListener("dblclick", (event) => {
    const found = unitOf(event);
    if (found !== undefined) openViewer(Number(found));
  });
  frame.addEventListener("scroll", () => requestAnimationFrame(drawRows));
  frame.addEventListener("keydown", (event) => {
    if (event.target === frame && event.key === "Enter" && order.includes(chosen)) openViewer(chosen);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (event.target !== frame || !by || !order.length) return;
    event.preventDefault();
    const at = order.indexOf(chosen);
    choose(order[at < 0 ? 0 : Math.min(Math.max(at + by, 0), order.length - 1)], "keys");
  });
  listeners.push((i, source) => {
    const at = order.indexOf(i);
    if (at >= 0 && source !== "table") {
      const [top, height] = [at * ROW_HEIGHT, frame.clientHeight - 2 * ROW_HEIGHT];
      if (top < frame.scrollTop) frame.scrollTop = top;
      else if (top > frame.scrollTop + height) frame.scrollTop = top - height;
    }
    drawRows();
  });
  new ResizeObserver(drawRows).observe(frame);
  selectionListeners.push(() => {
    frame.scrollTop = 0;
    show();
  });
}

/** Letters that a column needs: of its name, and of some values. */
function widthOf(column) {
  let letters = column.name.length + 2;
  for (let i = 0; i < Math.min(units.count, 200); i++) letters = Math.max(letters, shownValue(column, i).length);
  return Math.min(Math.max(letters, 6), 28);
}

function shownValue(column, i) {
  if (!column.numbers) return column.value(i);
  const value = column.numbers[i];
  return Number.isNaN(value) ? "" : column.key === "bytes" ? size(value) : number(value);
}

/** Units without a value are last in both directions; equal ones are in the order of the plan. */
function comparator(column, isDown) {
  const turn = isDown ? -1 : 1;
  if (column.numbers) {
    const at = column.numbers;
    return (a, b) => Number.isNaN(at[a]) - Number.isNaN(at[b]) || turn * (at[a] - at[b]) || a - b;
  }
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  if (column.codes) {
    const names = column.values.map(String);
    const ranks = new Uint32Array(names.length + 1);
    names.map((_, k) => k).sort((a, b) => compare(names[a], names[b])).forEach((k, rank) => (ranks[k + 1] = rank + 1));
    return (a, b) => !ranks[column.codes[a]] - !ranks[column.codes[b]] || turn * (ranks[column.codes[a]] - ranks[column.codes[b]]) || a - b;
  }
  const texts = new Map(selection.members.map((i) => [i, column.value(i)]));
  return (a, b) => !texts.get(a) - !texts.get(b) || turn * compare(texts.get(a), texts.get(b)) || a - b;
}
