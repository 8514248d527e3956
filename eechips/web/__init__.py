"""URLs, hosts and headers of the web, and the removal of secrets from texts that contain them."""
