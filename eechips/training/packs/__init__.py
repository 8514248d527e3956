"""Write samples to shards, and read them."""
