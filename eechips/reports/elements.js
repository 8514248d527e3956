// Elements, numbers and places of pages. No text is ever parsed as HTML.

const byId = (id) => document.getElementById(id);

/** An element with text; nothing is ever parsed as HTML. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const number = (value, digits = 6) => Number(value.toPrecision(digits)).toLocaleString("en");
const inEnglish = (count) => count.toLocaleString("en");

function size(bytes) {
  for (const unit of ["bytes", "kB", "MB", "GB"]) {
    if (bytes < 1000) return unit === "bytes" ? `${bytes} bytes` : `${bytes.toFixed(1)} ${unit}`;
    bytes /= 1000;
  }
  return `${bytes.toFixed(1)} TB`;
}

const wrapped = (longitude) => ((((longitude + 180) % 360) + 360) % 360) - 180;

function place(longitude, latitude, digits = 5) {
  const east = wrapped(longitude);
  const degrees = (value, plus, minus) => `${Math.abs(value).toFixed(digits)}° ${value < 0 ? minus : plus}`;
  return `${degrees(latitude, "N", "S")}, ${degrees(east, "E", "W")}`;
}

/** Whether a map takes the wheel from the page, which scrolls unless the map was clicked or Ctrl is held; else show the hint. */
function takesWheel(event, frame, hint) {
  if (event.ctrlKey || document.activeElement === frame) {
    event.preventDefault();
    return true;
  }
  hint.hidden = false;
  clearTimeout(hint.timer);
  hint.timer = setTimeout(() => (hint.hidden = true), 1500);
  return false;
}
