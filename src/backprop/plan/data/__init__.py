"""What a row is, what of it is learned, and in which order."""
