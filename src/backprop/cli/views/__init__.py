"""How a person reads an outcome: one file a verb, text only."""
