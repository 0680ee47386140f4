"""Single-cell profiles and Grad-CAMO: one function per verb, from fields of plates to findings."""
