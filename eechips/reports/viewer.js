// The full-size view of a unit: its layers above each other, its frames as a film strip, its values beside them.

const OVERLAY = 0.6; // opacity of a layer that is first shown above another
const layerStates = new Map(); // by name of the layer; they stay from unit to unit
let frameNumber = 0;

/** The pictures of a unit as layers from the lowest: a series of frames is one layer. */
function layersOf(i) {
  const found = new Map();
  for (const picture of picturesOf(i)) {
    const name = picture.frame ? picture.frame.series || "frames" : picture.layer;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(picture);
  }
  return found;
}

/** The pictures of a unit in this page, or else its file if a browser can show it. */
function picturesOf(i) {
  const shown = units.pictures.get(i) ?? [];
  const file = units.file(i);
  if (shown.length || file === null || !isPicture(file) || !data.beside) return shown;
  return [{ layer: "", source: address(file), means: [] }];
}

const isPicture = (file) => /\.(png|jpe?g)$/i.test(file);

function stateOf(name, isFirst) {
  if (!layerStates.has(name)) layerStates.set(name, { isShown: isFirst, opacity: isFirst ? 1 : OVERLAY });
  return layerStates.get(name);
}

const framesOf = (i) => [...new Set(picturesOf(i).filter(({ frame }) => frame).map(({ frame }) => frame.number))].sort((a, b) => a - b);
const timeOf = (frame) => frame.time.replace("T", " ") || "no image";
const clearOf = (frame) => (frame.clear === null ? "" : `${Math.round(100 * frame.clear)}% clear`);

function openViewer(i) {
  if (i !== chosen) choose(i, "viewer");
  const dialog = byId("viewer");
  showInViewer(i);
  if (!dialog.open) dialog.showModal();
}

function showInViewer(i) {
  const frames = framesOf(i);
  if (frames.length && !frames.includes(frameNumber)) frameNumber = frames[0];
  byId("viewer-title").replaceChildren(...headingOf(i));
  const shown = selection.members.filter(hasPicture);
  const at = shown.indexOf(i);
  byId("position").textContent = at < 0 ? "" : `${inEnglish(at + 1)} of ${inEnglish(shown.length)}`;
  byId("properties").replaceChildren(...[copyOfChart(i), factList(i)].filter(Boolean));
  showStrip(i, frames);
  showLayers(i);
  showStage(i);
}

const hasPicture = (i) => picturesOf(i).length > 0;

function showStage(i) {
  const resolution = byId("resolution");
  resolution.textContent = hasPicture(i) ? "" : `This page has no picture of this ${regionColumn ? "region" : "unit"}.`;
  const images = [];
  let isFirst = true;
  for (const [name, pictures] of layersOf(i)) {
    const state = stateOf(name, isFirst);
    isFirst = false;
    const picture = pictures.find(({ frame }) => !frame || frame.number === frameNumber);
    if (!picture || !state.isShown) continue;
    const image = make("img", { src: picture.source, alt: [name, label(i)].filter(Boolean).join(", ") });
    image.style.opacity = String(state.opacity);
    image.addEventListener("load", () => {
      resolution.textContent = `${image.src.startsWith("data:") ? "Preview" : "File"}: ${image.naturalWidth} × ${image.naturalHeight} pixels`;
    });
    const file = fileOf(i, picture);
    if (picture.source.startsWith("data:") && file !== null && isPicture(file) && data.beside) showFile(image, file);
    images.push(image);
  }
  byId("stage").replaceChildren(...images);
  byId("stage").hidden = !hasPicture(i);
}

/** Replace a thumbnail by its file as soon as that is loaded; without the file, the thumbnail stays. */
function showFile(image, file) {
  const whole = new Image();
  whole.addEventListener("load", () => (image.src = whole.src));
  whole.src = address(file);
}

function showStrip(i, frames) {
  const strip = byId("strip");
  strip.hidden = frames.length < 2;
  strip.replaceChildren(...frames.map((number) => {
    const picture = picturesOf(i).find(({ frame }) => frame?.number === number);
    const text = [timeOf(picture.frame), clearOf(picture.frame)].filter(Boolean);
    const button = make("button", { type: "button", "data-frame": String(number), "aria-pressed": String(number === frameNumber), "aria-label": `frame ${number}: ${text.join(", ")}` },
      make("img", { src: picture.source, alt: "" }), ...text.map((line) => make("span", {}, line)));
    button.addEventListener("click", () => showFrame(number));
    return button;
  }));
}

function showFrame(number) {
  frameNumber = number;
  for (const button of byId("strip").children) button.setAttribute("aria-pressed", String(Number(button.dataset.frame) === number));
  byId("strip").querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  showStage(chosen);
}

function showLayers(i) {
  const layers = [...layersOf(i)];
  byId("layers").replaceChildren(...layers.map(([name, pictures], k) => {
    const state = stateOf(name, k === 0);
    const parts = [];
    if (layers.length > 1) {
      const box = make("input", { type: "checkbox", checked: state.isShown });
      box.addEventListener("change", () => {
        state.isShown = box.checked;
        showStage(i);
      });
      const slider = make("input", { type: "range", min: "0", max: "100", value: String(Math.round(100 * state.opacity)), "aria-label": `opacity of ${name}` });
      slider.addEventListener("input", () => {
        state.opacity = Number(slider.value) / 100;
        state.isShown = box.checked = true;
        showStage(i);
      });
      parts.push(make("p", { class: "layer" }, make("label", {}, box, ` ${name || "image"}`), slider));
    }
    return make("div", { "data-layer": name }, ...parts, ...legendOf(pictures[0]));
  }));
}

/** How a layer is painted: bands and values, or the names and colours of its classes. */
function legendOf({ layer, frame }) {
  return (data.painted[frame ? frame.series : layer] ?? []).map(({ text, classes }) => {
    if (text) return make("p", { class: "note" }, text);
    return make("ul", { class: "legend classes" }, ...classes.map(([code, name, colour]) => {
      const swatch = make("span", { class: "class-colour" });
      swatch.style.background = `#${colour}`;
      return make("li", { title: String(code) }, swatch, name || String(code));
    }));
  });
}

function drawViewer() {
  const dialog = byId("viewer");
  const move = (by) => {
    const next = stepFrom(chosen, by, hasPicture);
    if (next !== null && next !== chosen) choose(next, "viewer");
  };
  const turn = (by) => {
    const frames = framesOf(chosen);
    if (frames.length > 1) showFrame(frames[(frames.indexOf(frameNumber) + by + frames.length) % frames.length]);
  };
  byId("before").addEventListener("click", () => move(-1));
  byId("after").addEventListener("click", () => move(1));
  byId("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=range]")) return;
    const act = { ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => turn(-1), ArrowDown: () => turn(1) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  listeners.push((i) => {
    if (dialog.open) showInViewer(i);
  });
}
