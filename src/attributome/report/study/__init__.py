"""The figure page: every figure of the studies of some runs, with its caption."""
