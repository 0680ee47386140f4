"""Motifs of what a network relies on: k-mers, seqlets, patterns, and how sure they are."""
