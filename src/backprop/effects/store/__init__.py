"""Run history and checkpoints on disk."""
