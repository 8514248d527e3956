// The background of maps: borders, names, a graticule and a scale, on a canvas. A projection has functions between degrees
// and pixels (toX, toY, fromX, fromY), width and height in pixels, degrees of latitude of a pixel in the middle, and style,
// which returns a colour by its name. With halo, texts and lines above pictures have a rim.

const METRES = 111195; // of a degree of latitude

/** The rings of countries and states, in degrees. */
function outlinesOf({ step, shapes }) {
  return shapes.flatMap(({ name, rings }) => rings.map((ring) => {
    const corners = new Float64Array(ring.length);
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (let k = 0; k < ring.length; k++) {
      corners[k] = ring[k] * step + (k > 1 ? corners[k - 2] : 0);
      box[k % 2] = Math.min(box[k % 2], corners[k]);
      box[2 + (k % 2)] = Math.max(box[2 + (k % 2)], corners[k]);
    }
    return { name, corners, box };
  }));
}

/** The names of countries and states with the middle of their largest outlines. */
function namedPlaces(outlines) {
  const largest = new Map();
  const areaOf = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  for (const outline of outlines) {
    const known = largest.get(outline.name);
    if (!known || areaOf(outline) > areaOf(known)) largest.set(outline.name, outline);
  }
  return [...largest.values()].map(({ name, corners, box }) => {
    let [area, x, y] = [0, 0, 0];
    for (let k = 0; k < corners.length; k += 2) {
      const next = (k + 2) % corners.length;
      const cross = corners[k] * corners[next + 1] - corners[next] * corners[k + 1];
      area += cross;
      x += (corners[k] + corners[next]) * cross;
      y += (corners[k + 1] + corners[next + 1]) * cross;
    }
    return { name, x: x / (3 * area), y: y / (3 * area), corners, box };
  });
}

function drawOutlines(g, { toX, toY, fromX, fromY, width, height, style }, outlines) {
  const [west, east, south, north] = [fromX(0), fromX(width), fromY(height), fromY(0)];
  g.beginPath();
  for (const { corners, box } of outlines) {
    if (box[3] < south || box[1] > north) continue;
    for (const turn of [-360, 0, 360]) {
      if (box[2] + turn < west || box[0] + turn > east) continue;
      for (let k = 0; k < corners.length; k += 2) {
        const x = toX(corners[k] + turn);
        const y = toY(corners[k + 1]);
        if (k) g.lineTo(x, y);
        else g.moveTo(x, y);
      }
      g.closePath();
    }
  }
  g.fillStyle = style("--land");
  g.fill();
  g.strokeStyle = style("--border");
  g.lineWidth = 0.8;
  g.stroke();
}

function isInside({ corners, box }, x, y) {
  if (x < box[0] || x > box[2] || y < box[1] || y > box[3]) return false;
  let isIn = false;
  for (let k = 0, last = corners.length - 2; k < corners.length; last = k, k += 2) {
    if (corners[k + 1] > y !== corners[last + 1] > y
      && x < ((corners[last] - corners[k]) * (y - corners[k + 1])) / (corners[last + 1] - corners[k + 1]) + corners[k]) isIn = !isIn;
  }
  return isIn;
}

/** Draw the names of countries and states that are wide enough; of the one that fills the map, at its lower left.
 *
 * The middle of the map is at a longitude and latitude. Returns the drawn names. */
function drawNames(g, { toX, toY, width, height, style }, named, longitude, latitude) {
  g.font = "11px system-ui, sans-serif";
  g.fillStyle = style("--faint");
  g.textAlign = "center";
  const drawn = [];
  const widthOf = ({ box }) => toX(box[2]) - toX(box[0]);
  for (const each of named) {
    for (const turn of [-360, 0, 360]) {
      const [x, y] = [toX(each.x + turn), toY(each.y)];
      if (x < 0 || x > width || y < 0 || y > height) continue;
      if (g.measureText(each.name).width + 6 > widthOf(each)) continue;
      g.fillText(each.name, x, y);
      drawn.push(each.name);
    }
  }
  g.textAlign = "start";
  const around = named.find((each) => isInside(each, longitude, latitude));
  if (around && !drawn.includes(around.name) && widthOf(around) > width) {
    g.fillText(around.name, 8, height - 12);
    drawn.push(around.name);
  }
  return drawn.sort();
}

/** Write a text, legible above pictures if the map has a halo. */
function write(g, { style, halo }, text, x, y) {
  if (halo) {
    g.lineJoin = "round";
    g.lineWidth = 3;
    g.strokeStyle = style("--land");
    g.strokeText(text, x, y);
  }
  g.fillText(text, x, y);
}

const BUTTONS = 48; // pixels at the right edge, which the buttons of the map cover

function drawGraticule(g, projection) {
  const { toX, toY, fromX, fromY, width, height, degrees, style, halo } = projection;
  const labels = [];
  const wanted = 130 * degrees; // between lines
  const steps = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001];
  const step = steps.findLast((each) => each >= wanted) ?? 30;
  const digits = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  g.strokeStyle = style("--graticule");
  g.fillStyle = style(halo ? "--ink" : "--faint");
  g.lineWidth = 0.6;
  g.font = "10px system-ui, sans-serif";
  g.beginPath();
  for (let n = Math.ceil(fromX(0) / step); n * step < fromX(width); n++) {
    const x = toX(n * step);
    g.moveTo(x, 0);
    g.lineTo(x, height);
    const east = wrapped(n * step);
    const text = `${Math.abs(east).toFixed(digits)}°${east < 0 ? "W" : "E"}`;
    if (x + 3 + g.measureText(text).width < width - BUTTONS) labels.push([text, x + 3, 11]);
  }
  for (let n = Math.ceil(Math.max(fromY(height), -90) / step); n * step <= Math.min(fromY(0), 90); n++) {
    const y = toY(n * step);
    g.moveTo(0, y);
    g.lineTo(width, y);
    labels.push([`${Math.abs(n * step).toFixed(digits)}°${n < 0 ? "S" : "N"}`, 4, y - 3]);
  }
  g.stroke();
  for (const label of labels) write(g, projection, ...label);
}

function drawScale(g, projection) {
  const { width, height, degrees, style, halo } = projection;
  const metres = METRES * 120 * degrees;
  const power = 10 ** Math.floor(Math.log10(metres));
  const length = [5, 2, 1].map((each) => each * power).find((each) => each <= metres) ?? power;
  const pixels = length / METRES / degrees;
  const text = length >= 1000 ? `${length / 1000} km` : `${length} m`;
  const [x, y] = [width - pixels - 14, height - 12];
  g.beginPath();
  g.moveTo(x, y - 5);
  g.lineTo(x, y);
  g.lineTo(x + pixels, y);
  g.lineTo(x + pixels, y - 5);
  for (const [colour, wide] of [...(halo ? [["--land", 4.5]] : []), ["--ink", 1.5]]) {
    g.strokeStyle = style(colour);
    g.lineWidth = wide;
    g.stroke();
  }
  g.fillStyle = style("--ink");
  g.font = "11px system-ui, sans-serif";
  write(g, projection, text, x + 4, y - 4);
}
