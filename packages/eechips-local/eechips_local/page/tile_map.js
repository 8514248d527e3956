// A map of tiles in Web Mercator, with borders and a graticule below them. Zooms are whole numbers, and pixels of tiles are
// pixels of the map: what is drawn is what the server sent.

const TILE = 256;
const HALF_WORLD = Math.PI * 6378137; // metres
const DEEPEST = 22;
const AT_ONCE = 4; // tiles that are requested: browsers have six connections, and other programs want slots too
const MOST_TILES = 500; // that are kept
const BORDER = (2 * Math.atan(Math.exp(Math.PI)) - Math.PI / 2) * (180 / Math.PI); // latitude of the world's edge

/** The share of the world from its northern edge. */
function toShare(latitude) {
  const clamped = (Math.min(Math.max(latitude, -89), 89) * Math.PI) / 180;
  return 0.5 - Math.log(Math.tan(Math.PI / 4 + clamped / 2)) / (2 * Math.PI);
}
const fromShare = (share) => ((2 * Math.atan(Math.exp((0.5 - share) * 2 * Math.PI)) - Math.PI / 2) * 180) / Math.PI;

/** Metres of a pixel at the equator. */
const pixelOf = (zoom) => (2 * HALF_WORLD) / TILE / 2 ** zoom;

