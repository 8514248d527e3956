// Histograms of the numbers of units. A bar selects the units in it; dragging, or a click with Shift, selects several.

const MOST_BARS = 40;
const MOST_PLOTS = 18;
const [PLOT_WIDTH, PLOT_HEIGHT, PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_BOTTOM] = [420, 170, 46, 10, 10, 26];

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** The smallest of 1, 2, 2.5 and 5, times a power of ten, that is not below a step. */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= least * (1 - 1e-9));
}

/** Edges of bars at round numbers; beyond the 1st and 99th percentile is one bar each. Null for equal values. */
function edgesOf(numbers) {
  const known = Float64Array.from(numbers.filter((value) => Number.isFinite(value))).sort();
  if (!known.length || known[0] === known.at(-1)) return { known, edges: null };
  let low = known[Math.floor(0.01 * (known.length - 1))];
  let high = known[Math.ceil(0.99 * (known.length - 1))];
  if (low === high) [low, high] = [known[0], known.at(-1)];
  const bars = Math.min(MOST_BARS, Math.max(8, Math.ceil(2 * Math.sqrt(known.length))));
  const step = roundStep((high - low) / bars);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  const edges = Array.from({ length: last - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(10)));
  return { known, edges };
}

function drawHistograms() {
  const plots = byId("plots");
  const sameOf = [];
  for (const field of [...fields.values()].filter(({ numbers, key }) => numbers && !["longitude", "latitude"].includes(key)).slice(0, MOST_PLOTS)) {
    const { known, edges } = edgesOf(field.numbers);
    if (edges) plots.append(histogram(field, known, edges));
    else if (known.length) sameOf.push(`${field.name}: ${number(known[0])} for all ${inEnglish(known.length)}`);
  }
  if (sameOf.length) plots.after(make("p", { class: "note" }, `${sameOf.join(". ")}.`));
  byId("values").hidden = !plots.childElementCount && !sameOf.length;
}

