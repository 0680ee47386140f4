"""Networks to be explained: made here, trained here, or brought from elsewhere."""
