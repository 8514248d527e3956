// The list of assets, and its search.

const MOST_SHOWN = 300; // of each group
const IMAGES = 25; // of a collection, at a time
const TYPES = { IMAGE: "image", IMAGE_COLLECTION: "collection", TABLE: "table" };
let assets = [];
let isComplete = true;
let chosenAsset = null; // id

const isFound = (asset, words) => {
  const text = `${asset.id} ${asset.title}`.toLowerCase();
  return words.every((word) => text.includes(word));
};

/** The dates of an asset; of one that still grows, the first. */
function datesText({ start, end }) {
  if (start === null) return "";
  const from = dayOf(start);
  const until = end === null ? "" : dayOf(end - 1);
  return from === until || !until ? from : `${from} – ${until}`;
}

function chooseAsset(asset, at = null) {
  chosenAsset = asset.id;
  for (const each of byId("assets").querySelectorAll("[aria-pressed]")) each.setAttribute("aria-pressed", String(each.dataset.asset === asset.id));
  note({ asset: asset.id });
  showAsset(asset, at);
}

function assetButton(asset) {
  const button = make("button", { type: "button", "aria-pressed": String(asset.id === chosenAsset), "data-asset": asset.id },
    make("span", { class: "asset-title" }, asset.title || asset.id.slice(asset.id.lastIndexOf("/") + 1)),
    make("code", {}, asset.id),
    make("span", { class: "note" }, [TYPES[asset.type] ?? asset.type.toLowerCase(), datesText(asset)].filter(Boolean).join(" · ")));
  button.addEventListener("click", () => chooseAsset(asset));
  return make("li", {}, button, asset.type === "IMAGE_COLLECTION" ? imagesOf(asset) : null);
}

const pathOf = ({ name }) => `/v1/${name.split("/").map(encodeURIComponent).join("/")}`;

/** An image as the list has it, of one as the server describes it. */
function imageOf({ name, id, type, startTime, endTime, properties }, { is_synthetic }) {
  const moment = (text) => (text ? Date.parse(text) : null);
  return { name, id, type, title: String(properties?.title ?? ""), start: moment(startTime), end: moment(endTime), is_synthetic };
}

/** The images of a collection, which are requested when they are unfolded. */
function imagesOf(collection) {
  const list = make("ul");
  const rest = make("button", { type: "button", hidden: true }, "More images");
  const problem = make("p", { class: "note" });
  const details = make("details", { class: "images" }, make("summary", {}, "Images"), list, problem, rest);
  let token = "";
  async function load() {
    rest.hidden = true;
    try {
      const found = await (await get(`${pathOf(collection)}:listImages?pageSize=${IMAGES}&pageToken=${encodeURIComponent(token)}`)).json();
      const images = found.images ?? [];
      list.append(...images.map((image) => assetButton(imageOf(image, collection))));
      problem.textContent = list.childElementCount ? "" : "It has no images.";
      token = found.nextPageToken ?? "";
      rest.hidden = !token;
    } catch (error) {
      problem.textContent = error.message;
    }
  }
  rest.addEventListener("click", load);
  details.addEventListener("toggle", load, { once: true });
  return details;
}

/** An asset of the list, or an image of a collection in it; null for none. */
async function findAsset(id) {
  const collectionOf = id.slice(0, id.lastIndexOf("/"));
  const known = assets.find((asset) => asset.id === id);
  const collection = assets.find((asset) => asset.id === collectionOf);
  if (known) return known;
  try {
    if (!collection) throw new Error(`There is no asset ${id}.`);
    return imageOf(await (await get(pathOf({ name: `${collection.name}/${id.slice(collectionOf.length + 1)}` }))).json(), collection);
  } catch (error) {
    showProblem(error);
    return null;
  }
}

function showAssets() {
  const words = byId("asset-query").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = assets.filter((asset) => isFound(asset, words));
  byId("assets-count").textContent = words.length ? `${inEnglish(found.length)} of ${inEnglish(assets.length)}` : `${inEnglish(assets.length)}${isComplete ? "" : " and more"}`;
  const groups = [["Your assets", found.filter((asset) => !asset.is_synthetic)], ["Demo planet", found.filter((asset) => asset.is_synthetic)]];
  byId("assets").replaceChildren(...groups.filter(([, members]) => members.length).flatMap(([name, members]) => {
    const rest = members.length - MOST_SHOWN;
    return [
      make("h3", {}, name, " ", make("span", { class: "count" }, inEnglish(members.length))),
      make("ul", {}, ...members.slice(0, MOST_SHOWN).map(assetButton)),
      rest > 0 ? make("p", { class: "note" }, `${inEnglish(rest)} more: search for them.`) : null,
    ].filter(Boolean);
  }));
  if (!found.length) byId("assets").replaceChildren(make("p", { class: "note" }, assets.length ? "No asset has these words." : "There is no asset."));
}

async function loadAssets() {
  byId("assets").setAttribute("aria-busy", "true");
  try {
    const found = await (await get("/_assets")).json();
    [assets, isComplete] = [found.assets, found.is_complete];
    showAssets();
  } catch (error) {
    byId("assets").replaceChildren(make("p", { class: "problem" }, error.message));
  } finally {
    byId("assets").removeAttribute("aria-busy");
  }
}

async function startAssets() {
  byId("asset-query").addEventListener("input", showAssets);
  byId("assets-reload").addEventListener("click", loadAssets);
  const { asset, at } = readAddress();
  await loadAssets();
  const known = asset === null ? null : await findAsset(asset);
  if (known) chooseAsset(known, at);
}
