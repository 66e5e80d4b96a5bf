"""Reads a ping: bytes in, a record or the reason for its rejection out."""
