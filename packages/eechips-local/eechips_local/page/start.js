// Start what the page shows: the activity, the map, then the list of assets.

startWatching();
startLayer().then(startAssets);
