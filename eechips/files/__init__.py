"""Files of a run on local disks: removal, temporary names, scratch folders, hashes, the user's cache folder."""
