"""Studies of finished runs: what a paper on a predictor and its masks shows, measured again."""
