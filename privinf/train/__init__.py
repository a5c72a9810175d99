"""Training of models that are cheap in shares: data, recipes, the loop, and supernets."""
