"""The gates: one file a gate, with what the dealer prepares, what a party does, its exact integers and its cost side by side."""
