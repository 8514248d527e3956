"""What covers the ground: relief, plants, fields, water, towns."""
