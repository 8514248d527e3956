// Draw everything, then show the selection: all units.

if (byId("selection")) {
  fillFields();
  drawSelection();
  if (world) drawMap();
  if (byId("plots")) drawHistograms();
  if (byId("rows-frame")) drawTable();
  if (byId("groups")) drawSheets();
  drawSeries();
  drawViewer();
  select("");
}
