"""Processes that help this one: work on blocks of a file, and work that shares memory."""
