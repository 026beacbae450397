"""One file a verb: observe, plan, execute, record; each reads as a story."""
