"""Networks on pairs: the upstream one, ours, their training, their folders and their scores."""
