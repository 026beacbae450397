"""What the world is, as values; a failed probe is a value with a reason."""
