"""What is remembered of a run, and what may follow from it."""
