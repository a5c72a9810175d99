"""The gates: one file a gate, with deal, evaluate, ideal and cost side by side."""
