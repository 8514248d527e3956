"""Read, check and sort STAC items of any source."""