function histogram(field, known, edges) {
  const count = edges.length - 1;
  const round = field.numbers instanceof Float32Array ? Math.fround : Number;
  const inner = edges.slice(1, -1).map(round);
  const binOf = new Int16Array(units.count).fill(-1);
  field.numbers.forEach((value, i) => {
    if (!Number.isFinite(value)) return;
    let [low, high] = [0, inner.length]; // the number of inner edges that are not above the value
    while (low < high) {
      const middle = (low + high) >> 1;
      if (inner[middle] <= value) low = middle + 1;
      else high = middle;
    }
    binOf[i] = low;
  });
  const totals = new Uint32Array(count);
  for (const bin of binOf) if (bin >= 0) totals[bin]++;
  const most = Math.max(...totals);
  const toX = (k) => PLOT_LEFT + (k / count) * (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT);
  const floor = PLOT_HEIGHT - PLOT_BOTTOM;
  const toY = (value) => floor - (value / most) * (floor - PLOT_TOP);

  const figure = make("figure", { class: "plot histogram", "data-field": field.key });
  const chart = draw("svg", { viewBox: `0 0 ${PLOT_WIDTH} ${PLOT_HEIGHT}`, class: "chart", role: "img", "aria-label": `${field.name} of ${counted(known.length)}` });
  for (const value of [0, most]) {
    chart.append(draw("line", { class: "grid", x1: PLOT_LEFT, x2: PLOT_WIDTH - PLOT_RIGHT, y1: toY(value), y2: toY(value) }),
      draw("text", { class: "tick", x: PLOT_LEFT - 5, y: toY(value) + 3.5, "text-anchor": "end" }, inEnglish(value)));
  }
  const labels = Math.max(1, Math.ceil(count / 5));
  for (let k = 0; k <= count; k += labels) {
    chart.append(draw("text", { class: "tick", x: toX(k), y: PLOT_HEIGHT - 8, "text-anchor": k === 0 ? "start" : k === count ? "end" : "middle" }, number(edges[k])));
  }
  const has = (k, part) => (k === 0 && known[0] < edges[0] && part === "low") || (k === count - 1 && known.at(-1) > edges[count] && part === "high");
  const words = (from, to) => {
    if (has(from, "low") && has(to, "high")) return null;
    if (has(from, "low")) return `<${edges[to + 1]}`;
    if (has(to, "high") || to === count - 1) return has(to, "high") ? `>=${edges[from]}` : `${edges[from]}..${edges[to + 1]}`;
    return `${edges[from]}..<${edges[to + 1]}`;
  };
  const bars = [];
  for (let k = 0; k < count; k++) {
    const [left, wide] = [toX(k) + 0.4, Math.max(toX(k + 1) - toX(k) - 0.8, 0.6)];
    const height = totals[k] ? Math.max(floor - toY(totals[k]), 0.7) : 0;
    const all = draw("rect", { class: "all", x: left, width: wide, y: floor - height, height });
    const some = draw("rect", { class: "some", x: left, width: wide });
    const target = draw("rect", { class: "target", x: toX(k), width: toX(k + 1) - toX(k), y: PLOT_TOP, height: floor - PLOT_TOP, "data-bar": k });
    const tip = draw("title");
    target.append(tip);
    bars.push({ some, tip });
    chart.append(all, some, target);
  }

  const inputs = ["from", "to"].map((name) => {
    const input = make("input", { type: "number", step: "any", "aria-label": `${field.name} ${name}` });
    input.addEventListener("change", () => {
      const [low, high] = inputs.map(({ value }) => value);
      setTerm(field.key, low === "" && high === "" ? null : `${low}..${high}`);
    });
    return input;
  });
  const caption = make("figcaption", {}, `${field.name}, ${counted(known.length)}`);
  figure.append(caption, chart, make("p", { class: "range" }, inputs[0], " to ", inputs[1]));

  let anchor = null; // the bar at which a range begins
  const barOf = (event) => {
    const bounds = chart.getBoundingClientRect();
    const x = ((event.clientX - bounds.left) / bounds.width) * PLOT_WIDTH;
    return Math.min(Math.max(Math.floor(((x - PLOT_LEFT) / (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT)) * count), 0), count - 1);
  };
  const take = (from, to) => setTerm(field.key, words(Math.min(from, to), Math.max(from, to)));
  chart.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const bar = barOf(event);
    chart.setPointerCapture(event.pointerId);
    chart.isDragged = true;
    if (event.shiftKey && anchor !== null) take(anchor, bar);
    else if (termOf(field.key) === words(bar, bar)) {
      anchor = null;
      chart.isDragged = false;
      setTerm(field.key, null);
    } else {
      anchor = bar;
      take(bar, bar);
    }
  });
  chart.addEventListener("pointermove", (event) => {
    if (chart.isDragged && anchor !== null) {
      const value = words(Math.min(anchor, barOf(event)), Math.max(anchor, barOf(event)));
      if (value !== termOf(field.key)) setTerm(field.key, value);
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) chart.addEventListener(kind, () => (chart.isDragged = false));

  selectionListeners.push(() => {
    const counts = new Uint32Array(count);
    for (const i of selection.members) if (binOf[i] >= 0) counts[binOf[i]]++;
    bars.forEach(({ some, tip }, k) => {
      const height = counts[k] ? Math.max(floor - toY(counts[k]), 0.7) : 0;
      some.setAttribute("y", floor - height);
      some.setAttribute("height", height);
      const share = selection.isAll ? inEnglish(totals[k]) : `${inEnglish(counts[k])} of ${inEnglish(totals[k])}`;
      tip.textContent = `${words(k, k)?.replace("..<", " to below ").replace("..", " to ") ?? "all"}: ${share}`;
    });
    const value = termOf(field.key);
    const range = value === null ? null : rangeOf(value);
    inputs[0].value = range && range.low !== "" ? Number(range.low) : "";
    inputs[1].value = range && range.high !== "" ? Number(range.high) : "";
    figure.classList.toggle("is-filtered", value !== null);
  });
  return figure;
}
