"""Studies around masks and predictions: numbers and tables for the figures of a paper, no torch."""
