"""Looking at the world: every function returns facts."""
