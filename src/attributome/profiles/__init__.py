"""Profiles: what a network says of each cell, as tables; and how well they tell cells apart."""
