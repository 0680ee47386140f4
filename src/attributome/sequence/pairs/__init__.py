"""Tables of pairs: reading, splitting, auditing, what is trivial, and pairs with a known answer."""
