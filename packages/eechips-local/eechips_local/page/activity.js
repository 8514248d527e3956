// What the server does: slots, rates, requests, tasks. Asked once a second, while the page is visible.

const EVERY = 1000; // milliseconds
const HISTORY = 120; // seconds in the chart
const RECENT = 5; // seconds over which the rate is the mean
const past = []; // of {time, slots, requests}: the mean in flight since the one before, and requests so far
let last = null;

const percent = (share) => `${Math.round(100 * Math.min(Math.max(share, 0), 1))}%`;
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);

function seconds(value) {
  if (value < 1) return `${Math.round(1000 * value)} ms`;
  if (value < 60) return `${value.toFixed(1)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`;
}

const set = (id, text, note = "") => {
  byId(id).textContent = text;
  byId(`${id}-note`).textContent = note;
};

function showActivity(now) {
  const { in_flight: flight, quota } = now;
  const before = last ?? now;
  const span = now.time - before.time;
  const slots = span > 0 ? (flight.busy - before.in_flight.busy) / span : flight.now;
  const total = sum(now.requests);
  past.push({ time: now.time, slots: Math.max(slots, 0), requests: total });
  while (past[0].time < now.time - HISTORY) past.shift();
  set("slots", String(flight.now), `${quota.concurrency === null ? "no limit" : `of ${inEnglish(quota.concurrency)}`}, at most ${inEnglish(flight.peak)} so far`);
  const meter = byId("slots-meter");
  meter.style.width = quota.concurrency === null ? "0" : percent(flight.now / quota.concurrency);
  meter.parentElement.hidden = quota.concurrency === null;
  drawHistory(now.time, quota.concurrency);
  const first = past.find(({ time }) => time >= now.time - RECENT - 0.5);
  const rate = now.time > first.time ? (total - first.requests) / (now.time - first.time) : 0;
  set("rate", rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en"), quota.rate === null ? "no limit" : `of ${number(quota.rate, 4)}`);
  const rejected = sum(now.rejected);
  const limits = Object.entries(now.rejected).filter(([, count]) => count).map(([name, count]) => `${inEnglish(count)} by ${name}`);
  set("rejected", inEnglish(rejected), limits.join(", "));
  const errors = Object.entries(now.statuses).filter(([status]) => Number(status) >= 400);
  set("failed", inEnglish(Math.max(sum(Object.fromEntries(errors)) - rejected, 0)), `of ${inEnglish(total)} requests`);
  const used = now.compute.month_eecu_seconds;
  const isShort = used < 3600 && quota.eecu_hours === null;
  set("compute", number(isShort ? used : used / 3600, 3), isShort ? "EECU-seconds" : quota.eecu_hours === null ? "EECU-hours" : `of ${number(quota.eecu_hours, 4)} EECU-hours`);
  showRequests(now.latest, total);
  showTasks(now.tasks);
  last = now;
}

const SVG = "http://www.w3.org/2000/svg";
function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** The mean of slots in use of each second of the last two minutes. */
function drawHistory(now, limit) {
  const [width, height] = [240, 34];
  const most = Math.max(limit ?? 0, ...past.map(({ slots }) => slots), 1);
  const points = past.map(({ time, slots }) => [width - ((now - time) / HISTORY) * width, height - 1 - (slots / most) * (height - 3)]);
  const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": "slots in use in the last two minutes" });
  drawing.append(shape("line", { x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5, class: "grid" }));
  drawing.append(shape("polygon", { points: `${points[0][0].toFixed(1)},${height} ${line} ${width},${height}`, class: "area" }));
  drawing.append(shape("polyline", { points: line, class: "line s0" }));
  byId("slots-chart").replaceChildren(drawing);
}

/** A table whose rows are elements; nothing but text is in the cells. */
function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((each) => make("th", { scope: "col", class: each.isNumber ? "number" : null }, each.name)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

/** Put a table in place of the former one; the place to which it is scrolled stays. */
function replaceTable(id, content) {
  const frame = byId(id);
  const at = [frame.scrollLeft, frame.scrollTop];
  frame.replaceChildren(content);
  [frame.scrollLeft, frame.scrollTop] = at;
}

const statusClass = (request) => (request.status === null ? "" : request.status < 400 ? "good" : "bad");

function showRequests(latest, total) {
  byId("requests-count").textContent = total ? `the latest ${inEnglish(latest.length)} of ${inEnglish(total)}` : "";
  if (!latest.length) {
    byId("requests-table").replaceChildren(make("p", { class: "note" }, "No request yet. ", make("code", {}, `ee.Initialize(AnonymousCredentials(), url="${location.origin}", project="local")`)));
    return;
  }
  const rows = latest.map((request) => make("tr", { class: request.is_in_flight ? "in-flight" : null },
    make("td", { class: "number" }, inEnglish(request.number)),
    make("td", {}, make("code", {}, request.kind), request.asset ? make("span", { class: "note asset" }, ` ${request.asset.replace(/^projects\/earthengine-(public|legacy)\/assets\//, "")}`) : null),
    make("td", { class: statusClass(request) }, request.is_in_flight ? "in flight" : String(request.status ?? "closed by the client")),
    make("td", { class: "number" }, seconds(request.seconds)),
    make("td", {}, request.tag ?? ""),
    make("td", { class: "number" }, `${seconds(Math.max(request.age, 0))} ago`)));
  replaceTable("requests-table", table([
    { name: "number", isNumber: true }, { name: "operation" }, { name: "status" }, { name: "duration", isNumber: true },
    { name: "workload tag" }, { name: "arrived", isNumber: true }], rows));
}

const STATES = { SUCCEEDED: "good", FAILED: "bad", CANCELLED: "faint" };

function showTasks(tasks) {
  byId("tasks-count").textContent = tasks.length ? inEnglish(tasks.length) : "";
  if (!tasks.length) {
    byId("tasks-table").replaceChildren(make("p", { class: "note" }, "No export yet. The options --drive, --buckets and --export-assets of eechips-local serve take exports."));
    return;
  }
  const rows = tasks.map(({ metadata, error }) => {
    const share = metadata.state === "SUCCEEDED" ? 1 : metadata.progress ?? 0;
    const bar = make("span", { class: "meter" }, make("span"));
    bar.firstChild.style.width = percent(share);
    const end = metadata.endTime ? Date.parse(metadata.endTime) : Date.parse(metadata.updateTime);
    const start = Date.parse(metadata.startTime);
    const result = error ? error.message : (metadata.destinationUris ?? []).join(", ");
    return make("tr", {},
      make("td", {}, metadata.description || "without a description"),
      make("td", {}, metadata.type.replace("EXPORT_", "").toLowerCase()),
      make("td", { class: STATES[metadata.state] ?? null }, metadata.state.toLowerCase()),
      make("td", {}, bar, make("span", { class: "note" }, ` ${percent(share)}`)),
      make("td", { class: "number" }, start > 0 ? seconds((end - start) / 1000) : ""),
      make("td", { class: "message" }, result));
  });
  replaceTable("tasks-table", table([{ name: "task" }, { name: "type" }, { name: "state" }, { name: "progress" }, { name: "duration", isNumber: true }, { name: "result" }], rows));
}

function showConnection(isConnected) {
  const line = byId("connection");
  line.parentElement.classList.toggle("is-lost", !isConnected);
  line.textContent = isConnected ? `at ${location.origin}` : `${location.origin} does not answer`;
}

let timer = null;
let isAsking = false;

/** Ask now, and again a second later. A page in the background does not ask. */
async function watch() {
  clearTimeout(timer);
  if (isAsking || document.visibilityState !== "visible") return;
  isAsking = true;
  const begun = performance.now();
  try {
    showActivity(await (await get("/_activity")).json());
    showConnection(true);
    document.body.dataset.polls = String(Number(document.body.dataset.polls ?? 0) + 1);
  } catch (error) {
    if (!(error instanceof ServiceError || error instanceof TypeError)) throw error;
    showConnection(false);
  } finally {
    isAsking = false;
    timer = setTimeout(watch, Math.max(EVERY - (performance.now() - begun), 100));
  }
}

function startWatching() {
  watch();
  document.addEventListener("visibilitychange", watch);
}
