// Colours of units: by category, by amount, by what became of them.

const PALETTE = ["#1f77b4", "#e1812c", "#3a923a", "#c03d3e", "#9372b2", "#8c6d51", "#d684bd", "#7f7f7f", "#a9aa35", "#2ab7ca",
  "#5254a3", "#ad494a", "#637939", "#bd9e39", "#a55194", "#17806d"];
const STATES = { done: "#2e8b57", empty: "#e0a030", failed_permanent: "#d0312d", failed_transient: "#e2725b", planned: "#8a8f98", skipped: "#7b5ea7" };
// Of viridis (CC0, matplotlib), eleven of its steps.
const RAMP = ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"];
const NONE = "#9aa0a6";

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const RAMP_RGB = RAMP.map(rgb);

function ramp(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  const mixed = RAMP_RGB[low].map((from, k) => Math.round(from + (RAMP_RGB[low + 1][k] - from) * (at - low)));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** The colour of a category: of the palette, then hues a golden angle apart. */
function paint(k) {
  if (k < PALETTE.length) return PALETTE[k];
  const [hue, light] = [(k * 137.508) % 360, [0.42, 0.55, 0.34][k % 3]];
  const part = (n) => {
    const at = (n + hue / 30) % 12;
    const value = light - 0.55 * Math.min(light, 1 - light) * Math.max(-1, Math.min(at - 3, 9 - at, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

/** A way to colour units: classes with a name, a colour and a count, and the class of each unit. */
function byCategory(name, coded, palette = null) {
  const counts = new Uint32Array(coded.values.length + 1);
  for (const code of coded.codes) counts[code]++;
  const classes = coded.values.map((value, k) => ({
    name: textOf({ name }, value).replaceAll("_", " "),
    colour: palette ? (palette[value] ?? NONE) : paint(k),
    count: counts[k + 1],
  }));
  return { name, classes: [{ name: "none", colour: NONE, count: counts[0] }, ...classes], of: coded.codes, range: null };
}

function byAmount(name, numbers, digits = 3) {
  const known = Float64Array.from(numbers.filter((value) => Number.isFinite(value))).sort();
  if (!known.length) return null;
  const low = known[Math.floor(0.02 * (known.length - 1))];
  const high = known[Math.ceil(0.98 * (known.length - 1))];
  const steps = 24;
  const classes = [{ name: "none", colour: NONE, count: numbers.length - known.length }];
  for (let k = 0; k < steps; k++) classes.push({ name: "", colour: ramp((k + 0.5) / steps), count: 0 });
  const of = Uint8Array.from(numbers, (value) => {
    if (!Number.isFinite(value)) return 0;
    const share = high > low ? (value - low) / (high - low) : 0.5;
    return 1 + Math.min(Math.max(Math.floor(share * steps), 0), steps - 1);
  });
  return { name, classes, of, range: [number(low, digits), number(high, digits)] };
}

/** All ways there are, the best for a first look in front. */
function colourings() {
  const found = [];
  for (const column of units.columns) {
    if (column.kind === "category") found.push(byCategory(column.name, column));
  }
  found.sort((a, b) => (b.name === data.stratum) - (a.name === data.stratum));
  found.push(byCategory("state of the unit", units.states, STATES));
  const amounts = [byAmount("valid fraction", units.valid), ...units.columns
    .filter((column) => column.kind === "number").map((column) => byAmount(column.name, column.numbers))];
  const brightness = new Float32Array(units.count).fill(NaN);
  for (const [i, [first]] of units.pictures) {
    const means = first.means.filter((mean) => mean !== null);
    if (means.length) brightness[i] = means.reduce((sum, mean) => sum + mean, 0) / means.length;
  }
  return [...found, ...amounts.filter(Boolean), byAmount("brightness", brightness)].filter(Boolean);
}
