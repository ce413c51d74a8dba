"""Comparisons of systems over seeds: their spread, and what is written and drawn of them."""
