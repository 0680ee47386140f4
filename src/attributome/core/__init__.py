"""Types, targets, the training loop, and the only code that touches a model."""
