startWatching();
startLayer().then(startAssets);
