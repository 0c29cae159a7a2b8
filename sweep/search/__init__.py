"""Trials in rounds: a grid is one, a search has several, and a last one judges what was chosen on fresh seeds."""
