"""Read regions, places and tables, and find the images that show them."""
