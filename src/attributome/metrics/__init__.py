"""Scores of maps: pure functions from maps, and what they need, to one number per sample."""
