"""Which method to believe: benchmarks on networks and fields whose answer is known."""
