"""Profiles of wells: from cells to numbers that can be compared across plates."""
