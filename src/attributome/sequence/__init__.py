"""Pairs of a miRNA and a site as images of their k-mers (FCGR): encode, train, explain, go back."""
