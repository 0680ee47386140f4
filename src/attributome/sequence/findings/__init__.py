"""What many explained pairs say together: intervals, contrasts, interactions, regions."""
