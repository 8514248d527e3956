// Show the charts of time series of the selected regions, and in the panel that of the chosen region.

const charts = new Map([...document.querySelectorAll("figure[data-region]")].map((figure) => [figure.dataset.region, figure]));
const regionColumn = units.columns.find((column) => column.name === "region" && column.kind !== "number");
const chartOf = (i) => (regionColumn ? charts.get(String(regionColumn.at(i))) : undefined);

function drawSeries() {
  if (!charts.size || !regionColumn) return;
  for (let i = 0; i < units.count; i++) {
    const figure = chartOf(i);
    if (!figure) continue;
    figure.classList.add("is-region");
    figure.addEventListener("click", () => choose(i, "series"));
  }
  listeners.push((i) => {
    for (const figure of charts.values()) figure.removeAttribute("aria-current");
    if (i !== null) chartOf(i)?.setAttribute("aria-current", "true");
  });
  selectionListeners.push(() => {
    for (let i = 0; i < units.count; i++) {
      const figure = chartOf(i);
      if (figure) figure.hidden = !selection.mask[i];
    }
  });
}

/** A copy of the chart of a unit's region, for the panel; null without one. */
function copyOfChart(i) {
  const copy = chartOf(i)?.cloneNode(true) ?? null;
  copy?.removeAttribute("data-region");
  copy?.removeAttribute("aria-current");
  copy?.classList.remove("is-region");
  return copy;
}
