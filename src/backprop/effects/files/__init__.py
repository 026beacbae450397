"""Bytes on disk: atomic writes, rows out of data files, token storage."""