function makeMap(frame, { onMove, onPick, onProgress, onFailure }) {
  const [base, picture, marks] = frame.querySelectorAll("canvas");
  const hint = byId("hint");
  const view = { x: 0.5, y: 0.5, zoom: 1 }; // the middle as shares of the world
  let [width, height, ratio] = [1, 1, 1];
  let outlines = [];
  let named = [];
  let layer = null; // {name, bounds, leastZoom}
  let mark = null; // longitude and latitude
  let tiles = new Map(); // by address: {state, bitmap, control}
  let isAsked = false;

  const edge = () => TILE * 2 ** view.zoom;
  const left = () => Math.round(view.x * edge() - width / 2);
  const top = () => Math.round(view.y * edge() - height / 2);
  const projection = {
    toX: (longitude) => ((longitude + 180) / 360) * edge() - left(),
    toY: (latitude) => toShare(latitude) * edge() - top(),
    fromX: (x) => ((x + left()) / edge()) * 360 - 180,
    fromY: (y) => fromShare((y + top()) / edge()),
    style: (name) => getComputedStyle(frame).getPropertyValue(name).trim(),
    get halo() {
      return layer !== null;
    },
    get width() {
      return width;
    },
    get height() {
      return height;
    },
    get degrees() {
      return (360 / edge()) * Math.cos((fromShare(view.y) * Math.PI) / 180);
    },
  };
  const leastZoom = () => Math.max(Math.ceil(Math.log2(Math.max(width, height) / TILE)), 1); // the world fills the map

  function redraw() {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      view.zoom = Math.min(Math.max(view.zoom, leastZoom()), DEEPEST);
      const margin = Math.min(height / 2 / edge(), 0.5);
      view.y = Math.min(Math.max(view.y, margin), 1 - margin);
      view.x = ((view.x % 1) + 1) % 1;
      drawBase();
      drawTiles();
      drawMarks();
      frame.dataset.view = `${wrapped(view.x * 360 - 180).toFixed(6)} ${fromShare(view.y).toFixed(6)} ${view.zoom}`;
      frame.dataset.corner = `${left()} ${top()}`; // pixels of the world
      onMove([wrapped(view.x * 360 - 180), fromShare(view.y), view.zoom]);
    });
  }

  function prepare(canvas) {
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    return g;
  }

  function drawBase() {
    const g = prepare(base);
    g.fillStyle = projection.style("--sea");
    g.fillRect(0, 0, width, height);
    drawOutlines(g, projection, outlines);
  }

  /** Above the tiles: graticule, names, scale, the place whose value is shown. */
  function drawMarks() {
    const g = prepare(marks);
    drawGraticule(g, projection);
    if (!layer) drawNames(g, projection, named, wrapped(view.x * 360 - 180), fromShare(view.y));
    drawScale(g, projection);
    if (!mark) return;
    const [x, y] = [projection.toX(mark[0]), projection.toY(mark[1])];
    for (const [colour, wide] of [["--rim", 5], ["--accent", 2.5]]) {
      g.strokeStyle = projection.style(colour);
      g.lineWidth = wide;
      g.beginPath();
      g.arc(x, y, 7, 0, 7);
      g.stroke();
    }
  }

  const addressOf = (zoom, x, y) => `/v1/${layer.name}/tiles/${zoom}/${x}/${y}`;

  /** The tiles in sight, the middle ones first: column and row in the wrapped world, and where they are on the map. */
  function inSight() {
    const found = [];
    const count = 2 ** view.zoom;
    const [x0, y0] = [left(), top()];
    for (let row = Math.max(Math.floor(y0 / TILE), 0); row * TILE < y0 + height && row < count; row++) {
      for (let column = Math.floor(x0 / TILE); column * TILE < x0 + width; column++) {
        const [x, y] = [column * TILE - x0, row * TILE - y0];
        found.push({ column: ((column % count) + count) % count, row, x, y, distance: Math.hypot(x + TILE / 2 - width / 2, y + TILE / 2 - height / 2) });
      }
    }
    return found.sort((a, b) => a.distance - b.distance);
  }

  function drawTiles() {
    const g = prepare(picture);
    g.imageSmoothingEnabled = false;
    if (!layer || view.zoom < layer.leastZoom) {
      request([]);
      report([], layer ? "Zoom in to draw this collection" : "");
      return;
    }
    const sight = inSight();
    for (const { column, row, x, y } of sight) {
      const tile = tiles.get(addressOf(view.zoom, column, row));
      if (tile?.bitmap) g.drawImage(tile.bitmap, x, y, TILE, TILE);
      else if (tile?.state === "failed") hatch(g, x, y);
      else drawCoarser(g, column, row, x, y);
    }
    request(sight.map(({ column, row }) => addressOf(view.zoom, column, row)));
    report(sight.map(({ column, row }) => tiles.get(addressOf(view.zoom, column, row))));
  }

  /** While a tile is missing: the part of a coarser one. */
  function drawCoarser(g, column, row, x, y) {
    for (let up = 1; up <= Math.min(view.zoom, 5); up++) {
      const tile = tiles.get(addressOf(view.zoom - up, column >> up, row >> up));
      if (!tile?.bitmap) continue;
      const part = TILE / 2 ** up;
      g.drawImage(tile.bitmap, (column % 2 ** up) * part, (row % 2 ** up) * part, part, part, x, y, TILE, TILE);
      return;
    }
  }

  function hatch(g, x, y) {
    g.save();
    g.beginPath();
    g.rect(x, y, TILE, TILE);
    g.clip();
    g.strokeStyle = projection.style("--bad");
    g.globalAlpha = 0.35;
    g.beginPath();
    for (let k = -TILE; k < TILE; k += 16) {
      g.moveTo(x + k, y + TILE);
      g.lineTo(x + k + TILE, y);
    }
    g.stroke();
    g.restore();
  }

  function report(seen, text = "") {
    const done = seen.filter((tile) => tile?.state === "done").length;
    const failed = seen.filter((tile) => tile?.state === "failed").length;
    frame.dataset.tiles = layer ? `${done} ${failed} ${seen.length}` : "";
    onProgress(text || (done + failed < seen.length ? `${inEnglish(seen.length - done - failed)} of ${inEnglish(seen.length)} tiles to draw` : ""));
  }

  /** Request tiles, a few at once; those that are no longer in sight are cancelled. */
  function request(addresses) {
    const wanted = new Set(addresses);
    for (const [address, tile] of tiles) {
      if (tile.state !== "loading" || wanted.has(address)) continue;
      tile.control.abort();
      tiles.delete(address);
    }
    let room = AT_ONCE - [...tiles.values()].filter(({ state }) => state === "loading").length;
    for (const address of addresses) {
      if (room <= 0) break;
      if (tiles.has(address)) continue;
      room--;
      load(address);
    }
    for (const [address, tile] of tiles) {
      if (tiles.size <= MOST_TILES) break;
      if (wanted.has(address) || tile.state === "loading") continue;
      tile.bitmap?.close();
      tiles.delete(address);
    }
  }

  async function load(address) {
    const own = tiles;
    const tile = { state: "loading", bitmap: null, control: new AbortController() };
    own.set(address, tile);
    try {
      const response = await get(address, tile.control.signal);
      tile.bitmap = await createImageBitmap(await response.blob(), { premultiplyAlpha: "none", colorSpaceConversion: "none" });
      tile.state = "done";
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 429 || error.status === 503) {
        tile.state = "waiting"; // for a slot
        setTimeout(() => {
          own.delete(address);
          redraw();
        }, 1000);
      } else {
        tile.state = "failed";
        if (own === tiles) onFailure(error);
      }
    } finally {
      if (own === tiles) redraw();
    }
  }

  function zoomBy(steps, x = width / 2, y = height / 2) {
    const zoom = Math.min(Math.max(view.zoom + steps, leastZoom()), DEEPEST);
    const before = edge();
    const [shareX, shareY] = [(x + left()) / before, (y + top()) / before];
    view.zoom = zoom;
    view.x = shareX - (x - width / 2) / edge();
    view.y = shareY - (y - height / 2) / edge();
    redraw();
  }

  function pan(dx, dy) {
    view.x -= dx / edge();
    view.y -= dy / edge();
    redraw();
  }

  /** Read the pixel at a place of the map: the middle of that pixel is the place. */
  function pick(x, y) {
    const column = Math.floor(x) + left() + 0.5;
    const row = Math.floor(y) + top() + 0.5;
    mark = [wrapped((column / edge()) * 360 - 180), fromShare(row / edge())];
    redraw();
    onPick(mark, pixelOf(view.zoom));
  }

  function goTo(longitude, latitude, zoom) {
    view.x = (longitude + 180) / 360;
    view.y = toShare(latitude);
    view.zoom = Math.min(Math.max(Math.round(zoom), leastZoom()), DEEPEST);
    redraw();
  }

  function fit([west, south, east, north]) {
    const [x0, x1, y0, y1] = [(west + 180) / 360, (east + 180) / 360, toShare(north), toShare(south)];
    const zoom = Math.floor(Math.log2(Math.min((width - 20) / TILE / Math.max(x1 - x0, 1e-9), (height - 20) / TILE / Math.max(y1 - y0, 1e-9))));
    view.x = (x0 + x1) / 2;
    view.y = (y0 + y1) / 2;
    view.zoom = Math.min(Math.max(zoom, leastZoom()), 18);
    redraw();
  }

  const pointers = new Map();
  let travelled = 0;
  let spread = 0;
  marks.addEventListener("pointerdown", (event) => {
    marks.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (pointers.size === 1) travelled = 0;
    spread = 0;
  });
  marks.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, now);
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (!other) {
      pan(now[0] - before[0], now[1] - before[1]);
      return;
    }
    const distance = Math.hypot(now[0] - other[0], now[1] - other[1]);
    spread ||= distance;
    const steps = Math.trunc(Math.log2(Math.max(distance, 1) / spread) * 1.5);
    if (!steps) return;
    spread = distance;
    zoomBy(Math.sign(steps), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    marks.addEventListener(kind, (event) => {
      if (!pointers.delete(event.pointerId) || kind === "pointercancel" || travelled > 5 || pointers.size) return;
      pick(event.offsetX, event.offsetY);
    });
  }
  marks.addEventListener("dblclick", (event) => zoomBy(1, event.offsetX, event.offsetY));
  let turned = 0;
  marks.addEventListener("wheel", (event) => {
    if (!takesWheel(event, frame, hint)) return;
    turned -= event.deltaY / (event.deltaMode ? 3 : 100);
    if (Math.abs(turned) < 1) return;
    zoomBy(Math.sign(turned), event.offsetX, event.offsetY);
    turned = 0;
  }, { passive: false });

  const keys = {
    ArrowLeft: () => pan(80, 0), ArrowRight: () => pan(-80, 0), ArrowUp: () => pan(0, 80), ArrowDown: () => pan(0, -80),
    "+": () => zoomBy(1), "=": () => zoomBy(1), "-": () => zoomBy(-1), Enter: () => pick(width / 2, height / 2),
  };
  frame.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.target !== frame || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  byId("nearer").addEventListener("click", () => zoomBy(1));
  byId("farther").addEventListener("click", () => zoomBy(-1));
  byId("fit").addEventListener("click", () => (layer?.bounds ? fit(layer.bounds) : goTo(0, 20, leastZoom())));

  new ResizeObserver(() => {
    [width, height, ratio] = [frame.clientWidth, frame.clientHeight, window.devicePixelRatio || 1];
    for (const canvas of [base, picture, marks]) Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    redraw();
  }).observe(frame);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  return {
    goTo,
    fit,
    setOutlines(found) {
      outlines = outlinesOf(found).map((each) => ({ ...each, corners: each.corners.map((value, k) => (k % 2 ? Math.min(Math.max(value, -BORDER), BORDER) : value)) }));
      named = namedPlaces(outlines);
      redraw();
    },
    setLayer(next) {
      for (const tile of tiles.values()) {
        tile.control?.abort();
        tile.bitmap?.close();
      }
      tiles = new Map();
      layer = next;
      mark = null;
      redraw();
    },
    setOpacity(share) {
      picture.style.opacity = String(share);
    },
    get zoom() {
      return view.zoom;
    },
    get bounds() {
      return [projection.fromX(0), Math.max(projection.fromY(height), -BORDER), projection.fromX(width), Math.min(projection.fromY(0), BORDER)];
    },
    get size() {
      return [width, height];
    },
  };
}
