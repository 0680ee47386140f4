"""What features of single cells say of proteins, and of other labels."""
