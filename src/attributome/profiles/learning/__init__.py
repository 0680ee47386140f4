"""Networks that learn from crops of single cells, with labels and without, and remedies."""
