"""Paired cell inpainting (Lu 2019): from pairs of cells to what a protein does, without labels."""
