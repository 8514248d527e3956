"""Find the service and the credentials, and initialise the Earth Engine client."""
