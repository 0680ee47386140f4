"""What a network on pairs goes by: maps, tracks, mutants, and whether they can be believed."""
