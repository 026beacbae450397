"""Bytes on disk: atomic writes, readers, token storage."""
