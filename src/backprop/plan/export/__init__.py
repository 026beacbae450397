"""What a finished model is called, described and turned into."""
