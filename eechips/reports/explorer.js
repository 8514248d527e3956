// The explorer: the page of a run inside a notebook. Marks, the selection and its box go to the notebook as messages;
// the notebook answers with the marks that the ledger holds, with errors as text, and with pictures.

const marked = new Set(data.marked); // numbers of units
const asked = new Set(); // units whose pictures were asked for
const SETTLED = 150; // milliseconds without a change of the query

const tell = (message, mask = null) => parent.postMessage({ message, mask }, "*"); // the notebook's origin is not known here
const isMarkable = (i) => data.markable[i] === "1";

function setMarks(numbers, isBad) {
  const some = numbers.filter((i) => isMarkable(i) && marked.has(i) !== isBad);
  if (some.length) tell({ kind: "mark", units: some, bad: isBad });
}

const toggleMark = (i) => setMarks([i], !marked.has(i));

function markButton(i) {
  if (!isMarkable(i)) return null;
  return make("button", { type: "button", class: "mark", "aria-pressed": String(marked.has(i)), title: "key: X", onclick: () => toggleMark(i) },
    marked.has(i) ? "Bad: remove the mark" : "Mark as bad");
}

function showMarks() {
  byId("marked").textContent = `${inEnglish(marked.size)} marked as bad`;
  byId("exclude").disabled = byId("show-marked").disabled = !marked.size;
  for (const [i, button] of thumbnails) button.classList.toggle("is-bad", marked.has(i));
  for (const old of document.querySelectorAll(".mark")) old.remove();
  if (chosen === null) return;
  for (const place of [byId("chip")?.querySelector(".steps"), byId("close").parentElement]) {
    const button = markButton(chosen);
    if (place && button) place.append(button);
  }
}

/** A cross on every marked unit. */
function drawMarks(g, { toX, toY, style }) {
  for (const [colour, wide] of [[style("--rim"), 4], [style("--bad"), 2]]) {
    g.strokeStyle = colour;
    g.lineWidth = wide;
    g.beginPath();
    for (const i of marked) {
      if (!world.known[i]) continue;
      const [x, y] = [toX(world.longitude(i)), toY(world.latitude(i))];
      g.moveTo(x - 5, y - 5);
      g.lineTo(x + 5, y + 5);
      g.moveTo(x + 5, y - 5);
      g.lineTo(x - 5, y + 5);
    }
    g.stroke();
  }
}

function showRegion() {
  const box = termOf("box");
  byId("roi").textContent = box && boxTest(box) ? `roi ${box}` : "no region: drag on the map with Shift";
}

let timer = null;

function tellSelection() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const box = termOf("box");
    tell({ kind: "select", query: byId("query").value, box: box && boxTest(box) ? box : null }, selection.mask.slice());
  }, SETTLED);
}

/** Ask for the picture of a unit that this page has none of. */
function askForPicture(i) {
  if (i === null || units.pictures.has(i) || asked.has(i) || !isMarkable(i)) return;
  asked.add(i);
  tell({ kind: "picture", unit: i });
}

const answers = {
  marks({ units: numbers }) {
    marked.clear();
    for (const i of numbers) marked.add(i);
    showNotice("");
    select(byId("query").value);
  },
  error: ({ text }) => showNotice(text),
  picture({ unit, pictures }) {
    if (!pictures.length) return;
    units.pictures.set(unit, pictures);
    if (chosen === unit) choose(unit, "picture");
  },
};

function showNotice(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

function connectExplorer() {
  byId("mark-all").addEventListener("click", () => setMarks(selection.members, true));
  byId("unmark-all").addEventListener("click", () => setMarks(selection.members, false));
  byId("show-marked").addEventListener("click", () => setTerm(markKey, "bad"));
  byId("exclude").addEventListener("click", () => {
    byId("sure").hidden = false;
    byId("yes").textContent = `Exclude ${inEnglish(marked.size)}: remove their files`;
    byId("yes").focus();
  });
  byId("no").addEventListener("click", () => (byId("sure").hidden = true));
  byId("yes").addEventListener("click", () => {
    byId("sure").hidden = true;
    tell({ kind: "exclude" });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "x" || event.ctrlKey || event.metaKey || event.altKey || chosen === null) return;
    if (event.target.matches("input, textarea, select")) return;
    toggleMark(chosen);
  });
  byId("groups")?.addEventListener("click", showMarks); // more thumbnails
  addEventListener("message", (event) => {
    if (event.source === parent && Object.hasOwn(answers, event.data?.kind)) answers[event.data.kind](event.data);
  });
  overlays.push(drawMarks);
  listeners.push(showMarks, askForPicture);
  selectionListeners.push(showMarks, showRegion, tellSelection);
}

fillFields();
const markKey = addField("mark", { at: (i) => (marked.has(i) ? "bad" : null) });
drawSelection();
if (world) drawMap();
drawHistograms();
drawTable();
if (byId("groups")) drawSheets();
drawSeries();
drawViewer();
connectExplorer();
select("");
