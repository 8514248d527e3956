"""Countries, states, counties and ecoregions."""
