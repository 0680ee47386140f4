"""Public collections of images, fetched politely: downloads that resume, and where each is kept."""
