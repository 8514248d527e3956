// Contact sheets: the pictures of this page, by any column that sorts units.

const AT_FIRST = 24; // pictures of a group before somebody asks for more
const FEW = 30; // pictures of a group that are shown at once
const MOST_GROUPS = 60;

function drawSheets() {
  const select = byId("grouping");
  const columns = units.columns.filter((column) => column.kind === "category");
  columns.sort((a, b) => (b.name === data.stratum) - (a.name === data.stratum));
  for (const column of columns) select.append(make("option", { value: column.name }, column.name));
  select.append(make("option", { value: "" }, "nothing"));
  if (data.stratum === null) select.value = "";
  const show = () => showGroups(columns.find((column) => column.name === select.value));
  select.addEventListener("change", show);
  selectionListeners.push(show);
}

function showGroups(column) {
  const groups = new Map();
  for (const i of selection.members) {
    if (!units.pictures.has(i)) continue;
    const value = column ? column.at(i) : null;
    if (!groups.has(value)) groups.set(value, []);
    groups.get(value).push(i);
  }
  const whole = new Map();
  for (const i of selection.members) {
    const value = column ? column.at(i) : null;
    whole.set(value, (whole.get(value) ?? 0) + 1);
  }
  const names = [...groups.keys()].sort((a, b) => (a === null) - (b === null) || String(a).localeCompare(String(b), "en", { numeric: true }));
  const sections = names.slice(0, MOST_GROUPS).map((name) => group(name, groups.get(name), whole.get(name), column));
  if (names.length > MOST_GROUPS) sections.push(make("p", { class: "note" }, `${names.length - MOST_GROUPS} more groups are not shown.`));
  if (!names.length) sections.push(make("p", { class: "note" }, "This page has no picture of the selected units."));
  byId("groups").replaceChildren(...sections);
}

function group(name, members, total, column) {
  const grid = make("div", { class: "sheet" });
  const section = make("section", { class: "group" });
  if (column) {
    section.append(make("h3", {}, name === null ? "none" : textOf(column, name),
      make("span", { class: "count" }, ` ${members.length.toLocaleString("en")} of ${total.toLocaleString("en")}`)));
  }
  section.append(grid);
  const add = (some) => grid.append(...some.map(thumbnail));
  add(members.length > FEW ? members.slice(0, AT_FIRST) : members);
  if (members.length > FEW) {
    const more = make("button", { type: "button" }, `Show ${members.length - AT_FIRST} more`);
    more.addEventListener("click", () => {
      add(members.slice(AT_FIRST));
      more.remove();
    });
    section.append(more);
  }
  return section;
}

const thumbnails = new Map(); // by number of the unit: pictures are decoded once

function thumbnail(i) {
  if (!thumbnails.has(i)) thumbnails.set(i, makeThumbnail(i));
  return thumbnails.get(i);
}

const dateOf = (i) => units.columns.find(({ name, kind }) => name === "date" && kind !== "number")?.at(i)?.slice(0, 10) ?? null;

function makeThumbnail(i) {
  const pictures = units.pictures.get(i);
  const own = [ownNameOf(i), dateOf(i)].filter((text) => text !== null);
  const isOne = pictures.length === 1 && !own.length;
  const images = pictures.map((picture) => {
    const image = make("img", { src: picture.source, alt: isOne ? label(i) : "", decoding: "async" });
    const captions = pictures.length === 1 ? own : [captionOf(picture)];
    return isOne ? image : make("span", { class: "cell" }, image, ...captions.map((text) => make("span", { class: "cell-name" }, text)));
  });
  const kind = isOne ? "thumbnail" : `thumbnail of-several of-${Math.min(pictures.length, 4)}`;
  const button = make("button", { type: "button", class: kind, "data-unit": String(i), title: label(i), "aria-label": isOne ? null : label(i) }, ...(pictures.length > 1 ? [make("span", { class: "unit-name" }, nameOf(i) || idOf(i))] : []), ...images);
  button.addEventListener("click", () => openViewer(i));
  return button;
}

listeners.push((i) => {
  for (const marked of document.querySelectorAll(".thumbnail[aria-current]")) marked.removeAttribute("aria-current");
  document.querySelector(`.thumbnail[data-unit="${Number(i)}"]`)?.setAttribute("aria-current", "true");
});
