"""Grad-CAMO: the share of a map that lies on the cell it is about."""
