// The map: plate carrée with the scale of the run's middle latitude, on a canvas; a second one above it shows what is
// pointed at. Units are squares of pixels when they are small, and their own outlines when they are large enough.

const world = data.map && (() => {
  const places = unpack(data.map.places);
  const shapes = data.map.shapes;
  return {
    longitude: (i) => places[2 * i] / 1e6,
    latitude: (i) => places[2 * i + 1] / 1e6,
    known: unpack(data.map.known),
    corners: unpack(shapes.corners),
    ends: unpack(shapes.ends),
    unit: shapes.scale,
    gap: shapes.gap,
    outlines: outlinesOf(data.map.outlines),
  };
})();

function drawMap() {
  const frame = byId("map");
  const base = frame.querySelector("canvas");
  const over = base.nextElementSibling;
  const tip = byId("tip");
  const hint = byId("hint");
  const ways = colourings();
  const hidden = new Set();
  let way = ways[0];
  let width = 1;
  let height = 1;
  let ratio = 1;
  let pointed = null;
  let frameAsked = false;

  // Bounds, and the half extent of every unit in degrees of latitude.
  const bounds = [Infinity, Infinity, -Infinity, -Infinity];
  const extent = new Float32Array(units.count);
  let sum = 0;
  let shaped = 0;
  for (let i = 0; i < units.count; i++) {
    if (!world.known[i]) continue;
    const from = i ? world.ends[i - 1] : 0;
    let wide = 0;
    let tall = 0;
    for (let k = from; k < world.ends[i]; k++) {
      if (world.corners[2 * k] === world.gap) continue;
      wide = Math.max(wide, Math.abs(world.corners[2 * k]));
      tall = Math.max(tall, Math.abs(world.corners[2 * k + 1]));
    }
    const x = world.longitude(i);
    const y = world.latitude(i);
    bounds[0] = Math.min(bounds[0], x - wide * world.unit);
    bounds[1] = Math.min(bounds[1], y - tall * world.unit);
    bounds[2] = Math.max(bounds[2], x + wide * world.unit);
    bounds[3] = Math.max(bounds[3], y + tall * world.unit);
    extent[i] = Math.max(wide, tall) * world.unit;
    if (extent[i] > 0) {
      sum += extent[i];
      shaped++;
    }
  }
  const usual = shaped ? sum / shaped : 0;
  const squeeze = Math.max(Math.cos((((bounds[1] + bounds[3]) / 2) * Math.PI) / 180), 0.05);
  const view = { x: 0, y: 0, scale: 1 }; // the middle in degrees, and pixels of a degree of latitude

  const toX = (longitude) => (longitude - view.x) * squeeze * view.scale + width / 2;
  const toY = (latitude) => (view.y - latitude) * view.scale + height / 2;
  const fromX = (x) => (x - width / 2) / (squeeze * view.scale) + view.x;
  const fromY = (y) => view.y - (y - height / 2) / view.scale;

  function fit() {
    const least = Math.max(0.01, 6 * usual);
    const wide = Math.max((bounds[2] - bounds[0]) * squeeze, least);
    const tall = Math.max(bounds[3] - bounds[1], least);
    view.x = (bounds[0] + bounds[2]) / 2;
    view.y = (bounds[1] + bounds[3]) / 2;
    view.scale = Math.min((width - 48) / wide, (height - 64) / tall);
    redraw();
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    const longitude = fromX(x);
    const latitude = fromY(y);
    view.scale = Math.min(Math.max(view.scale * factor, 0.4), 5e7);
    view.x = longitude - (x - width / 2) / (squeeze * view.scale);
    view.y = latitude + (y - height / 2) / view.scale;
    redraw();
  }

  function pan(dx, dy) {
    view.x -= dx / (squeeze * view.scale);
    view.y = Math.min(Math.max(view.y + dy / view.scale, -90), 90);
    redraw();
  }

  function redraw() {
    if (frameAsked) return;
    frameAsked = true;
    requestAnimationFrame(() => {
      frameAsked = false;
      drawBase();
      drawOver();
      frame.dataset.view = `${view.x.toFixed(6)} ${view.y.toFixed(6)} ${view.scale.toFixed(3)}`;
    });
  }

  const style = (name) => getComputedStyle(frame).getPropertyValue(name).trim();
  const projection = {
    toX,
    toY,
    fromX,
    fromY,
    style,
    get width() {
      return width;
    },
    get height() {
      return height;
    },
    get degrees() {
      return 1 / view.scale;
    },
  };
  const named = namedPlaces(world.outlines);

  function drawBase() {
    const g = base.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.fillStyle = style("--sea");
    g.fillRect(0, 0, width, height);
    drawOutlines(g, projection, world.outlines);
    drawGraticule(g, projection);
    frame.dataset.names = drawNames(g, projection, named, wrapped(view.x), view.y).join(", ");
    if (data.map.roi.length) drawRoi(g);
    drawUnits(g);
    for (const draw of overlays) draw(g, projection);
    drawScale(g, projection);
  }

  function drawRoi(g) {
    const [west, east] = [fromX(0), fromX(width)];
    g.setLineDash([6, 4]);
    g.strokeStyle = style("--ink");
    g.lineWidth = 1.2;
    g.beginPath();
    for (const ring of data.map.roi) {
      const longitudes = ring.map(([x]) => x);
      for (const turn of [-360, 0, 360]) {
        if (Math.max(...longitudes) + turn < west || Math.min(...longitudes) + turn > east) continue;
        ring.forEach(([x, y], k) => (k ? g.lineTo(toX(x + turn), toY(y)) : g.moveTo(toX(x + turn), toY(y))));
        g.closePath();
      }
    }
    g.stroke();
    g.setLineDash([]);
  }

  const isShown = (i) => world.known[i] && selection.mask[i] && !hidden.has(way.of[i]);

  /** Numbers of the selected units in sight. */
  function visible() {
    const margin = 8 / view.scale;
    const [west, east, south, north] = [fromX(0), fromX(width), fromY(height), fromY(0)];
    const found = [];
    for (let i = 0; i < units.count; i++) {
      if (!isShown(i)) continue;
      const reach = extent[i] + margin;
      const x = world.longitude(i);
      const y = world.latitude(i);
      if (x < west - reach / squeeze || x > east + reach / squeeze || y < south - reach || y > north + reach) continue;
      found.push(i);
    }
    return found;
  }

  const MOST_OTHERS = 20000;

  /** Units that are not selected: grey, below the others. */
  function drawOthers(g) {
    if (selection.isAll || units.count - selection.members.length > MOST_OTHERS) return;
    g.fillStyle = NONE;
    g.globalAlpha = 0.5;
    for (let i = 0; i < units.count; i++) {
      if (world.known[i] && !selection.mask[i]) g.fillRect(toX(world.longitude(i)) - 1, toY(world.latitude(i)) - 1, 2, 2);
    }
    g.globalAlpha = 1;
  }

  function drawUnits(g) {
    drawOthers(g);
    const seen = visible();
    if (usual * view.scale >= 4 && seen.length <= 20000) drawShapes(g, seen);
    else if (seen.length <= 4000) drawDots(g, seen, seen.length < (width > 600 ? 800 : 150) ? 4 : 3);
    else drawPixels(g, seen);
  }

  /** Groups units by class: as few changes of colour as there are classes. */
  function grouped(seen) {
    const groups = new Map();
    for (const i of seen) {
      const code = way.of[i];
      if (!groups.has(code)) groups.set(code, []);
      groups.get(code).push(i);
    }
    return [...groups].sort((a, b) => b[1].length - a[1].length);
  }

  function drawDots(g, seen, radius) {
    g.strokeStyle = style("--rim");
    g.lineWidth = 1;
    for (const [code, members] of grouped(seen)) {
      g.fillStyle = way.classes[code].colour;
      for (const i of members) {
        g.beginPath();
        g.arc(toX(world.longitude(i)), toY(world.latitude(i)), radius, 0, 7);
        g.fill();
        if (radius > 3) g.stroke();
      }
    }
  }

  function trace(g, i) {
    const from = i ? world.ends[i - 1] : 0;
    const end = world.ends[i];
    const x = world.longitude(i);
    const y = world.latitude(i);
    if (from === end) {
      g.moveTo(toX(x) + 4, toY(y));
      g.arc(toX(x), toY(y), 4, 0, 7);
      return;
    }
    let isFirst = true;
    for (let k = from; k < end; k++) {
      if (world.corners[2 * k] === world.gap) {
        g.closePath();
        isFirst = true;
        continue;
      }
      const px = toX(x + world.corners[2 * k] * world.unit);
      const py = toY(y + world.corners[2 * k + 1] * world.unit);
      if (isFirst) g.moveTo(px, py);
      else g.lineTo(px, py);
      isFirst = false;
    }
    g.closePath();
  }

  function drawShapes(g, seen) {
    g.lineWidth = 1.2;
    for (const [code, members] of grouped(seen)) {
      g.beginPath();
      for (const i of members) trace(g, i);
      g.fillStyle = g.strokeStyle = way.classes[code].colour;
      g.globalAlpha = 0.45;
      g.fill();
      g.globalAlpha = 1;
      g.stroke();
    }
  }

  let layer = null; // a canvas of device pixels for many small squares

  function drawPixels(g, seen) {
    const [columns, rows] = [base.width, base.height];
    layer ??= document.createElement("canvas");
    if (layer.width !== columns || layer.height !== rows) Object.assign(layer, { width: columns, height: rows });
    const context = layer.getContext("2d");
    const image = context.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const isLittle = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
    const paint = way.classes.map(({ colour }) => {
      const [red, green, blue] = rgb(colour);
      return (isLittle ? (255 << 24) | (blue << 16) | (green << 8) | red : (red << 24) | (green << 16) | (blue << 8) | 255) >>> 0;
    });
    const edge = Math.round((seen.length > 30000 ? 2 : 3) * ratio);
    for (const i of seen) {
      const left = Math.round(toX(world.longitude(i)) * ratio - edge / 2);
      const top = Math.round(toY(world.latitude(i)) * ratio - edge / 2);
      const colour = paint[way.of[i]];
      for (let row = Math.max(top, 0); row < Math.min(top + edge, rows); row++) {
        for (let column = Math.max(left, 0); column < Math.min(left + edge, columns); column++) {
          pixels[row * columns + column] = colour;
        }
      }
    }
    context.putImageData(image, 0, 0);
    g.drawImage(layer, 0, 0, width, height);
  }

  function drawOver() {
    const g = over.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    if (box) {
      g.strokeStyle = style("--accent");
      g.lineWidth = 1.5;
      g.strokeRect(Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.abs(box[2] - box[0]), Math.abs(box[3] - box[1]));
    }
    for (const [i, wide] of [[pointed, 2], [chosen, 3]]) {
      if (i === null || !world.known[i]) continue;
      g.beginPath();
      if (extent[i] * view.scale >= 7) trace(g, i);
      else g.arc(toX(world.longitude(i)), toY(world.latitude(i)), 8, 0, 7);
      g.strokeStyle = style("--rim");
      g.lineWidth = wide + 2;
      g.stroke();
      g.strokeStyle = style("--accent");
      g.lineWidth = wide;
      g.stroke();
    }
  }

  /** The unit at a place of the canvas, or null: the nearest one whose outline or dot is there. */
  function at(x, y) {
    let best = null;
    let least = Infinity;
    for (let i = 0; i < units.count; i++) {
      if (!isShown(i)) continue;
      const dx = toX(world.longitude(i)) - x;
      const dy = toY(world.latitude(i)) - y;
      const distance = dx * dx + dy * dy;
      const reach = Math.max(10, extent[i] * view.scale);
      if (distance < least && distance <= reach * reach) {
        least = distance;
        best = i;
      }
    }
    return best;
  }

  function point(i, x, y) {
    if (i !== pointed) {
      pointed = i;
      drawOver();
    }
    tip.hidden = i === null;
    if (i === null) return;
    const picture = (units.pictures.get(i) ?? [])[0];
    tip.replaceChildren(...[
      picture ? make("img", { src: picture.source, alt: "" }) : null,
      make("strong", {}, label(i)),
      make("span", {}, `${way.name}: ${way.range ? amount(i) : way.classes[way.of[i]].name}`),
      Number.isNaN(units.valid[i]) ? null : make("span", {}, `valid fraction: ${units.valid[i].toFixed(3)}`),
    ].filter(Boolean));
    tip.style.left = `${Math.min(x + 14, width - tip.offsetWidth - 6)}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > height ? Math.max(y - tip.offsetHeight - 12, 4) : y + 18}px`;
  }

  function amount(i) {
    const found = facts(i).find(([name]) => name === way.name);
    return found ? found[1] : "as the colour says";
  }

  // Pointers: one pans, two zoom.
  const pointers = new Map();
  let travelled = 0;

  let box = null; // corners of the box that is being drawn

  /** Select the units between two corners of the canvas. */
  function takeBox([x0, y0, x1, y1]) {
    const digits = Math.max(0, Math.ceil(Math.log10(view.scale)) + 1);
    const edges = [wrapped(fromX(Math.min(x0, x1))), fromY(Math.max(y0, y1)), wrapped(fromX(Math.max(x0, x1))), fromY(Math.min(y0, y1))];
    if (Math.abs(x1 - x0) >= 360 * squeeze * view.scale) [edges[0], edges[2]] = [-180, 180];
    setTerm("box", edges.map((edge) => edge.toFixed(Math.min(digits, 6))).join(","));
  }

  byId("in-view").addEventListener("click", () => takeBox([0, 0, width, height]));
  over.addEventListener("pointerdown", (event) => {
    over.setPointerCapture(event.pointerId);
    if (event.shiftKey && !event.button) {
      box = [event.offsetX, event.offsetY, event.offsetX, event.offsetY];
      return;
    }
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (pointers.size === 1) travelled = 0;
  });
  over.addEventListener("pointermove", (event) => {
    if (box) {
      box.splice(2, 2, event.offsetX, event.offsetY);
      drawOver();
      return;
    }
    const before = pointers.get(event.pointerId);
    const now = [event.offsetX, event.offsetY];
    if (!before) {
      point(at(...now), ...now);
      return;
    }
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const spread = (from) => Math.hypot(from[0] - other[0], from[1] - other[1]);
      zoom(spread(now) / Math.max(spread(before), 1), other[0], other[1]);
    } else {
      pan(now[0] - before[0], now[1] - before[1]);
    }
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    pointers.set(event.pointerId, now);
    tip.hidden = true;
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    over.addEventListener(kind, (event) => {
      if (box) {
        const drawn = box;
        box = null;
        drawOver();
        if (kind === "pointerup" && Math.abs(drawn[2] - drawn[0]) > 3 && Math.abs(drawn[3] - drawn[1]) > 3) takeBox(drawn);
        return;
      }
      const was = pointers.delete(event.pointerId);
      if (!was || kind === "pointercancel" || travelled > 5 || pointers.size) return;
      const found = at(event.offsetX, event.offsetY);
      if (found !== null) choose(found, "map");
    });
  }
  over.addEventListener("pointerleave", () => point(null));
  over.addEventListener("dblclick", (event) => zoom(2, event.offsetX, event.offsetY));
  over.addEventListener("wheel", (event) => {
    if (!takesWheel(event, frame, hint)) return;
    zoom(2 ** (-event.deltaY / (event.deltaMode ? 10 : 300)), event.offsetX, event.offsetY);
  }, { passive: false });

  function move(by) {
    const next = stepFrom(chosen, by);
    if (next !== null) choose(next, "keys");
  }

  const keys = {
    ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit, Home: fit,
    Enter: () => {
      const found = nearest();
      if (found !== null) choose(found, "map");
    },
    n: () => move(1),
    p: () => move(-1),
  };
  frame.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.target !== frame || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });

  function nearest() {
    let best = null;
    let least = Infinity;
    for (let i = 0; i < units.count; i++) {
      if (!isShown(i)) continue;
      const distance = ((world.longitude(i) - view.x) * squeeze) ** 2 + (world.latitude(i) - view.y) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  byId("nearer").addEventListener("click", () => zoom(1.6));
  byId("farther").addEventListener("click", () => zoom(1 / 1.6));
  byId("fit").addEventListener("click", fit);

  const select = byId("colouring");
  ways.forEach((each, k) => select.append(make("option", { value: String(k) }, each.name)));
  select.addEventListener("change", () => {
    way = ways[Number(select.value)];
    hidden.clear();
    showLegend();
    redraw();
  });

  function showLegend() {
    const legend = byId("legend");
    legend.replaceChildren();
    if (way.range) {
      const bar = make("canvas", { class: "ramp", width: "220", height: "10", role: "img", "aria-label": `from ${way.range.join(" to ")}` });
      const g = bar.getContext("2d");
      for (let x = 0; x < 220; x++) {
        g.fillStyle = ramp(x / 219);
        g.fillRect(x, 0, 1, 10);
      }
      legend.append(make("li", { class: "amounts" }, make("span", {}, way.range[0]), bar, make("span", {}, way.range[1])));
    }
    way.classes.forEach((each, code) => {
      if (!each.count || (way.range && code)) return;
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = each.colour;
      const button = make("button", { type: "button", "aria-pressed": "true", title: "show or hide" }, swatch, each.name,
        make("span", { class: "count" }, each.count.toLocaleString("en")));
      button.addEventListener("click", () => {
        if (!hidden.delete(code)) hidden.add(code);
        button.setAttribute("aria-pressed", String(!hidden.has(code)));
        redraw();
      });
      legend.append(make("li", {}, button));
    });
  }

  listeners.push((i, source) => {
    if (i !== null && world.known[i] && source !== "map") {
      const [x, y] = [toX(world.longitude(i)), toY(world.latitude(i))];
      if (x < 30 || y < 30 || x > width - 30 || y > height - 30) {
        view.x = world.longitude(i);
        view.y = world.latitude(i);
        redraw();
      }
    }
    drawOver();
  });

  function resize() {
    const isFirst = width === 1;
    [width, height, ratio] = [frame.clientWidth, frame.clientHeight, window.devicePixelRatio || 1];
    for (const canvas of [base, over]) {
      Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    }
    if (isFirst) fit();
    else redraw();
  }

  selectionListeners.push(redraw);
  new ResizeObserver(resize).observe(frame);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", drawBase); // at once: paper does not wait for a frame
  resize();
  showLegend();
}
